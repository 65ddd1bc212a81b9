"""`Idempotency-Key`: asked for again, an order is placed once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any
from uuid import uuid4

import pytest

from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.delivery.failpoints import armed
from ordersaga.delivery.outbox import PostgresOutbox
from ordersaga.orchestrator.runtime.beginnings import Beginnings
from ordersaga.orchestrator.runtime.handle import AFTER_COMMIT, BEFORE_COMMIT
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.verbs import Verbs
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.orchestrator.store.board import PostgresBoard
from ordersaga.orchestrator.store.codec import Codec
from ordersaga.orchestrator.store.postgres import PostgresStore, open_pool
from ordersaga.orchestrator.store.statistics import PostgresStatistics
from tests.api.conftest import Stage, order, staged


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


@contextmanager
def beginning_together(stage: Stage) -> Iterator[None]:
    """Orders begin on a thread of their own, as in a process that serves."""
    before, beginnings = stage.api.verbs, Beginnings(stage.handler)
    object.__setattr__(stage.api, "verbs", Verbs(stage.handler, beginnings.begin, SystemClock(), SystemRandom()))
    beginnings.start()
    yield
    beginnings.stop(5.0)
    object.__setattr__(stage.api, "verbs", before)


def test_fifty_at_the_same_time_are_one_order(stage: Stage) -> None:
    """Many in one transaction, as with many that come at once; other orders among them are not held up."""
    with beginning_together(stage), ThreadPoolExecutor(25) as threads:
        asked = list(threads.map(lambda number: (number % 2, ask(stage, f"k-{number % 2}")), range(50)))
        others = list(threads.map(lambda number: ask(stage, f"other-{number}"), range(10)))
    answers: dict[int, set[str]] = {0: set(), 1: set()}
    for number, first in asked:
        answer = ask(stage, f"k-{number}") if first.status_code == 409 else first
        assert answer.status_code == 202
        answers[number].add(answer.json()["saga_id"])
    assert [len(ids) for ids in answers.values()] == [1, 1] and answers[0] != answers[1]
    assert {one.status_code for one in others} == {202}
    assert len({one.json()["saga_id"] for one in others}) == 10
    assert sagas(stage) == 12


def test_one_who_got_no_answer_since_the_process_died_has_ordered_once(
    postgres_stage: Stage, database_url: str
) -> None:
    """It dies between the commit and the answer; another process is asked again."""
    for point, is_there in ((BEFORE_COMMIT, False), (AFTER_COMMIT, True)):
        with armed(point, "raise"):
            assert ask(postgres_stage, point).status_code == 500
        assert sagas(postgres_stage) == is_there
    pool = open_pool(database_url, "saga", size_max=2)
    codec = Codec(Sagas([CREATE_ORDER]).data_types())
    store = PostgresStore(pool, codec, PostgresOutbox(pool, uuid4()))
    with staged(store, PostgresBoard(pool), PostgresStatistics(pool)) as restarted:
        again, once_more = ask(restarted, AFTER_COMMIT), ask(restarted, AFTER_COMMIT)
        assert again.status_code == 202 and again.json() == once_more.json()
        assert sagas(restarted) == 1
        assert ask(restarted, BEFORE_COMMIT).status_code == 202
        assert sagas(restarted) == 2
        refused = ask(restarted, AFTER_COMMIT, deliveryLocation="Hall C")
        assert refused.status_code == 422
    pool.close()


def test_while_the_first_is_being_answered_a_second_is_told_to_come_again(stage: Stage) -> None:
    """And the key is free again, whatever became of the first."""
    in_flight, go_on = Event(), Event()

    def hold() -> None:
        in_flight.set()
        assert go_on.wait(20)

    with beginning_together(stage), armed(BEFORE_COMMIT, hold), ThreadPoolExecutor(1) as threads:
        first = threads.submit(ask, stage, "k-1")
        assert in_flight.wait(20)
        refused = [ask(stage, "k-1"), ask(stage, "k-1", deliveryLocation="Hall C")]
        go_on.set()
        taken = first.result()
        assert [one.status_code for one in refused] == [409, 409]
        assert refused[0].json()["type"].endswith(":key-in-flight") and refused[0].headers["Retry-After"] == "1"
        assert ask(stage, "k-1").json() == taken.json()
        assert ask(stage, "k-1", deliveryLocation="Hall C").status_code == 422
    with armed(BEFORE_COMMIT, "raise"):
        assert ask(stage, "k-2").status_code == 500
    assert ask(stage, "k-2").status_code == 202
    assert sagas(stage) == 2


def test_the_same_key_in_two_processes_at_once_is_one_order(postgres_stage: Stage, database_url: str) -> None:
    """While the first is in flight the second waits, and is answered alike; were the first to fail, it would order."""
    pool = open_pool(database_url, "saga", size_max=2)
    codec = Codec(Sagas([CREATE_ORDER]).data_types())
    store = PostgresStore(pool, codec, PostgresOutbox(pool, uuid4()))
    with (
        staged(store, PostgresBoard(pool), PostgresStatistics(pool)) as other,
        armed(BEFORE_COMMIT, "sleep:0.3"),
        ThreadPoolExecutor(2) as threads,
    ):
        answers = [one.result() for one in [threads.submit(ask, where, "k-1") for where in (postgres_stage, other)]]
        assert {one.status_code for one in answers} == {202}
        assert len({one.json()["saga_id"] for one in answers}) == 1
        assert sagas(other) == 1
    pool.close()
