"""The timer service: says when an order's time is over.

A timer is a row with a time; it fires from there, on the database's clock, after a restart too: late rather than never.
A cancel that arrives before its timer is remembered: the timer is then refused when it comes.
"""

from datetime import datetime

from msgspec.structs import replace

from ordersaga.participants.service import Asked, Reply, Row, ServiceSpec, not_understood
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant

NEVER_STARTED = "CANCELLED_BEFORE_STARTED"


class TimerRow(Row, frozen=True, kw_only=True):
    timer_id: str
    order_id: str
    timeout_at: datetime | None = None
    status: str


def answer(row: TimerRow | None, asked: Asked) -> Reply:
    match asked.command:
        case m.StartOrderTimer() as command:
            return start(row, asked, command)
        case m.CancelTimer() as command:
            return cancel(row, asked, command)
    raise not_understood(asked.command)


def start(row: TimerRow | None, asked: Asked, command: m.StartOrderTimer) -> Reply:
    if row is None:
        row = TimerRow(
            key=asked.key,
            timer_id=f"timer-{asked.new_id}",
            order_id=command.order_id,
            timeout_at=command.timeout_at,
            status="STARTED",
        )
        return Reply(row=row, event=_started(row))
    if row.status == NEVER_STARTED:
        return Reply(
            event=m.TimerFailed(error="CANCELLED", message="cancelled before it was started", order_id=row.order_id)
        )
    return Reply(event=_started(row))


def cancel(row: TimerRow | None, asked: Asked, command: m.CancelTimer) -> Reply:
    if row is None:
        row = TimerRow(key=asked.key, timer_id=f"timer-{asked.new_id}", order_id=command.order_id, status=NEVER_STARTED)
    elif row.status == "STARTED":
        row = replace(row, status="CANCELLED")
    return Reply(row=row, event=m.TimerCancelled(order_id=row.order_id, reason=command.reason))


def expire(row: TimerRow) -> Reply:
    """Its time has come."""
    assert row.status == "STARTED"
    return Reply(row=replace(row, status="EXPIRED"), event=m.TimerExpired(order_id=row.order_id, timer_id=row.timer_id))


def _started(row: TimerRow) -> m.TimerStarted:
    timeout_at = row.timeout_at.isoformat() if row.timeout_at else None
    return m.TimerStarted(order_id=row.order_id, timer_id=row.timer_id, timeout_at=timeout_at)


SERVICE = ServiceSpec(
    participant=Participant.TIMER,
    row=TimerRow,
    answer=answer,
    commands=(m.StartOrderTimer, m.CancelTimer),
)
