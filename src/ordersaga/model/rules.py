"""What must hold of every saga. What must hold of one besides is in its stage.

Read from what the participants hold, and not from what the saga believes.
"""

from datetime import datetime
from typing import Any

from ordersaga.model.stage import Stage
from ordersaga.orchestrator.core.decide import decide
from ordersaga.orchestrator.core.definition import Definition
from ordersaga.orchestrator.core.inputs import CommandDeadline, Decision, Input, Verdict, WindowDeadline
from ordersaga.orchestrator.core.instance import Instance, Status
from ordersaga.wire.messages import Command, SagaStatusChanged

MOVING = frozenset({Status.STARTED, Status.COMPENSATING, Status.CANCELLING})
LEAVES_BY: dict[Status, frozenset[Status]] = {
    Status.STARTED: frozenset({Status.COMPLETED, Status.COMPENSATING, Status.CANCELLING}),
    Status.COMPENSATING: frozenset({Status.COMPENSATED, Status.FAILED, Status.COMPLETED}),
    Status.COMPENSATED: frozenset({Status.FAILED}),
    Status.COMPLETED: frozenset({Status.CANCELLING}),
    Status.CANCELLING: frozenset({Status.CANCELLED, Status.FAILED, Status.COMPLETED}),
    Status.CANCELLED: frozenset({Status.FAILED}),
    Status.FAILED: frozenset(
        {Status.COMPENSATING, Status.COMPENSATED, Status.CANCELLING, Status.CANCELLED, Status.COMPLETED}
    ),
}
"""The table of statuses, as the rules of a saga give it."""


def broken_by(
    definition: Definition, before: Instance[Any], seen: Input, decision: Decision, now: datetime
) -> list[str]:
    """The rules that one decision breaks, whatever the participants hold."""
    after, broken = decision.instance, []
    applied = decision.verdict is Verdict.APPLIED
    if applied and after.revision != before.revision + 1:
        broken.append("I7: the revision grows by one for each input that changes anything")
    if not applied and (after is not before or decision.messages):
        broken.append("I9: what is not applied changes nothing and sends nothing")
    announced = [send.body for send in decision.messages if isinstance(send.body, SagaStatusChanged)]
    went = [(Status(one.previous_status), Status(one.status)) for one in announced if one.previous_status]
    if any(to not in LEAVES_BY[from_] for from_, to in went) or (after.status is not before.status and not went):
        broken.append(f"I7: statuses change by the table, and are announced: {went}")
    commands = [send.message_id for send in decision.messages if isinstance(send.body, Command)]
    out = after.outstanding.message_id if after.outstanding else None
    if len(commands) > 1 or (commands and commands[0] != out):
        broken.append("I8: one command at a time, and the one that is out")
    if applied and isinstance(seen, CommandDeadline | WindowDeadline) and _fires_again(definition, after, seen, now):
        broken.append("I12: a deadline fires once")
    return broken


def broken_early(definition: Definition, record: Instance[Any], now: datetime) -> list[str]:
    """Whether a deadline that is looked at before its time does anything."""
    due = ((record.command_due_at, CommandDeadline()), (record.window_due_at, WindowDeadline()))
    early = [deadline for due_at, deadline in due if due_at is None or now < due_at]
    fired = any(decide(definition, record, deadline, now).verdict is Verdict.APPLIED for deadline in early)
    return ["I12: a deadline does not fire early"] if fired else []


def _fires_again(definition: Definition, after: Instance[Any], seen: Input, now: datetime) -> bool:
    due_at = after.command_due_at if isinstance(seen, CommandDeadline) else after.window_due_at
    again = decide(definition, after, seen, now).verdict is Verdict.APPLIED
    return again and (isinstance(seen, WindowDeadline) or due_at is None or due_at > now)


def broken_rules(stage: Stage, record: Instance[Any], world: Any, *, quiet: bool) -> list[str]:
    """The rules that do not hold here; `quiet` where nothing is under way or due any more."""
    always = (told_once, *stage.always)
    broken = [rule.__doc__ or rule.__name__ for rule in always if not rule(record, world)]
    if quiet:
        at_rest = (never_quiet_half_way, failed_says_why, *stage.at_rest)
        broken += [rule.__doc__ or rule.__name__ for rule in at_rest if not rule(record, world)]
    return broken


def told_once(record: Instance[Any], world: Any) -> bool:
    """I11: one notification for each outcome."""
    return len(set(record.notified)) == len(record.notified)


def never_quiet_half_way(record: Instance[Any], world: Any) -> bool:
    """I10: a saga does not go quiet half way."""
    return record.status not in MOVING


def failed_says_why(record: Instance[Any], world: Any) -> bool:
    """A FAILED saga says what is stuck."""
    return record.status is not Status.FAILED or record.stuck is not None
