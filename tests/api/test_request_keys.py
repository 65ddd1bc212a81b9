"""`Idempotency-Key`: asked for again, an order is placed once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.orchestrator.runtime.beginnings import Beginnings
from ordersaga.orchestrator.runtime.verbs import Verbs
from tests.api.conftest import Stage, order


@pytest.fixture(params=["memory_stage", "postgres_stage"])
def stage(request: pytest.FixtureRequest) -> Stage:
    found: Stage = request.getfixturevalue(request.param)
    return found


def ask(stage: Stage, key: str, **more: Any) -> Any:
    customer = more.pop("customer", "c4n4ry-user-1")
    body = order(**more) | {"customer_id": customer}
    return stage.client.post("/orders", json=body, headers={"Idempotency-Key": key})


def sagas(stage: Stage) -> int:
    return len(stage.client.get("/sagas").json())


def test_asked_for_again_it_is_the_same_order(stage: Stage) -> None:
    first, again = ask(stage, "k-1"), ask(stage, "k-1")
    assert first.status_code == again.status_code == 202
    assert first.json() == again.json() and first.headers["Location"] == again.headers["Location"]
    assert sagas(stage) == 1


def test_the_order_of_fields_makes_no_other_order(stage: Stage) -> None:
    body = order()
    turned = {name: body[name] for name in reversed(body)}
    answers = [
        stage.client.post("/orders", json=one, headers={"idempotency-key": "k-1"}).json()["saga_id"]
        for one in (body, turned)
    ]
    assert len(set(answers)) == 1


def test_another_order_under_the_same_key_is_a_mistake(stage: Stage) -> None:
    ask(stage, "k-1")
    refused = ask(stage, "k-1", deliveryLocation="Hall C")
    assert refused.status_code == 422 and refused.json()["type"].endswith(":key-reused")
    assert sagas(stage) == 1


def test_keys_of_two_customers_have_nothing_to_do_with_each_other(stage: Stage) -> None:
    assert ask(stage, "k-1").json()["saga_id"] != ask(stage, "k-1", customer="user-2").json()["saga_id"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "caf\xe9"])
def test_a_key_that_is_none_is_refused(stage: Stage, key: str) -> None:
    refused = stage.client.post("/orders", json=order(), headers={b"Idempotency-Key": key.encode("latin-1")})
    assert refused.status_code == 400 and refused.json()["field"] == "Idempotency-Key"
    assert sagas(stage) == 0


def test_a_repeat_is_answered_while_no_new_order_is_taken(stage: Stage) -> None:
    first = ask(stage, "k-1")
    stage.client.post("/admission/stop", json={"who": "op-7", "why": "a fire"})
    assert ask(stage, "k-1").json() == first.json()
    assert ask(stage, "k-2").status_code == 503


def test_fifty_at_the_same_time_are_one_order(stage: Stage) -> None:
    """Many in one transaction, as with many that come at once; other orders among them are not held up."""
    beginnings = Beginnings(stage.handler)
    object.__setattr__(stage.api, "verbs", Verbs(stage.handler, beginnings.begin, SystemClock(), SystemRandom()))
    beginnings.start()
    with ThreadPoolExecutor(25) as threads:
        answers = list(threads.map(lambda number: ask(stage, f"k-{number % 2}"), range(50)))
        others = list(threads.map(lambda number: ask(stage, f"other-{number}"), range(10)))
    beginnings.stop(5.0)
    assert {one.status_code for one in [*answers, *others]} == {202}
    assert sorted(Counter(one.json()["saga_id"] for one in answers).values()) == [25, 25]
    assert len({one.json()["saga_id"] for one in others}) == 10
    assert sagas(stage) == 12
