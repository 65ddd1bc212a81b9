"""What is said when a delivered order is completed: to order and payment service, to the customer and the runner.

These are ours: services that run in production today do not know them. See `wire.messages` for the rest.
"""

from ordersaga.wire.payloads import Announcement, Cents, Command, Event, Id, Notification, Text

# --- order service --------------------------------------------------------------------------------


class MarkDelivered(Command, frozen=True, kw_only=True):
    """The runner has handed the order over. Undone by `UndoDelivery`, until it is COMPLETED."""

    order_id: Id


class OrderDelivered(Event, frozen=True, kw_only=True):
    order_id: Id


class OrderDeliveryFailed(Event, frozen=True, kw_only=True):
    """`error` is ILLEGAL_STATE, with the order's `status`, where no runner has it or another saga has marked it."""

    error: Text
    message: Text | None = None
    order_id: Text | None = None
    status: Text | None = None


class UndoDelivery(Command, frozen=True, kw_only=True):
    """The order is with its runner again. Of a delivery that was not marked yet, the mark is refused when it comes."""

    order_id: Id
    reason: Text


class OrderDeliveryUndone(Event, frozen=True, kw_only=True):
    order_id: Id


class OrderDeliveryUndoFailed(Event, frozen=True, kw_only=True):
    error: Text
    message: Text | None = None
    order_id: Text | None = None


class MarkCompleted(Command, frozen=True, kw_only=True):
    """The order is delivered and paid for, and its runner is paid: nothing more becomes of it."""

    order_id: Id


class OrderCompleted(Event, frozen=True, kw_only=True):
    order_id: Id


class OrderCompletionFailed(Event, frozen=True, kw_only=True):
    error: Text
    message: Text | None = None
    order_id: Text | None = None


# --- payment service ------------------------------------------------------------------------------


class CapturePayment(Command, frozen=True, kw_only=True):
    """Take the money that is held. It cannot be undone, only refunded."""

    payment_id: Id
    order_id: Id
    amount_cents: Cents


class PaymentCaptured(Event, frozen=True, kw_only=True):
    """Also where it was captured before."""

    payment_id: Id
    order_id: Text | None = None


class PaymentCaptureFailed(Event, frozen=True, kw_only=True):
    error: Text
    message: Text | None = None
    payment_id: Text | None = None
    order_id: Text | None = None


class PayRunner(Command, frozen=True, kw_only=True):
    """Pay the runner his share of a captured payment, once."""

    payment_id: Id
    order_id: Id
    runner_id: Id
    amount_cents: Cents


class RunnerPaid(Event, frozen=True, kw_only=True):
    payout_id: Id
    payment_id: Text | None = None
    order_id: Text | None = None


class RunnerPayoutFailed(Event, frozen=True, kw_only=True):
    error: Text
    message: Text | None = None
    payment_id: Text | None = None
    order_id: Text | None = None


# --- what people are told -------------------------------------------------------------------------


class OrderDeliveredNotice(Notification, frozen=True, kw_only=True):
    pass


class RunnerPaidNotice(Notification, frozen=True, kw_only=True):
    """For the runner."""


class DeliveryCalledOffNotice(Notification, frozen=True, kw_only=True):
    """For the runner: the order is not counted as delivered."""


class CompletionFailedNotice(Notification, frozen=True, kw_only=True):
    """For the runner: what had been recorded could not be taken back."""


COMMANDS: dict[str, type[Command]] = {
    "mark_delivered": MarkDelivered,
    "undo_delivery": UndoDelivery,
    "mark_completed": MarkCompleted,
    "capture_payment": CapturePayment,
    "pay_runner": PayRunner,
}

EVENTS: dict[str, type[Event]] = {
    "order.delivered": OrderDelivered,
    "order.delivery_failed": OrderDeliveryFailed,
    "order.delivery_undone": OrderDeliveryUndone,
    "order.delivery_undo_failed": OrderDeliveryUndoFailed,
    "order.completed": OrderCompleted,
    "order.completion_failed": OrderCompletionFailed,
    "payment.captured": PaymentCaptured,
    "payment.capture_failed": PaymentCaptureFailed,
    "payment.runner_paid": RunnerPaid,
    "payment.payout_failed": RunnerPayoutFailed,
}

ANNOUNCEMENTS: dict[str, type[Announcement]] = {
    "notification.order_delivered": OrderDeliveredNotice,
    "notification.runner_paid": RunnerPaidNotice,
    "notification.delivery_called_off": DeliveryCalledOffNotice,
    "notification.completion_failed": CompletionFailedNotice,
}
