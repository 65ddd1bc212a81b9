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

from ordersaga.orchestrator.core.definition import Definition, Refusal, Step, Undo
from ordersaga.orchestrator.core.inputs import Happened, Verdict
from ordersaga.orchestrator.core.instance import Became, Direction, Effect, Instance, StepRecord
from ordersaga.orchestrator.core.recording import (
    Observation,
    Shown,
    Unmoved,
    alive,
    answered,
    ask_later,
    code_of,
    done_at_last,
    done_before_its_undo,
    extra_effect,
    no_longer_overdue,
    older,
    open_again,
    said,
    which_came_last,
    with_attention,
    with_fresh_attempts,
    with_step,
)
from ordersaga.orchestrator.core.repeats import told_of_repeats
from ordersaga.orchestrator.core.undo_answers import effects_of, undo_refused, undo_sent, undone, undone_unasked
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
        undone(definition, record, role.step, seen, now)
        if role.confirms
        else undo_refused(definition, record, role.step, seen, now)
    )


def _gone(definition: Definition, record: AnyInstance, roles: Sequence[_Role], seen: Happened) -> Shown | None:
    """News, from whoever keeps it, that what a step made is there no more; None where it is an answer."""
    if seen.causation_id is not None:
        return None
    undos = [role.step.undo for role in roles if role.direction is Direction.UNDO]
    undo = next((undo for undo in undos if undo and undo.gone(seen.event)), None)
    if undo is None or _refuses(definition, record, undo):
        return None
    named = getattr(seen.event, undo.named_by, None)
    known = getattr(record.data, undo.named_by, None)
    if known is None or named not in (None, known):
        return Unmoved(Verdict.STRAY, f"another {undo.named_by}")
    return undone_unasked(definition, record, undo, seen)


def _refuses(definition: Definition, record: AnyInstance, undo: Undo) -> bool:
    """Whether news of the end of what `undo` would take back answers the command that makes it: that one is out, or in
    doubt, with no id known to undo it by and no undo sent.
    """
    makers, out = definition.steps_undone_by(undo), record.outstanding
    if out and out.direction is Direction.DO and definition.step(out.step) in makers:
        return True
    if getattr(record.data, undo.named_by, None) is not None or undo_sent(definition, record, undo):
        return False
    made = (record.steps.get(step.name) for step in makers)
    return any(known is not None and known.became is Became.IN_DOUBT for known in made)


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
    effects = [effect for step in definition.steps_undone_by(undo) for effect in effects_of(record, step)]
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
        extras = {effect.ids.get(name) for effect in effects_of(record, maker)}
        makes_it = role.direction is Direction.DO and role.confirms and role.step is maker
        if said not in extras and not makes_it:
            return name
    return None


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
    if same is not None and not same.undone and _is_repeat(known, step, seen):
        return _done_again(definition, record, step, seen, now)
    if known.became is Became.UNDONE and (step.opens_window or step.nameless):
        if done_before_its_undo(definition, known, step, seen.stamp):
            return Unmoved(Verdict.LATE, "undone since")
        record = which_came_last(record, step, seen.stamp)
    elif same is not None and same.undone:
        return Unmoved(Verdict.LATE, "undone already")
    if known.effects and same is None:
        return Observation(extra_effect(record, step, ids))
    done = _with_done(definition, replace(answered(record, step.name, Direction.DO), data=data), step, ids, seen.stamp)
    done = done_at_last(definition, done, step, known.became)
    if step.opens_window and done.window_ends_at is None:
        done = replace(done, window_ends_at=now + timedelta(seconds=definition.window_seconds))
    if step.undo and _over_before(known, step.undo, ids, seen.stamp):
        over = undone_unasked(definition, done, step.undo, replace(seen, stamp=known.undone_at))
        return Observation(done) if isinstance(over, Unmoved) else over
    return Observation(done)


def _over_before(known: StepRecord, undo: Undo, ids: dict[str, str], stamp: datetime | None) -> bool:
    """Taken back by hand, or gone, before we even heard that it was done."""
    unknown = known.became in (None, Became.REFUSED) and known.gone_id in (None, ids.get(undo.named_by))
    return unknown and older(stamp, known.undone_at)


