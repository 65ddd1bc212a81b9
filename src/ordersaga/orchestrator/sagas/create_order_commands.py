"""What the create-order saga knows, what it asks the participants for, and what it keeps of their answers."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.orchestrator.core.instance import Instance, SagaData
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.wire import messages as m
from ordersaga.wire.ids import text_of


class Customer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What belongs to a person. Stored apart, so that it can be erased."""

    customer_id: str
    order_details: dict[str, Any]
    stripe_customer_id: str | None = None
    payment_method_id: str | None = None


class OrderData(SagaData, frozen=True, kw_only=True, omit_defaults=True):
    personal: Customer | None = None
    amount_cents: int
    return_url: str = ""
    order_id: str | None = None
    payment_id: str | None = None
    payment_intent_id: str | None = None


Saga = Instance[OrderData]


def create_order(saga: Saga) -> m.CreateOrder:
    customer = _customer(saga)
    return m.CreateOrder(
        customer_id=customer.customer_id, order_details=customer.order_details, saga_id=text_of(saga.saga_id)
    )


def get_payment_info(saga: Saga) -> m.GetPaymentInfo:
    return m.GetPaymentInfo(user_id=_customer(saga).customer_id)


def authorize_payment(saga: Saga) -> m.AuthorizePayment:
    customer = _customer(saga)
    return m.AuthorizePayment(
        order_id=saga.data.order_id or "",
        customer=m.PayingCustomer(
            clerk_user_id=customer.customer_id,
            stripe_customer_id=customer.stripe_customer_id or "",
            user_stripe_card=m.Card(payment_method_id=customer.payment_method_id or ""),
        ),
        order=m.PayableOrder(amount=saga.data.amount_cents, description=f"Food order {saga.data.order_id}"),
        return_url=saga.data.return_url,
    )


def update_order_status(saga: Saga) -> m.UpdateOrderStatus:
    return m.UpdateOrderStatus(order_id=saga.data.order_id or "", status="CREATED")


def start_order_timer(saga: Saga) -> m.StartOrderTimer:
    assert saga.window_ends_at
    return m.StartOrderTimer(
        order_id=saga.data.order_id or "", customer_id=_customer(saga).customer_id, timeout_at=saga.window_ends_at
    )


def cancel_order(saga: Saga, effect: Mapping[str, str]) -> m.CancelOrder:
    return m.CancelOrder(order_id=effect.get("order_id"), saga_id=text_of(saga.saga_id), reason=_why(saga))


def revert_payment(saga: Saga, effect: Mapping[str, str]) -> m.RevertPayment:
    return m.RevertPayment(payment_id=effect.get("payment_id"), order_id=saga.data.order_id, reason=_why(saga))


def cancel_timer(saga: Saga, effect: Mapping[str, str]) -> m.CancelTimer:
    return m.CancelTimer(order_id=saga.data.order_id or "", reason=_why(saga))


def remember(data: OrderData, event: m.Event) -> OrderData:
    """What later steps need of an answer."""
    match event:
        case m.OrderCreated(order_id=order_id):
            return replace(data, order_id=order_id)
        case m.PaymentInfoRetrieved(payment_info=info) if data.personal:
            known = replace(
                data.personal, stripe_customer_id=info.stripe_customer_id, payment_method_id=info.payment_method_id
            )
            return replace(data, personal=known)
        case m.PaymentAuthorized(payment_id=payment_id, payment_intent_id=intent_id):
            return replace(data, payment_id=payment_id, payment_intent_id=intent_id)
    return data


def _customer(saga: Saga) -> Customer:
    assert saga.data.personal, "the personal data of a saga under way is never erased"
    return saga.data.personal


def _why(saga: Saga) -> str:
    return (saga.reason or Reason.OPERATOR_REQUEST).value
