"""One saga, as one value.

An `Instance` is all that is remembered of a saga: its status, what became of each step, the command that is out, its
deadlines, its reason. It is frozen: `decide` returns a new one. Stored as JSON under the names used here, so names
are never reused with another meaning and a new field has a default.

*Closed* (COMPLETED, and accepted or past the point of no return) and *settled* (nothing left to take back) are read
from it, not stored.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

from msgspec import Struct

from ordersaga.orchestrator.core.reasons import Reason


class Status(StrEnum):
    STARTED = "STARTED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    COMPENSATING = "COMPENSATING"
    COMPENSATED = "COMPENSATED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"


GOING_BACK = frozenset({Status.COMPENSATING, Status.CANCELLING})
TAKEN_BACK = frozenset({Status.COMPENSATED, Status.CANCELLED})
UNDER_WAY = frozenset({Status.STARTED, *GOING_BACK})


class Became(StrEnum):
    """What became of a step."""

    DONE = "DONE"
    REFUSED = "REFUSED"
    IN_DOUBT = "IN_DOUBT"
    """Silent, or given up while it was under way: it may have happened, so it is undone like a finished one."""
    UNDONE = "UNDONE"
    SETTLED = "SETTLED"
    """Closed without a confirmation: best effort exhausted, nothing that a command could name, or by an operator's
    hand.
    """
    SKIPPED = "SKIPPED"


class Direction(StrEnum):
    DO = "do"
    UNDO = "undo"


class Effect(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a step made at a participant, by the ids that the participant gave it."""

    ids: dict[str, str]
    undone: bool = False
    settled: bool = False
    """Of an extra one: given up, with `attention`."""
    undo_attempts: int = 0
    """Of an extra one. Those of the step's own effect are counted in its `StepRecord`."""


class StepRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one step. `effects[0]` is the step's own; any other is an extra one, made by a repeat that was
    not recognised.
    """

    name: str
    became: Became | None = None
    attempts: int = 0
    asked_bare: bool = False
    """Asked of a participant that was bare at that moment: it kept no `message_id`, so it recognises no repeat and
    undoes nothing that is not named, whatever it is set to since. Forgotten once the step is done. Versions that did
    not write it went by what the participant is now, and so are their states read.
    """
    effects: tuple[Effect, ...] = ()
    order: int = 0
    """Counts completions: the step that finished first has 1."""
    shown_at: datetime | None = None
    """The participant's own stamp on the event that showed the newest effect."""
    undone_at: datetime | None = None
    """The participant's own stamp on the event that confirmed the undo, or said that it is there no more."""
    gone_id: str | None = None
    """What was said to be there no more before we heard that it was made."""
    answer_due_at: datetime | None = None
    """In doubt: until when the answer may still come by itself. Before that, an effect that cannot be named yet is
    waited for.
    """
    contradicted: bool = False
    """Success and refusal came for the same command; the success counted."""
    undo_attempts: int = 0
    refusal: str | None = None
    """The participant's code, for operators. Never its message."""
    reason: Reason | None = None
    """What its refusal means."""


class Outstanding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The one command that the saga waits for."""

    step: str
    direction: Direction
    message_id: UUID
    attempt: int
    sent_at: datetime
    """This attempt."""
    due_at: datetime
    """When silence counts; while backing off, when the next attempt goes out."""
    backing_off: bool = False
    effect_id: str | None = None
    """Which effect an undo names, where it names one."""
    first_sent_at: datetime | None = None
    """The first attempt, where this is another. For those who measure: no decision depends on it."""


class Acceptance(Struct, frozen=True, kw_only=True, omit_defaults=True):
    runner_id: str | None = None
    stamp: datetime | None = None


class Requested(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who asked for a cancel, in which role, why; `reason` is the code that it leaves."""

    actor: str
    role: str
    reason: Reason
    why: str = ""
    stamp: datetime | None = None
    """Where an event was the request: its stamp, by which a repeat of it is told from an answer."""


class Stuck(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """In FAILED: which undo could not be confirmed, and the status to go back to."""

    step: str
    from_status: Status
    effect_id: str | None = None
    problem: str = ""
    accepted: bool = False
    """Stuck because a runner has the order while its money is on its way back."""
    retry: bool = False
    """Somebody wants it tried again."""


class Resolved(Struct, frozen=True, kw_only=True, omit_defaults=True):
    actor: str
    role: str
    why: str
    at: datetime


ERASED = "erased"
"""Stands for a person whose data are gone, in what is said of them all the same."""


class SagaData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a saga knows of its business. Each saga has a subclass.

    `personal` is a struct of whatever belongs to a person. It is stored apart, so that it can be erased; then it is
    None, and no command that needs it can be written any more.
    """

    personal: Any = None


D = TypeVar("D", bound=SagaData)


class Instance(Struct, Generic[D], frozen=True, kw_only=True, omit_defaults=True):
    saga_id: UUID
    saga: str
    version: int
    status: Status
    revision: int
    created_at: datetime
    data: D
    step: str | None = None
    """The step that the saga last went to, forward. Kept when it turns back: it is where things went wrong."""
    steps: dict[str, StepRecord] = {}
    outstanding: Outstanding | None = None
    resume_at: datetime | None = None
    """When to look again, though no command is out: an effect in doubt cannot be named before its answer has come or
    is given up, or the next step is held.
    """
    held_since: datetime | None = None
    """Since when the next step is not asked for, because its participant answers nobody."""
    window_ends_at: datetime | None = None
    """Until when the order may be accepted; opened by the step that the definition names."""
    window_reopened: bool = False
    expired: bool = False
    """The window has run out, by the saga's own deadline; or the timer has gone off once nothing could come of that."""
    newest_stamp: datetime | None = None
    """The newest of the order service's own stamps on what it said about this order."""
    accepted: Acceptance | None = None
    requested: Requested | None = None
    called_off: Reason | None = None
    """Why it was being taken back when a runner turned out to have been faster. A cancel that was sent for it may win
    after all.
    """
    committed: bool = False
    """The step that is the point of no return was asked for and not refused, or all is done and nobody has to accept
    it: nothing is taken back any more.
    """
    point_passed: bool = False
    """Whether an undo that rules out a completed order (`revert_payment`) was ever sent."""
    reason: Reason | None = None
    explanation: str | None = None
    attention: tuple[str, ...] = ()
    """Why a person should look, though the status is fine."""
    stuck: Stuck | None = None
    resolved: Resolved | None = None
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    """When it reached a status in which nothing is under way."""
    notified: tuple[str, ...] = ()
    """Types of the notifications that went out."""
    traceparent: str | None = None
    tracestate: str | None = None

    @property
    def closed(self) -> bool:
        return self.status is Status.COMPLETED and (self.accepted is not None or self.committed)

    @property
    def command_due_at(self) -> datetime | None:
        """When the saga is to be looked at again if nothing comes."""
        return self.outstanding.due_at if self.outstanding else self.resume_at

    @property
    def window_due_at(self) -> datetime | None:
        """When the saga's own deadline closes the window; None once nothing could come of it."""
        waiting = self.status in (Status.STARTED, Status.COMPLETED) and self.accepted is None and not self.expired
        return self.window_ends_at if waiting else None