def _is_repeat(known: StepRecord, step: Step, seen: Happened) -> bool:
    """Of a step that is done, or that an operator has settled: where the same ids say that it was done once more, the
    stamp has to be a newer one.
    """
    once_more = (step.opens_window or step.nameless) and older(known.shown_at, seen.stamp)
    return known.became is Became.DONE or (known.became is Became.SETTLED and not once_more)


def _with_done(
    definition: Definition, record: AnyInstance, step: Step, ids: dict[str, str], stamp: datetime | None
) -> AnyInstance:
    known = record.steps[step.name]
    shown = replace(
        known,
        became=Became.DONE,
        asked_bare=False,
        effects=(Effect(ids=ids), *known.effects[1:]),
        order=known.order or 1 + max((other.order for other in record.steps.values()), default=0),
        shown_at=stamp,
        contradicted=known.contradicted or known.became is Became.REFUSED,
        undo_attempts=0,
    )
    record = with_step(record, shown)
    if known.became is Became.UNDONE and step.undo:
        record = with_fresh_attempts(definition, record, step.undo)
    return said(record, stamp) if step.undo and step.undo.unasked_is_request else record


def _done_again(definition: Definition, record: AnyInstance, step: Step, seen: Happened, now: datetime) -> Shown:
    """A repeat; but an order that was opened after a runner accepted it is open again."""
    accepted = record.accepted
    if step.opens_window and accepted and older(accepted.stamp, seen.stamp):
        return Observation(alive(open_again(definition, record, seen.stamp, now), step, seen.stamp))
    if step.opens_window and (noted := alive(said(record, seen.stamp), step, seen.stamp)) is not record:
        return Observation(noted)
    return Unmoved(Verdict.REPEATED, "done already")


def _refused(definition: Definition, record: AnyInstance, step: Step, seen: Happened, now: datetime) -> Shown:
    known = record.steps.get(step.name)
    if known is None:
        return Unmoved(Verdict.STRAY, "not asked for")
    meaning = step.refusal(seen.event)
    if known.became is Became.DONE:
        if known.contradicted and meaning.attention in (None, *record.attention):
            return Unmoved(Verdict.REPEATED, "contradiction known")
        noted = with_step(record, replace(known, contradicted=True))
        return Observation(with_attention(noted, meaning.attention) if meaning.attention else noted)
    out = record.outstanding
    if out and (out.step, out.direction) == (step.name, Direction.DO):
        until_done = definition.is_asked_until_done(step)
        if (meaning.passes or until_done) and out.backing_off:
            return Unmoved(Verdict.REPEATED, "backing off already")
        if until_done:
            noted = with_step(record, replace(known, refusal=code_of(seen.event)))
            return Observation(ask_later(definition, noted, step, now))
        if meaning.passes and out.attempt < definition.attempts_max(step, known):
            return Observation(ask_later(definition, record, step, now))
        return Observation(_note_refusal(definition, answered(record, step.name, Direction.DO), step, seen, meaning))
    if known.became is Became.IN_DOUBT and (seen.causation_id is not None or known.undo_attempts == 0):
        return Observation(_note_refusal(definition, record, step, seen, meaning))
    return Unmoved(Verdict.LATE, "refused after it was given up")


def _note_refusal(
    definition: Definition, record: AnyInstance, step: Step, seen: Happened, meaning: Refusal
) -> AnyInstance:
    known, code = record.steps[step.name], code_of(seen.event)
    refused = replace(known, became=Became.REFUSED, refusal=code, reason=meaning.reason)
    if step.undo and step.undo.gone(seen.event) and seen.causation_id is None:  # it may have been done before
        gone_id = getattr(seen.event, step.undo.named_by, None)
        refused = replace(refused, undone_at=seen.stamp or known.undone_at, gone_id=gone_id)
    record = told_of_repeats(definition, with_step(record, refused), [step], "one was refused")
    if step.point_of_no_return:
        record = replace(no_longer_overdue(record, step), committed=False)
    return with_attention(record, meaning.attention) if meaning.attention else record
