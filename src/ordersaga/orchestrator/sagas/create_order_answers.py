"""What the participants' refusals mean to the create-order saga.

Existing services answer with codes and sentences of their own; the customer is only ever told ours (`core.reasons`).
"""

from ordersaga.orchestrator.core.definition import Refusal
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.wire import messages as m
from ordersaga.wire.codes import is_code

PROVIDER_NEWS = frozenset({"STRIPE_PAYMENT_FAILED", "STRIPE_PAYMENT_CANCELED"})
"""Said by the provider at any time: there is no hold any more."""
NOTHING_HELD = frozenset({"INVALID_PAYLOAD", "INVALID_AMOUNT", "PAYLOAD_PARSE_ERROR"})
"""The payment service refused before it asked the provider."""
ACCEPTED_STATES = frozenset({"ACCEPTED", "PLACED", "ON_THE_WAY", "DELIVERED", "COMPLETED"})
FINAL_STATE = "Already in final state: "


def order_rejected(event: m.OrderCreationFailed) -> Refusal:
    return Refusal(Reason.ORDER_REJECTED)


def update_refused(event: m.OrderStatusUpdateFailed) -> Refusal:
    return Refusal(Reason.ORDER_UPDATE_FAILED)


def customer_not_ready(event: m.PaymentInfoFailed) -> Refusal:
    """Derived from the beginning of a sentence: the user service has no codes."""
    if event.error.startswith(("User not found", "CUSTOMER_UNKNOWN")):
        return Refusal(Reason.CUSTOMER_UNKNOWN)
    if event.error.startswith("Internal server error"):
        return Refusal(Reason.STEP_TIMED_OUT, passes=True)
    return Refusal(Reason.PAYMENT_METHOD_MISSING)


def payment_failed(event: m.PaymentFailed) -> Refusal:
    """A decline is the customer's; anything else is technical, and where the provider was asked a hold may have been
    made.
    """
    if event.error == "STRIPE_CARD_ERROR" or event.error in PROVIDER_NEWS:
        return Refusal(Reason.PAYMENT_DECLINED)
    if event.error in NOTHING_HELD:
        return Refusal(Reason.PAYMENT_ERROR)
    # A sentence may hold anything, and `attention` outlives the customer's data.
    how = f" with {event.error}" if is_code(event.error) else ", and no code says why"
    return Refusal(
        Reason.PAYMENT_ERROR, attention=f"payment failed{how}: compare with the provider whether a hold was made"
    )


def hold_gone(event: m.PaymentReleased | m.PaymentFailed) -> bool:
    return isinstance(event, m.PaymentFailed) and event.error in PROVIDER_NEWS


def order_stands(event: m.OrderCancelled | m.OrderCancellationFailed) -> bool:
    """Whether the answer to a cancel says that a runner was faster."""
    if isinstance(event, m.OrderCancellationFailed):
        return event.error == "ORDER_ACCEPTED" or event.status in ACCEPTED_STATES
    reason = event.reason or ""
    return reason.startswith(FINAL_STATE) and not reason.removeprefix(FINAL_STATE).startswith("CANCELLED")
