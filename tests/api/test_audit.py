"""`GET /audit`: what operators did, asked for and were refused, page by page."""

from concurrent.futures import Future
from typing import Any

import pytest

from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.orchestrator.core.instance import Instance
from ordersaga.orchestrator.runtime.verbs import Actor, Verbs
from ordersaga.orchestrator.sagas.complete_order import Delivery, People
from ordersaga.orchestrator.store.protocol import BadRow, CommitUnknown, KeyTaken, StoreError, StoreUnavailable
from tests.api.conftest import Stage
from tests.api.test_completing import BROUGHT, accepted, complete

WISH = {"who": "night-shift", "why": "the shop has closed"}


@pytest.fixture(params=["memory_stage", "postgres_stage"])
def stage(request: pytest.FixtureRequest) -> Stage:
    found: Stage = request.getfixturevalue(request.param)
    return found


def test_what_an_operator_did_and_was_refused_is_told_with_who_and_why(stage: Stage) -> None:
    saga_id, other = stage.place(), stage.place()
    assert stage.client.post(f"/sagas/{saga_id}/retry", json=WISH).status_code == 409
    assert stage.client.post(f"/sagas/{saga_id}/resolve", json=WISH).status_code == 202
    assert stage.client.post(f"/sagas/{other}/cancel", json={"who": "c4n4ry-user-1"}).status_code == 202
    resolved, retried = stage.client.get("/audit").json()
    assert resolved | {"id": 0, "at": ""} == {
        "id": 0, "at": "", "actor": "night-shift", "role": "operator", "verb": "resolve", "saga_id": saga_id,
        "reason": "the shop has closed", "outcome": "applied",
    }  # fmt: skip
    assert retried["outcome"].startswith("refused")
    assert stage.client.get("/audit", params={"saga_id": other}).json() == [], (
        "a customer's own cancel is no operator's"
    )


def test_who_began_a_saga_is_in_its_history_and_in_the_audit_once(stage: Stage) -> None:
    order_id = accepted(stage)
    saga_id = complete(stage, order_id).json()["saga_id"]
    assert complete(stage, order_id).json()["saga_id"] == saga_id, "asked again, nothing is begun"
    (noted,) = stage.client.get("/audit").json()
    assert (noted["verb"], noted["saga_id"], noted["outcome"]) == ("begin complete_order", saga_id, "begun")
    first = stage.client.get(f"/sagas/{saga_id}").json()["history"][0]["body"]
    said = {"actor": BROUGHT["who"], "role": "operator", "why": BROUGHT["why"]}
    assert first | said == first


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (KeyTaken("c4n4ry"), "not begun: somebody else began it in the same moment"),
        (StoreUnavailable("c4n4ry"), "not begun: StoreUnavailable"),
        (BadRow("c4n4ry"), "not begun: BadRow"),
        (CommitUnknown("c4n4ry"), "unknown: the database did not say in time whether it is begun"),
    ],
)
def test_what_was_not_begun_is_not_noted_as_begun(memory_stage: Stage, error: StoreError, outcome: str) -> None:
    """It was noted before it was tried."""
    failing: Future[Instance[Any]] = Future()
    failing.set_exception(error)
    with pytest.raises(type(error)):
        begin(memory_stage, failing)
    assert outcomes(memory_stage) == [outcome]


@pytest.mark.parametrize("taken_up", [False, True])
def test_what_is_not_begun_in_time_is_given_up_or_noted_as_unknown(memory_stage: Stage, taken_up: bool) -> None:
    late: Future[Instance[Any]] = Future()
    if taken_up:
        late.set_running_or_notify_cancel()
    with pytest.raises(StoreUnavailable, match="it was not begun within"):
        begin(memory_stage, late, within_seconds=0.01)
    assert late.cancelled() is not taken_up, "nobody begins it behind the back of whoever was told that it is not begun"
    (outcome,) = outcomes(memory_stage)
    assert outcome.startswith("unknown" if taken_up else "not begun")


def begin(stage: Stage, begun: "Future[Instance[Any]]", within_seconds: float | None = None) -> None:
    verbs = Verbs(stage.handler, lambda new: begun, SystemClock(), SystemRandom(), audit=stage.api.audit)
    people = People(customer_id="c4n4ry-1", runner_id="r-1")
    data = Delivery(personal=people, order_id="o-1", payment_id="p-1", amount_cents=870, payout_cents=435)
    verbs.begin("complete_order", data, Actor(name="dispatch", role="operator"), within_seconds=within_seconds)


def outcomes(stage: Stage) -> list[str]:
    return [one["outcome"] for one in stage.client.get("/audit").json()]


def test_pages_follow_their_links_to_the_end(stage: Stage) -> None:
    saga_id = stage.place()
    for number in range(5):
        stage.client.post(f"/sagas/{saga_id}/resolve", json=WISH | {"why": f"{number}"})
    found, path = [], f"/audit?page_size=2&saga_id={saga_id}"
    while path:
        answer = stage.client.get(path)
        found += [one["reason"] for one in answer.json()]
        path = answer.headers.get("Link", "").removeprefix("<").partition(">")[0]
    assert found == ["4", "3", "2", "1", "0"]


@pytest.mark.parametrize(("query", "field"), [({"page_size": 0}, "page_size"), ({"saga_id": "x"}, "saga_id")])
def test_a_wrong_query_is_named(stage: Stage, query: dict[str, Any], field: str) -> None:
    answer = stage.client.get("/audit", params=query)
    assert answer.status_code == 400 and answer.json()["field"] == field
