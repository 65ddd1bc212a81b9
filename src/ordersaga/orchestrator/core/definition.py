"""What a saga is made of: data, read top to bottom in business order.

A `Definition` lists steps. Each step asks one participant to do something and names the answers; where the step
leaves something behind it names its `Undo`. The engine (`core.decide`) knows no saga and no participant: all it knows
is here. A definition is checked when it is built, so a saga that could not be taken back is never started.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import cached_property
from typing import Any

from ordersaga.orchestrator.core.instance import Direction, Instance, Outstanding, SagaData, StepRecord
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.wire.messages import Announcement, Command, Event
from ordersaga.wire.topics import Participant

AnyInstance = Instance[Any]


class Money(StrEnum):
    """What a completed saga has done with the customer's money."""

    HOLDS = "holds"
    """One payment of its own stands, of its amount and for its order."""
    CAPTURES = "captures"
    """The payment of another saga is captured."""


class Kind(StrEnum):
    """What a participant can be trusted with."""

    BARE = "bare"
    """Runs in production and knows none of our additions: does not recognise repeats, cannot undo what it is not
    given the id of.
    """
    FULL = "full"
    """Recognises repeats by `message_id`, and an undo that overtakes its command."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long an answer is waited for and how often it is asked for again."""

    timeout_seconds: float
    attempts_max: int
    backoff_seconds: float = 1.0
    """Before the second attempt; doubled for each further one, with a jitter of up to a quarter, derived and not
    drawn.
    """
    backoff_seconds_max: float = 60.0


FORWARD = Patience(timeout_seconds=30, attempts_max=3, backoff_seconds=1, backoff_seconds_max=10)
"""A customer waits for it: three tries within about two minutes."""
BACKWARD = Patience(timeout_seconds=30, attempts_max=20, backoff_seconds=2, backoff_seconds_max=300)
"""Money depends on it: about an hour of tries (58 to 74 minutes) before a person is called."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a participant's refusal means."""

    reason: Reason
    passes: bool = False
    """It may be gone when asked again: a failed attempt rather than a refusal."""
    attention: str | None = None
    """Why a person should look all the same."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A command and the events that answer it."""

    to: Participant
    command: Callable[..., Command]
    """A forward command is written from the instance; an undo from the instance and the ids of the effect that it
    undoes (may be empty).
    """
    ok: type[Event]
    refused: type[Event]
    expected: Callable[[Any], bool] = field(default=lambda event: True)
    """Whether an `ok` event says what it has to say; one that does not is not an answer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Undo:
    """How what a step did is taken back. Steps may share one undo: it is sent once for all of them."""

    ask: Ask
    named_by: str
    """The effect id without which a bare participant cannot undo."""
    patience: Patience = BACKWARD
    required: bool = True
    """Required: attempts exhausted need a person (FAILED). Best effort: then it is settled."""
    moot_once_expired: bool = False
    """Nothing is left to undo once the window has run out."""
    rules_out_completion: bool = False
    """Once it was sent, the saga can no more end as COMPLETED."""
    stands: Callable[[Any], bool] = field(default=lambda event: False)
    """Whether an answer to this undo (either kind) says that the order stands, since a runner was faster."""
    unasked_is_request: bool = False
    """Its confirmation, when it was not asked for, is somebody's wish to cancel rather than a fact."""
    gone: Callable[[Any], bool] = field(default=lambda event: False)
    """Whether an answer (either kind), unasked, says that what would be undone is there no more."""

    @property
    def name(self) -> str:
        return self.ask.command.__name__


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    name: str
    do: Ask
    undo: Undo | None = None
    nothing_to_undo: bool = False
    """Says that a missing undo is meant: the step leaves nothing behind."""
    patience: Patience = FORWARD
    harmless_to_repeat: bool = True
    """Whether a bare participant may be sent the command again."""
    effect_ids: tuple[str, ...] = ()
    """Fields of the `ok` event (or, where it lacks them, of the saga's data) that tell one effect from another."""
    refusal: Callable[[Any], Refusal] = field(default=lambda event: Refusal(Reason.STEP_TIMED_OUT))
    silence: Reason = Reason.STEP_TIMED_OUT
    optional: bool = False
    """Refused or silent, it does not fail the saga."""
    nameless: bool = False
    """What it makes has no id of its own: done again after its undo it shows the same ids, and the participant's stamps
    tell which came last.
    """
    opens_window: bool = False
    """Its confirmation starts the time in which the order may be accepted."""
    point_of_no_return: bool = False
    """Asked for, it is asked for until it is answered. Done, nothing is taken back any more, and each step after it is
    asked for until it is done; `patience.attempts_max` then says when a person is told.
    """


class Fact(Enum):
    """An event that answers no command: something that a person or another service did."""

    ACCEPTED = "accepted"
    REOPENED = "reopened"
    EXPIRED = "expired"
    CANCELLED_BY_HAND = "cancelled_by_hand"


