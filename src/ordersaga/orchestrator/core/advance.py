"""What comes next, as a table: the third of the engine's three functions.

A row looks at the record, never at the input. `advance` passes the first row that applies, again and again, until one
rests. The rules that the table keeps:

* going forward, one command at a time; the next is sent when the one before it was confirmed;
* a refused step left nothing behind; a silent one may have, so it is taken back like a finished one;
* going back, *if the outstanding undo is still needed, wait for it; else send the first that is needed; if none is,
  finish*. A late success, an id learnt late and an undo shared by two steps need no rows of their own: they change
  what is needed;
* an order that a runner was faster to accept stands, unless its money is already on its way back: then a person is
  needed;
* the first cause is the reason, and nothing overwrites it.

What no row covers does not happen.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from ordersaga.orchestrator.core.definition import Definition, Kind, Step
from ordersaga.orchestrator.core.inputs import Send
from ordersaga.orchestrator.core.instance import (
    GOING_BACK,
    TAKEN_BACK,
    Became,
    Direction,
    Instance,
    Outstanding,
    Status,
    StepRecord,
)
from ordersaga.orchestrator.core.needs import Need, needs
from ordersaga.orchestrator.core.reasons import EXPLANATIONS, Reason
from ordersaga.orchestrator.core.recording import settle, with_attention
from ordersaga.wire.ids import announcement_id, message_id
from ordersaga.wire.messages import Announcement, type_of
from ordersaga.wire.topics import Participant

AnyInstance = Instance[Any]

# --- the table ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Context:
    """What a row looks at."""

    definition: Definition
    record: AnyInstance
    now: datetime

    @property
    def needs(self) -> tuple[Need, ...]:
        return needs(self.definition, self.record)

    @property
    def failed_step(self) -> StepRecord | None:
        """The first step that was refused or is in doubt, and may not be."""
        for step in self.definition.steps:
            known = self.record.steps.get(step.name)
            if known and known.became in (Became.REFUSED, Became.IN_DOUBT) and not step.optional:
                return known
        return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a row does: the record after it and what is said. `rest` ends the turn."""

    record: AnyInstance
    messages: tuple[Send, ...] = ()
    rest: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    in_status: frozenset[Status]
    when: Callable[[Context], bool]
    then: Callable[[Context], Outcome]


STARTED, COMPLETED, FAILED = (frozenset({status}) for status in (Status.STARTED, Status.COMPLETED, Status.FAILED))
COMPENSATING, CANCELLING = (frozenset({status}) for status in (Status.COMPENSATING, Status.CANCELLING))
TAKING_BACK = GOING_BACK | TAKEN_BACK


def _wait(c: Context) -> Outcome:
    return Outcome(c.record, rest=True)


def _always(c: Context) -> bool:
    return True


def _requested(c: Context) -> bool:
    return c.record.requested is not None and not c.record.closed


def _turn_to_cancel(c: Context) -> Outcome:
    """The step that is under way is in doubt from now on; its answer is remembered when it comes."""
    record, requested = c.record, c.record.requested
    reason = requested.reason if requested else Reason.ACCEPTANCE_TIMEOUT
    return Outcome(_because(replace(_give_up_command(record), status=Status.CANCELLING), reason))


def _turn_to_compensate(c: Context) -> Outcome:
    failed = c.failed_step
    assert failed
    return Outcome(_because(replace(c.record, status=Status.COMPENSATING), failed.reason or Reason.STEP_TIMED_OUT))


def _expired_open(c: Context) -> bool:
    return c.record.expired and c.record.accepted is None


def _accepted_early(c: Context) -> bool:
    opened = (c.record.steps.get(step.name) for step in c.definition.steps if step.opens_window)
    return c.record.accepted is not None and any(step and step.became is Became.DONE for step in opened)


def _complete_closed(c: Context) -> Outcome:
    """A runner has it: what is still to do does not matter any more."""
    steps = {
        name: replace(step, became=Became.SKIPPED) if step.became is None and c.definition.step(name).optional else step
        for name, step in c.record.steps.items()
    }
    return _complete(dataclasses.replace(c, record=replace(c.record, steps=steps, outstanding=None)))


def _complete(c: Context) -> Outcome:
    return _with_notice(c, replace(c.record, status=Status.COMPLETED, outstanding=None), c.definition.notices.completed)


def _waiting(c: Context) -> bool:
    return c.record.outstanding is not None


def _current_unanswered(c: Context) -> bool:
    return c.record.step is not None and c.record.steps[c.record.step].became is None


