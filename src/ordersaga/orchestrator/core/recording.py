"""Writing on the record: the few strokes that observing needs again and again."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.orchestrator.core.definition import Definition, Kind, Step, Undo
from ordersaga.orchestrator.core.inputs import Verdict
from ordersaga.orchestrator.core.instance import (
    Became,
    Direction,
    Effect,
    Instance,
    Requested,
    Status,
    StepRecord,
    Stuck,
)
from ordersaga.orchestrator.core.patience import backoff_seconds
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.wire.messages import Event
from ordersaga.wire.topics import Participant

AnyInstance = Instance[Any]


class Observation(Struct, frozen=True):
    """What an input showed, written down."""

    record: AnyInstance


class Unmoved(Struct, frozen=True):
    """It showed nothing that is not known, or nothing that concerns the saga."""

    verdict: Verdict
    why: str


Shown = Observation | Unmoved


def undo_attempt_failed(
    definition: Definition, record: AnyInstance, step: Step, problem: str, now: datetime
) -> AnyInstance:
    """Try again later; attempts exhausted, a best-effort undo is settled and a required one needs a person."""
    out, undo = record.outstanding, step.undo
    assert out and undo
    if out.attempt < undo.patience.attempts_max:
        return back_off(record, undo.patience.backoff_seconds, undo.patience.backoff_seconds_max, now)
    record = replace(record, outstanding=None)
    if undo.required:
        return replace(
            record, stuck=Stuck(step=step.name, from_status=record.status, effect_id=out.effect_id, problem=problem)
        )
    return settle(definition, record, undo)


def ask_later(definition: Definition, record: AnyInstance, step: Step, now: datetime) -> AnyInstance:
    """One more attempt, after a while. From the point of no return on there is always one more; a person is told once
    as many as the step's patience has were in vain.
    """
    out = record.outstanding
    assert out
    if definition.is_asked_until_answered(step) and out.attempt >= step.patience.attempts_max:
        record = with_attention(record, overdue(step))
    return back_off(record, step.patience.backoff_seconds, step.patience.backoff_seconds_max, now)


def overdue(step: Step) -> str:
    return f"{step.name} is not done yet; it is asked for until it is"


def no_longer_overdue(record: AnyInstance, step: Step) -> AnyInstance:
    """What a person was told of a step that took long is over with its answer."""
    if not record.attention:  # nearly always
        return record
    return replace(record, attention=tuple(why for why in record.attention if why != overdue(step)))


def done_at_last(definition: Definition, record: AnyInstance, step: Step, before: Became | None) -> AnyInstance:
    """What is never taken back and counted as refused, or as done by other means, is a person's to mend."""
    if not definition.is_asked_until_answered(step):
        return record
    record = no_longer_overdue(record, step)
    if before in (Became.REFUSED, Became.SETTLED):
        record = with_attention(record, f"{step.name} was done, though it counted as {before.value}")
    return record


def back_off(record: AnyInstance, first_seconds: float, max_seconds: float, now: datetime) -> AnyInstance:
    out = record.outstanding
    assert out
    wait = timedelta(seconds=backoff_seconds(record.saga_id, out.step, out.attempt, first_seconds, max_seconds))
    return replace(record, outstanding=replace(out, backing_off=True, due_at=now + wait))


def unstuck(record: AnyInstance) -> AnyInstance:
    """Nothing is stuck any more, and what was has all its attempts before it."""
    assert record.stuck
    step = record.steps[record.stuck.step]
    effects = tuple(replace(effect, undo_attempts=0) for effect in step.effects)
    return replace(with_step(record, replace(step, undo_attempts=0, effects=effects)), stuck=None)


def settle(definition: Definition, record: AnyInstance, undo: Undo) -> AnyInstance:
    """Close the steps of an undo without a confirmation."""
    for step in definition.steps_undone_by(undo):
        known = record.steps.get(step.name)
        if known and known.became in (Became.DONE, Became.IN_DOUBT):
            record = with_step(record, replace(known, became=Became.SETTLED))
    return record


def cancelled_by_hand(definition: Definition, record: AnyInstance, stamp: datetime | None) -> Shown:
    """A wish to cancel, said where it is cancelled. A saga whose cancel could not be confirmed tries again."""
    undo, noted = definition.step(record.stuck.step).undo if record.stuck else None, said(record, stamp)
    if record.stuck and undo and undo.unasked_is_request:
        return Observation(replace(noted, stuck=replace(record.stuck, retry=True)))
    at = next(undo.ask.to for undo in definition.undos() if undo.unasked_is_request)
    done = f"cancelled at the {at.value} service"
    if record.closed or record.committed:
        since = "past the point of no return" if record.committed else "accepted"
        return Observation(with_attention(noted, f"{done} though it was {since}"))
    asked = cancel_asked(noted, by_hand(at, done, stamp))
    return Observation(noted) if isinstance(asked, Unmoved) and noted is not record else asked


