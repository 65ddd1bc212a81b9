"""Messages to test with: one valid record of every type, and strategies that make any message of a struct."""

import json
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from ordersaga.wire.codec import Envelope, Foreign, decode_announcement, decode_command, decode_event
from ordersaga.wire.errors import WireError
from ordersaga.wire.messages import ALIASES, ANNOUNCEMENTS, COMMANDS, EVENTS, STATUS_ANNOUNCEMENTS, Message
from ordersaga.wire.strict_json import INT_MAX, INT_MIN

SAGA_ID = UUID("0198c0de-7abc-7def-8123-456789abcdef")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ENVELOPE = {
    "correlation_id": str(SAGA_ID),
    "timestamp": "2026-01-02T12:00:00.123456",
    "source": "payment-service",
    "message_id": "b3d1a4d2-0f49-5d63-9d0c-0b7a3a3f4a11",
    "causation_id": "b3d1a4d2-0f49-5d63-9d0c-0b7a3a3f4a12",
}

CARD = {"payment_method_id": "pm_c4n4ry"}
NOTICE = {
    "saga_id": str(SAGA_ID),
    "customer_id": "c4n4ry-1",
    "status": "COMPLETED",
    "title": "Confirmed",
    "explanation": "Your order is confirmed.",
    "money": "It is held.",
    "order_id": "o-1",
    "amount_cents": 1698,
}
CHANGE = {
    "saga_id": str(SAGA_ID),
    "saga": "create-order",
    "status": "COMPLETED",
    "previous_status": "STARTED",
    "revision": 7,
    "order_id": None,
}
PAYLOADS: dict[str, dict[str, Any]] = {
    "create_order": {
        "customer_id": "c4n4ry-1",
        "order_details": {"foodItems": [{"name": "tea", "price": 4.35, "quantity": 2}], "deliveryFee": 1},
        "saga_id": str(SAGA_ID),
    },
    "get_payment_info": {"user_id": "c4n4ry-1"},
    "authorize_payment": {
        "order_id": "o-1",
        "customer": {"clerkUserId": "c4n4ry-1", "stripeCustomerId": "cus_c4n4ry", "userStripeCard": CARD},
        "order": {"amount": 1698, "description": "Order o-1"},
        "return_url": "",
    },
    "update_order_status": {"order_id": "o-1", "status": "CREATED"},
    "start_order_timer": {"order_id": "o-1", "customer_id": "c4n4ry-1", "timeout_at": "2026-01-02T12:30:00Z"},
    "cancel_timer": {"order_id": "o-1", "reason": "CUSTOMER_REQUEST"},
    "cancel_order": {"order_id": "o-1", "reason": "CUSTOMER_REQUEST", "saga_id": str(SAGA_ID)},
    "revert_payment": {"payment_id": "p-1", "reason": "CUSTOMER_REQUEST", "order_id": "o-1"},
    "mark_delivered": {"order_id": "o-1"},
    "undo_delivery": {"order_id": "o-1", "reason": "CAPTURE_REFUSED"},
    "mark_completed": {"order_id": "o-1"},
    "capture_payment": {"payment_id": "p-1", "order_id": "o-1", "amount_cents": 1698},
    "pay_runner": {"payment_id": "p-1", "order_id": "o-1", "runner_id": "r-1", "amount_cents": 435},
    "order.delivered": {"order_id": "o-1"},
    "order.delivery_failed": {"order_id": "o-1", "error": "ILLEGAL_STATE", "status": "CANCELLED"},
    "order.delivery_undone": {"order_id": "o-1"},
    "order.delivery_undo_failed": {"order_id": "o-1", "error": "ILLEGAL_STATE"},
    "order.completed": {"order_id": "o-1"},
    "order.completion_failed": {"order_id": "o-1", "error": "ILLEGAL_STATE"},
    "payment.captured": {"payment_id": "p-1", "order_id": "o-1"},
    "payment.capture_failed": {"payment_id": "p-1", "error": "NOTHING_HELD"},
    "payment.runner_paid": {"payout_id": "po_1", "payment_id": "p-1"},
    "payment.payout_failed": {"payment_id": "p-1", "error": "PROVIDER_REFUSED"},
    "order.created": {"order_id": "o-1", "customer_id": "c4n4ry-1", "status": "PENDING", "saga_id": str(SAGA_ID)},
    "order.creation_failed": {"error": "REJECTED", "message": "no"},
    "order.status_updated": {"order_id": "o-1", "status": "CREATED", "saga_id": str(SAGA_ID)},
    "order.status_update_failed": {"error": "REJECTED", "order_id": "o-1"},
    "order.cancelled": {"order_id": "o-1", "reason": "Already in final state: COMPLETED"},
    "order.cancellation_failed": {"order_id": "o-1", "status": "ACCEPTED", "error": "ORDER_ACCEPTED"},
    "order.accepted": {"order_id": "o-1", "runner_id": "r-1"},
    "order.acceptance_cancelled": {"order_id": "o-1"},
    "user.payment_info_retrieved": {"payment_info": {"stripeCustomerId": "cus_c4n4ry", "paymentMethodId": "pm_c4n4ry"}},
    "user.payment_info_failed": {"error": "User not found"},
    "payment.authorized": {"payment_id": "p-1", "order_id": "o-1", "payment_intent_id": "pi_1", "status": "AUTHORIZED"},
    "payment.failed": {"error": "STRIPE_CARD_ERROR", "message": "declined", "stripe_code": "card_declined"},
    "payment.released": {"payment_id": "p-1", "status": "REVERTED", "message": "released"},
    "timer.started": {"order_id": "o-1", "timer_id": "t-1", "timeout_at": "2026-01-02T12:30:00Z"},
    "timer.failed": {"error": "FULL", "order_id": "o-1"},
    "timer.expired": {"order_id": "o-1", "timer_id": "t-1"},
    "timer.cancelled": {"order_id": "o-1", "reason": "CUSTOMER_REQUEST"},
    "timer.cancellation_failed": {"error": "UNKNOWN", "order_id": "o-1"},
    "ORDER_ACCEPTED": {
        "orderId": "o-1",
        "customerId": "c4n4ry-1",
        "runnerId": "r-1",
        "status": "accepted",
        "event": '{"orderId": "o-1", "note": "\\u0000"}',
    },
    "ORDER_ACCEPTANCE_CANCELLED": {"orderId": "o-1", "runnerId": "r-1"},
    "ORDER_RUNNER_CLEARED": {"orderId": "o-1"},
    "ORDER_CANCELLED": {"orderId": "o-1", "reason": "closed"},
    "notification.order_confirmed": NOTICE,
    "notification.order_cancelled": NOTICE,
    "notification.order_failed": NOTICE,
    "notification.cancellation_refused": NOTICE,
    "notification.order_delivered": NOTICE,
    "notification.runner_paid": NOTICE,
    "notification.delivery_called_off": NOTICE,
    "notification.completion_failed": NOTICE,
    **dict.fromkeys(STATUS_ANNOUNCEMENTS, CHANGE),
}

