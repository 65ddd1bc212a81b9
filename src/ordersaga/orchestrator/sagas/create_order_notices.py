"""What the customer of the create-order saga is told: what became of the order, why, and what happens to the money."""

from typing import Any

from ordersaga.orchestrator.core.instance import ERASED, Became, Instance, Status
from ordersaga.wire import messages as m
from ordersaga.wire.ids import text_of

AnyInstance = Instance[Any]


def confirmed(saga: AnyInstance) -> m.OrderConfirmedNotice:
    money = f"{_dollars(saga)} are reserved on your card and charged when the order is delivered."
    return m.OrderConfirmedNotice(
        title="Your order is confirmed", explanation="A runner can accept it now.", money=money, **_about(saga)
    )


def cancelled(saga: AnyInstance) -> m.OrderCancelledNotice:
    title = "Your order was cancelled" if saga.status is Status.CANCELLED else "Your order could not be placed"
    return m.OrderCancelledNotice(
        title=title, explanation=saga.explanation or "", money=_money_back(saga), **_about(saga)
    )


def failed(saga: AnyInstance) -> m.OrderFailedNotice:
    money = "If money is reserved on your card, our support team gives it back."
    return m.OrderFailedNotice(
        title="There is a problem with your order", explanation=saga.explanation or "", money=money, **_about(saga)
    )


def cancellation_refused(saga: AnyInstance) -> m.CancellationRefusedNotice:
    why = "A runner has already accepted the order."
    money = f"{_dollars(saga)} stay reserved on your card."
    return m.CancellationRefusedNotice(
        title="Your order could not be cancelled", explanation=why, money=money, **_about(saga)
    )


def _about(saga: AnyInstance) -> dict[str, Any]:
    return {
        "saga_id": text_of(saga.saga_id),
        "customer_id": saga.data.personal.customer_id if saga.data.personal else ERASED,
        "status": saga.status,
        "order_id": saga.data.order_id,
        "runner_id": saga.accepted.runner_id if saga.accepted else None,
        "reason": saga.reason,
        "amount_cents": saga.data.amount_cents,
    }


def _money_back(saga: AnyInstance) -> str:
    payment = saga.steps.get("AUTHORIZE_PAYMENT")
    if payment is None or payment.became is Became.REFUSED:
        return "Your card was not charged."
    if payment.became is Became.SETTLED:
        return "If money was reserved on your card, it is released within a few days."
    return f"The {_dollars(saga)} reserved on your card are released."


def _dollars(saga: AnyInstance) -> str:
    return f"${saga.data.amount_cents // 100}.{saga.data.amount_cents % 100:02d}"
