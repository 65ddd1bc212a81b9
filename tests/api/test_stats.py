"""`GET /stats`: what sagas did in a time."""

from typing import Any

import pytest

from tests.api.conftest import Stage


def test_orders_are_in_the_statistics_as_soon_as_they_are_taken(stage: Stage) -> None:
    for _ in range(3):
        stage.place()
    found = stage.client.get("/stats").json()
    assert found["total"]["started"] == 3
    assert [one["started"] for one in found["periods"]] == [3]
    assert found["total"]["completion_rate"] == 0.0
    assert found["in_flight"] == [
        {"status": "STARTED", "step": "CREATE_ORDER", "count": 3, "oldest_seconds": pytest.approx(0, abs=60)}
    ]
    assert found["failures"] == []
    assert found["total"]["duration"] == {"count": 0, "mean": None, "p50": None, "p95": None, "p99": None}


def test_another_time_is_empty(stage: Stage) -> None:
    stage.place()
    then = {"since": "2026-01-01T09:30:00Z", "until": "2026-01-03", "by": "day"}
    refused = stage.client.get("/stats", params=then)
    assert refused.status_code == 400 and refused.json()["field"] == "until"
    found = stage.client.get("/stats", params=then | {"until": "2026-01-03T00:00:00"}).json()
    assert (found["since"], found["until"]) == ("2026-01-01T09:00:00Z", "2026-01-03T00:00:00Z")
    assert found["total"]["started"] == 0 and found["total"]["completion_rate"] is None and found["periods"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"by": "minute"}, "by"),
        ({"saga": "no_such_saga"}, "saga"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-02T00:30:00Z"}, "since"),
        ({"since": "2024-01-02T00:00:00Z", "until": "2026-01-02T00:00:00Z", "by": "day"}, "since"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-02-03T00:00:00Z"}, "since"),
    ],
)
def test_a_wrong_query_is_named_by_its_field(stage: Stage, query: dict[str, Any], field: str) -> None:
    refused = stage.client.get("/stats", params=query)
    assert (refused.status_code, refused.json()["field"]) == (400, field)