Notice = Callable[[AnyInstance], Announcement]
"""Writes a message from the finished instance."""


@dataclass(frozen=True, kw_only=True)
class Notices:
    """What people are told, one message (or one for each of several) per outcome; each has a type of its own."""

    completed: Notice | tuple[Notice, ...]
    cancelled: Notice | tuple[Notice, ...]
    failed: Notice | tuple[Notice, ...]
    cancellation_refused: Notice | tuple[Notice, ...] = ()
    """Said where a runner was faster than a cancel."""


class DefinitionError(Exception):
    """A saga's definition cannot work; the message says which part of it and why."""

    retriable = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Definition:
    """Equal to itself only, and never changed, so what follows from it may be cached."""

    name: str
    version: int
    data: type[SagaData]
    steps: tuple[Step, ...]
    undo_order: tuple[Undo, ...] = ()
    """The order in which things are taken back; empty: the reverse of the order in which they were done."""
    remember: Callable[[Any, Event], Any]
    """What the saga keeps of an event: data in, data out."""
    facts: Mapping[type[Event], Fact] = field(default_factory=dict)
    notices: Notices
    explanations: Mapping[Reason, str] = field(default_factory=dict)
    """What the customer is told of a reason, where this saga says it in other words than `core.reasons`."""
    customer_may_cancel: bool = True
    """Otherwise only operators and services may."""
    window_seconds: float = 1800.0
    window_after_reopening_seconds: float = 300.0
    hold_seconds_max: float = 120.0
    """How long a step waits for a participant that answers nobody before it counts as refused."""
    kinds: Mapping[Participant, Kind] = field(default_factory=dict)
    """Of each participant; bare where none is given."""
    money: Money | None = None
    """What the comparison with the payments expects of it; None: nothing."""

    def __post_init__(self) -> None:
        _check(self)

    def step(self, name: str) -> Step:
        return self._by_name[name]

    def step_after(self, name: str | None) -> Step | None:
        """The step that follows `name` in business order; the first one after None."""
        return self._after[name]

    def kind_of(self, ask: Ask) -> Kind:
        return self.kinds.get(ask.to, Kind.BARE)

    def attempts_max(self, step: Step, asked: StepRecord) -> int:
        """How often the forward command may be sent: once, where a repeat could do it twice."""
        return step.patience.attempts_max if self.may_be_asked_again(step, asked) else 1

    def may_be_asked_again(self, step: Step, asked: StepRecord) -> bool:
        """Who recognises a repeat was full when it was asked first, and is now."""
        return self.may_be_repeated(step) and (step.harmless_to_repeat or not asked.asked_bare)

    def may_be_repeated(self, step: Step) -> bool:
        return step.harmless_to_repeat or self.kind_of(step.do) is Kind.FULL

    @cached_property
    def full_only(self) -> frozenset[Participant]:
        """Participants that have to be full: those that are said to be, and those who are asked from the point of no
        return on for what must not be done twice.
        """
        asked_twice = {step.do.to for step in self._from_pivot if not step.harmless_to_repeat}
        return frozenset(asked_twice | {one for one, kind in self.kinds.items() if kind is Kind.FULL})

    @cached_property
    def is_accepted(self) -> bool:
        """Whether somebody has to accept it in the end: until then it may be taken back."""
        return any(step.opens_window for step in self.steps)

    def is_asked_until_answered(self, step: Step) -> bool:
        """Whether it is the point of no return or comes after it: silence never gives it up."""
        return step in self._from_pivot

    def is_asked_until_done(self, step: Step) -> bool:
        """Whether it comes after the point of no return: a refusal does not give it up either."""
        return step in self._from_pivot and not step.point_of_no_return

    def undos(self) -> tuple[Undo, ...]:
        """Each undo once, in the order given or of the steps."""
        return tuple(self._undone_by)

    def steps_undone_by(self, undo: Undo) -> tuple[Step, ...]:
        return self._undone_by[undo]

    def asked_of(self, out: Outstanding) -> Participant:
        """Whose answer is waited for."""
        step = self.step(out.step)
        if out.direction is Direction.DO:
            return step.do.to
        assert step.undo
        return step.undo.ask.to

    @cached_property
    def answered_by(self) -> Mapping[type[Event], Participant]:
        """For each answer to a command, who gives it."""
        asks = [*(step.do for step in self.steps), *(undo.ask for undo in self.undos())]
        return {event: ask.to for ask in asks for event in (ask.ok, ask.refused)}

    @cached_property
    def steps_by_answer(self) -> Mapping[type[Event], str]:
        """For each answer to a command, the step that asks; of several that share an undo, the first."""
        asks = [(step.name, ask) for step in reversed(self.steps) for ask in (step.do, step.undo and step.undo.ask)]
        return {event: name for name, ask in asks if ask for event in (ask.ok, ask.refused)}

    @cached_property
    def makers(self) -> Mapping[str, Step]:
        """For each effect id, the step that makes it: the first that names it."""
        return {name: step for step in reversed(self.steps) for name in step.effect_ids}

    @cached_property
    def _after(self) -> Mapping[str | None, Step | None]:
        names = [None, *(step.name for step in self.steps)]
        return dict(zip(names, [*self.steps, None], strict=True))

    @cached_property
    def _from_pivot(self) -> frozenset[Step]:
        """The point of no return, if there is one, and all that comes after it."""
        first = next((index for index, step in enumerate(self.steps) if step.point_of_no_return), len(self.steps))
        return frozenset(self.steps[first:])

    @cached_property
    def _by_name(self) -> Mapping[str, Step]:
        return {step.name: step for step in self.steps}

    @cached_property
    def _undone_by(self) -> Mapping[Undo, tuple[Step, ...]]:
        undos = self.undo_order or tuple(dict.fromkeys(step.undo for step in self.steps if step.undo))
        return {undo: tuple(step for step in self.steps if step.undo is undo) for undo in undos}


