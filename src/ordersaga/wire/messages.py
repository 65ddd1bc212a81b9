"""Every message of the platform, as a strict struct: commands, the events that answer them, and what is announced to
all.

A struct here is a *payload*; the envelope around it is in `wire.codec`. What all payloads have in common is in
`wire.payloads`; what is said when an order is completed, in `wire.completing`.

`COMMANDS`, `EVENTS` and `ANNOUNCEMENTS` map the `type` on the wire to its struct. Existing services use other names
and casings for some events: `ALIASES` maps those to structs of their own, which `wire.codec` turns into the one
internal event.
"""

from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import force_setattr

from ordersaga.wire import completing
from ordersaga.wire.payloads import Announcement as Announcement
from ordersaga.wire.payloads import Cents as Cents
from ordersaga.wire.payloads import Command as Command
from ordersaga.wire.payloads import Event as Event
from ordersaga.wire.payloads import Id as Id
from ordersaga.wire.payloads import Message as Message
from ordersaga.wire.payloads import Notification as Notification
from ordersaga.wire.payloads import Text as Text
from ordersaga.wire.times import in_utc

# --- order service --------------------------------------------------------------------------------


class CreateOrder(Command, frozen=True, kw_only=True):
    customer_id: Id
    order_details: dict[str, Any]
    saga_id: Id


class OrderCreated(Event, frozen=True, kw_only=True):
    order_id: Id
    customer_id: Text | None = None
    status: Text | None = None
    saga_id: Text | None = None


class OrderCreationFailed(Event, frozen=True, kw_only=True):
    error: Text
    message: Text | None = None
    order_id: Text | None = None


class UpdateOrderStatus(Command, frozen=True, kw_only=True):
    order_id: Id
    status: Id


class OrderStatusUpdated(Event, frozen=True, kw_only=True):
    order_id: Id
    status: Id
    saga_id: Text | None = None


class OrderStatusUpdateFailed(Event, frozen=True, kw_only=True):
    error: Text
    message: Text | None = None
    order_id: Text | None = None


class CancelOrder(Command, frozen=True, kw_only=True, omit_defaults=True):
    """`saga_id` names the order where its id is not known."""

    reason: Text
    order_id: Id | None = None
    saga_id: Id | None = None


class OrderCancelled(Event, frozen=True, kw_only=True):
    """Also sent when the order was cancelled before."""

    order_id: Text | None = None
    reason: Text | None = None


class OrderCancellationFailed(Event, frozen=True, kw_only=True):
    """`error` is ORDER_ACCEPTED, with the order's `status`, where a runner was faster."""

    error: Text
    message: Text | None = None
    order_id: Text | None = None
    status: Text | None = None


class OrderAccepted(Event, frozen=True, kw_only=True):
    """A runner took the order; from then on it is not cancelled."""

    order_id: Id
    runner_id: Text | None = None


class OrderAcceptanceCancelled(Event, frozen=True, kw_only=True):
    """The runner gave the order back: it is CREATED and open again."""

    order_id: Id


class OrderCancelledByHand(Event, frozen=True, kw_only=True):
    """Somebody cancelled the order at the order service. It answers no command, so it confirms none."""

    order_id: Id
    reason: Text | None = None


# --- user service ---------------------------------------------------------------------------------


class GetPaymentInfo(Command, frozen=True, kw_only=True):
    user_id: Id


class PaymentInfo(Struct, frozen=True, kw_only=True, rename="camel"):
    stripe_customer_id: Id
    payment_method_id: Id


class PaymentInfoRetrieved(Event, frozen=True, kw_only=True):
    payment_info: PaymentInfo


class PaymentInfoFailed(Event, frozen=True, kw_only=True):
    """`error` is a code or, from existing services, a sentence."""

    error: Text
    message: Text | None = None


# --- payment service ------------------------------------------------------------------------------


class Card(Struct, frozen=True, kw_only=True):
    payment_method_id: Id


class PayingCustomer(Struct, frozen=True, kw_only=True, rename="camel"):
    clerk_user_id: Id
    stripe_customer_id: Id
    user_stripe_card: Card


class PayableOrder(Struct, frozen=True, kw_only=True):
    """`amount` is in integer cents, at least 50."""

    amount: Cents
    description: Text


class AuthorizePayment(Command, frozen=True, kw_only=True):
    order_id: Id
    customer: PayingCustomer
    order: PayableOrder
    return_url: Text


class PaymentAuthorized(Event, frozen=True, kw_only=True):
    """`status` is AUTHORIZED, or SUCCEEDED where the payment was captured at once."""

    payment_id: Id
    order_id: Text | None = None
    payment_intent_id: Text | None = None
    status: Text | None = None


class PaymentFailed(Event, frozen=True, kw_only=True):
    """Answers a refused authorization and a refused revert alike: the saga's state decides what it means."""

    error: Text
    message: Text | None = None
    stripe_code: Text | None = None
    payment_id: Text | None = None
    order_id: Text | None = None


class RevertPayment(Command, frozen=True, kw_only=True, omit_defaults=True):
    """`order_id` names the payment where its id is not known."""

    reason: Text
    payment_id: Id | None = None
    order_id: Id | None = None


class PaymentReleased(Event, frozen=True, kw_only=True):
    """With status REVERTED the hold is gone. Other statuses announce payouts to runners, which are none of a saga's
    business.
    """

    payment_id: Text | None = None
    status: Id
    message: Text | None = None
    order_id: Text | None = None


# --- timer service --------------------------------------------------------------------------------


