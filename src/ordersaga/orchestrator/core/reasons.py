"""Why a saga did not simply complete: a code for machines, a sentence for the customer, a word on the money.

The first cause is the reason and is never overwritten. Customers are shown these sentences, never those of a
participant: theirs hold SQL, stack traces and other people's data.
"""

from enum import StrEnum


class Reason(StrEnum):
    PAYMENT_DECLINED = "PAYMENT_DECLINED"
    PAYMENT_ERROR = "PAYMENT_ERROR"
    PAYMENT_METHOD_MISSING = "PAYMENT_METHOD_MISSING"
    CUSTOMER_UNKNOWN = "CUSTOMER_UNKNOWN"
    ORDER_REJECTED = "ORDER_REJECTED"
    ORDER_UPDATE_FAILED = "ORDER_UPDATE_FAILED"
    ACCEPTANCE_TIMEOUT = "ACCEPTANCE_TIMEOUT"
    CUSTOMER_REQUEST = "CUSTOMER_REQUEST"
    OPERATOR_REQUEST = "OPERATOR_REQUEST"
    STEP_TIMED_OUT = "STEP_TIMED_OUT"
    COMPENSATION_FAILED = "COMPENSATION_FAILED"
    DELIVERY_REJECTED = "DELIVERY_REJECTED"
    CAPTURE_REFUSED = "CAPTURE_REFUSED"


EXPLANATIONS: dict[Reason, str] = {
    Reason.PAYMENT_DECLINED: "Your card was declined. Please try another card.",
    Reason.PAYMENT_ERROR: "The payment could not be processed. Please try again in a few minutes.",
    Reason.PAYMENT_METHOD_MISSING: "There is no payment method in your account. Please add a card and order again.",
    Reason.CUSTOMER_UNKNOWN: "We could not find your account. Please sign in again.",
    Reason.ORDER_REJECTED: "The restaurant's system did not take the order. Please check it and try again.",
    Reason.ORDER_UPDATE_FAILED: "The order could not be placed because of a fault on our side. Please try again.",
    Reason.ACCEPTANCE_TIMEOUT: "Nobody was free to deliver your order in time, so we cancelled it.",
    Reason.CUSTOMER_REQUEST: "You cancelled the order.",
    Reason.OPERATOR_REQUEST: "The order was cancelled by our support team.",
    Reason.STEP_TIMED_OUT: "A service did not answer in time, so we cancelled the order. Please try again.",
    Reason.COMPENSATION_FAILED: "The order could not be cancelled completely. Our support team is looking into it.",
    Reason.DELIVERY_REJECTED: "The delivery could not be recorded. Our support team is looking into it.",
    Reason.CAPTURE_REFUSED: "The card could not be charged for the order. Our support team is looking into it.",
}
assert EXPLANATIONS.keys() == set(Reason), f"a sentence is missing: {set(Reason) - EXPLANATIONS.keys()}"
