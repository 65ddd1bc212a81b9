"""Those who look at many rows, however many they are and however long it takes, hold up none of the work."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import psycopg
import pytest

from ordersaga.bus.memory import MemoryBus
from ordersaga.connecting import KEPT_FOR_WORK
from ordersaga.demo.client import Api
from ordersaga.orchestrator.store import read
from tests.waiting import until
from tests.whole import orchestrator, order, participants, settings_for, status_of

READERS, AT_ONCE = 2, 32
LOCK = 4711
SLOW = b"SELECT 1, count(*) FROM (SELECT pg_advisory_xact_lock(4711)) AS held"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted"


@pytest.fixture
def bus() -> Iterator[MemoryBus]:
    bus = MemoryBus()
    yield bus
    bus.close(1)


@pytest.fixture
def slow(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection[Any]]:
    """Searches are so slow that none of them ends before the test does."""
    monkeypatch.setattr(read, "count_statement", lambda search: SLOW)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        yield connection


def answer(api: Api, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"{api.url}{path}", timeout=60) as found:
            return found.status, found.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


@contextmanager
def crowd(api: Api, slow: psycopg.Connection[Any]) -> Iterator[list[Future[tuple[int, str]]]]:
    with ThreadPoolExecutor(AT_ONCE) as readers:
        try:
            yield [readers.submit(answer, api, "/sagas/count?text=anything") for _ in range(AT_ONCE)]
        finally:
            slow.execute("SELECT pg_advisory_unlock_all()")


def test_as_many_slow_searches_as_are_let_in_hold_up_no_saga(
    database_url: str, bus: MemoryBus, slow: psycopg.Connection[Any]
) -> None:
    connections = {"database_connections_max": KEPT_FOR_WORK + READERS, "database_timeout_seconds": 60.0}
    settings = settings_for(database_url, http_requests_at_once_max=AT_ONCE, **connections)

    def waiting() -> int:
        ((count,),) = slow.execute(WAITING).fetchall()
        return int(count)

    with participants(settings, bus), orchestrator(settings, bus) as api, crowd(api, slow) as searches:
        until(lambda: waiting() == READERS, "all that is for them is taken")
        saga_id = api.place(order())
        until(lambda: status_of(api, saga_id) == "COMPLETED", "a saga goes on all the same")
        assert "\ndatabase_up 1.0\n" in answer(api, "/metrics")[1]
        assert api.ready() and waiting() == READERS
        until(lambda: sum(one.done() for one in searches) == AT_ONCE - READERS, "the others are told to come again")
    assert sorted(one.result()[0] for one in searches) == [200] * READERS + [503] * (AT_ONCE - READERS)
