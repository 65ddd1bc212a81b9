"""What an input shows, written down: the first of the engine's three functions.

`observe` looks at an input and at what is remembered, and notes what the input proves: this step was done and left
these ids, that one was refused, this undo was confirmed, a runner accepted the order. It does so alike in every
status: what is true is true whether the saga goes forward, back, or has ended. It sends nothing and changes no
status; what follows from the facts is `advance`'s business (`core.decide`).

An input that shows nothing new leaves the instance as it was, with a verdict that says why.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from ordersaga.orchestrator.core.answers import read_answer
from ordersaga.orchestrator.core.definition import Definition, Fact, Kind, Step
from ordersaga.orchestrator.core.inputs import (
    AskedBefore,
    CancelAsked,
    CommandDeadline,
    Happened,
    Input,
    ResolveAsked,
    RetryAsked,
    SettleAsked,
    Verdict,
    WindowDeadline,
)
from ordersaga.orchestrator.core.instance import Acceptance, Became, Direction, Effect, Instance, Status, StepRecord
from ordersaga.orchestrator.core.operators import resolve_asked, retry_asked, settle_asked
from ordersaga.orchestrator.core.recording import (
    Observation,
    Shown,
    Unmoved,
    alive,
    answered,
    ask_later,
    cancel_asked,
    cancelled_by_hand,
    older,
    open_again,
    said,
    unclear,
    undo_attempt_failed,
    with_attention,
    with_fresh_attempts,
    with_step,
)
from ordersaga.orchestrator.core.sending import give_up_command
from ordersaga.wire.topics import Participant

AnyInstance = Instance[Any]
EARLY_EXPIRY = timedelta(minutes=1)
"""A `timer.expired` that comes earlier than this before the window's end is a mistake of the timer service's."""


def observe(
    definition: Definition, record: AnyInstance, seen: Input, now: datetime, *, shut: Collection[Participant] = ()
) -> Shown:
    """`shut`: see `decide`."""
    match seen:
        case Happened(event=event) if (fact := definition.facts.get(type(event))) is not None:
            return _fact(definition, record, fact, seen, now)
        case Happened():
            return read_answer(definition, record, seen, now)
        case CommandDeadline():
            return _silence(definition, record, now)
        case WindowDeadline():
            return _window_over(record, now)
        case AskedBefore(step=name):
            return _asked_before(definition, record, definition.step(name), now)
        case CancelAsked() | RetryAsked() | SettleAsked() | ResolveAsked():
            return _wished(definition, record, seen, now, shut)


def _wished(
    definition: Definition,
    record: AnyInstance,
    seen: CancelAsked | RetryAsked | SettleAsked | ResolveAsked,
    now: datetime,
    shut: Collection[Participant],
) -> Shown:
    """What a person wants."""
    match seen:
        case CancelAsked(by=by) if by.role == "customer" and not definition.customer_may_cancel:
            return Unmoved(Verdict.REFUSED, "not for the customer to cancel")
        case CancelAsked(by=by):
            return cancel_asked(record, by)
        case RetryAsked():
            return retry_asked(definition, record, seen, shut)
        case SettleAsked():
            return settle_asked(definition, record, seen)
        case ResolveAsked():
            return resolve_asked(record, seen, now)


# --- silence --------------------------------------------------------------------------------------


def _silence(definition: Definition, record: AnyInstance, now: datetime) -> Shown:
    due_at = record.command_due_at
    if due_at is None or now < due_at:
        return Unmoved(Verdict.LATE, "not due")
    out = record.outstanding
    if out is None:
        return Observation(replace(record, resume_at=None))
    step, known, is_undo = definition.step(out.step), record.steps[out.step], out.direction is Direction.UNDO
    if out.backing_off and (is_undo or definition.may_be_asked_again(step, known)):
        return Observation(replace(record, outstanding=None))
    if is_undo:
        return Observation(undo_attempt_failed(definition, record, step, "silent", now))
    if out.attempt < definition.attempts_max(step, known) or definition.is_asked_until_answered(step):
        return Observation(ask_later(definition, record, step, now))
    doubtful = replace(known, became=Became.IN_DOUBT, reason=step.silence)
    return Observation(replace(with_step(record, doubtful), outstanding=None))


def _asked_before(definition: Definition, record: AnyInstance, step: Step, now: datetime) -> Shown:
    """Nobody knows what became of it: as of one that is silent. Its answer may have been said."""
    if step.name in record.steps:
        return Unmoved(Verdict.REPEATED, "asked already")
    doubtful = StepRecord(
        name=step.name,
        became=Became.IN_DOUBT,
        attempts=1,
        asked_bare=definition.kind_of(step.do) is Kind.BARE,
        answer_due_at=now + timedelta(seconds=step.patience.timeout_seconds),
        reason=step.silence,
    )
    return Observation(with_step(give_up_command(record), doubtful))


def _window_over(record: AnyInstance, now: datetime) -> Shown:
    if record.window_due_at is None or now < record.window_due_at:
        return Unmoved(Verdict.LATE, "not due")
    return Observation(replace(record, expired=True))


# --- what people and other services did -----------------------------------------------------------


def _fact(definition: Definition, record: AnyInstance, fact: Fact, seen: Happened, now: datetime) -> Shown:
    said = getattr(seen.event, "order_id", None)
    known = getattr(record.data, "order_id", None)
    if said and known and said != known:
        return Unmoved(Verdict.STRAY, "another order_id")
    match fact:
        case Fact.EXPIRED:
            return _expired(record, now)
        case Fact.ACCEPTED | Fact.REOPENED | Fact.CANCELLED_BY_HAND if older(seen.stamp, record.newest_stamp):
            return Unmoved(Verdict.LATE, "older than what the service said since")
        case Fact.ACCEPTED:
            return _accepted(definition, record, seen)
        case Fact.REOPENED:
            return _reopened(definition, record, seen, now)
        case Fact.CANCELLED_BY_HAND:
            return cancelled_by_hand(definition, record, seen.stamp)


def _expired(record: AnyInstance, now: datetime) -> Shown:
    """The window ends now at the latest, and the saga's own deadline closes it, within a moment: that one waits until
    what was said before has been handled. An acceptance may be among it, on a topic that is read later.
    """
    if record.expired:
        return Unmoved(Verdict.REPEATED, "expired already")
    if record.window_ends_at is None or now < record.window_ends_at - EARLY_EXPIRY:
        return Unmoved(Verdict.STRAY, "expired too early")
    if record.window_due_at is None:  # nothing comes of it any more, and the timer need not be stopped
        return Observation(replace(record, expired=True))
    if record.window_ends_at <= now:
        return Unmoved(Verdict.REPEATED, "the window has ended: its deadline closes it")
    return Observation(replace(record, window_ends_at=now))


def _accepted(definition: Definition, record: AnyInstance, seen: Happened) -> Shown:
    acceptance = Acceptance(runner_id=getattr(seen.event, "runner_id", None), stamp=seen.stamp)
    noted = said(record, seen.stamp)
    if record.accepted is not None:
        if noted is record:
            return Unmoved(Verdict.REPEATED, "accepted already")
        # Given back and accepted again, and this came before the news of the first.
        return Observation(replace(noted, accepted=acceptance))
    before, record = record.newest_stamp, replace(noted, accepted=acceptance)
    if record.window_reopened and seen.stamp is not None and seen.stamp == before:
        record = with_attention(record, "accepted and given back, and no stamp says which came last")
    for step, known in _opening(definition, record):
        if known.became is Became.UNDONE and unclear(seen.stamp, before):
            record = with_attention(record, "accepted and cancelled, and no stamp says which came last")
        record = _proven_alive(definition, record, step, seen.stamp)
    return Observation(record)


def _reopened(definition: Definition, record: AnyInstance, seen: Happened, now: datetime) -> Shown:
    noted = said(record, seen.stamp)
    if record.accepted is None and noted is record:
        return Unmoved(Verdict.REPEATED, "open already")
    is_open = record.accepted is not None or record.status is Status.COMPLETED
    shown = open_again(definition, record, seen.stamp, now) if is_open else noted
    for step, known in _opening(definition, record):
        if known.became is not None:
            shown = _proven_alive(definition, shown, step, seen.stamp)
    return Observation(shown)


def _opening(definition: Definition, record: AnyInstance) -> list[tuple[Step, StepRecord]]:
    """The step that opens the order for acceptance, once it was asked for."""
    opening = (step for step in definition.steps if step.opens_window)
    return [(step, record.steps[step.name]) for step in opening if step.name in record.steps]


def _proven_alive(definition: Definition, record: AnyInstance, step: Step, stamp: datetime | None) -> AnyInstance:
    """Only an order that was opened can be accepted, and given back. `stamp`: when it was."""
    known = record.steps[step.name]
    if known.became is not Became.DONE:
        ids = {name: str(value) for name in step.effect_ids if (value := getattr(record.data, name, None))}
        contradicted = known.became is Became.REFUSED
        proven = replace(known, became=Became.DONE, effects=(Effect(ids=ids),), contradicted=contradicted)
        record = with_step(answered(record, step.name, Direction.DO), proven)
    if known.became is Became.UNDONE and step.undo:
        record = with_fresh_attempts(definition, record, step.undo)
    return alive(record, step, stamp)
