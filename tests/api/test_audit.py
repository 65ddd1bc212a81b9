"""`GET /audit`: what operators did, asked for and were refused, page by page."""

from typing import Any

import pytest

from tests.api.conftest import Stage

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