def by_hand(at: Participant, why: str, stamp: datetime | None = None) -> Requested:
    """Somebody did it at a participant."""
    reason = Reason.OPERATOR_REQUEST
    return Requested(actor=f"{at.value}-service", role="operator", reason=reason, why=why, stamp=stamp)


def cancel_asked(record: AnyInstance, by: Requested) -> Shown:
    if record.status in (Status.CANCELLING, Status.CANCELLED):
        return Unmoved(Verdict.REPEATED, "cancelled already")
    if record.committed:
        return Unmoved(Verdict.REFUSED, "cannot be cancelled: past the point of no return")
    if record.status not in (Status.STARTED, Status.COMPLETED) or record.closed:
        return Unmoved(Verdict.REFUSED, f"cannot be cancelled: {'accepted' if record.closed else record.status.value}")
    return Observation(replace(record, requested=by))


def open_again(definition: Definition, record: AnyInstance, stamp: datetime | None, now: datetime) -> AnyInstance:
    """The runner gave the order back: it can be accepted again, for a while at least."""
    at_least = now + timedelta(seconds=definition.window_after_reopening_seconds)
    ends_at = max(record.window_ends_at or at_least, at_least)
    reopened = replace(record, accepted=None, window_reopened=True, expired=False, window_ends_at=ends_at)
    return said(reopened, stamp)


def said(record: AnyInstance, stamp: datetime | None) -> AnyInstance:
    """The order service has spoken of this order, at `stamp`."""
    if stamp is None or not newer(stamp, record.newest_stamp):
        return record
    return replace(record, newest_stamp=stamp)


def alive(record: AnyInstance, step: Step, stamp: datetime | None) -> AnyInstance:
    """The order that `step` has opened was alive at `stamp`."""
    known = record.steps[step.name]
    if stamp is None or not newer(stamp, known.shown_at):
        return record
    return with_step(record, replace(known, shown_at=stamp))


def with_fresh_attempts(definition: Definition, record: AnyInstance, undo: Undo) -> AnyInstance:
    """What was asked for before is no attempt at what is to be taken back now."""
    for step in definition.steps_undone_by(undo):
        known = record.steps.get(step.name)
        if known and known.undo_attempts:
            record = with_step(record, replace(known, undo_attempts=0))
    return record


def with_attention(record: AnyInstance, why: str) -> AnyInstance:
    if why in record.attention:
        return record
    return replace(record, attention=(*record.attention, why), resolved=None)


def with_step(record: AnyInstance, step: StepRecord) -> AnyInstance:
    return replace(record, steps={**record.steps, step.name: step})


def extra_effect(record: AnyInstance, step: Step, ids: Mapping[str, str]) -> AnyInstance:
    """A repeat that was not recognised made a second one. Where its undo cannot tell the two apart, a person has to."""
    known = record.steps[step.name]
    record = with_step(record, replace(known, effects=(*known.effects, Effect(ids=dict(ids)))))
    if not step.undo or ids.get(step.undo.named_by) == known.effects[0].ids.get(step.undo.named_by):
        twice = [", ".join(effect.ids.values()) for effect in record.steps[step.name].effects]
        left = "only one can" if step.undo else "none is to"
        record = with_attention(
            record, f"{step.name} was done twice ({' and '.join(twice)}); {left} be taken back by a command"
        )
    return record


def done_before_its_undo(definition: Definition, known: StepRecord, step: Step, stamp: datetime | None) -> bool:
    """A full participant does nothing again that was undone, so of one moment the deed came first; of a bare one it may
    be another.
    """
    in_one_moment = stamp is not None and stamp == known.undone_at and definition.kind_of(step.do) is Kind.FULL
    return in_one_moment or older(stamp, known.undone_at)


def which_came_last(record: AnyInstance, step: Step, stamp: datetime | None) -> AnyInstance:
    if not unclear(stamp, record.steps[step.name].undone_at):
        return record
    what = "opened and cancelled" if step.opens_window else f"{step.name} was done and undone"
    return with_attention(record, f"{what}, and no stamp says which came last")


def code_of(event: Event) -> str:
    return str(getattr(event, "error", ""))[:100]


def answered(record: AnyInstance, step: str, direction: Direction) -> AnyInstance:
    """The outstanding command is no longer outstanding, if it was this one."""
    out = record.outstanding
    return replace(record, outstanding=None) if out and (out.step, out.direction) == (step, direction) else record


def newer(stamp: datetime | None, than: datetime | None) -> bool:
    """Whether `stamp` is known to be newer. Where one is missing, order of arrival decides: it came later."""
    return stamp is None or than is None or stamp > than


def unclear(stamp: datetime | None, than: datetime | None) -> bool:
    """Whether stamps do not say which is newer: order of arrival decides, and a person should look."""
    return stamp is None or than is None or stamp == than


def older(stamp: datetime | None, than: datetime | None) -> bool:
    return stamp is not None and than is not None and stamp < than
