"""The notification service: what customers were told.

It listens and answers nobody. Each notice is kept once, by the id of its message, however often it arrives.
"""

from datetime import datetime

from ordersaga.participants.service import Asked, Reply, Row, ServiceSpec, not_understood
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant


class NoticeRow(Row, frozen=True, kw_only=True):
    """`key` is the id of the message."""

    saga_id: str
    type: str
    customer_id: str
    order_id: str | None = None
    runner_id: str | None = None
    status: str
    title: str
    explanation: str
    money: str
    reason: str | None = None
    amount_cents: int | None = None
    received_at: datetime


def answer(row: NoticeRow | None, asked: Asked) -> Reply:
    notice = asked.command
    if not isinstance(notice, m.Notification):
        raise not_understood(notice)
    if row is not None:
        return Reply(event=None)
    kept = NoticeRow(
        key=asked.key,
        saga_id=notice.saga_id,
        type=m.type_of(notice),
        customer_id=notice.customer_id,
        order_id=notice.order_id,
        runner_id=notice.runner_id,
        status=notice.status,
        title=notice.title,
        explanation=notice.explanation,
        money=notice.money,
        reason=notice.reason,
        amount_cents=notice.amount_cents,
        received_at=asked.now,
    )
    return Reply(row=kept, event=None)


SERVICE = ServiceSpec(
    participant=Participant.NOTIFICATION,
    row=NoticeRow,
    answer=answer,
    commands=tuple(m.ANNOUNCEMENTS.values()),
    answers=False,
)
