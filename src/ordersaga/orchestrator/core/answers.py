"""What an answer shows: confirmations and refusals of commands.

An event may be the confirmation of one command and the refusal of another (`payment.failed` refuses an authorization
and a revert alike). Where it names the command that it answers, that decides; else the outstanding command does; else
whatever shows an effect, since an effect counts whenever it comes to light.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from ordersaga.orchestrator.core.definition import Definition, Kind, Refusal, Step, Undo
from ordersaga.orchestrator.core.inputs import Happened, Verdict
from ordersaga.orchestrator.core.instance import Acceptance, Became, Direction, Effect, Instance
from ordersaga.orchestrator.core.recording import (
    Observation,
    Shown,
    Unmoved,
    answered,
    ask_later,
    cancelled_by_hand,
    code_of,
    done_at_last,
    done_before_its_undo,
    extra_effect,
    newer,
    no_longer_overdue,
    older,
    open_again,
    said,
    undo_attempt_failed,
    which_came_last,
    with_attention,
    with_step,
)
from ordersaga.orchestrator.core.repeats import may_come_again, told_of_repeats, undone_by_hand
from ordersaga.wire.ids import message_id
from ordersaga.wire.messages import Event

AnyInstance = Instance[Any]


@dataclass(frozen=True, slots=True)
class _Role:
    """What an event can be to a saga: the confirmation or the refusal of one command."""

    step: Step
    direction: Direction
    confirms: bool


def read_answer(definition: Definition, record: AnyInstance, seen: Happened, now: datetime) -> Shown:
    roles = _roles(definition, type(seen.event))
    if not roles:
        return Unmoved(Verdict.STRAY, "not of this saga")
    if (gone := _gone(definition, record, roles, seen)) is not None:
        return gone
    if seen.causation_id is not None:
        roles = tuple(role for role in roles if _answers(definition, record, role, seen.causation_id))
        if not roles:
            return Unmoved(Verdict.STRAY, "answers no command of this saga")
    if (another := _other_id(definition, record, roles[0], seen.event)) is not None:
        return Unmoved(Verdict.STRAY, f"another {another}")
    role = _likeliest(record, roles)
    if role.direction is Direction.DO:
        return (
            _done(definition, record, role.step, seen, now)
            if role.confirms
            else _refused(definition, record, role.step, seen, now)
        )
    return (
        _undone(definition, record, role.step, seen)
        if role.confirms
        else _undo_refused(definition, record, role.step, seen, now)
    )


def _gone(definition: Definition, record: AnyInstance, roles: Sequence[_Role], seen: Happened) -> Shown | None:
    """News, from whoever keeps it, that what a step made is there no more; None where it is an answer."""
    if seen.causation_id is not None:
        return None
    undos = [role.step.undo for role in roles if role.direction is Direction.UNDO]
    undo = next((undo for undo in undos if undo and undo.gone(seen.event)), None)
    out = record.outstanding
    if undo is None:
        return None
    if out and out.direction is Direction.DO and definition.step(out.step) in definition.steps_undone_by(undo):
        return None
    named = getattr(seen.event, undo.named_by, None)
    known = getattr(record.data, undo.named_by, None)
    if known is None or named not in (None, known):
        return Unmoved(Verdict.STRAY, f"another {undo.named_by}")
    return _undone_unasked(definition, record, undo, seen)


@cache
def _roles(definition: Definition, event: type[Event]) -> tuple[_Role, ...]:
    done = [(step, Direction.DO, step.do) for step in definition.steps]
    undone = [(definition.steps_undone_by(undo)[0], Direction.UNDO, undo.ask) for undo in definition.undos()]
    return tuple(
        _Role(step, direction, confirms=event is ask.ok)
        for step, direction, ask in [*done, *undone]
        if event in (ask.ok, ask.refused)
    )


def _answers(definition: Definition, record: AnyInstance, role: _Role, causation_id: UUID) -> bool:
    """Whether it is the command with this id that `role` answers."""
    out = record.outstanding
    if out and out.direction is Direction.DO and out.message_id == causation_id:  # nearly always: spared the derivation
        return (role.step.name, role.direction) == (out.step, out.direction)
    return causation_id in _ids_sent(definition, record, role)


def _ids_sent(definition: Definition, record: AnyInstance, role: _Role) -> set[UUID]:
    """Every id that this saga can have given to the command that `role` answers."""
    if role.direction is Direction.DO:
        return {message_id(record.saga_id, role.step.name, Direction.DO)}
    undo = role.step.undo
    assert undo
    effects = [effect for step in definition.steps_undone_by(undo) for effect in _effects(record, step)]
    named = {None, getattr(record.data, undo.named_by, None), *(effect.ids.get(undo.named_by) for effect in effects)}
    return {message_id(record.saga_id, role.step.name, Direction.UNDO, effect_id) for effect_id in named}


def _likeliest(record: AnyInstance, roles: Sequence[_Role]) -> _Role:
    """Of several meanings the outstanding command's; else the one that shows an effect."""
    out = record.outstanding
    for role in roles:
        if out and (role.step.name, role.direction) == (out.step, out.direction):
            return role
    return next((role for role in roles if role.confirms), roles[0])


