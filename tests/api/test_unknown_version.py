"""While versions are changed: a saga that only a newer version knows is left alone, and not said to be missing."""

from dataclasses import replace
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from ordersaga.orchestrator.store.memory import MemoryStore
from tests.api.conftest import Stage
from tests.api.test_completing import accepted, complete
from tests.api.test_edges import NOBODY

WISH = {"who": "night-shift", "why": "a test", "undo": "revert_payment", "role": "operator"}


@pytest.fixture(params=["memory_stage", "postgres_stage"])
def stage(request: pytest.FixtureRequest) -> Stage:
    found: Stage = request.getfixturevalue(request.param)
    return found


def now_of_version(version: int, stage: Stage, request: pytest.FixtureRequest, saga: str = "create_order") -> None:
    """All of this kind that there are: as if another process had begun them."""
    store: Any = stage.api.store
    if isinstance(store, MemoryStore):
        rows = store._tables.sagas
        rows |= {one.saga_id: replace(one, version=version) for one in rows.values() if one.saga == saga}
        return
    with psycopg.connect(request.getfixturevalue("database_url")) as connection:
        connection.execute("update saga.sagas set version = %s where saga = %s", [version, saga])


def damage(stage: Stage, request: pytest.FixtureRequest) -> None:
    """The row of each saga that there is."""
    store: Any = stage.api.store
    if isinstance(store, MemoryStore):
        rows = store._tables.sagas
        rows |= {one.saga_id: replace(one, state=b"{}") for one in rows.values()}
        return
    with psycopg.connect(request.getfixturevalue("database_url")) as connection:
        connection.execute("update saga.sagas set state = '{}'")


def test_whoever_asks_for_it_is_told_to_come_again(stage: Stage, request: pytest.FixtureRequest) -> None:
    saga_id = stage.place()
    now_of_version(99, stage, request)
    wishes = [stage.client.post(f"/sagas/{saga_id}/{verb}", json=WISH) for verb in ("cancel", "retry", "settle")]
    by_customer = stage.client.post(f"/sagas/{saga_id}/cancel", json={"who": "c4n4ry-user-1"})
    for answer in (stage.client.get(f"/sagas/{saga_id}"), *wishes, by_customer):
        assert answer.status_code == 503, answer.text
        assert answer.json()["type"] == "urn:ordersaga:problem:unknown-version"
        assert int(answer.headers["retry-after"]) > 0
    assert stage.client.get(f"/sagas/{NOBODY}").status_code == 404
    noted = [(one["verb"], one["outcome"]) for one in stage.client.get("/audit").json()]
    why = "not done: it is of a version that is not known here"
    assert noted == [("settle revert_payment", why), ("retry", why), ("cancel", why)]
    now_of_version(1, stage, request)
    found = stage.client.get(f"/sagas/{saga_id}").json()
    assert (found["status"], found["revision"]) == ("STARTED", 1)


def test_a_list_says_how_many_it_leaves_out(stage: Stage, request: pytest.FixtureRequest) -> None:
    stage.place()
    stage.place()
    now_of_version(99, stage, request)
    told = stage.place()
    answer = stage.client.get("/sagas")
    assert ([one["id"] for one in answer.json()], answer.headers["sagas-left-out"]) == ([told], "2")
    now_of_version(1, stage, request)
    answer = stage.client.get("/sagas")
    assert len(answer.json()) == 3 and "sagas-left-out" not in answer.headers


def test_a_list_says_how_many_have_a_damaged_row_and_the_log_says_which(
    stage: Stage, request: pytest.FixtureRequest
) -> None:
    damaged = stage.place()
    damage(stage, request)
    told = stage.place()
    with capture_logs() as said:
        answer = stage.client.get("/sagas")
    assert ([one["id"] for one in answer.json()], answer.headers["sagas-damaged"]) == ([told], "1")
    assert "sagas-left-out" not in answer.headers
    lines = [line for line in said if line["event"] == "api.sagas_damaged"]
    assert [(line["log_level"], line["count"], line["saga_ids"]) for line in lines] == [("error", 1, [damaged])]
    assert stage.client.get("/sagas/count").json()["count"] == 2
    with capture_logs():
        asked = stage.client.get(f"/sagas/{damaged}")
    assert asked.status_code == 500 and "status" not in asked.json()["error"]
    assert "sagas-damaged" not in stage.client.get("/sagas?status=FAILED").headers


def test_an_order_is_not_completed_twice_because_a_newer_version_completes_it(
    stage: Stage, request: pytest.FixtureRequest
) -> None:
    """What is not seen here may be paying the runner."""
    order_id = accepted(stage)
    begun = complete(stage, order_id).json()["saga_id"]
    now_of_version(99, stage, request, "complete_order")
    assert complete(stage, order_id).json()["type"] == "urn:ordersaga:problem:unknown-version"
    now_of_version(1, stage, request, "complete_order")
    assert complete(stage, order_id).json()["saga_id"] == begun
    assert stage.client.get("/stats", params={"saga": "complete_order"}).json()["total"]["started"] == 1
