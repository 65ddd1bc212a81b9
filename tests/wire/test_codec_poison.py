"""Whatever arrives, it is a message, foreign, or refused with the field that is wrong; it never breaks the reader."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordersaga.wire.codec import Envelope, Limits, decode_announcement, decode_command, decode_event
from ordersaga.wire.errors import WireError
from tests.wire.samples import DECODERS, PAYLOADS, VALUES, fit_for_a_row, message_of, outcome, plain, record

NAMES = st.sampled_from(sorted(PAYLOADS))
EXPIRED = b'{"type":"timer.expired","correlation_id":"x","payload":{"order_id":%s}}'
CREATE = b'{"type":"create_order","correlation_id":"x","payload":{"customer_id":"c","saga_id":"s","order_details":%s}}'


def refusal(value: bytes | None, decode: Any = decode_event) -> WireError:
    found = outcome(value, decode)
    assert isinstance(found, WireError), found
    return found


# --- the envelope ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "field", "problem"),
    [
        (None, "", "has no value"),
        (b"", "", "truncated"),
        (b" ", "", "truncated"),
        (b"\0", "", "malformed"),
        (b"null", "", "expected `object`"),
        (b"[]", "", "expected `object`"),
        (b'"timer.expired"', "", "expected `object`"),
        (b"{}", "type", "missing"),
        (b'{"type":null}', "type", "expected `str`"),
        (b'{"type":7}', "type", "expected `str`"),
        (b'{"type":"timer.expired"', "", "truncated"),
        (b'{"type":"timer.expired"} {}', "", "trailing"),
        (b'\xef\xbb\xbf{"type":"timer.expired"}', "", "malformed"),
        ('{"type":"timer.expired"}'.encode("utf-16"), "", "malformed"),
        (b'{"type":"\xff"}', "", "UTF-8"),
        (b'{"type":"timer.expired","correlation_id":"x"}', "payload", "missing"),
        (b'{"type":"timer.expired","payload":{"order_id":"o"}}', "correlation_id", "missing"),
        (b"[" * 100_000, "", "expected `object`"),
        (b'{"type":' * 100_000, "type", "expected `str`"),
        (b'{"a":' * 100_000, "", "too deep"),
        (b'{"type":"x","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "", "too deep"),
        (b'{"type":"x","a":"' + b"x" * 10_000_000 + b'"}', "", "longer than 1000000 bytes"),
    ],
)
def test_what_is_no_envelope_is_refused(value: bytes | None, field: str, problem: str) -> None:
    for decode in (decode_event, decode_command, decode_announcement):
        if decode is not decode_event and b"timer.expired" in (value or b"") and field in ("payload", "correlation_id"):
            continue  # to the others it is foreign
        error = refusal(value, decode)
        assert error.field == field
        assert problem in error.problem


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"correlation_id": None}, "correlation_id"),
        ({"correlation_id": ""}, "correlation_id"),
        ({"correlation_id": "x" * 256}, "correlation_id"),
        ({"correlation_id": 7}, "correlation_id"),
        ({"timestamp": 1737591879}, "timestamp"),
        ({"timestamp": ""}, "timestamp"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": "0000-01-01T00:00:00Z"}, "timestamp"),
        ({"timestamp": "0001-01-01T00:00:00+10:00"}, "timestamp"),
        ({"timestamp": "9999-12-31T23:59:59-10:00"}, "timestamp"),
        ({"timestamp": "10000-01-01T00:00:00Z"}, "timestamp"),
        ({"message_id": "7"}, "message_id"),
        ({"message_id": 7}, "message_id"),
        ({"causation_id": ""}, "causation_id"),
        ({"source": 7}, "source"),
        ({"source": "x" * 256}, "source"),
        ({"source": "a\0b"}, "source"),
        ({"payload": None}, "payload"),
        ({"payload": []}, "payload"),
        ({"payload": "{}"}, "payload"),
        ({"payload": {}}, "payload.order_id"),
        ({"payload": {"order_id": ""}}, "payload.order_id"),
        ({"payload": {"order_id": "x" * 256}}, "payload.order_id"),
        ({"payload": {"order_id": 7}}, "payload.order_id"),
        ({"payload": {"order_id": None}}, "payload.order_id"),
        ({"payload": {"order_id": "o", "timer_id": "x" * 10_001}}, "payload.timer_id"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], field: str) -> None:
    assert refusal(record("timer.expired", **changes)).field == field


@pytest.mark.parametrize(
    ("name", "payload", "field"),
    [
        ("ORDER_ACCEPTED", {"order_id": "o"}, "payload.orderId"),
        ("payment.released", {"payment_id": "p"}, "payload.status"),
        ("user.payment_info_retrieved", {"payment_info": {}}, "payload.payment_info.stripeCustomerId"),
        (
            "user.payment_info_retrieved",
            {"payment_info": {"stripeCustomerId": 1}},
            "payload.payment_info.stripeCustomerId",
        ),
    ],
)
def test_a_wrong_field_is_named_as_the_sender_names_it(name: str, payload: dict[str, Any], field: str) -> None:
    assert refusal(record(name, payload=payload)).field == field


@pytest.mark.parametrize(
    "amount", [b"true", b"-1", b"1.0", b"1e2", b'"1698"', b"1e400", b"9223372036854775808", b"NaN"]
)
def test_an_amount_is_an_integer_of_cents_and_nothing_like_one(amount: bytes) -> None:
    value = record("authorize_payment").replace(b"1698", amount)
    assert refusal(value, decode_command).field == ("" if amount == b"NaN" else "payload.order.amount")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59", "2026-01-02", "soon", 7, None])
def test_a_deadline_that_no_row_could_hold_is_refused(text: Any) -> None:
    value = record("start_order_timer", payload={"order_id": "o", "customer_id": "c", "timeout_at": text})
    assert refusal(value, decode_command).field == "payload.timeout_at"


# --- poison in a text, a number, a key ------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b'"a\\u0000b"',
        b'"\\\\\\u0000"',
        b'"a\0b"',
        b'"\\ud800"',
        b'"\\ud800x"',
        b'"\\ud800\\ud800"',
        b'"\\udc00"',
        b'"\\udc00\\ud800"',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xf5\x80\x80\x80"',
        b'"\xe2\x82"',
        b'"a\nb"',
        b'"\\x00"',
        b'"\\u00"',
        b"'o-1'",
    ],
)
def test_a_text_that_a_database_refuses_is_refused(text: bytes) -> None:
    refusal(EXPIRED % text)
    refusal(CREATE % (b'{"a":%s}' % text), decode_command)
    refusal(CREATE % (b"{%s:1}" % text), decode_command)
    refusal(EXPIRED.replace(b"%s", b'"o","other":[%s]') % text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (b'"\\\\u0000"', "\\u0000"),
        (b'"\\ud83d\\ude00"', "😀"),
        ("😀 \u202e \x7f \u2028".encode().join((b'"', b'"')), "😀 \u202e \x7f \u2028"),
        (b'"\\"\\u0022\\""', '"""'),
        (b'"\\/\\b\\f"', "/\b\f"),
    ],
)
def test_a_text_that_only_looks_dangerous_is_kept(text: bytes, meant: str) -> None:
    found = outcome(EXPIRED % text)
    assert isinstance(found, Envelope)
    assert found.body.order_id == meant  # type: ignore[attr-defined]