def _other_id(definition: Definition, record: AnyInstance, role: _Role, event: Event) -> str | None:
    """The name of an id in the event that contradicts the one remembered, unless this step is the one that makes such
    ids.
    """
    for name, maker in definition.makers.items():
        known, said = getattr(record.data, name, None), getattr(event, name, None)
        if not known or not said or said == known:
            continue
        extras = {effect.ids.get(name) for effect in _effects(record, maker)}
        makes_it = role.direction is Direction.DO and role.confirms and role.step is maker
        if said not in extras and not makes_it:
            return name
    return None


def _effects(record: AnyInstance, step: Step) -> tuple[Effect, ...]:
    return record.steps[step.name].effects if step.name in record.steps else ()


def _done(definition: Definition, record: AnyInstance, step: Step, seen: Happened, now: datetime) -> Shown:
    if not step.do.expected(seen.event):
        return Unmoved(Verdict.STRAY, "unexpected content")
    if step.name not in record.steps:
        return Unmoved(Verdict.STRAY, "not asked for")
    known = record.steps[step.name]
    data = definition.remember(record.data, seen.event)
    ids = {
        name: str(value)
        for name in step.effect_ids
        if (value := getattr(seen.event, name, None) or getattr(data, name, None))
    }
    same = next((effect for effect in known.effects if effect.ids == ids), None)
    if same is not None and known.became is Became.DONE and not same.undone:
        return _done_again(definition, record, step, seen, now)
    if known.became is Became.UNDONE and (step.opens_window or step.nameless):
        if done_before_its_undo(definition, known, step, seen.stamp):
            return Unmoved(Verdict.LATE, "undone since")
        record = which_came_last(record, step, seen.stamp)
    elif same is not None and same.undone:
        return Unmoved(Verdict.LATE, "undone already")
    if known.effects and same is None:
        return Observation(extra_effect(record, step, ids))
    done = _with_done(replace(answered(record, step.name, Direction.DO), data=data), step, ids, seen.stamp)
    done = done_at_last(definition, done, step, known.became)
    if step.opens_window and done.window_ends_at is None:
        done = replace(done, window_ends_at=now + timedelta(seconds=definition.window_seconds))
    if known.became is None and step.undo and older(seen.stamp, known.undone_at):
        # Taken back by hand before we even heard that it was done.
        return _undone_unasked(definition, done, step.undo, replace(seen, stamp=known.undone_at))
    return Observation(done)


def _with_done(record: AnyInstance, step: Step, ids: dict[str, str], stamp: datetime | None) -> AnyInstance:
    known = record.steps[step.name]
    shown = replace(
        known,
        became=Became.DONE,
        effects=(Effect(ids=ids), *known.effects[1:]),
        order=known.order or 1 + max((other.order for other in record.steps.values()), default=0),
        shown_at=stamp,
        contradicted=known.contradicted or known.became is Became.REFUSED,
        undo_attempts=0,
    )
    record = with_step(record, shown)
    return said(record, stamp) if step.undo and step.undo.unasked_is_request else record


def _done_again(definition: Definition, record: AnyInstance, step: Step, seen: Happened, now: datetime) -> Shown:
    """A repeat; but an order that was opened after a runner accepted it is open again."""
    accepted = record.accepted
    if step.opens_window and accepted and accepted.stamp and seen.stamp and seen.stamp > accepted.stamp:
        return Observation(open_again(definition, record, seen.stamp, now))
    return Unmoved(Verdict.REPEATED, "done already")


