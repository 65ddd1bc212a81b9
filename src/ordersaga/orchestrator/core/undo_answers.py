"""What the answer to an undo shows: confirmed, refused, too late; and what was taken back by somebody else.

A confirmation of any command of an undo, with or without the effect's id, confirms that undo. One that is not an answer
of ours is somebody's own doing: a fact, or a wish where the participant might yet bring back what was taken back.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from ordersaga.orchestrator.core.definition import Definition, Kind, Step, Undo
from ordersaga.orchestrator.core.inputs import Happened, Verdict
from ordersaga.orchestrator.core.instance import Acceptance, Became, Direction, Effect, Instance
from ordersaga.orchestrator.core.recording import (
    Observation,
    Shown,
    Unmoved,
    answered,
    cancelled_by_hand,
    newer,
    older,
    said,
    undo_attempt_failed,
    with_attention,
    with_step,
)
from ordersaga.orchestrator.core.repeats import may_come_again, undone_by_hand
from ordersaga.wire.ids import message_id

AnyInstance = Instance[Any]


def effects_of(record: AnyInstance, step: Step) -> tuple[Effect, ...]:
    return record.steps[step.name].effects if step.name in record.steps else ()


def undone(definition: Definition, record: AnyInstance, step: Step, seen: Happened, now: datetime) -> Shown:
    undo = step.undo
    assert undo
    if not undo.ask.expected(seen.event):
        return Unmoved(Verdict.STRAY, "unexpected content")
    named = getattr(seen.event, undo.named_by, None) or _effect_of(definition, record, step, seen.causation_id)
    if named is not None and named in _extras(definition, record, undo):
        return _extra_undone(definition, record, step, named, seen)
    if undo.stands(seen.event):
        return _found_accepted(definition, record, step, seen, now)
    if not undo_sent(definition, record, undo) or _not_an_answer(definition, record, undo, seen):
        return undone_unasked(definition, record, undo, seen)
    if undo.unasked_is_request and record.accepted:
        if older(seen.stamp, record.accepted.stamp):
            # Cancelled, brought back to life by a late update, and accepted since: the order lives.
            after = answered(record, step.name, Direction.UNDO)
            return Observation(after) if after is not record else Unmoved(Verdict.LATE, "accepted since")
        record = replace(record, accepted=None)
    noted = said(record, seen.stamp) if undo.unasked_is_request else record
    shown = _confirm_undo(definition, answered(noted, step.name, Direction.UNDO), undo, named, seen.stamp)
    return Observation(noted) if isinstance(shown, Unmoved) and noted is not record else shown


def _extras(definition: Definition, record: AnyInstance, undo: Undo) -> set[str | None]:
    """The ids of what was done twice, so far as they tell it from the first."""
    effects = [effects_of(record, step) for step in definition.steps_undone_by(undo)]
    own = {found[0].ids.get(undo.named_by) for found in effects if found}
    return {effect.ids.get(undo.named_by) for found in effects for effect in found[1:]} - own


def _extra_undone(definition: Definition, record: AnyInstance, step: Step, named: str, seen: Happened) -> Shown:
    """It says nothing of the order that the saga is about."""
    undo, out, before = step.undo, record.outstanding, record
    assert undo
    if out and out.effect_id == named:
        record = answered(record, step.name, Direction.UNDO)
    if undo.stands(seen.event):
        record = with_attention(record, f"{named} was made by a repeat, and a runner has it")
    for covered in definition.steps_undone_by(undo):
        effects = effects_of(record, covered)
        if any(effect.ids.get(undo.named_by) == named and not effect.undone for effect in effects):
            undone = tuple(
                replace(effect, undone=True) if effect.ids.get(undo.named_by) == named else effect for effect in effects
            )
            record = with_step(record, replace(record.steps[covered.name], effects=undone))
    return Observation(record) if record is not before else Unmoved(Verdict.REPEATED, "undone already")


def undo_sent(definition: Definition, record: AnyInstance, undo: Undo) -> bool:
    """Whether the steps' own effects were asked to be taken back. That extra ones were says nothing of them."""
    covered, out = definition.steps_undone_by(undo), record.outstanding
    is_out = out is not None and out.direction is Direction.UNDO and out.step in {step.name for step in covered}
    if out and is_out and out.effect_id not in _extras(definition, record, undo):
        return True  # also where the step was shown to be done since, and attempts are counted from there
    return any(record.steps[step.name].undo_attempts for step in covered if step.name in record.steps)


