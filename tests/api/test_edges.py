"""The edges of the API: health, problems, other origins, the store away, and the document that describes it all."""

import json
from typing import Any, NoReturn

import pytest
from litestar.testing import TestClient
from structlog.testing import capture_logs

from ordersaga.delivery.background import Health
from ordersaga.orchestrator.api.app import AppSettings, create_app
from ordersaga.orchestrator.runtime.service import NEEDED_TO_ANSWER
from ordersaga.orchestrator.store.protocol import BadRow, SchemaMismatch, StaleWrite, StoreError, StoreUnavailable
from tests.api.conftest import SHOP, Stage, order, stage_of

ROUTES = {
    ("/orders", "post"),
    ("/orders/{order_id}/completion", "post"),
    ("/sagas", "get"),
    ("/sagas/count", "get"),
    ("/sagas/{saga_id}", "get"),
    ("/sagas/{saga_id}/cancel", "post"),
    ("/sagas/{saga_id}/retry", "post"),
    ("/sagas/{saga_id}/settle", "post"),
    ("/sagas/{saga_id}/resolve", "post"),
    ("/dead-letters", "get"),
    ("/dead-letters/{letter_id}", "get"),
    ("/dead-letters/{letter_id}/replay", "post"),
    ("/dead-letters/{letter_id}/discard", "post"),
    ("/orphans", "get"),
    ("/orphans/{orphan_id}/discard", "post"),
    ("/admission", "get"),
    ("/admission/stop", "post"),
    ("/admission/resume", "post"),
    ("/consumption", "get"),
    ("/consumption/pause", "post"),
    ("/consumption/resume", "post"),
    ("/stats", "get"),
    ("/audit", "get"),
    ("/livez", "get"),
    ("/readyz", "get"),
    ("/readyz/api", "get"),
    ("/health", "get"),
    ("/metrics", "get"),
}
NOBODY = "01939f2c-0000-7000-8000-000000000000"


