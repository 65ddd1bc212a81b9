"""The timer service: says when an order's time is over.

A timer is a row with a time; it fires from there, on the database's clock, after a restart too: late rather than never.
A cancel is always granted, also of a timer that has fired. A cancel that arrives before its timer is remembered: the
timer is then refused when it comes.
"""

from datetime import datetime

from msgspec.structs import replace

from ordersaga.participants.service import Asked, Reply, Row, ServiceSpec, Verb, not_understood
from ordersaga.wire import messages as m
from ordersaga.wire.times import time_text
from ordersaga.wire.topics import Participant

NEVER_STARTED = "CANCELLED_BEFORE_STARTED"
CANCELLED = ("CANCELLED", NEVER_STARTED)


class TimerRow(Row, frozen=True, kw_only=True):
    timer_id: str
    order_id: str
    timeout_at: datetime | None = None
    status: str


class Cancel(Verb, frozen=True, kw_only=True):
    """Somebody stops the timer; the saga's own deadline stays."""


def answer(row: TimerRow | None, asked: Asked) -> Reply:
    match asked.command:
        case m.StartOrderTimer() as command:
            return start(row, asked, command)
        case m.CancelTimer() as command:
            return cancel(row, asked, command)
        case Cancel() if row and asked.by:
            return cancel_by_hand(row, asked.by.reason)
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
    if row.status in CANCELLED:
        return Reply(event=m.TimerFailed(error="CANCELLED", message="cancelled before", order_id=row.order_id))
    return Reply(event=_started(row))


def cancel(row: TimerRow | None, asked: Asked, command: m.CancelTimer) -> Reply:
    if row is None:
        row = TimerRow(key=asked.key, timer_id=f"timer-{asked.new_id}", order_id=command.order_id, status=NEVER_STARTED)
    elif row.order_id != command.order_id:
        refused = m.TimerCancellationFailed(error="NOT_FOUND", order_id=command.order_id)
        return Reply(event=refused, remembered=False)
    elif row.status == "STARTED":
        row = replace(row, status="CANCELLED")
    else:
        return Reply(event=_cancelled(row, command.reason))
    return Reply(row=row, event=_cancelled(row, command.reason))


def cancel_by_hand(row: TimerRow, reason: str) -> Reply:
    if row.status != "STARTED":
        return Reply(event=None)
    return Reply(row=replace(row, status="CANCELLED"), event=_cancelled(row, reason))


def expire(row: TimerRow) -> Reply:
    """Its time has come."""
    assert row.status == "STARTED"
    return Reply(row=replace(row, status="EXPIRED"), event=m.TimerExpired(order_id=row.order_id, timer_id=row.timer_id))


def _started(row: TimerRow) -> m.TimerStarted:
    timeout_at = time_text(row.timeout_at) if row.timeout_at else None
    return m.TimerStarted(order_id=row.order_id, timer_id=row.timer_id, timeout_at=timeout_at)


def _cancelled(row: TimerRow, reason: str) -> m.TimerCancelled:
    return m.TimerCancelled(order_id=row.order_id, reason=reason)


SERVICE = ServiceSpec(
    participant=Participant.TIMER,
    row=TimerRow,
    answer=answer,
    names=("order_id",),
    commands=(m.StartOrderTimer, m.CancelTimer),
)