def _not_an_answer(definition: Definition, record: AnyInstance, undo: Undo, seen: Happened) -> bool:
    """Somebody's own doing, or a repeat of it: a full participant's answer names its command, and no answer is older
    than what it answers.
    """
    repeated = may_come_again(definition, record, definition.steps_undone_by(undo))
    if not (undo.unasked_is_request or repeated) or seen.causation_id is not None:
        return False
    asked_at = record.requested.stamp if record.requested else None
    return definition.kind_of(undo.ask) is Kind.FULL or (asked_at is not None and not newer(seen.stamp, asked_at))


def _effect_of(definition: Definition, record: AnyInstance, step: Step, causation_id: UUID | None) -> str | None:
    """The effect id of the undo command that `causation_id` names."""
    assert step.undo
    for covered in definition.steps_undone_by(step.undo):
        for effect in effects_of(record, covered):
            effect_id = effect.ids.get(step.undo.named_by)
            if effect_id and causation_id == message_id(record.saga_id, step.name, Direction.UNDO, effect_id):
                return effect_id
    return None


def _confirm_undo(
    definition: Definition, record: AnyInstance, undo: Undo, named: str | None, stamp: datetime | None
) -> Shown:
    """Mark as undone what the confirmation names; one that names nothing means the steps' own effects."""
    before = record
    for step in definition.steps_undone_by(undo):
        known = record.steps.get(step.name)
        if known is None or known.became not in (Became.DONE, Became.IN_DOUBT):
            continue
        if step.opens_window and definition.kind_of(step.do) is Kind.BARE and older(stamp, known.shown_at):
            continue  # opened since: the order is alive
        own = known.effects[0].ids.get(undo.named_by) if known.effects else None
        hit = [
            named in (None, effect.ids.get(undo.named_by)) or (index == 0 and own is None)
            for index, effect in enumerate(known.effects)
        ]
        effects = tuple(
            replace(effect, undone=True) if is_hit else effect
            for effect, is_hit in zip(known.effects, hit, strict=True)
        )
        became = Became.UNDONE if named is None or own is None or named == own else known.became
        record = with_step(record, replace(known, became=became, effects=effects, undone_at=stamp or known.undone_at))
    if record == before:
        return Unmoved(Verdict.REPEATED, "undone already")
    return Observation(record)


def undone_unasked(definition: Definition, record: AnyInstance, undo: Undo, seen: Happened) -> Shown:
    """Somebody took it back by hand. A fact where it is one; a wish where the order might yet be revived by a command
    under way.
    """
    if undo.unasked_is_request:
        if older(seen.stamp, record.newest_stamp):
            return Unmoved(Verdict.LATE, "older than what the service said since")
        return cancelled_by_hand(definition, record, seen.stamp)
    for step in definition.steps_undone_by(undo):
        known = record.steps.get(step.name)
        if known and known.became is None and seen.stamp and known.undone_at != seen.stamp:
            return Observation(with_step(record, replace(known, undone_at=seen.stamp)))
    undone = _confirm_undo(definition, record, undo, getattr(seen.event, undo.named_by, None), seen.stamp)
    if isinstance(undone, Unmoved):
        return undone
    return undone_by_hand(definition, record, undone.record, undo, seen.stamp)


def undo_refused(definition: Definition, record: AnyInstance, step: Step, seen: Happened, now: datetime) -> Shown:
    out, undo = record.outstanding, step.undo
    assert undo
    if out is None or (out.step, out.direction) != (step.name, Direction.UNDO):
        return Unmoved(Verdict.LATE, "refused after it was settled")
    if undo.stands(seen.event):
        if out.effect_id is not None and out.effect_id in _extras(definition, record, undo):
            return _extra_undone(definition, record, step, out.effect_id, seen)
        return _found_accepted(definition, record, step, seen, now)
    if out.backing_off:
        return Unmoved(Verdict.REPEATED, "backing off already")
    return Observation(
        undo_attempt_failed(definition, record, step, str(getattr(seen.event, "error", "refused"))[:100], now)
    )


def _found_accepted(definition: Definition, record: AnyInstance, step: Step, seen: Happened, now: datetime) -> Shown:
    if record.accepted is None and older(seen.stamp, record.newest_stamp):
        return _acceptance_is_over(definition, record, step, now)
    accepted = record.accepted or Acceptance(stamp=seen.stamp)
    return Observation(said(replace(answered(record, step.name, Direction.UNDO), accepted=accepted), seen.stamp))


def _acceptance_is_over(definition: Definition, record: AnyInstance, step: Step, now: datetime) -> Shown:
    """What was said since says that the runner gave it back: the undo may be asked for again."""
    out = record.outstanding
    if out is None or (out.step, out.direction) != (step.name, Direction.UNDO) or out.backing_off:
        return Unmoved(Verdict.LATE, "older than what the service said since")
    return Observation(undo_attempt_failed(definition, record, step, "a runner had it, and gave it back", now))