class Away:
    """A store that fails in one way, whatever it is asked."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def _fail(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise self._error

    transaction = get = page = history = _fail


def asked_of(error: Exception) -> list[Any]:
    """What each route answers over a store that fails like this."""
    app = create_app(stage_of(Away(error), [], [])[0], AppSettings(cors_origins=[SHOP]))
    with TestClient(app, raise_server_exceptions=False) as client:
        return [
            client.post("/orders", json=order(), headers={"Origin": SHOP}),
            client.get("/sagas", headers={"Origin": SHOP}),
            client.get(f"/sagas/{NOBODY}", headers={"Origin": SHOP}),
            client.post(f"/sagas/{NOBODY}/cancel", headers={"Origin": SHOP}),
        ]


@pytest.mark.parametrize("error", [StoreUnavailable("canary"), StaleWrite("canary"), SchemaMismatch("canary")])
def test_a_store_that_is_away_is_503_with_a_time_to_come_back(error: StoreError) -> None:
    for answer in asked_of(error):
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert "canary" not in answer.text


@pytest.mark.parametrize("error", [RuntimeError("canary"), BadRow("canary")])
def test_what_nobody_foresaw_is_500_without_a_word_of_it_and_logged_with_all(error: Exception) -> None:
    with capture_logs() as lines:
        answers = asked_of(error)
    for answer in answers:
        assert answer.status_code == 500
        assert answer.json()["success"] is False
        assert "canary" not in answer.text
        assert "Traceback" not in answer.text
    failed = [line for line in lines if line["event"] == "api.request_failed"]
    assert len(failed) == len(answers)
    assert all(line["exc_info"] is error for line in failed)
    assert {line["route"] for line in failed} == {
        "/orders",
        "/sagas",
        "/sagas/{saga_id}",
        "/sagas/{saga_id}/cancel",
    }


def test_livez_asks_nobody(stage: Stage) -> None:
    stage.health[:] = [Health(name="database", healthy=False, detail="away")]
    assert stage.client.get("/livez").status_code == 200


def test_who_can_take_orders_says_so_while_brokers_are_away_and_not_while_the_database_is(stage: Stage) -> None:
    stage.health.append(Health(name="kafka", healthy=False, detail="no broker answers"))
    assert stage.client.get("/readyz").status_code == 503
    answer = stage.client.get("/readyz/api")
    assert (answer.status_code, [part["name"] for part in answer.json()["parts"]]) == (200, ["database"])
    assert stage.place()
    for name in NEEDED_TO_ANSWER:
        stage.health[0] = Health(name=name, healthy=False, detail="away")
        answer = stage.client.get("/readyz/api")
        assert (answer.status_code, answer.json()["status"]) == (503, "not ready")


@pytest.mark.parametrize("path", ["/readyz", "/health"])
def test_ready_is_said_only_when_every_part_is(stage: Stage, path: str) -> None:
    answer = stage.client.get(path)
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    stage.health.append(Health(name="kafka", healthy=False, detail="no broker\nanswers"))
    answer = stage.client.get(path)
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    sick = [part for part in answer.json()["parts"] if not part["healthy"]]
    assert sick == [{"name": "kafka", "healthy": False, "detail": "no broker\\nanswers"}]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("DELETE", "/sagas", 405), ("PUT", "/orders", 405), ("GET", "/orders", 405)],
)
def test_what_is_not_there_is_a_problem_too(stage: Stage, method: str, path: str, status: int) -> None:
    answer = stage.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert sorted(problem) == ["detail", "error", "status", "success", "title", "type"]
    assert status != 405 or answer.headers["allow"]


# --- other origins ------------------------------------------------------------------------------------------------


def preflight(stage: Stage, origin: str) -> Any:
    wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    return stage.client.options("/orders", headers={"Origin": origin, **wish})


def test_a_front_end_of_a_known_origin_may_send_its_token_and_json(stage: Stage) -> None:
    headers = preflight(stage, SHOP).headers
    assert headers["access-control-allow-origin"] == SHOP
    assert {"authorization", "content-type"} <= set(headers["access-control-allow-headers"].lower().split(", "))
    assert "POST" in headers["access-control-allow-methods"]


def test_a_front_end_can_read_where_its_order_is_and_what_was_wrong(stage: Stage) -> None:
    taken = stage.client.post("/orders", json=order(), headers={"Origin": SHOP})
    assert taken.headers["access-control-allow-origin"] == SHOP
    assert "location" in taken.headers["access-control-expose-headers"].lower()
    wrong = stage.client.post("/orders", json={}, headers={"Origin": SHOP})
    assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (400, SHOP)


def test_another_origin_is_told_nothing(stage: Stage) -> None:
    for answer in (preflight(stage, "https://evil.example"), stage.client.get("/sagas", headers={"Origin": "null"})):
        assert "access-control-allow-origin" not in answer.headers


# --- the document -------------------------------------------------------------------------------------------------


@pytest.fixture
def document(stage: Stage) -> dict[str, Any]:
    answer = stage.client.get("/schema/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_the_document_is_at_schema_and_needs_no_other_site(stage: Stage) -> None:
    answer = stage.client.get("/schema")
    assert answer.status_code == 200
    assert answer.json()["openapi"].startswith("3.1")


def test_the_document_describes_every_route_and_no_other(document: dict[str, Any]) -> None:
    assert {(path, method) for path, item in document["paths"].items() for method in item} == ROUTES


def test_every_problem_that_a_route_answers_is_described_with_an_example(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, response in operation["responses"].items():
                if status.startswith("2") or path in ("/readyz", "/readyz/api", "/health"):
                    continue
                content = response["content"]["application/problem+json"]
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, (path, method, status)
                (example,) = content["examples"].values()
                assert example["value"]["status"] == int(status)


def test_the_example_of_an_order_is_taken(stage: Stage, document: dict[str, Any]) -> None:
    body = document["paths"]["/orders"]["post"]["requestBody"]["content"]["application/json"]
    (example,) = body["examples"].values()
    assert stage.client.post("/orders", json=example["value"]).status_code == 202
    assert sorted(body["schema"]["required"]) == ["customer_id", "order_details"]


def test_no_reference_in_the_document_leads_nowhere(document: dict[str, Any]) -> None:
    names = set(document["components"]["schemas"])
    text = json.dumps(document)
    used = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert used <= names