TABLES: tuple[tuple[Any, dict[str, Any]], ...] = (
    (decode_command, COMMANDS),
    (decode_event, EVENTS | ALIASES),
    (decode_announcement, ANNOUNCEMENTS | STATUS_ANNOUNCEMENTS),
)
DECODERS: dict[str, Any] = {name: decode for decode, table in TABLES for name in table}
"""For each `type` the decoder of those who read it."""


def message_of(name: str, **changes: Any) -> dict[str, Any]:
    """A valid message as JSON objects; `changes` replace fields of the envelope."""
    return {"type": name, **ENVELOPE, "payload": PAYLOADS[name], **changes}


def record(name: str, **changes: Any) -> bytes:
    return json.dumps(message_of(name, **changes)).encode()


def outcome(value: bytes | None, decode: Any = decode_event) -> Envelope | Foreign | WireError:
    """What a decoder makes of `value`. Whatever else it raises fails the test."""
    try:
        found: Envelope | Foreign | WireError = decode(value)
    except WireError as error:
        found = error
    if not isinstance(found, Envelope):
        assert fit_for_a_row(str(found) if isinstance(found, WireError) else found.type), "what is said of it is poison"
    return found


def fit_for_a_row(value: Any) -> bool:
    """Whether PostgreSQL takes it as text, jsonb or a number of 64 bits: judged without our own code."""
    match value:
        case str():
            return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
        case bool() | None:
            return True
        case int():
            return INT_MIN <= value <= INT_MAX
        case float():
            return value not in (float("inf"), float("-inf")) and value == value  # noqa: PLR0124 - NaN is not itself
        case dict():
            return all(fit_for_a_row(key) and fit_for_a_row(item) for key, item in value.items())
        case list():
            return all(fit_for_a_row(item) for item in value)
    return False


def plain(envelope: Envelope) -> Any:
    return msgspec.to_builtins(envelope)


# --- strategies -----------------------------------------------------------------------------------

_CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
TEXTS = st.text(_CHARACTERS)
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(9998, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(INT_MIN, INT_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
"""Whatever JSON can say that a database takes."""


def bodies_of(struct: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any message of `struct`."""
    hints = typing.get_type_hints(struct, include_extras=True)
    return st.builds(struct, **{name: _values_of(hint) for name, hint in hints.items() if name[0] != "_"})


def any_body(*tables: Mapping[str, type[Message]]) -> st.SearchStrategy[Any]:
    structs = dict.fromkeys(struct for table in tables for struct in table.values())
    return st.one_of([bodies_of(struct) for struct in structs])


def _values_of(hint: Any) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _bounded(arguments[0], arguments[1])
    if origin in (types.UnionType, typing.Union):
        return st.one_of([_values_of(argument) for argument in arguments])
    if origin is dict:
        return st.dictionaries(TEXTS, VALUES, max_size=4)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return bodies_of(hint)
    return {str: TEXTS, int: st.integers(0, INT_MAX), datetime: TIMES, type(None): st.none()}[hint]


def _bounded(kind: type, meta: msgspec.Meta) -> st.SearchStrategy[Any]:
    if kind is int:
        assert isinstance(meta.ge, int)
        assert isinstance(meta.le, int)
        return st.integers(meta.ge, meta.le)
    return st.text(_CHARACTERS, min_size=meta.min_length or 0, max_size=min(meta.max_length or 40, 40))
