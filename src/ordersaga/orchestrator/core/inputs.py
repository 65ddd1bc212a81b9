"""What can happen to a saga, and what comes of it: the two ends of `decide`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordersaga.orchestrator.core.instance import Instance, Requested
from ordersaga.wire.messages import Event, Message
from ordersaga.wire.topics import Participant


class Happened(Struct, frozen=True, kw_only=True):
    """A participant, or somebody at a participant, said something."""

    event: Event
    causation_id: UUID | None = None
    stamp: datetime | None = None
    """The sender's own clock; compared only with stamps of the same sender."""


class CommandDeadline(Struct, frozen=True):
    """The saga waited long enough for its outstanding command, or for the time to try again."""


class WindowDeadline(Struct, frozen=True):
    """The time in which the order could be accepted is over."""


@dataclass(frozen=True, slots=True)
class CancelAsked:
    by: Requested


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who steps in, in which role, and why."""

    actor: str
    role: str
    why: str


@dataclass(frozen=True, slots=True)
class RetryAsked:
    """Ask again now, or take up again what is stuck."""

    by: Operator
    revision: int | None = None
    """As of which the saga was looked at: where it has changed since, nothing is done. None: however it is by now."""


@dataclass(frozen=True, slots=True)
class SettleAsked:
    """What `undo` (the name of its command) would take back was taken back in another way. From the point of no return
    on it names a step's own command: what that would do was done in another way.
    """

    by: Operator
    undo: str


@dataclass(frozen=True, slots=True)
class ResolveAsked:
    """A person has seen to it. The status stays."""

    by: Operator
    revision: int | None = None
    """The same: what came since has been seen by nobody."""


@dataclass(frozen=True, slots=True)
class AskedBefore:
    """The log has the command of a step that the saga does not know to have asked for: its memory was restored from a
    backup, and what led there is lost.
    """

    step: str


Input = (
    Happened | CommandDeadline | WindowDeadline | CancelAsked | RetryAsked | SettleAsked | ResolveAsked | AskedBefore
)


class Verdict(StrEnum):
    """What an input was to the saga. Exactly one of these is counted for each."""

    APPLIED = "applied"
    REPEATED = "repeated"
    """Known already."""
    LATE = "late"
    """True once, but overtaken by what is known now."""
    STRAY = "stray"
    """Not for this saga, not asked for, or not what an answer has to say."""
    REFUSED = "refused"
    """A request that cannot be granted in this status."""


class Send(Struct, frozen=True, kw_only=True):
    """A message to write. `to` is None for what is announced to everyone (`saga_events`)."""

    to: Participant | None
    body: Message
    message_id: UUID


class Decision(Struct, frozen=True, kw_only=True):
    """What became of one input. Unless the verdict is APPLIED, `instance` is the one that came in and there are no
    messages.
    """

    instance: Instance[Any]
    messages: tuple[Send, ...] = ()
    verdict: Verdict = Verdict.APPLIED
    why: str = ""
    """For a verdict other than APPLIED: a short code that is counted."""
    rows: tuple[str, ...] = ()
    """The rows of the table that were passed, by name: the history shows them."""
