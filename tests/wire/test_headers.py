"""Standard tools read our records by their headers; a trace goes on only where its context keeps the format."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.wire.headers import headers_for, trace_of
from tests.wire.samples import NOON, SAGA_ID

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STATE = "rojo=00f067aa0ba902b7,t61rcwkgmze@tenant=a b~!"


def test_a_record_carries_a_cloud_event_beside_its_body() -> None:
    headers = headers_for(
        "create_order", message_id=SAGA_ID, correlation_id=SAGA_ID, timestamp=NOON, source="order-saga-orchestrator"
    )
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": str(SAGA_ID).encode(),
        "ce_type": b"create_order",
        "ce_source": b"order-saga-orchestrator",
        "ce_time": b"2026-01-02T12:00:00.000000Z",
        "ce_correlationid": str(SAGA_ID).encode(),
    }
    assert len(headers) == len(dict(headers))


def test_a_trace_is_handed_on_as_it_came() -> None:
    for parent, state, names in (
        (PARENT, STATE, {"traceparent", "tracestate"}),
        (PARENT, None, {"traceparent"}),
        (None, STATE, set()),
        (None, None, set()),
    ):
        headers = headers_for(
            "t",
            message_id=None,
            correlation_id="x",
            timestamp=datetime(2026, 1, 2, tzinfo=UTC),
            source="s",
            traceparent=parent,
            tracestate=state,
        )
        assert {name for name, _ in headers if name.startswith("trace")} == names
        assert trace_of(headers) == ((parent, state) if parent else (None, None))


@pytest.mark.parametrize(
    "parent",
    [
        b"",
        b"00",
        PARENT.encode() + b"\n",
        PARENT.encode() + b"-more",
        PARENT.upper().encode(),
        b"ff" + PARENT[2:].encode(),
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-" + b"0" * 16 + b"-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        PARENT.encode().replace(b"-", b"_"),
        b"01" + PARENT[2:].encode() + b"more",
        b"01" + PARENT[2:].encode() + b"-" + b"x" * 1000,
        b"01" + PARENT[2:].encode() + b"-\0",
        b"\xff" * 55,
    ],
)
def test_a_malformed_parent_is_no_trace(parent: bytes) -> None:
    assert trace_of([("traceparent", parent), ("tracestate", STATE.encode())]) == (None, None)


def test_a_parent_of_a_later_version_may_say_more() -> None:
    assert trace_of([("traceparent", b"01" + PARENT[2:].encode() + b"-more")])[0] == "01" + PARENT[2:] + "-more"


@pytest.mark.parametrize(
    "state",
    [
        *(b"", b",", b"a", b"a=", b"=1", b"A=1", b"a=1=2", b"a=1,a=2", b"a=\xc3\xa4", b"a=\0", b"a=1\n", b"a@=1"),
        *(b"a@B=1", b"1a=1", b"a=" + b"x" * 257, b"a" * 257 + b"=1", b"a=" + b"x" * 600),
        b",".join(b"k%d=1" % number for number in range(33)),
        b"a=" + b"x" * 255 + b",b=" + b"x" * 253,  # 513 bytes
    ],
)
def test_a_malformed_state_is_left_out_and_the_parent_kept(state: bytes) -> None:
    assert trace_of([("traceparent", PARENT.encode()), ("tracestate", state)]) == (PARENT, None)


@pytest.mark.parametrize(
    "state",
    [
        *(b"a=1", b"a=1,b=2", b"a=1 , b=2", b"a=1,,b=2", b"a= 1", b"0@a=1", b"a_-*/=<>;!", b"a=" + b"x" * 256),
        b",".join(b"k%d=1" % number for number in range(32)),
        b"a=" + b"x" * 255 + b",b=" + b"x" * 252,  # 512 bytes
    ],
)
def test_a_state_in_the_format_is_kept(state: bytes) -> None:
    assert trace_of([("traceparent", PARENT.encode()), ("tracestate", state)]) == (PARENT, state.decode())


def test_states_are_one_list_and_parents_are_one() -> None:
    parent = ("Traceparent", PARENT.encode())
    assert trace_of([("TRACESTATE", b"a=1"), parent, ("tracestate", b"b=2")]) == (PARENT, "a=1,b=2")
    assert trace_of([parent, parent]) == (None, None)


def test_ten_thousand_headers_are_no_trouble() -> None:
    many: list[tuple[str, bytes]] = [("tracestate", b"a=1")] * 10_000
    assert trace_of([*many, ("traceparent", PARENT.encode())]) == (PARENT, None)


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "x"]) | st.text(), st.binary())))
def test_any_headers_are_read(headers: list[Any]) -> None:
    parent, state = trace_of(headers)
    assert state is None or parent is not None