class StartOrderTimer(Command, frozen=True, kw_only=True):
    order_id: Id
    customer_id: Id
    timeout_at: datetime

    def __post_init__(self) -> None:
        force_setattr(self, "timeout_at", in_utc(self.timeout_at, "timeout_at"))


class TimerStarted(Event, frozen=True, kw_only=True):
    order_id: Id
    timer_id: Text | None = None
    timeout_at: Text | None = None


class TimerFailed(Event, frozen=True, kw_only=True):
    error: Text
    message: Text | None = None
    order_id: Text | None = None


class TimerExpired(Event, frozen=True, kw_only=True):
    """Any time after `timeout_at`."""

    order_id: Id
    timer_id: Text | None = None


class CancelTimer(Command, frozen=True, kw_only=True):
    order_id: Id
    reason: Text


class TimerCancelled(Event, frozen=True, kw_only=True):
    order_id: Text | None = None
    reason: Text | None = None


class TimerCancellationFailed(Event, frozen=True, kw_only=True):
    error: Text
    message: Text | None = None
    order_id: Text | None = None


# --- what the orchestrator announces --------------------------------------------------------------


class OrderConfirmedNotice(Notification, frozen=True, kw_only=True):
    pass


class OrderCancelledNotice(Notification, frozen=True, kw_only=True):
    pass


class OrderFailedNotice(Notification, frozen=True, kw_only=True):
    pass


class CancellationRefusedNotice(Notification, frozen=True, kw_only=True):
    pass


class SagaStatusChanged(Announcement, frozen=True, kw_only=True):
    """One per change of status. `revision` orders the changes of one saga; its `type` on the wire is `saga.` and the
    status.
    """

    saga_id: Id
    saga: str
    status: str
    previous_status: str | None
    revision: int
    order_id: str | None = None
    reason: str | None = None
    explanation: str | None = None


# --- names on the wire of existing services -------------------------------------------------------


class BareOrderAccepted(Struct, frozen=True, kw_only=True, rename="camel"):
    order_id: Id
    customer_id: Text | None = None
    runner_id: Text | None = None
    status: Text | None = None


class BareOrderNews(Struct, frozen=True, kw_only=True, rename="camel"):
    order_id: Id
    reason: Text | None = None


COMMANDS: dict[str, type[Command]] = {
    "create_order": CreateOrder,
    "get_payment_info": GetPaymentInfo,
    "authorize_payment": AuthorizePayment,
    "update_order_status": UpdateOrderStatus,
    "start_order_timer": StartOrderTimer,
    "cancel_timer": CancelTimer,
    "cancel_order": CancelOrder,
    "revert_payment": RevertPayment,
    **completing.COMMANDS,
}

EVENTS: dict[str, type[Event]] = {
    "order.created": OrderCreated,
    "order.creation_failed": OrderCreationFailed,
    "order.status_updated": OrderStatusUpdated,
    "order.status_update_failed": OrderStatusUpdateFailed,
    "order.cancelled": OrderCancelled,
    "order.cancellation_failed": OrderCancellationFailed,
    "order.accepted": OrderAccepted,
    "order.acceptance_cancelled": OrderAcceptanceCancelled,
    "user.payment_info_retrieved": PaymentInfoRetrieved,
    "user.payment_info_failed": PaymentInfoFailed,
    "payment.authorized": PaymentAuthorized,
    "payment.failed": PaymentFailed,
    "payment.released": PaymentReleased,
    "timer.started": TimerStarted,
    "timer.failed": TimerFailed,
    "timer.expired": TimerExpired,
    "timer.cancelled": TimerCancelled,
    "timer.cancellation_failed": TimerCancellationFailed,
    **completing.EVENTS,
}

ALIASES: dict[str, tuple[type[Struct], type[Event]]] = {
    "ORDER_ACCEPTED": (BareOrderAccepted, OrderAccepted),
    "ORDER_ACCEPTANCE_CANCELLED": (BareOrderNews, OrderAcceptanceCancelled),
    "ORDER_RUNNER_CLEARED": (BareOrderNews, OrderAcceptanceCancelled),
    "ORDER_CANCELLED": (BareOrderNews, OrderCancelledByHand),
}
"""The name on the wire, the struct that reads it, the one internal event that it means."""

ANNOUNCEMENTS: dict[str, type[Announcement]] = {
    "notification.order_confirmed": OrderConfirmedNotice,
    "notification.order_cancelled": OrderCancelledNotice,
    "notification.order_failed": OrderFailedNotice,
    "notification.cancellation_refused": CancellationRefusedNotice,
    **completing.ANNOUNCEMENTS,
}

STATUS_ANNOUNCEMENTS: dict[str, type[Announcement]] = {
    f"saga.{status}": SagaStatusChanged
    for status in ("started", "completed", "failed", "compensating", "compensated", "cancelling", "cancelled")
}

TYPE_OF: dict[type[Struct], str] = {event: name for name, (_, event) in ALIASES.items()} | {
    cls: name for table in (COMMANDS, EVENTS, ANNOUNCEMENTS) for name, cls in table.items()
}
"""An event that only existing services send goes by their name for it."""


def type_of(message: Message) -> str:
    """The `type` under which `message` travels."""
    name = TYPE_OF.get(type(message))
    if name is not None:
        return name
    assert isinstance(message, SagaStatusChanged), f"{type(message).__name__} has no name: add it to a table here"
    return _type_of_status(message.status)


@lru_cache(maxsize=16)
def _type_of_status(status: str) -> str:
    return f"saga.{status.lower()}"


OrderStatus = Literal["PENDING", "CREATED", "ACCEPTED", "PLACED", "ON_THE_WAY", "DELIVERED", "COMPLETED", "CANCELLED"]
"""The states of an order at the order service."""