def _has_next(c: Context) -> bool:
    return c.definition.step_after(c.record.step) is not None


def _ask_again(c: Context) -> Outcome:
    assert c.record.step
    return _ask(c, c.definition.step(c.record.step))


def _ask_next(c: Context) -> Outcome:
    step = c.definition.step_after(c.record.step)
    assert step
    return _ask(c, step)


def _ask(c: Context, step: Step) -> Outcome:
    known = c.record.steps.get(step.name) or StepRecord(name=step.name)
    out = Outstanding(
        step=step.name,
        direction=Direction.DO,
        message_id=message_id(c.record.saga_id, step.name, Direction.DO),
        attempt=known.attempts + 1,
        sent_at=c.now,
        due_at=c.now + timedelta(seconds=step.patience.timeout_seconds),
    )
    steps = {**c.record.steps, step.name: replace(known, attempts=out.attempt)}
    record = replace(c.record, step=step.name, steps=steps, outstanding=out)
    return Outcome(record, (Send(to=step.do.to, body=step.do.command(record), message_id=out.message_id),), rest=True)


def _found_accepted(c: Context) -> bool:
    """The acceptance is the newest word on an order whose cancel is not confirmed, and no cancel is under way that
    could still win.
    """
    ruled_by = [need for need in c.needs if need.undo.unasked_is_request]
    out = c.record.outstanding
    cancelling = out is not None and any(need.step == out.step for need in ruled_by) and not out.backing_off
    return c.record.accepted is not None and bool(ruled_by) and not cancelling


def _stands(c: Context) -> bool:
    """Whether the accepted order can be carried out: nothing that rules it out was sent, and all that it needs is
    done.
    """
    paid = (
        c.record.steps.get(step.name) for step in c.definition.steps if step.undo and step.undo.rules_out_completion
    )
    return not c.record.point_passed and all(step and step.became is Became.DONE for step in paid)


def _let_stand(c: Context) -> Outcome:
    """The order stands. Whoever asked to cancel it is told; a clock is not."""
    asked = c.record.requested
    record = replace(
        c.record,
        status=Status.COMPLETED,
        outstanding=None,
        resume_at=None,
        reason=None,
        explanation=None,
        requested=None,
    )
    told = _with_notice(c, record, c.definition.notices.cancellation_refused) if asked else Outcome(record)
    confirmed = _with_notice(c, told.record, c.definition.notices.completed)
    return Outcome(confirmed.record, told.messages + confirmed.messages)


def _stuck(c: Context) -> bool:
    return c.record.stuck is not None


def _fail(c: Context) -> Outcome:
    record = _because(
        replace(c.record, status=Status.FAILED, outstanding=None, resume_at=None), Reason.COMPENSATION_FAILED
    )
    return _with_notice(c, record, c.definition.notices.failed)


def _fail_accepted(c: Context) -> Outcome:
    return _fail(
        dataclasses.replace(
            c, record=with_attention(c.record, "a runner accepted the order while it was being taken back")
        )
    )


def _outstanding_needed(c: Context) -> bool:
    out = c.record.outstanding
    return out is not None and any(
        need.step == out.step and out.effect_id in (None, need.effect_id) for need in c.needs
    )


def _unnamed(c: Context) -> bool:
    """The first thing to take back is at a participant that can only undo what it is given the id of, and we have
    none.
    """
    first = next(iter(c.needs), None)
    return first is not None and first.effect_id is None and c.definition.kind_of(first.undo.ask) is Kind.BARE


def _unnamed_yet(c: Context) -> bool:
    due_at = c.needs[0].answer_due_at if c.needs else None
    return _unnamed(c) and due_at is not None and c.now < due_at


def _await_name(c: Context) -> Outcome:
    return Outcome(replace(c.record, outstanding=None, resume_at=c.needs[0].answer_due_at), rest=True)


def _settle_unnamed(c: Context) -> Outcome:
    first = c.needs[0]
    doubtful = [step.name for step in c.definition.steps_undone_by(first.undo) if step.name in c.record.steps]
    why = f"{', '.join(doubtful)} may have happened, but no id is known to undo it by"
    return Outcome(with_attention(settle(c.definition, c.record, first.undo), why))


def _needed(c: Context) -> bool:
    return bool(c.needs)


