"""A process without an API says how it is and what it did, and nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient

from ordersaga.delivery.background import Health
from ordersaga.orchestrator.api.app import AppSettings, create_status_app
from ordersaga.orchestrator.api.asking import Watched
from ordersaga.tokens import Role, Tokens, new_token
from tests.api.conftest import report_of

TOKEN, LINE = new_token("grafana", Role.VIEWER)


@pytest.fixture
def health() -> list[Health]:
    return [Health(name="worker", healthy=True)]


@pytest.fixture(params=[None, Tokens([LINE])], ids=["nobody is asked", "tokens"])
def tokens(request: pytest.FixtureRequest) -> Tokens | None:
    found: Tokens | None = request.param
    return found


@pytest.fixture
def client(health: list[Health], tokens: Tokens | None) -> Iterator[TestClient[Any]]:
    watched = Watched(health=lambda: report_of(health), metrics=lambda: b"saga_started_total 7.0\n", version="1.2.3")
    with TestClient(create_status_app(watched, AppSettings(tokens=tokens))) as client:
        yield client


def test_anybody_may_know_which_part_is_not_well_and_readers_why(
    client: TestClient[Any], health: list[Health], tokens: Tokens | None
) -> None:
    assert client.get("/livez").json() == {"status": "live"}
    assert client.get("/readyz").status_code == 200
    health.append(Health(name="kafka", healthy=False, detail="no broker is connected"))
    for headers, why in (({}, tokens is None), ({"Authorization": f"Bearer {TOKEN}"}, True)):
        answer = client.get("/health", headers=headers)
        assert answer.status_code == 503
        told = "no broker is connected" if why else ""
        assert answer.json()["parts"][1] == {"name": "kafka", "healthy": False, "detail": told}


def test_what_it_did_is_for_those_who_may_read(client: TestClient[Any], tokens: Tokens | None) -> None:
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"} if tokens else {})
    assert (answer.status_code, answer.text) == (200, "saga_started_total 7.0\n")
    if tokens:
        assert client.get("/metrics").status_code == 401


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/orders"), ("GET", "/sagas"), ("GET", "/stats"), ("POST", "/admission/stop")]
)
def test_there_is_nothing_else(client: TestClient[Any], method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert client.request(method, path, json={}, headers=headers).status_code == 404
