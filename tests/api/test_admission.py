"""New orders are stopped by a person, or because too much is under way: 503 with Retry-After; the rest goes on."""

from typing import Any

import pytest

from ordersaga.wire import messages as m
from tests.api.conftest import STARTED_MAX, Stage, order
from tests.api.test_completing import accepted, complete, opened
from tests.api.test_sagas import hear, saga

BY = {"who": "op-7", "why": "the payment provider is down"}


def refused(stage: Stage) -> tuple[Any, str]:
    answer = stage.client.post("/orders", json=order())
    assert answer.status_code == 503, answer.text
    return answer.json(), answer.headers["Retry-After"]


def test_orders_are_stopped_and_resumed(postgres_stage: Stage) -> None:
    stage = postgres_stage
    under_way = stage.place()
    assert stage.client.get("/admission").json() == {
        "taken": True,
        "by": None,
        "why": None,
        "at": None,
        "sagas_under_way": 1,
        "messages_under_way": 2,
    }
    stopped = stage.client.post("/admission/stop", json=BY).json()
    assert (stopped["taken"], stopped["by"], stopped["why"]) == (False, "op-7", "the payment provider is down")
    problem, after = refused(stage)
    assert problem["type"].endswith(":orders-are-stopped") and after == "60"
    assert "op-7" not in problem["detail"] and "provider" not in problem["detail"]
    assert stage.client.post(f"/sagas/{under_way}/cancel").status_code == 202
    now = stage.client.get("/admission").json()
    assert now == stopped | {"messages_under_way": now["messages_under_way"]}
    stage.client.post("/admission/resume", json=BY)
    stage.place()


def test_who_turns_the_switch_says_why(stage: Stage) -> None:
    for path in ("/admission/stop", "/admission/resume"):
        assert stage.client.post(path, json={"who": "op-7"}).status_code == 400
    assert stage.client.get("/admission").json()["at"] is None


def test_too_many_under_way_are_not_made_more(stage: Stage) -> None:
    for _ in range(STARTED_MAX):
        stage.place()
    problem, after = refused(stage)
    assert problem["type"].endswith(":too-busy") and after == "5"


@pytest.fixture(params=["memory_stage", "postgres_stage"])
def either_stage(request: pytest.FixtureRequest) -> Stage:
    found: Stage = request.getfixturevalue(request.param)
    return found


def under_way(stage: Stage) -> int:
    return int(stage.client.get("/admission").json()["sagas_under_way"])


def test_what_has_ended_is_under_way_while_it_takes_back_what_came_late(either_stage: Stage) -> None:
    stage = either_stage
    saga_id, order_id = opened(stage)
    assert under_way(stage) == 0, "it only waits for a runner"
    stage.client.post(f"/sagas/{saga_id}/cancel")
    assert under_way(stage) == 1
    for event in (
        m.OrderCancelled(order_id=order_id),
        m.PaymentReleased(payment_id=f"pay-{saga_id}", status="REVERTED"),
        m.TimerCancelled(order_id=order_id),
    ):
        hear(stage, saga_id, event)
    assert (saga(stage, saga_id)["status"], under_way(stage)) == ("CANCELLED", 0)
    hear(stage, saga_id, m.PaymentAuthorized(payment_id="pay-2", order_id=order_id, payment_intent_id="pi-2"))
    assert (saga(stage, saga_id)["status"], under_way(stage)) == ("CANCELLED", 1)
    hear(stage, saga_id, m.PaymentReleased(payment_id="pay-2", status="REVERTED"))
    assert under_way(stage) == 0


def test_an_order_that_was_delivered_is_completed_while_no_new_ones_are_taken(stage: Stage) -> None:
    order_id = accepted(stage)
    stage.client.post("/admission/stop", json=BY)
    assert complete(stage, order_id).status_code == 202
    assert under_way(stage) == 1, "whoever waits for the end waits for it too"
