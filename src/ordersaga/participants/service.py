"""What makes a participant: the shape that all five have.

A service is a pure function over one row: what is known under a key, and what is asked, give the row afterwards and the
answer. Everything else (reading, transactions, repeats, sending) is the host's. The key is the saga's id (at the user
service the user's), so each saga has at most one row at each participant: whatever is asked twice finds what the first
one left.

A person asks by a `Verb`, which is answered like a command and sent by no topic.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

from ordersaga.wire.messages import Command, Event, Message
from ordersaga.wire.topics import Participant

__all__ = ["Asked", "By", "Command", "Consult", "Refused", "Reply", "Row", "ServiceSpec", "Verb", "not_understood"]


class Row(Struct, frozen=True, kw_only=True):
    """What a participant knows under one key. The fields are the columns of its table."""

    key: str


class Verb(Struct, frozen=True, kw_only=True):
    """What a person asks of a service by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who asks by hand, as what, and why. It is kept with what was done."""

    actor: str
    role: str
    reason: str


class Refused(Exception):
    """What a person asks cannot be done in the state that things are in; the message says which."""

    retriable = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One command or verb, with what a service may need to carry it out."""

    key: str
    command: Message | Verb
    message_id: UUID
    now: datetime
    """The database's clock."""
    new_id: str
    """For whatever the command brings into being."""
    outcome: Any = None
    """What an outside system said, where one was asked (see `Consult`)."""
    by: By | None = None
    """The person, where a person asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The row afterwards (None: as it was) and what is said (None: nothing)."""

    event: Event | None
    row: Row | None = None
    remembered: bool = True
    """Whether a repeat of the command is answered from memory. A refused undo is not: asked again, it is tried again.
    """
    twice: bool = False
    """Whether it is said twice, as services do that are killed at the wrong moment."""


class Consult(Protocol):
    """Asks an outside system on behalf of many, before the answers are decided."""

    def __call__(self, wanted: Sequence[tuple[Any, Asked]]) -> Mapping[UUID, Any]:
        """For each pair of a row (or None) and what is asked: the outcome, by `message_id`. No two share a row. The
        same command gets the same outcome, whenever it is asked again.
        """


@dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    participant: Participant
    row: type[Row]
    answer: Callable[[Any, Asked], Reply]
    """(row or None, what is asked) -> reply. Pure. Raises `Refused` to a person only."""
    key: Callable[[str, Message], str] = field(default=lambda correlation_id, command: correlation_id)
    names: tuple[str, ...] = ()
    """Fields of commands that name a row too, each a unique column: the service's own id first. That one goes before
    the key, the others after it.
    """
    commands: tuple[type[Message], ...]
    """What it understands; anything else on its topic is somebody else's."""
    answers: bool = True
    """False for one that only listens."""

    @property
    def schema(self) -> str:
        return f"participant_{self.participant.value}"

    def names_in(self, said: Any) -> list[tuple[str, str]]:
        """What a command, or a row, is called by: columns with values."""
        found = ((column, getattr(said, column, None)) for column in self.names)
        return [(column, value) for column, value in found if value]


def not_understood(command: object) -> AssertionError:
    return AssertionError(f"{type(command).__name__} is not among the commands of this service")
