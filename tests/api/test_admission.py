"""New orders are stopped by a person, or because too much is under way: 503 with Retry-After; the rest goes on."""

from typing import Any

from tests.api.conftest import STARTED_MAX, Stage, order

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
