"""What the complete-order saga knows, asks for, keeps of the answers, makes of refusals, and tells people."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.orchestrator.core.definition import Refusal
from ordersaga.orchestrator.core.instance import ERASED, Instance, SagaData
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.wire import completing as m
from ordersaga.wire.ids import text_of
from ordersaga.wire.payloads import Event


class People(Struct, frozen=True, kw_only=True):
    """Who they are. Stored apart, so that it can be erased."""

    customer_id: str
    runner_id: str


class Delivery(SagaData, frozen=True, kw_only=True, omit_defaults=True):
    personal: People | None = None
    order_id: str
    payment_id: str
    amount_cents: int
    """What the customer pays."""
    payout_cents: int
    """What the runner gets of it."""
    payout_id: str | None = None


Saga = Instance[Delivery]


def mark_delivered(saga: Saga) -> m.MarkDelivered:
    return m.MarkDelivered(order_id=saga.data.order_id)


def undo_delivery(saga: Saga, effect: Mapping[str, str]) -> m.UndoDelivery:
    return m.UndoDelivery(order_id=saga.data.order_id, reason=(saga.reason or Reason.OPERATOR_REQUEST).value)


def capture_payment(saga: Saga) -> m.CapturePayment:
    data = saga.data
    return m.CapturePayment(payment_id=data.payment_id, order_id=data.order_id, amount_cents=data.amount_cents)


def pay_runner(saga: Saga) -> m.PayRunner:
    data = saga.data
    return m.PayRunner(
        payment_id=data.payment_id,
        order_id=data.order_id,
        runner_id=_people(saga).runner_id,
        amount_cents=data.payout_cents,
    )


def mark_completed(saga: Saga) -> m.MarkCompleted:
    return m.MarkCompleted(order_id=saga.data.order_id)


def remember(data: Delivery, event: Event) -> Delivery:
    return replace(data, payout_id=event.payout_id) if isinstance(event, m.RunnerPaid) else data


def delivery_rejected(event: m.OrderDeliveryFailed) -> Refusal:
    return Refusal(Reason.DELIVERY_REJECTED)


def capture_failed(event: m.PaymentCaptureFailed) -> Refusal:
    return Refusal(Reason.CAPTURE_REFUSED)


# --- what people are told -------------------------------------------------------------------------


def delivered(saga: Saga) -> m.OrderDeliveredNotice:
    money = f"{_dollars(saga.data.amount_cents)} were charged to your card."
    return m.OrderDeliveredNotice(
        title="Your order is delivered", explanation="Enjoy your meal.", money=money, **_to(saga, "customer_id")
    )


def runner_paid(saga: Saga) -> m.RunnerPaidNotice:
    money = f"{_dollars(saga.data.payout_cents)} are on their way to you."
    return m.RunnerPaidNotice(
        title="You are paid", explanation="Thank you for delivering.", money=money, **_to(saga, "runner_id")
    )


def called_off(saga: Saga) -> m.DeliveryCalledOffNotice:
    return m.DeliveryCalledOffNotice(
        title="The delivery is not recorded",
        explanation=saga.explanation or "",
        money="The customer was not charged, and you are not paid yet.",
        **_to(saga, "runner_id"),
    )


def failed(saga: Saga) -> m.CompletionFailedNotice:
    return m.CompletionFailedNotice(
        title="There is a problem with the delivery",
        explanation=saga.explanation or "",
        money="The customer was not charged, and you are not paid yet.",
        **_to(saga, "runner_id"),
    )


def _to(saga: Saga, whom: str) -> dict[str, Any]:
    people = saga.data.personal
    return {
        "saga_id": text_of(saga.saga_id),
        "customer_id": getattr(people, whom) if people else ERASED,
        "status": saga.status,
        "order_id": saga.data.order_id,
        "runner_id": people.runner_id if people else None,
        "reason": saga.reason,
        "amount_cents": saga.data.amount_cents if whom == "customer_id" else saga.data.payout_cents,
    }


def _people(saga: Saga) -> People:
    assert saga.data.personal, "the personal data of a saga under way is never erased"
    return saga.data.personal


def _dollars(cents: int) -> str:
    return f"${cents // 100}.{cents % 100:02d}"
