"""Orders come in: what is taken, and what is refused with the field that is wrong."""

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from litestar.testing import TestClient

from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.delivery.failpoints import armed
from ordersaga.orchestrator.api.app import AppSettings, create_app
from ordersaga.orchestrator.runtime.beginnings import Beginnings
from ordersaga.orchestrator.runtime.handle import AFTER_COMMIT
from ordersaga.orchestrator.runtime.verbs import Verbs
from ordersaga.wire.codec import decode_command
from ordersaga.wire.messages import CreateOrder
from tests.api.conftest import BODY_BYTES_MAX, Stage, order
from tests.runtime.stage import answer_lost, away

JSON = {"Content-Type": "application/json"}
ONE = {"name": "Burrito", "price": 9.95, "quantity": 2}


def items(**more: Any) -> dict[str, Any]:
    """An order of one item, with something changed."""
    return order(foodItems=[ONE | more])


def refused(stage: Stage, body: Any, status: int = 400) -> dict[str, Any]:
    """The problem that is answered."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = stage.client.post("/orders", content=content, headers=JSON)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["success"] is False
    assert problem["status"] == status
    assert problem["error"] == problem["detail"]
    assert not stage.published, "nothing came of it"
    return problem


def test_an_order_is_taken_with_the_id_of_its_saga(stage: Stage) -> None:
    answer = stage.client.post("/orders", json=order())
    assert answer.status_code == 202
    body = answer.json()
    assert sorted(body) == ["message", "saga_id", "status", "success"]
    assert body["success"] is True
    assert body["status"] == "STARTED"
    assert answer.headers["location"] == f"/sagas/{body['saga_id']}"


def test_nobody_is_told_to_order_again_while_it_is_not_known_whether_the_order_is_there(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with armed(AFTER_COMMIT, answer_lost), monkeypatch.context() as patch:
        patch.setattr(stage.api.store, "get", away)
        answer = stage.client.post("/orders", json=order())
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:ordersaga:problem:outcome-unknown")
    assert "retry-after" not in answer.headers, "who comes again without a key orders twice"
    assert len(stage.client.get("/sagas").json()) == 1, "it is there"


def test_an_order_is_in_the_database_and_its_first_command_in_the_outbox_when_it_is_answered(stage: Stage) -> None:
    saga_id = stage.place(tip={"note": "for the runner"}, foodFee=1.5)
    command = next(row for row in stage.published if row.record.topic == "order_commands")
    envelope = decode_command(command.record.value)
    body = getattr(envelope, "body", None)
    assert isinstance(body, CreateOrder)
    assert body.saga_id == saga_id
    assert body.order_details == order(tip={"note": "for the runner"}, foodFee=1.5)["order_details"], "passed on as is"


def test_a_body_with_a_charset_and_an_authorization_header_is_taken(stage: Stage) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8", "Authorization": "Bearer something"}
    assert stage.client.post("/orders", content=json.dumps(order()), headers=headers).status_code == 202


def test_an_item_may_be_named_as_older_front_ends_name_it(stage: Stage) -> None:
    stage.place(foodItems=[{"item_name": "Burrito", "price": 3, "quantity": 1}])


@pytest.mark.parametrize(
    ("details", "cents"),
    [
        ({"foodItems": [ONE | {"price": 4.35, "quantity": 1}], "deliveryFee": None}, 435),
        ({"foodItems": [ONE | {"price": 1.1, "quantity": 3}], "deliveryFee": 0}, 330),
        ({"foodItems": [ONE | {"price": 0.1, "quantity": 7}], "deliveryFee": 0.2}, 90),
        ({"foodItems": [ONE | {"price": 0.29, "quantity": 100}]}, 2900 + 435),
        ({"foodItems": [ONE | {"price": 8.7, "quantity": 1}, ONE | {"price": 0, "quantity": 9}]}, 870 + 435),
        ({"foodItems": [ONE | {"price": 4.350000001, "quantity": 1}], "deliveryFee": 0}, 435),
        ({"foodItems": [ONE | {"price": 0.5, "quantity": 1}], "deliveryFee": 0}, 50),
        ({"foodItems": [ONE | {"price": 999.99, "quantity": 1}], "deliveryFee": 0}, 99_999),
    ],
)
def test_money_is_exact_to_the_cent(stage: Stage, details: dict[str, Any], cents: int) -> None:
    saga_id = stage.place(**details)
    assert stage.client.get(f"/sagas/{saga_id}").json()["amount_cents"] == cents


def test_money_never_drifts_from_the_sum_of_cents(stage: Stage) -> None:
    for price in range(50, 1000, 7):
        saga_id = stage.place(foodItems=[ONE | {"price": price / 100, "quantity": 1}], deliveryFee=0)
        assert stage.client.get(f"/sagas/{saga_id}").json()["amount_cents"] == price


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "customer_id"),
        ({"customer_id": 7}, "customer_id"),
        ({"customer_id": ""}, "customer_id"),
        ({"customer_id": "   "}, "customer_id"),
        ({"customer_id": "c" * 37}, "customer_id"),
        ({"customer_id": "c"}, "order_details"),
        ({"customer_id": "c", "order_details": []}, "order_details"),
        (order(foodItems=None), "order_details.foodItems"),
        (order(foodItems=[]), "order_details.foodItems"),
        (order(foodItems=[ONE] * 201), "order_details.foodItems"),
        (order(foodItems=["Burrito"]), "order_details.foodItems[0]"),
        (order(foodItems=[ONE, {"price": 1, "quantity": 1}]), "order_details.foodItems[1].name"),
        (items(name=7), "order_details.foodItems[0].name"),
        (items(quantity=0), "order_details.foodItems[0].quantity"),
        (items(quantity=-1), "order_details.foodItems[0].quantity"),
        (items(quantity=1.5), "order_details.foodItems[0].quantity"),
        (items(quantity="2"), "order_details.foodItems[0].quantity"),
        (items(quantity=True), "order_details.foodItems[0].quantity"),
        (items(quantity=10_001), "order_details.foodItems[0].quantity"),
        (items(price=None), "order_details.foodItems[0].price"),
        (items(price="9.95"), "order_details.foodItems[0].price"),
        (items(price=True), "order_details.foodItems[0].price"),
        (items(price=-1), "order_details.foodItems[0].price"),
        (items(price=9.955), "order_details.foodItems[0].price"),
        (items(price=1e30), "order_details.foodItems[0].price"),
        (order(deliveryFee="4.35"), "order_details.deliveryFee"),
        (order(deliveryFee=-0.01), "order_details.deliveryFee"),
        (order(deliveryLocation=None), "order_details.deliveryLocation"),
        (order(deliveryLocation=""), "order_details.deliveryLocation"),
        (order(deliveryLocation="x" * 256), "order_details.deliveryLocation"),
        (order(deliveryLocation={"street": "x"}), "order_details.deliveryLocation"),
        (order(storeLocation="x" * 256), "order_details.storeLocation"),
        (order(foodItems=[ONE | {"price": 0.49, "quantity": 1}], deliveryFee=0), "order_details"),
        (order(foodItems=[ONE | {"price": 1000, "quantity": 1}], deliveryFee=0), "order_details"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(stage: Stage, body: dict[str, Any], field: str) -> None:
    problem = refused(stage, body)
    assert problem["field"] == field
    assert problem["error"].startswith(f"{field}: ")


DETAILS = b'{"customer_id": "c", "order_details": {"deliveryLocation": "x", "foodItems": [%s]}}'
ITEM = b'{"name": "Burrito", "price": %s, "quantity": 1}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"order"',
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"customer_id": "c", "customer_id": "d"}',
        b'{"customer_id": "\\u0000"}',
        b'{"customer_id": "\\ud800"}',
        DETAILS % (ITEM % b"NaN"),
        DETAILS % (ITEM % b"Infinity"),
        DETAILS % (ITEM % b"1e400000"),
        DETAILS % (ITEM % (b"9" * 5000)),
        DETAILS % (ITEM % b'4.35, "price": 5'),
        b'{"customer_id": "c", "order_details": %s}' % (b'{"a":' * 500 + b"1" + b"}" * 500),
        b"[" * 19_000,
        json.dumps(order(note="\x00")).encode(),
        json.dumps(order(note={"deep": ["\x00"]})).encode(),
        json.dumps(order(number=2**63)).encode(),
        json.dumps(order(number=[{"large": 1e20}])).encode(),
        json.dumps(order(number=float("inf"))).encode(),
    ],
)
def test_poison_is_refused_at_the_edge(stage: Stage, body: bytes) -> None:
    assert refused(stage, body)["type"] == "urn:ordersaga:problem:invalid-request"


def test_a_body_that_is_too_large_is_413(stage: Stage) -> None:
    assert refused(stage, order(note="x" * BODY_BYTES_MAX), 413)["title"] == "Request entity too large"


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_another_media_type_is_415(stage: Stage, media_type: str) -> None:
    answer = stage.client.post("/orders", content=json.dumps(order()), headers={"Content-Type": media_type})
    assert answer.status_code == 415
    assert answer.json()["success"] is False


def test_a_compressed_body_is_415(stage: Stage) -> None:
    answer = stage.client.post("/orders", content=b"x", headers=JSON | {"Content-Encoding": "gzip"})
    assert answer.status_code == 415


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (TRACE, TRACE),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
        ("nonsense", None),
        (None, None),
    ],
)
def test_the_callers_trace_is_carried_on_where_it_is_well_formed(
    stage: Stage, sent: str | None, kept: str | None
) -> None:
    answer = stage.client.post("/orders", json=order(), headers={"traceparent": sent} if sent else {})
    assert answer.status_code == 202
    carried = {dict(row.record.headers).get("traceparent") for row in stage.published}
    assert carried == {kept.encode() if kept else None}


def test_a_field_beside_the_order_is_ignored(stage: Stage) -> None:
    answer = stage.client.post("/orders", json=order() | {"coupon": {"code": 7}})
    assert answer.status_code == 202


def test_the_saga_knows_what_is_to_be_paid_and_where_the_customer_comes_back_to(stage: Stage) -> None:
    saga = stage.api.store.get(UUID(stage.place()))
    assert saga is not None
    assert saga.data.amount_cents == 2 * 995 + 435
    assert saga.data.return_url == "https://shop.example/back"


def test_an_order_that_is_not_begun_in_time_is_refused_and_never_begun(stage: Stage) -> None:
    beginnings = Beginnings(stage.handler)
    object.__setattr__(stage.api, "verbs", Verbs(stage.handler, beginnings.begin, SystemClock(), SystemRandom()))
    hasty = create_app(replace(stage.api, begun_within_seconds=0.05), AppSettings())
    with TestClient(hasty) as client:
        answer = client.post("/orders", json=order())
    assert answer.status_code == 503 and answer.headers["retry-after"]
    beginnings.start()
    waited_for = stage.place()
    assert beginnings.stop(5)
    assert [str(one.saga_id) for one in stage.api.store.page().instances] == [waited_for]
