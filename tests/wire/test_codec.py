"""What the services say to each other is read as it was meant, and what is none of our business is told apart."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordersaga.wire import messages as m
from ordersaga.wire.codec import (
    Envelope,
    Foreign,
    decode_announcement,
    decode_command,
    decode_event,
    encode,
)
from ordersaga.wire.errors import WireError
from ordersaga.wire.messages import ANNOUNCEMENTS, COMMANDS, EVENTS, STATUS_ANNOUNCEMENTS, Message, type_of
from tests.wire.samples import (
    DECODERS,
    NOON,
    PAYLOADS,
    SAGA_ID,
    TEXTS,
    TIMES,
    any_body,
    fit_for_a_row,
    plain,
    record,
)

STATUSES = ("STARTED", "COMPLETED", "FAILED", "COMPENSATING", "COMPENSATED", "CANCELLING", "CANCELLED")


def read(value: bytes, decode: Any = decode_event) -> Envelope:
    envelope = decode(value)
    assert isinstance(envelope, Envelope), envelope
    return envelope


def encoded(body: Message, **changes: Any) -> bytes:
    return encode(body, **{"correlation_id": SAGA_ID, "timestamp": NOON, "source": "us", **changes})


def test_there_is_a_sample_of_every_type() -> None:
    missing = sorted(set(DECODERS) - set(PAYLOADS))
    assert not missing, f"add a sample of {', '.join(missing)} to tests/wire/samples.py"
    assert set(PAYLOADS) == set(DECODERS)


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_valid_record_of_each_type_is_read(name: str) -> None:
    envelope = read(record(name), DECODERS[name])
    assert envelope.saga_id == SAGA_ID
    assert envelope.correlation_id == str(SAGA_ID)
    assert envelope.timestamp == datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
    assert envelope.source == "payment-service"
    assert envelope.message_id == UUID("b3d1a4d2-0f49-5d63-9d0c-0b7a3a3f4a11")
    assert envelope.causation_id == UUID("b3d1a4d2-0f49-5d63-9d0c-0b7a3a3f4a12")


@settings(max_examples=300)
@given(
    body=any_body(COMMANDS, EVENTS, ANNOUNCEMENTS, STATUS_ANNOUNCEMENTS),
    status=st.sampled_from(STATUSES),
    timestamp=TIMES,
    source=TEXTS,
    message_id=st.none() | st.uuids(),
    causation_id=st.none() | st.uuids(),
    saga_id=st.uuids(),
)
def test_what_is_encoded_decodes_to_the_same(body: Message, status: str, saga_id: UUID, **around: Any) -> None:
    if isinstance(body, m.SagaStatusChanged):
        body = m.SagaStatusChanged(saga_id="s", saga="o", status=status, previous_status=None, revision=body.revision)
    envelope = read(encode(body, correlation_id=saga_id, **around), DECODERS[type_of(body)])
    assert envelope == Envelope(body=body, correlation_id=str(saga_id), saga_id=saga_id, **around)
    assert fit_for_a_row(plain(envelope))


def test_a_record_of_ours_looks_like_this() -> None:
    value = encoded(m.CancelOrder(order_id="o-1", reason="CUSTOMER_REQUEST"), message_id=SAGA_ID)
    assert json.loads(value) == {
        "type": "cancel_order",
        "correlation_id": str(SAGA_ID),
        "timestamp": "2026-01-02T12:00:00.000000Z",
        "payload": {"order_id": "o-1", "reason": "CUSTOMER_REQUEST"},
        "source": "us",
        "message_id": str(SAGA_ID),
    }


@pytest.mark.parametrize(
    "details", [{"a": float("nan")}, {"a": [float("inf")]}, {"a": "\0"}, {"\0": 1}, {"a": 2**63}, {"a": "\ud800"}]
)
def test_an_order_that_no_reader_would_accept_is_not_written(details: dict[str, Any]) -> None:
    with pytest.raises(WireError, match=r"^payload"):
        encoded(m.CreateOrder(customer_id="c", order_details=details, saga_id="s"))


def test_what_is_nested_as_deep_as_can_be_written_can_be_read() -> None:
    details: dict[str, Any] = {}
    for _ in range(29):
        details = {"a": details}
    body = m.CreateOrder(customer_id="c", order_details=details, saga_id="s")
    assert read(encoded(body), decode_command).body == body
    with pytest.raises(WireError, match="too deep"):
        encoded(m.CreateOrder(customer_id="c", order_details={"a": details}, saga_id="s"))


# --- existing services ----------------------------------------------------------------------------


@pytest.mark.parametrize("correlation_id", ["order-20260123002439-f6d8f364", 5, None, {"a": 1}, "", "x" * 256])
def test_an_acceptance_is_read_under_its_old_name_whatever_its_correlation_id(correlation_id: Any) -> None:
    envelope = read(record("ORDER_ACCEPTED", correlation_id=correlation_id))
    assert envelope.body == m.OrderAccepted(order_id="o-1", runner_id="r-1")
    assert envelope.saga_id is None
    kept = isinstance(correlation_id, str) and len(correlation_id) < 256
    assert envelope.correlation_id == (correlation_id if kept else "")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("ORDER_ACCEPTED", m.OrderAccepted(order_id="o-1")),
        ("ORDER_ACCEPTANCE_CANCELLED", m.OrderAcceptanceCancelled(order_id="o-1")),
        ("ORDER_RUNNER_CLEARED", m.OrderAcceptanceCancelled(order_id="o-1")),
        ("ORDER_CANCELLED", m.OrderCancelledByHand(order_id="o-1")),
    ],
)
def test_old_names_mean_one_internal_event_each(name: str, body: Message) -> None:
    envelope = read(b'{"type":"%s","payload":{"orderId":"o-1"}}' % name.encode())
    assert envelope == Envelope(body=body, correlation_id="", saga_id=None, timestamp=None)


@pytest.mark.parametrize("name", ["ORDER_CREATED", "ORDER_UPDATED", "ORDER_COMPLETED"])
def test_other_news_of_the_order_service_is_foreign(name: str) -> None:
    assert decode_event(record("ORDER_CANCELLED", type=name)) == Foreign(name, "unknown type")


def test_every_event_has_a_name_also_where_only_existing_services_send_it() -> None:
    assert type_of(read(record("ORDER_CANCELLED")).body) == "ORDER_CANCELLED"
    assert type_of(read(record("ORDER_RUNNER_CLEARED")).body) == "order.acceptance_cancelled"


def test_a_payout_to_a_runner_is_read_and_its_status_left_to_the_saga() -> None:
    payout = {"payment_id": "p-1", "runner_id": "r-1", "amount": 16.98, "status": "SUCCEEDED"}
    envelope = read(record("payment.released", payload=payout, correlation_id="payout-7"))
    assert envelope.body == m.PaymentReleased(payment_id="p-1", status="SUCCEEDED")
    assert envelope.saga_id is None


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2026-01-02T12:00:00", 12),
        ("2026-01-02T12:00:00Z", 12),
        ("2026-01-02T12:00:00+00:00", 12),
        ("2026-01-02T12:00:00.5-03:00", 15),
    ],
)
def test_times_are_read_with_and_without_zone(text: str, hour: int) -> None:
    timestamp = read(record("timer.expired", timestamp=text)).timestamp
    assert timestamp is not None
    assert (timestamp.hour, timestamp.tzinfo) == (hour, UTC)


def test_a_service_may_leave_out_everything_but_type_correlation_id_and_payload() -> None:
    envelope = read(b'{"type":"timer.expired","correlation_id":"x","payload":{"order_id":"o-1"}}')
    expected = Envelope(
        body=m.TimerExpired(order_id="o-1"), correlation_id="x", saga_id=None, timestamp=None, source=None
    )
    assert envelope == expected
    assert read(record("timer.expired", timestamp=None, source=None, message_id=None)).timestamp is None


def test_fields_that_nobody_knows_are_ignored() -> None:
    payload = {"order_id": "o-1", "new": {"deep": [1.5]}}
    assert read(record("timer.expired", payload=payload, more=1)).body == m.TimerExpired(order_id="o-1")


@pytest.mark.parametrize(
    ("correlation_id", "saga_id"),
    [
        (str(SAGA_ID), SAGA_ID),
        (str(SAGA_ID).upper(), SAGA_ID),
        (SAGA_ID.hex, None),
        ("order-20260123002439-f6d8f364", None),
        ("x" * 36, None),
        ("ä" * 36, None),
    ],
)
def test_a_correlation_id_that_is_a_uuid_names_a_saga(correlation_id: str, saga_id: UUID | None) -> None:
    envelope = read(record("timer.expired", correlation_id=correlation_id))
    assert (envelope.correlation_id, envelope.saga_id) == (correlation_id, saga_id)


def test_a_deadline_is_an_instant_in_utc_however_it_was_written() -> None:
    half_past = datetime(2026, 1, 2, 12, 30, tzinfo=UTC)
    for text in ("2026-01-02T12:30:00", "2026-01-02T12:30:00Z", "2026-01-02T14:30:00+02:00"):
        payload = {"order_id": "o", "customer_id": "c", "timeout_at": text}
        body = read(record("start_order_timer", payload=payload), decode_command).body
        assert isinstance(body, m.StartOrderTimer)
        assert (body.timeout_at, body.timeout_at.tzinfo) == (half_past, UTC)
    east = half_past.astimezone(timezone(timedelta(hours=2)))
    assert m.StartOrderTimer(order_id="o", customer_id="c", timeout_at=east).timeout_at.tzinfo is UTC


# --- foreign --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        b'{"type":"menu.changed"}',
        b'{"type":"menu.changed","payload":7,"timestamp":1737591879,"correlation_id":[]}',
        b'{"payload":{"a":1,"a":"\\u0000","b":1e400,"c":99999999999999999999999},"type":"menu.changed"}',
        b'{"type":"menu.changed","payload":"\xff\xed\xa0\x80"}',
        b'{"type":"menu.changed","payload":' + b"[" * 100 + b"]" * 100 + b"}",
    ],
)
def test_other_traffic_is_foreign_however_odd_it_is(value: bytes) -> None:
    for decode in (decode_event, decode_command, decode_announcement):
        assert decode(value) == Foreign("menu.changed", "unknown type")


def test_each_reader_takes_the_others_messages_for_foreign() -> None:
    for name, own in DECODERS.items():
        for decode in {decode_event, decode_command, decode_announcement} - {own}:
            assert decode(record(name)) == Foreign(name, "unknown type")


def test_a_foreign_type_can_be_shown_and_stored() -> None:
    found = decode_event(json.dumps({"type": "a\0b\n" + "x" * 1000}).encode())
    assert found == Foreign("a\\x00b\\n" + "x" * 60, "unknown type")