def _check(definition: Definition) -> None:
    names = [step.name for step in definition.steps]
    if not names:
        raise DefinitionError(f"{definition.name}: a saga needs at least one step")
    if len(set(names)) != len(names):
        raise DefinitionError(f"{definition.name}: two steps have one name among {names}")
    commands = [step.do.command.__name__ for step in definition.steps]
    if len(set(commands)) != len(commands):
        raise DefinitionError(f"{definition.name}: two steps send one command among {commands}")
    for step in definition.steps:
        _check_step(definition, step)
    _check_pivot(definition)
    undos = {step.undo.name for step in definition.steps if step.undo}
    if definition.undo_order and set(definition.undo_order) != {step.undo for step in definition.steps if step.undo}:
        raise DefinitionError(f"{definition.name}: undo_order must name each undo of the steps once: {sorted(undos)}")
    requests = [undo.name for undo in definition.undos() if undo.unasked_is_request]
    if not requests and Fact.CANCELLED_BY_HAND in definition.facts.values():
        raise DefinitionError(f"{definition.name}: a cancel by hand is a wish for an undo with unasked_is_request=True")
    if sum(step.opens_window for step in definition.steps) > 1:
        raise DefinitionError(f"{definition.name}: only one step can open the window")
    if definition.version < 1 or definition.window_seconds <= 0 or definition.hold_seconds_max < 0:
        raise DefinitionError(
            f"{definition.name}: version and window_seconds must be positive, hold_seconds_max not negative"
        )


def _check_pivot(definition: Definition) -> None:
    pivots = [step.name for step in definition.steps if step.point_of_no_return]
    if len(pivots) > 1:
        raise DefinitionError(f"{definition.name}: only one step can be the point of no return, not {pivots}")
    if pivots and any(step.opens_window for step in definition.steps):
        raise DefinitionError(
            f"{definition.name}: a window to be accepted in and a point of no return exclude each other"
        )
    for step in definition.steps:
        if not definition.is_asked_until_answered(step):
            continue
        where = f"{definition.name}.{step.name}"
        if step.undo:
            raise DefinitionError(f"{where}: from the point of no return on nothing is undone: give it no undo")
        if step.optional:
            raise DefinitionError(f"{where}: from the point of no return on every step is done: it cannot be optional")
        if step.patience.attempts_max < 2:
            raise DefinitionError(f"{where}: it is asked for again and again: give it at least two attempts")
        if not definition.may_be_repeated(step):
            raise DefinitionError(
                f"{where}: from the point of no return on a step is asked for until it is answered, and a bare"
                f" {step.do.to.value} service would do it twice: it takes one that is full"
            )


def _check_step(definition: Definition, step: Step) -> None:
    where = f"{definition.name}.{step.name}"
    if (step.undo is None) != step.nothing_to_undo and not definition.is_asked_until_answered(step):
        raise DefinitionError(f"{where}: give an undo, or say nothing_to_undo=True, and not both")
    if step.undo and step.undo.named_by not in step.effect_ids:
        raise DefinitionError(f"{where}: {step.undo.named_by} names its undo, so it has to be one of its effect_ids")
    unknown = [name for name in step.effect_ids if name not in definition.data.__struct_fields__]
    if unknown:
        raise DefinitionError(f"{where}: effect ids {unknown} are not fields of {definition.data.__name__}")
    for patience in (step.patience, *((step.undo.patience,) if step.undo else ())):
        if patience.attempts_max < 1 or patience.timeout_seconds <= 0:
            raise DefinitionError(f"{where}: needs at least one attempt and a positive timeout")