def _refused(definition: Definition, record: AnyInstance, step: Step, seen: Happened, now: datetime) -> Shown:
    known = record.steps.get(step.name)
    if known is None:
        return Unmoved(Verdict.STRAY, "not asked for")
    if known.became is Became.DONE:
        if known.contradicted:
            return Unmoved(Verdict.REPEATED, "contradiction known")
        return Observation(with_step(record, replace(known, contradicted=True)))
    meaning = step.refusal(seen.event)
    out = record.outstanding
    if out and (out.step, out.direction) == (step.name, Direction.DO):
        until_done = definition.is_asked_until_done(step)
        if (meaning.passes or until_done) and out.backing_off:
            return Unmoved(Verdict.REPEATED, "backing off already")
        if until_done:
            noted = with_step(record, replace(known, refusal=code_of(seen.event)))
            return Observation(ask_later(definition, noted, step, now))
        if meaning.passes and out.attempt < definition.attempts_max(step):
            return Observation(ask_later(definition, record, step, now))
        return Observation(
            _note_refusal(definition, answered(record, step.name, Direction.DO), step, seen.event, meaning)
        )
    undo_sent = known.undo_attempts > 0
    if known.became is Became.IN_DOUBT and (seen.causation_id is not None or not undo_sent):
        return Observation(_note_refusal(definition, record, step, seen.event, meaning))
    return Unmoved(Verdict.LATE, "refused after it was given up")


def _note_refusal(
    definition: Definition, record: AnyInstance, step: Step, event: Event, meaning: Refusal
) -> AnyInstance:
    refused = replace(record.steps[step.name], became=Became.REFUSED, refusal=code_of(event), reason=meaning.reason)
    record = told_of_repeats(definition, with_step(record, refused), [step], "one was refused")
    if step.point_of_no_return:
        record = replace(no_longer_overdue(record, step), committed=False)
    return with_attention(record, meaning.attention) if meaning.attention else record


def _undone(definition: Definition, record: AnyInstance, step: Step, seen: Happened) -> Shown:
    undo = step.undo
    assert undo
    if not undo.ask.expected(seen.event):
        return Unmoved(Verdict.STRAY, "unexpected content")
    named = getattr(seen.event, undo.named_by, None) or _effect_of(definition, record, step, seen.causation_id)
    if named is not None and named in _extras(definition, record, undo):
        return _extra_undone(definition, record, step, named, seen)
    if undo.stands(seen.event):
        return _found_accepted(record, step, seen)
    if not _undo_sent(definition, record, undo) or _not_an_answer(definition, record, undo, seen):
        return _undone_unasked(definition, record, undo, seen)
    if undo.unasked_is_request and record.accepted:
        if older(seen.stamp, record.accepted.stamp):
            # Cancelled, brought back to life by a late update, and accepted since: the order lives.
            after = answered(record, step.name, Direction.UNDO)
            return Observation(after) if after is not record else Unmoved(Verdict.LATE, "accepted since")
        record = replace(record, accepted=None)
    if undo.unasked_is_request:
        record = said(record, seen.stamp)
    return _confirm_undo(definition, answered(record, step.name, Direction.UNDO), undo, named, seen.stamp)


def _extras(definition: Definition, record: AnyInstance, undo: Undo) -> set[str | None]:
    """The ids of what was done twice, so far as they tell it from the first."""
    effects = [_effects(record, step) for step in definition.steps_undone_by(undo)]
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
        effects = _effects(record, covered)
        if any(effect.ids.get(undo.named_by) == named and not effect.undone for effect in effects):
            undone = tuple(
                replace(effect, undone=True) if effect.ids.get(undo.named_by) == named else effect for effect in effects
            )
            record = with_step(record, replace(record.steps[covered.name], effects=undone))
    return Observation(record) if record is not before else Unmoved(Verdict.REPEATED, "undone already")


def _undo_sent(definition: Definition, record: AnyInstance, undo: Undo) -> bool:
    covered = definition.steps_undone_by(undo)
    out = record.outstanding
    if out and out.direction is Direction.UNDO and out.step in {step.name for step in covered}:
        return True  # also where the step was shown to be done since, and attempts are counted from there
    known = [record.steps[step.name] for step in covered if step.name in record.steps]
    return any(step.undo_attempts or any(effect.undo_attempts for effect in step.effects) for step in known)


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
        for effect in _effects(record, covered):
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


def _undone_unasked(definition: Definition, record: AnyInstance, undo: Undo, seen: Happened) -> Shown:
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


def _undo_refused(definition: Definition, record: AnyInstance, step: Step, seen: Happened, now: datetime) -> Shown:
    out, undo = record.outstanding, step.undo
    assert undo
    if out is None or (out.step, out.direction) != (step.name, Direction.UNDO):
        return Unmoved(Verdict.LATE, "refused after it was settled")
    if undo.stands(seen.event):
        return _found_accepted(record, step, seen)
    if out.backing_off:
        return Unmoved(Verdict.REPEATED, "backing off already")
    return Observation(
        undo_attempt_failed(definition, record, step, str(getattr(seen.event, "error", "refused"))[:100], now)
    )


def _found_accepted(record: AnyInstance, step: Step, seen: Happened) -> Shown:
    accepted = record.accepted or Acceptance(stamp=seen.stamp)
    return Observation(replace(answered(record, step.name, Direction.UNDO), accepted=accepted))
