"""What rows of the table do: write a command, tell the customer, give a reason. The record before, the record after."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.orchestrator.core.definition import Definition, Kind, Notice, Step
from ordersaga.orchestrator.core.inputs import Send
from ordersaga.orchestrator.core.instance import Became, Direction, Instance, Outstanding, StepRecord
from ordersaga.orchestrator.core.needs import Need, needs
from ordersaga.orchestrator.core.reasons import EXPLANATIONS, Reason
from ordersaga.wire.ids import announcement_id, message_id
from ordersaga.wire.messages import type_of
from ordersaga.wire.topics import Participant

AnyInstance = Instance[Any]


_FAILED = (Became.REFUSED, Became.IN_DOUBT)


class Context(Struct, frozen=True):
    """What a row looks at."""

    definition: Definition
    record: AnyInstance
    now: datetime
    shut: Collection[Participant] = ()
    """Those that answer nobody: no step of theirs is begun."""

    @property
    def needs(self) -> tuple[Need, ...]:
        return needs(self.definition, self.record)

    @property
    def failed_step(self) -> StepRecord | None:
        """The first step that was refused or is in doubt, and may not be."""
        failed = [known for known in self.record.steps.values() if known.became in _FAILED]
        if not failed:  # nearly always
            return None
        for step in self.definition.steps:
            known = self.record.steps.get(step.name)
            if known in failed and not step.optional:
                return known
        return None


class Outcome(Struct, frozen=True):
    """What a row does: the record after it and what is said. `rest` ends the turn."""

    record: AnyInstance
    messages: tuple[Send, ...] = ()
    rest: bool = False


def ask(c: Context, step: Step) -> Outcome:
    known = c.record.steps.get(step.name) or StepRecord(name=step.name)
    asked_bare = known.asked_bare or c.definition.kind_of(step.do) is Kind.BARE
    asked = replace(known, attempts=known.attempts + 1, asked_bare=asked_bare)
    out = Outstanding(
        step=step.name,
        direction=Direction.DO,
        message_id=message_id(c.record.saga_id, step.name, Direction.DO),
        attempt=asked.attempts,
        sent_at=c.now,
        due_at=c.now + timedelta(seconds=step.patience.timeout_seconds),
    )
    steps = {**c.record.steps, step.name: asked}
    committed = c.record.committed or step.point_of_no_return
    record = replace(let_go(c.record), step=step.name, steps=steps, outstanding=out, committed=committed)
    return Outcome(record, (Send(to=step.do.to, body=step.do.command(record), message_id=out.message_id),), rest=True)


def send(c: Context, first: Need) -> Outcome:
    known, attempt = _next_attempt(c, first)
    out = Outstanding(
        step=first.step,
        direction=Direction.UNDO,
        message_id=message_id(c.record.saga_id, first.step, Direction.UNDO, first.effect_id),
        attempt=attempt,
        sent_at=c.now,
        due_at=c.now + timedelta(seconds=first.undo.patience.timeout_seconds),
        effect_id=first.effect_id,
    )
    record = replace(
        c.record,
        steps={**c.record.steps, known.name: known},
        outstanding=out,
        resume_at=None,
        point_passed=c.record.point_passed or (first.undo.rules_out_completion and not first.extra),
    )
    named = {**first.ids, **({first.undo.named_by: first.effect_id} if first.effect_id else {})}
    body = first.undo.ask.command(record, named)
    return Outcome(record, (Send(to=first.undo.ask.to, body=body, message_id=out.message_id),), rest=True)


def _next_attempt(c: Context, need: Need) -> tuple[StepRecord, int]:
    """The step whose undo is sent, with one attempt more, and how many that makes."""
    if not need.extra:
        known = c.record.steps.get(need.step) or StepRecord(name=need.step)
        return replace(known, undo_attempts=known.undo_attempts + 1), known.undo_attempts + 1
    for step in c.definition.steps_undone_by(need.undo):
        known = c.record.steps.get(step.name) or StepRecord(name=step.name)
        for index, effect in enumerate(known.effects[1:], start=1):
            if effect.ids.get(need.undo.named_by) == need.effect_id:
                tried = replace(effect, undo_attempts=effect.undo_attempts + 1)
                effects = (*known.effects[:index], tried, *known.effects[index + 1 :])
                return replace(known, effects=effects), tried.undo_attempts
    raise AssertionError("an extra need comes from an extra effect")


def with_notice(c: Context, record: AnyInstance, notices: Notice | tuple[Notice, ...]) -> Outcome:
    """Tell whom it concerns, each once per outcome."""
    told = Outcome(record)
    for notice in notices if isinstance(notices, tuple) else (notices,):
        one = _told(told.record, notice)
        told = Outcome(one.record, told.messages + one.messages)
    return told


def was_told(record: AnyInstance, notices: Notice | tuple[Notice, ...]) -> bool:
    """Whether any of them went out."""
    each = notices if isinstance(notices, tuple) else (notices,)
    return any(type_of(notice(record)) in record.notified for notice in each)


def _told(record: AnyInstance, notice: Notice) -> Outcome:
    body = notice(record)
    name = type_of(body)
    if name in record.notified:
        return Outcome(record)
    sent = Send(
        to=Participant.NOTIFICATION, body=body, message_id=announcement_id(record.saga_id, name, record.revision)
    )
    return Outcome(replace(record, notified=(*record.notified, name)), (sent,))


def because(c: Context, record: AnyInstance, reason: Reason) -> AnyInstance:
    """The first cause is the reason."""
    if record.reason is not None:
        return record
    return replace(record, reason=reason, explanation=c.definition.explanations.get(reason) or EXPLANATIONS[reason])


def let_go(record: AnyInstance) -> AnyInstance:
    """Hold no step any more."""
    return record if record.held_since is None else replace(record, held_since=None, resume_at=None)


def give_up_command(record: AnyInstance) -> AnyInstance:
    """A forward command that is under way is in doubt; it may still be answered until it would have been given up."""
    out = record.outstanding
    if out is None or out.direction is not Direction.DO:
        return record
    known = replace(record.steps[out.step], became=Became.IN_DOUBT, answer_due_at=out.due_at)
    return replace(record, steps={**record.steps, out.step: known}, outstanding=None)
