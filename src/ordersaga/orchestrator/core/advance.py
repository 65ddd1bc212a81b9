"""What comes next, as a table: the third of the engine's three functions.

A row looks at the record, never at the input. `advance` passes the first row that applies, again and again, until one
rests. The rules that the table keeps:

* going forward, one command at a time; the next is sent when the one before it was confirmed;
* a step whose participant answers nobody is not begun: it waits, and nothing is in doubt meanwhile;
* a refused step left nothing behind; a silent one may have, so it is taken back like a finished one;
* going back, *if the outstanding undo is still needed, wait for it; else send the first that is needed; if none is,
  finish*. A late success, an id learnt late and an undo shared by two steps need no rows of their own: they change
  what is needed;
* from the point of no return on nothing is taken back: a step is asked for until it is done, and a person is told when
  that takes long;
* an order that a runner was faster to accept stands, unless its money is already on its way back: then a person is
  needed;
* the first cause is the reason, and nothing overwrites it.

What no row covers does not happen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from msgspec.structs import replace

from ordersaga.orchestrator.core.definition import Kind, Step
from ordersaga.orchestrator.core.instance import (
    GOING_BACK,
    TAKEN_BACK,
    Became,
    Direction,
    Outstanding,
    Status,
    StepRecord,
    Stuck,
)
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.core.recording import overdue, settle, unstuck, with_attention, with_fresh_attempts
from ordersaga.orchestrator.core.sending import (
    Context,
    Outcome,
    ask,
    because,
    give_up_command,
    let_go,
    send,
    with_notice,
)
from ordersaga.wire.codes import is_code


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    in_status: frozenset[Status]
    when: Callable[[Context], bool]
    then: Callable[[Context], Outcome]


STARTED, COMPLETED, FAILED = (frozenset({status}) for status in (Status.STARTED, Status.COMPLETED, Status.FAILED))
COMPENSATING, CANCELLING = (frozenset({status}) for status in (Status.COMPENSATING, Status.CANCELLING))
TAKING_BACK = GOING_BACK | TAKEN_BACK

NOT_ASKED = "NOT_ASKED"
"""The refusal of a step that was never asked for: its participant had stopped to answer anybody."""
HOLD_AT_LEAST, HOLD_AT_MOST = timedelta(seconds=5), timedelta(seconds=15)
"""Between two looks at a step that is held: as long again as it has waited, so that an outage makes few."""


def _wait(c: Context) -> Outcome:
    return Outcome(c.record, rest=True)


def _always(c: Context) -> bool:
    return True


def _requested(c: Context) -> bool:
    return c.record.requested is not None and not c.record.closed


def _cancel(c: Context, reason: Reason) -> Outcome:
    """The step that is under way is in doubt from now on; its answer is remembered when it comes."""
    record = replace(give_up_command(let_go(c.record)), status=Status.CANCELLING)
    for undo in c.definition.undos():
        record = with_fresh_attempts(c.definition, record, undo)
    return Outcome(because(c, record, reason))


def _cancel_as_asked(c: Context) -> Outcome:
    assert c.record.requested
    return _cancel(c, c.record.requested.reason)


def _cancel_as_nobody_came(c: Context) -> Outcome:
    return _cancel(c, Reason.ACCEPTANCE_TIMEOUT)


def _cancel_as_called_off(c: Context) -> Outcome:
    return _cancel(c, c.record.called_off or Reason.OPERATOR_REQUEST)


def _turn_to_compensate(c: Context) -> Outcome:
    failed = c.failed_step
    assert failed
    record = replace(let_go(c.record), status=Status.COMPENSATING)
    return Outcome(because(c, record, failed.reason or Reason.STEP_TIMED_OUT))


def _expired_open(c: Context) -> bool:
    return c.record.expired and c.record.accepted is None


def _accepted_early(c: Context) -> bool:
    if c.record.accepted is None:
        return False
    opened = (c.record.steps.get(step.name) for step in c.definition.steps if step.opens_window)
    return any(step and step.became is Became.DONE for step in opened)


def _complete_closed(c: Context) -> Outcome:
    """A runner has it: what is still to do does not matter any more."""
    steps = {
        name: replace(step, became=Became.SKIPPED) if step.became is None and c.definition.step(name).optional else step
        for name, step in c.record.steps.items()
    }
    return _complete(replace(c, record=replace(let_go(c.record), steps=steps, outstanding=None)))


def _complete(c: Context) -> Outcome:
    """Where nobody has yet to accept it, it is over: nothing is taken back any more."""
    committed = c.record.committed or not c.definition.is_accepted
    record = replace(c.record, status=Status.COMPLETED, outstanding=None, committed=committed)
    return with_notice(c, record, c.definition.notices.completed)


def _waiting(c: Context) -> bool:
    return c.record.outstanding is not None


def _current_unanswered(c: Context) -> bool:
    return c.record.step is not None and c.record.steps[c.record.step].became is None


def _has_next(c: Context) -> bool:
    return c.definition.step_after(c.record.step) is not None


def _next_is_shut(c: Context) -> bool:
    if not c.shut:
        return False
    step = c.definition.step_after(c.record.step)
    return step is not None and step.do.to in c.shut


def _hold(c: Context) -> Outcome:
    """Nothing was asked, so nothing is in doubt; one that can be left out is, one that has waited too long counts as
    refused, unless it comes after the point of no return: of that a person is told.
    """
    step = c.definition.step_after(c.record.step)
    assert step
    since = c.record.held_since or c.now
    end = since + timedelta(seconds=c.definition.hold_seconds_max)
    pause = min(max(c.now - since, HOLD_AT_LEAST), HOLD_AT_MOST)
    if not step.optional and c.now < end:
        return Outcome(replace(c.record, held_since=since, resume_at=min(c.now + pause, end)), rest=True)
    if c.definition.is_asked_until_done(step):
        record = replace(c.record, held_since=since, resume_at=c.now + pause)
        return Outcome(with_attention(record, overdue(step)), rest=True)
    became = Became.SKIPPED if step.optional else Became.REFUSED
    passed = StepRecord(name=step.name, became=became, refusal=NOT_ASKED, reason=step.silence)
    record = replace(let_go(c.record), step=step.name, steps={**c.record.steps, step.name: passed})
    return Outcome(record)


def _ask_again(c: Context) -> Outcome:
    assert c.record.step
    return ask(c, c.definition.step(c.record.step))


def _ask_next(c: Context) -> Outcome:
    step = c.definition.step_after(c.record.step)
    assert step
    return ask(c, step)


def _found_accepted(c: Context) -> bool:
    """The acceptance is the newest word on an order whose cancel is not confirmed, and no cancel is under way that
    could still win.
    """
    ruled_by = [need for need in c.needs if need.undo.unasked_is_request and not need.extra]
    out = c.record.outstanding
    cancelling = out is not None and _cancel_unanswered(c) and not out.backing_off
    return c.record.accepted is not None and bool(ruled_by) and not cancelling


def _cancel_unanswered(c: Context) -> bool:
    """Whether a cancel of the order was sent and neither confirmed nor refused."""
    last = c.record.outstanding or c.record.stuck
    if last is None or (c.record.stuck and c.record.stuck.accepted):
        return False
    forward = isinstance(last, Outstanding) and last.direction is Direction.DO
    undo = c.definition.step(last.step).undo
    own = [need.effect_id for need in c.needs if need.step == last.step and not need.extra]
    return not forward and undo is not None and undo.unasked_is_request and last.effect_id in (None, *own)


def _stands(c: Context) -> bool:
    """Whether the accepted order can be carried out: nothing that rules it out was sent, and all that it needs is
    done.
    """
    paid = (c.record.steps.get(step.name) for step in _paid_by(c))
    return not c.record.point_passed and all(step and step.became is Became.DONE for step in paid)


def _paid_by(c: Context) -> list[Step]:
    return [step for step in c.definition.steps if step.undo and step.undo.rules_out_completion]


def _let_stand(c: Context) -> Outcome:
    """The order stands. Whoever asked to cancel it is told; a clock is not. A refused cancel leaves no reason behind;
    one that a bare service has not answered may win all the same.
    """
    asked = c.record.requested
    record = replace(c.record, status=Status.COMPLETED, outstanding=None, resume_at=None, stuck=None)
    undo = next(need.undo for need in c.needs if need.undo.unasked_is_request)
    if c.definition.kind_of(undo.ask) is Kind.BARE and _cancel_unanswered(c):
        record = with_attention(record, "accepted while a cancel is under way that may win all the same")
    else:
        called_off = record.reason or record.called_off
        record = replace(record, reason=None, explanation=None, requested=None, called_off=called_off)
    told = with_notice(c, record, c.definition.notices.cancellation_refused) if asked else Outcome(record)
    confirmed = with_notice(c, told.record, c.definition.notices.completed)
    return Outcome(confirmed.record, told.messages + confirmed.messages)


def _stuck(c: Context) -> bool:
    return c.record.stuck is not None


def _fail(c: Context) -> Outcome:
    record = replace(c.record, status=Status.FAILED, outstanding=None, resume_at=None)
    record = because(c, record, Reason.COMPENSATION_FAILED)
    return with_notice(c, record, c.definition.notices.failed)


def _fail_accepted(c: Context) -> Outcome:
    first = next(need for need in c.needs if need.undo.unasked_is_request)
    stuck = Stuck(step=first.step, from_status=c.record.status, effect_id=first.effect_id, accepted=True)
    why = "a runner accepted the order while it was being taken back"
    return _fail(replace(c, record=with_attention(replace(c.record, stuck=stuck), why)))


def _cancelled_after_all(c: Context) -> bool:
    """Nothing of what a cancel takes back stands. Where an update revived the order, something does."""
    undone = [c.definition.step(step.name).undo for step in c.record.steps.values() if step.became is Became.UNDONE]
    standing = [need.undo for need in c.needs if not need.extra] if undone else []
    return any(undo and undo.unasked_is_request and undo not in standing for undo in undone)


def _unpaid(c: Context) -> bool:
    """What an open order stands on was taken back by hand, while a runner had it."""
    known = (c.record.steps.get(step.name) for step in _paid_by(c))
    return not c.record.closed and any(step is not None and step.became is Became.UNDONE for step in known)


def _extra_needed(c: Context) -> bool:
    done_twice = any(len(step.effects) > 1 for step in c.record.steps.values())  # else there is nothing to look for
    return done_twice and any(need.extra for need in c.needs)


def _send_extra_undo(c: Context) -> Outcome:
    return send(c, next(need for need in c.needs if need.extra))


def _give_up_extra(c: Context) -> Outcome:
    stuck = c.record.stuck
    assert stuck
    undo = c.definition.step(stuck.step).undo
    assert undo
    record = replace(c.record, stuck=None)
    for step in c.definition.steps_undone_by(undo):
        if (known := record.steps.get(step.name)) is not None:
            effects = tuple(
                replace(effect, settled=True) if effect.ids.get(undo.named_by) == stuck.effect_id else effect
                for effect in known.effects
            )
            record = replace(record, steps={**record.steps, step.name: replace(known, effects=effects)})
    told = f": {stuck.problem}" if is_code(stuck.problem) else ""
    why = f"{stuck.step} was done twice; {stuck.effect_id} could not be taken back{told}"
    return Outcome(with_attention(record, why))


def _outstanding_needed(c: Context) -> bool:
    out = c.record.outstanding
    return out is not None and any(
        need.step == out.step and out.effect_id in (None, need.effect_id) for need in c.needs
    )


def _unnamed(c: Context) -> bool:
    """The first thing to take back is at a participant that can only undo what it is given the id of, or was when it
    was asked, and we have none.
    """
    first = next(iter(c.needs), None)
    if first is None or first.effect_id is not None:
        return False
    return first.asked_bare or c.definition.kind_of(first.undo.ask) is Kind.BARE


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
    return send(c, c.needs[0])


def _finish_compensated(c: Context) -> Outcome:
    return with_notice(
        c,
        replace(c.record, status=Status.COMPENSATED, outstanding=None, resume_at=None),
        c.definition.notices.cancelled,
    )


def _finish_cancelled(c: Context) -> Outcome:
    return with_notice(
        c, replace(c.record, status=Status.CANCELLED, outstanding=None, resume_at=None), c.definition.notices.cancelled
    )


def _tidy(c: Context) -> Outcome:
    return Outcome(replace(c.record, outstanding=None, resume_at=None), rest=True)


def _unstuck(c: Context) -> bool:
    stuck = c.record.stuck
    if stuck is None:
        return False
    if stuck.accepted:
        return c.record.accepted is None or not any(need.step == stuck.step for need in c.needs)
    next_is_it = any(need.step == stuck.step and need.effect_id == stuck.effect_id for need in c.needs[:1])
    return stuck.retry or not next_is_it


def _go_back_to(c: Context) -> Outcome:
    assert c.record.stuck
    return Outcome(replace(unstuck(c.record), status=c.record.stuck.from_status))


TABLE: tuple[Row, ...] = (
    Row("cancel was asked for", STARTED | COMPLETED, _requested, _cancel_as_asked),
    Row("a step failed", STARTED, lambda c: c.failed_step is not None, _turn_to_compensate),
    Row("accepted before the last step", STARTED, _accepted_early, _complete_closed),
    Row("a command is out", STARTED, _waiting, _wait),
    Row("the step has no answer yet", STARTED, _current_unanswered, _ask_again),
    Row("the next step's participant answers nobody", STARTED, _next_is_shut, _hold),
    Row("the step is done", STARTED, _has_next, _ask_next),
    Row("every step is done", STARTED, _always, _complete),
    Row("nobody accepted in time", COMPLETED, _expired_open, _cancel_as_nobody_came),
    Row("the order was cancelled after all", COMPLETED, _cancelled_after_all, _cancel_as_called_off),
    Row("given back when its money was", COMPLETED, _unpaid, _cancel_as_called_off),
    Row("what was done twice cannot be taken back", COMPLETED, _stuck, _give_up_extra),
    Row("found accepted, and it stands", TAKING_BACK | FAILED, lambda c: _found_accepted(c) and _stands(c), _let_stand),
    Row("found accepted, too late", TAKING_BACK, _found_accepted, _fail_accepted),
    Row("an undo cannot be confirmed", TAKING_BACK, _stuck, _fail),
    Row("an undo is out and still needed", TAKING_BACK | COMPLETED, _outstanding_needed, _wait),
    Row("something was done twice", COMPLETED, _extra_needed, _send_extra_undo),
    Row("what is in doubt may yet be named", TAKING_BACK, _unnamed_yet, _await_name),
    Row("what is in doubt cannot be named", TAKING_BACK, _unnamed, _settle_unnamed),
    Row("something is to be taken back", TAKING_BACK, _needed, _send_undo),
    Row("all is taken back", COMPENSATING, _always, _finish_compensated),
    Row("all is taken back", CANCELLING, _always, _finish_cancelled),
    Row("nothing is left", TAKEN_BACK | COMPLETED, _always, _tidy),
    Row("no longer stuck", FAILED, _unstuck, _go_back_to),
)
ROWS_OF: Mapping[Status, tuple[Row, ...]] = {
    status: tuple(row for row in TABLE if status in row.in_status) for status in Status
}
"""The rows that can apply in each status, in their order."""
