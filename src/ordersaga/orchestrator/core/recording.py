"""Writing on the record: the few strokes that observing needs again and again."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from ordersaga.orchestrator.core.definition import Definition, Step, Undo
from ordersaga.orchestrator.core.inputs import Verdict
from ordersaga.orchestrator.core.instance import Became, Direction, Instance, Requested, Status, StepRecord, Stuck
from ordersaga.orchestrator.core.patience import backoff_seconds
from ordersaga.orchestrator.core.reasons import Reason

AnyInstance = Instance[Any]
BY_HAND = "order-service"
"""The actor of what somebody did at a participant."""


@dataclass(frozen=True, slots=True)
class Observation:
    record: AnyInstance
    verdict: Verdict = Verdict.APPLIED
    why: str = ""


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


def back_off(record: AnyInstance, first_seconds: float, max_seconds: float, now: datetime) -> AnyInstance:
    out = record.outstanding
    assert out
    wait = timedelta(seconds=backoff_seconds(record.saga_id, out.step, out.attempt, first_seconds, max_seconds))
    return replace(record, outstanding=replace(out, backing_off=True, due_at=now + wait))


def settle(definition: Definition, record: AnyInstance, undo: Undo) -> AnyInstance:
    """Close the steps of an undo without a confirmation."""
    for step in definition.steps_undone_by(undo):
        known = record.steps.get(step.name)
        if known and known.became in (Became.DONE, Became.IN_DOUBT):
            record = with_step(record, replace(known, became=Became.SETTLED))
    return record


def by_hand(stamp: datetime | None) -> Requested:
    why = "cancelled at the order service"
    return Requested(actor=BY_HAND, role="operator", reason=Reason.OPERATOR_REQUEST, why=why, stamp=stamp)


def cancel_asked(record: AnyInstance, by: Requested) -> Observation:
    if record.status in (Status.CANCELLING, Status.CANCELLED):
        return Observation(record, Verdict.REPEATED, "cancelled already")
    if by.actor == BY_HAND and record.closed:
        return Observation(with_attention(record, "cancelled at the order service though it was accepted"))
    if record.status not in (Status.STARTED, Status.COMPLETED) or record.closed:
        return Observation(
            record, Verdict.REFUSED, f"cannot be cancelled: {'accepted' if record.closed else record.status.value}"
        )
    return Observation(replace(record, requested=by))


def with_attention(record: AnyInstance, why: str) -> AnyInstance:
    if why in record.attention:
        return record
    return replace(record, attention=(*record.attention, why), resolved=None)


def with_step(record: AnyInstance, step: StepRecord) -> AnyInstance:
    return replace(record, steps={**record.steps, step.name: step})


def answered(record: AnyInstance, step: str, direction: Direction) -> AnyInstance:
    """The outstanding command is no longer outstanding, if it was this one."""
    out = record.outstanding
    return replace(record, outstanding=None) if out and (out.step, out.direction) == (step, direction) else record


def newer(stamp: datetime | None, than: datetime | None) -> bool:
    """Whether `stamp` is known to be newer. Where one is missing, order of arrival decides: it came later."""
    return stamp is None or than is None or stamp > than


def older(stamp: datetime | None, than: datetime | None) -> bool:
    return stamp is not None and than is not None and stamp < than