NUMBERS_REFUSED = (
    *("NaN", "Infinity", "-Infinity", "nan", "1e400", "-1e400", "1e400000", "1e99999999999999999999"),
    *("9223372036854775808", "-9223372036854775809", "9" * 19 + "9", "9" * 4300, "9" * 4301, "9" * 100_000),
    *("01", "+1", "1.", ".5", "0x10", "1_000", "--1", "1e"),
)


@pytest.mark.parametrize("number", NUMBERS_REFUSED, ids=lambda text: text[:25])
def test_a_number_that_not_every_reader_takes_is_refused(number: str) -> None:
    refusal(CREATE % (b'{"a":[%s]}' % number.encode()), decode_command)
    refusal(EXPIRED.replace(b"%s", b'"o","other":%s') % number.encode())


@pytest.mark.parametrize("number", ["9223372036854775807", "-9223372036854775808", "1e308", "1e-400", "-0", "0.1"])
def test_a_number_at_the_edge_is_kept(number: str) -> None:
    found = outcome(CREATE % (b'{"a":%s}' % number.encode()), decode_command)
    assert isinstance(found, Envelope)
    assert found.body.order_details == {"a": json.loads(number)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("levels", [31, 200, 5000, 100_000])
def test_what_is_nested_too_deep_is_refused(levels: int, opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    deep = opening * levels + b"1" + closing * levels
    assert "too deep" in refusal(CREATE % (b'{"a":%s}' % deep), decode_command).problem
    assert "too deep" in refusal(EXPIRED.replace(b"%s", b'"o","other":%s') % deep).problem


def test_what_is_wide_and_not_deep_is_read() -> None:
    wide = json.dumps({"a": [{"b": [1]}] * 10_000}).encode()
    assert isinstance(outcome(CREATE % wide, decode_command), Envelope)


def test_limits_can_be_narrower() -> None:
    value = record("timer.expired")
    with pytest.raises(WireError, match=f"longer than {len(value) - 1} bytes"):
        decode_event(value, Limits(value_bytes_max=len(value) - 1))
    assert isinstance(decode_event(value, Limits(value_bytes_max=len(value), depth_max=2)), Envelope)
    with pytest.raises(WireError, match="payload: is nested too deep"):
        decode_event(value, Limits(depth_max=1))


# --- keys that appear twice -----------------------------------------------------------------------


def _with_one_key_twice(value: Any) -> Iterator[tuple[str, str]]:
    """For each key at any level: that key, and the JSON of `value` in which it appears twice."""
    if isinstance(value, dict):
        pairs = [f"{json.dumps(key)}: {json.dumps(item)}" for key, item in value.items()]
        for index, (key, item) in enumerate(value.items()):
            yield key, "{" + ", ".join([*pairs, pairs[index]]) + "}"
            for inner_key, inner in _with_one_key_twice(item):
                mine = f"{json.dumps(key)}: {inner}"
                yield inner_key, "{" + ", ".join([*pairs[:index], mine, *pairs[index + 1 :]]) + "}"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            for inner_key, inner in _with_one_key_twice(item):
                parts = [json.dumps(part) for part in value]
                yield inner_key, "[" + ", ".join([*parts[:index], inner, *parts[index + 1 :]]) + "]"


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_key_that_appears_twice_is_refused_at_every_level(name: str) -> None:
    doubles = list(_with_one_key_twice(message_of(name)))
    assert len(doubles) > len(PAYLOADS[name])
    for key, text in doubles:
        error = refusal(text.encode(), DECODERS[name])
        assert (error.field, error.problem) == (key, "appears twice")


@pytest.mark.parametrize(
    "details",
    [
        b'{"a":1,"a":1}',
        b'{"a":"","a":"\\u0022"}',  # as many quotation marks after as before, were the escape not seen
        b'{"":0,"\\u0022":1,"\\u0022":2}',
        b'{"a":1,"\\u0061":2}',
        b'[{"x":[{"\xc3\xa4":1 , "\\u00e4"\t:2}]}]',
        b'{"a":{"b":1},"a":{"c":"\\\\u0022"}}',
    ],
)
def test_a_key_that_appears_twice_cannot_hide(details: bytes) -> None:
    assert refusal(CREATE % (b'{"x":%s}' % details), decode_command).problem == "appears twice"


# --- anything at all ------------------------------------------------------------------------------


def judged(value: bytes) -> None:
    for decode in (decode_event, decode_command, decode_announcement):
        found = outcome(value, decode)
        if isinstance(found, Envelope):
            assert fit_for_a_row(plain(found))


@given(st.binary(max_size=400))
def test_any_bytes_have_one_of_three_outcomes(value: bytes) -> None:
    judged(value)


@given(VALUES)
def test_any_json_has_one_of_three_outcomes(value: Any) -> None:
    judged(json.dumps(value).encode())


@given(NAMES, VALUES, st.booleans())
def test_any_payload_has_one_of_three_outcomes(name: str, payload: Any, ascii_only: bool) -> None:
    judged(json.dumps(message_of(name, payload=payload), ensure_ascii=ascii_only).encode())


ODD = VALUES | st.sampled_from(
    ["\0", "\ud800", "x" * 300, 2**63, 10**400, float("nan"), float("inf"), True, "", {}, []]
)


@settings(max_examples=400)
@given(st.data(), NAMES)
def test_a_message_with_a_field_dropped_or_retyped_has_one_of_three_outcomes(data: st.DataObject, name: str) -> None:
    message = copy.deepcopy(message_of(name))
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = message
        while isinstance(place, dict) and place:
            key = data.draw(st.sampled_from(sorted(place)))
            if not (isinstance(place[key], dict) and place[key] and data.draw(st.booleans())):
                if data.draw(st.booleans()):
                    del place[key]
                else:
                    place[key] = data.draw(ODD)
                break
            place = place[key]
    judged(json.dumps(message).encode())


@settings(max_examples=400)
@given(NAMES, st.integers(0), st.integers(0), st.binary(max_size=6))
def test_a_message_that_was_cut_or_overwritten_has_one_of_three_outcomes(
    name: str, start: int, length: int, other: bytes
) -> None:
    value = record(name)
    start %= len(value)
    judged(value[:start])
    judged(value[:start] + other + value[start + length % 8 :])
