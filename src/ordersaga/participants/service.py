"""What makes a participant: the shape that all five have.

A service is a pure function over one row: what is known under a key, and what is asked, give the row afterwards and the
answer. Everything else (reading, transactions, repeats, sending) is the host's. The key is the correlation id, so each
saga has at most one row at each participant: whatever is asked twice finds what the first one left.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

from ordersaga.wire.messages import Command, Event, Message
from ordersaga.wire.topics import Participant


class Row(Struct, frozen=True, kw_only=True):
    """What a participant knows under one key. The fields are the columns of its table."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One command, with what a service may need to carry it out."""

    key: str
    command: Message
    message_id: UUID
    now: datetime
    """The database's clock."""
    new_id: str
    """For whatever the command brings into being."""
    outcome: Any = None
    """What an outside system said, where one was asked (see `ServiceSpec.consult`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The row afterwards (None: as it was) and what is said (None: nothing)."""

    event: Event | None
    row: Row | None = None
    remembered: bool = True
    """Whether a repeat of the command is answered from memory. A refused undo is not: asked again, it is tried again.
    """


class Consult(Protocol):
    """Asks an outside system on behalf of a whole batch, before the answers are decided."""

    def __call__(self, rows: Mapping[str, Any], asked: Sequence[Asked]) -> Mapping[UUID, Any]:
        """By `message_id`. The same command gets the same outcome, whenever it is asked again."""


@dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    participant: Participant
    row: type[Row]
    answer: Callable[[Any, Asked], Reply]
    """(row or None, what is asked) -> reply. Pure."""
    key: Callable[[str, Message], str] = field(default=lambda correlation_id, command: correlation_id)
    commands: tuple[type[Message], ...]
    """What it understands; anything else on its topic is somebody else's."""
    answers: bool = True
    """False for one that only listens."""

    @property
    def schema(self) -> str:
        return f"participant_{self.participant.value}"


def not_understood(command: Message) -> AssertionError:
    return AssertionError(f"{type(command).__name__} is not among the commands of this service")


__all__ = ["Asked", "Command", "Consult", "Reply", "Row", "ServiceSpec", "not_understood"]