def _send_undo(c: Context) -> Outcome:
    first = c.needs[0]
    known = c.record.steps.get(first.step) or StepRecord(name=first.step)
    out = Outstanding(
        step=first.step,
        direction=Direction.UNDO,
        message_id=message_id(c.record.saga_id, first.step, Direction.UNDO, first.effect_id),
        attempt=known.undo_attempts + 1,
        sent_at=c.now,
        due_at=c.now + timedelta(seconds=first.undo.patience.timeout_seconds),
        effect_id=first.effect_id,
    )
    record = replace(
        c.record,
        steps={**c.record.steps, first.step: replace(known, undo_attempts=out.attempt)},
        outstanding=out,
        resume_at=None,
        point_passed=c.record.point_passed or first.undo.rules_out_completion,
    )
    named = {**first.ids, **({first.undo.named_by: first.effect_id} if first.effect_id else {})}
    body = first.undo.ask.command(record, named)
    return Outcome(record, (Send(to=first.undo.ask.to, body=body, message_id=out.message_id),), rest=True)


def _finish_compensated(c: Context) -> Outcome:
    return _with_notice(
        c,
        replace(c.record, status=Status.COMPENSATED, outstanding=None, resume_at=None),
        c.definition.notices.cancelled,
    )


def _finish_cancelled(c: Context) -> Outcome:
    return _with_notice(
        c, replace(c.record, status=Status.CANCELLED, outstanding=None, resume_at=None), c.definition.notices.cancelled
    )


def _tidy(c: Context) -> Outcome:
    return Outcome(replace(c.record, outstanding=None, resume_at=None), rest=True)


def _unstuck(c: Context) -> bool:
    stuck = c.record.stuck
    return stuck is not None and not any(
        need.step == stuck.step and need.effect_id == stuck.effect_id for need in c.needs[:1]
    )


def _go_back_to(c: Context) -> Outcome:
    assert c.record.stuck
    return Outcome(replace(c.record, status=c.record.stuck.from_status, stuck=None))


TABLE: tuple[Row, ...] = (
    Row("cancel was asked for", STARTED, _requested, _turn_to_cancel),
    Row("a step failed", STARTED, lambda c: c.failed_step is not None, _turn_to_compensate),
    Row("accepted before the last step", STARTED, _accepted_early, _complete_closed),
    Row("a command is out", STARTED, _waiting, _wait),
    Row("the step has no answer yet", STARTED, _current_unanswered, _ask_again),
    Row("the step is done", STARTED, _has_next, _ask_next),
    Row("every step is done", STARTED, _always, _complete),
    Row("cancel was asked for", COMPLETED, _requested, _turn_to_cancel),
    Row("nobody accepted in time", COMPLETED, _expired_open, _turn_to_cancel),
    Row("found accepted, and it stands", GOING_BACK, lambda c: _found_accepted(c) and _stands(c), _let_stand),
    Row("found accepted, too late", GOING_BACK, _found_accepted, _fail_accepted),
    Row("an undo cannot be confirmed", TAKING_BACK, _stuck, _fail),
    Row("an undo is out and still needed", TAKING_BACK, _outstanding_needed, _wait),
    Row("what is in doubt may yet be named", TAKING_BACK, _unnamed_yet, _await_name),
    Row("what is in doubt cannot be named", TAKING_BACK, _unnamed, _settle_unnamed),
    Row("something is to be taken back", TAKING_BACK, _needed, _send_undo),
    Row("all is taken back", COMPENSATING, _always, _finish_compensated),
    Row("all is taken back", CANCELLING, _always, _finish_cancelled),
    Row("nothing is left", TAKEN_BACK, _always, _tidy),
    Row("no longer stuck", FAILED, _unstuck, _go_back_to),
)


def _with_notice(c: Context, record: AnyInstance, notice: Callable[[AnyInstance], Announcement]) -> Outcome:
    """Tell the customer, once per outcome."""
    body = notice(record)
    name = type_of(body)
    if name in record.notified:
        return Outcome(record)
    sent = Send(
        to=Participant.NOTIFICATION, body=body, message_id=announcement_id(record.saga_id, name, record.revision)
    )
    return Outcome(replace(record, notified=(*record.notified, name)), (sent,))


def _because(record: AnyInstance, reason: Reason) -> AnyInstance:
    """The first cause is the reason."""
    if record.reason is not None:
        return record
    return replace(record, reason=reason, explanation=EXPLANATIONS[reason])


def _give_up_command(record: AnyInstance) -> AnyInstance:
    """A forward command that is under way is in doubt; it may still be answered until it would have been given up."""
    out = record.outstanding
    if out is None or out.direction is not Direction.DO:
        return record
    known = replace(record.steps[out.step], became=Became.IN_DOUBT, answer_due_at=out.due_at)
    return replace(record, steps={**record.steps, out.step: known}, outstanding=None)
