"""What operators can do to a saga, written down: ask again now, settle by hand, resolve.

None of it overrules a rule: a command that a bare participant would carry out twice is not repeated, by hand neither,
and an order that a runner has is not cancelled.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from ordersaga.orchestrator.core.definition import Definition, Step, Undo
from ordersaga.orchestrator.core.inputs import ResolveAsked, RetryAsked, SettleAsked, Verdict
from ordersaga.orchestrator.core.instance import Became, Direction, Instance, Outstanding, Resolved, Status
from ordersaga.orchestrator.core.needs import Need, needs
from ordersaga.orchestrator.core.recording import (
    Observation,
    Shown,
    Unmoved,
    answered,
    no_longer_overdue,
    settle,
    with_step,
)
from ordersaga.orchestrator.core.repeats import told_of_repeats
from ordersaga.wire.topics import Participant

AnyInstance = Instance[Any]


CHANGED_SINCE = "it has changed since"


def retry_asked(
    definition: Definition, record: AnyInstance, wish: RetryAsked, shut: Collection[Participant] = ()
) -> Shown:
    """`shut`: participants that answer nobody."""
    if wish.revision not in (None, record.revision):
        return Unmoved(Verdict.REFUSED, CHANGED_SINCE)
    if (stuck := record.stuck) is not None:
        if stuck.accepted:
            return Unmoved(Verdict.REFUSED, "a runner has the order")
        return Observation(replace(record, stuck=replace(stuck, retry=True)))
    if record.held_since is not None:
        return _held_no_more(definition, record, shut)
    if record.outstanding is None:
        return Unmoved(Verdict.REFUSED, "nothing is under way")
    return _asked_again(definition, record, record.outstanding)


def _held_no_more(definition: Definition, record: AnyInstance, shut: Collection[Participant]) -> Shown:
    """By hand neither is anything begun that would be in doubt then."""
    step = definition.step_after(record.step)
    if step is not None and step.do.to in shut:
        return Unmoved(Verdict.REFUSED, f"it is held until the {step.do.to.value} service answers")
    return Observation(replace(record, resume_at=None))


def _asked_again(definition: Definition, record: AnyInstance, out: Outstanding) -> Shown:
    step = definition.step(out.step)
    if out.direction is Direction.DO and definition.attempts_max(step, record.steps[step.name]) == 1:
        return Unmoved(Verdict.REFUSED, "it may be done twice")
    undo = step.undo
    if out.direction is Direction.UNDO and record.accepted is not None and undo and undo.unasked_is_request:
        return Unmoved(Verdict.REFUSED, "a runner has the order")
    return Observation(replace(record, outstanding=None))


def settle_asked(definition: Definition, record: AnyInstance, wish: SettleAsked) -> Shown:
    step = next((step for step in definition.steps if step.do.command.__name__ == wish.undo), None)
    if step is not None and definition.is_asked_until_answered(step):
        return _settle_step(definition, record, step)
    undo = next((undo for undo in definition.undos() if undo.name == wish.undo), None)
    if undo is None:
        return Unmoved(Verdict.REFUSED, f"this saga undoes by {', '.join(u.name for u in definition.undos())}")
    open_needs = [need for need in needs(definition, record) if need.undo is undo and _may_be_settled(record, need)]
    if not open_needs:
        return Unmoved(Verdict.REFUSED, "nothing of it is to be taken back")
    if not all(need.extra for need in open_needs):
        settled = settle(definition, record, undo)
        record = told_of_repeats(definition, settled, definition.steps_undone_by(undo), f"{undo.name} was settled")
    record = _settle_extras(definition, record, undo)
    return Observation(answered(record, open_needs[0].step, Direction.UNDO))


def _settle_step(definition: Definition, record: AnyInstance, step: Step) -> Shown:
    """From the point of no return on, what a step would do may have been done by other means."""
    known = record.steps.get(step.name)
    if known is None or known.became is not None:
        return Unmoved(Verdict.REFUSED, "it is not under way")
    record = no_longer_overdue(answered(record, step.name, Direction.DO), step)
    if known.refusal is None:  # else its participant is done with all that came before
        before = [other for other in definition.steps if other is not step and other.do.to is step.do.to]
        record = told_of_repeats(definition, record, before, f"{step.do.command.__name__} was settled")
    return Observation(with_step(record, replace(known, became=Became.SETTLED)))


def resolve_asked(record: AnyInstance, wish: ResolveAsked, now: datetime) -> Shown:
    if wish.revision not in (None, record.revision):
        return Unmoved(Verdict.REFUSED, CHANGED_SINCE)
    by = wish.by
    resolved = Resolved(actor=by.actor, role=by.role, why=by.why, at=now)
    return Observation(replace(record, resolved=resolved))


def _may_be_settled(record: AnyInstance, need: Need) -> bool:
    """While the order stands, what it stands on cannot be settled."""
    return need.extra or record.status not in (Status.STARTED, Status.COMPLETED)


def _settle_extras(definition: Definition, record: AnyInstance, undo: Undo) -> AnyInstance:
    for step in definition.steps_undone_by(undo):
        known = record.steps.get(step.name)
        if known and len(known.effects) > 1:
            extras = tuple(effect if effect.undone else replace(effect, settled=True) for effect in known.effects[1:])
            record = with_step(record, replace(known, effects=(known.effects[0], *extras)))
    return record
