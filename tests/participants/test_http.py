"""What people do at the participants over HTTP, on a real database."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from ordersaga.participants.http import create_app
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.participants.stage import (
    AUTHORIZE,
    START,
    Hosted,
    create,
    hosted,
    saga_id,
)

Client = TestClient[Litestar]
WHO = {"who": "op-7", "why": "the customer called"}


@contextmanager
def desk(participant: Participant, database_url: str) -> Iterator[tuple[Client, Hosted]]:
    with ExitStack() as stack:
        service = stack.enter_context(hosted(participant, database_url))
        app = create_app({participant: service.host}, lambda: [service.host.health()])
        yield stack.enter_context(TestClient(app)), service


def test_an_order_is_accepted_given_back_and_cancelled(database_url: str) -> None:
    with desk(Participant.ORDER, database_url) as (client, service):
        order_id = _order(service)
        assert client.get(f"/orders/{order_id}").json()["status"] == "CREATED"
        taken = client.post(f"/orders/{order_id}/accept", json={"runner_id": "r-1", **WHO})
        assert (taken.status_code, taken.json()["status"], taken.json()["runner_id"]) == (200, "ACCEPTED", "r-1")
        refused = client.post(f"/orders/{order_id}/cancel", json=WHO)
        assert refused.status_code == 409
        assert "ACCEPTED" in refused.json()["detail"]
        assert refused.json()["success"] is False
        assert client.post(f"/orders/{order_id}/give-back").json()["status"] == "CREATED"
        assert client.post(f"/orders/{order_id}/cancel", json=WHO).json()["status"] == "CANCELLED"
        assert service.one("select reason from acts order by act_id desc limit 1") == "the customer called"


def test_what_was_done_is_answered_the_same_again_and_said_once(database_url: str) -> None:
    with desk(Participant.ORDER, database_url) as (client, service):
        order_id = _order(service)
        service.offered.clear()
        for _ in range(2):
            answer = client.post(f"/orders/{order_id}/accept", json={"runner_id": "r-1"})
            assert (answer.status_code, answer.json()["status"]) == (200, "ACCEPTED")
        said = [envelope.body for envelope in service.envelopes()]
        assert said == [m.OrderAccepted(order_id=order_id, runner_id="r-1")]
        other = client.post(f"/orders/{order_id}/accept", json={"runner_id": "r-2"})
        assert other.status_code == 409


def test_money_is_voided_captured_and_refunded_only_as_its_state_allows(database_url: str) -> None:
    with desk(Participant.PAYMENT, database_url) as (client, service):
        payment_id = _payment(service)
        assert client.post(f"/payments/{payment_id}/refund", json=WHO).status_code == 409
        assert client.post(f"/payments/{payment_id}/capture", json=WHO).json()["status"] == "CAPTURED"
        refused = client.post(f"/payments/{payment_id}/void", json=WHO)
        assert (refused.status_code, "CAPTURED" in refused.json()["error"]) == (409, True)
        assert client.post(f"/payments/{payment_id}/refund", json=WHO).json()["status"] == "REFUNDED"
        assert client.post(f"/payments/{payment_id}/refund", json=WHO).status_code == 200
        assert client.get(f"/payments/{payment_id}").json()["amount_cents"] == 1020
        assert service.one("select status from sandbox_intents") == "REFUNDED"


def test_a_timer_is_stopped(database_url: str) -> None:
    with desk(Participant.TIMER, database_url) as (client, service):
        service.ask(START)
        assert client.get("/timers/o-1").json()["status"] == "STARTED"
        assert client.post("/timers/o-1/cancel", json=WHO).json()["status"] == "CANCELLED"
        assert client.post("/timers/o-1/cancel", json=WHO).json()["status"] == "CANCELLED"


def test_a_user_changes_the_card(database_url: str) -> None:
    with desk(Participant.USER, database_url) as (client, service):
        service.ask(m.GetPaymentInfo(user_id="alice"))
        changed = client.put("/users/alice/payment-method", json={"payment_method_id": "pm_new"})
        assert changed.json()["payment_method_id"] == "pm_new"
        assert client.put("/users/alice/payment-method", json={"payment_method_id": None}).status_code == 200
        assert client.get("/users/alice").json()["payment_method_id"] is None
        missing = client.put("/users/alice/payment-method", json={})
        assert (missing.status_code, missing.json()["field"]) == (400, "payment_method_id")


def test_an_inbox_is_read(database_url: str) -> None:
    with desk(Participant.NOTIFICATION, database_url) as (client, service):
        notice = m.OrderConfirmedNotice(
            saga_id="s-1", customer_id="alice", status="COMPLETED", title="t", explanation="e", money="held"
        )
        service.ask(notice)
        found = client.get("/notifications", params={"customer_id": "alice"}).json()
        assert [one["type"] for one in found] == ["notification.order_confirmed"]
        assert client.get("/notifications", params={"customer_id": "bob"}).json() == []
        assert client.get("/notifications").status_code == 400


@pytest.mark.parametrize(
    ("body", "content_type", "status", "field"),
    [
        (b"{}", "application/json", 400, "runner_id"),
        (b'{"runner_id": 7}', "application/json", 400, "runner_id"),
        (b'{"runner_id": "r", "runner_id": "s"}', "application/json", 400, None),
        (b"[]", "application/json", 400, None),
        (b'{"runner_id": "r-1"}', "text/plain", 415, None),
    ],
)
def test_a_bad_body_is_refused_and_does_nothing(
    database_url: str, body: bytes, content_type: str, status: int, field: str | None
) -> None:
    with desk(Participant.ORDER, database_url) as (client, service):
        order_id = _order(service)
        answer = client.post(f"/orders/{order_id}/accept", content=body, headers={"Content-Type": content_type})
        assert answer.status_code == status
        assert answer.json()["success"] is False
        if field:
            assert answer.json()["field"] == field
        assert client.get(f"/orders/{order_id}").json()["status"] == "CREATED"


@pytest.mark.parametrize("path", ["/orders/nobody", "/orders/nobody/cancel", "/orders/%00/accept"])
def test_what_is_not_there_is_404(database_url: str, path: str) -> None:
    with desk(Participant.ORDER, database_url) as (client, _):
        ask: Any = client.get if path.count("/") == 2 else client.post
        extra = {"json": {"runner_id": "r-1"}} if path.endswith("accept") else {}
        answer = ask(path, **extra)
        assert answer.status_code == 404
        assert answer.json()["success"] is False


def test_health_is_told(database_url: str) -> None:
    with desk(Participant.ORDER, database_url) as (client, _):
        answer = client.get("/health")
        # Nothing of this one runs in the background.
        assert (answer.status_code, answer.json()["parts"][0]["name"]) == (503, "order")


def _order(service: Hosted) -> str:
    key = saga_id()
    (made,) = service.ask(create(key), saga_id=key)
    assert isinstance(made, m.OrderCreated)
    service.ask(m.UpdateOrderStatus(order_id=made.order_id, status="CREATED"), saga_id=key)
    return made.order_id


def _payment(service: Hosted) -> str:
    (held,) = service.ask(AUTHORIZE)
    assert isinstance(held, m.PaymentAuthorized)
    return held.payment_id
