"""Housekeeping is done part by part: however much has come together, no statement takes longer than one may."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from ordersaga.orchestrator.store import parts
from ordersaga.orchestrator.store.migrate import migrate
from ordersaga.orchestrator.store.postgres import PostgresStore, open_pool
from ordersaga.orchestrator.store.protocol import StoreUnavailable
from ordersaga.orchestrator.store.statistics import PostgresStatistics
from tests.local.watching import until

from .places import SCHEMA, PostgresPlace
from .sagas import CODEC

TIMEOUT_SECONDS = 0.3
MANY = 600
"""More than are deleted within that timeout by a server that takes its time over each."""
TAKE_TIME = (
    "CREATE OR REPLACE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN PERFORM pg_sleep(0.001); RETURN OLD; END';"
    " CREATE TRIGGER take_time BEFORE DELETE ON {} FOR EACH ROW EXECUTE FUNCTION take_time()"
)
KEYS = (
    "INSERT INTO idempotency_keys (principal, key, fingerprint, created_at)"
    " SELECT 'p', n::text, '', now() - interval '3 days' + n * interval '1 microsecond' FROM generate_series(1, %s) n"
)
LETTERS = (
    'INSERT INTO dead_letters (topic, partition, "offset", timestamp_ms, headers, reason, detail, settled_at)'
    " SELECT 't', 0, n, 0, '', 'r', '', now() - interval '91 days' FROM generate_series(1, %s) n"
)
EARLY = (
    'INSERT INTO early_events (topic, partition, "offset", reference, value, kept_until)'
    " SELECT 't', 0, n, 'o', '', now() - interval '1 minute' FROM generate_series(1, %s) n"
)
ADDED = (
    "INSERT INTO statistics_added SELECT now() - mod(n, 100) * interval '1 hour', 'create_order', 'started',"
    " mod(n, 7) || '', 1, n FROM generate_series(1, %s) n"
)
IN_FLIGHT_ADDED = (
    "INSERT INTO in_flight_added SELECT 'STARTED', 'S' || mod(n, 5), mod(n, 3) FROM generate_series(1, %s) n"
)
SUMS = (
    "SELECT date_trunc('hour', at, 'UTC'), label, sum(count)::bigint, sum(microseconds)::bigint FROM statistics_added"
    " GROUP BY 1, 2 ORDER BY 1, 2"
)
FOLDED = "SELECT bucket, label, count, microseconds FROM statistics ORDER BY 1, 2"
IN_FLIGHT = "SELECT step, sum(count)::bigint FROM in_flight_added GROUP BY 1 ORDER BY 1"
IN_FLIGHT_FOLDED = "SELECT step, count FROM in_flight ORDER BY 1"
NEWEST_WEEK = (
    "SELECT max(inhrelid::regclass::text) FROM pg_inherits"
    " WHERE inhparent = 'saga_history'::regclass AND inhrelid::regclass::text ~ '[0-9]$'"
)


@pytest.fixture
def hurried(postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectionPool[Any]]:
    """Connections on which nothing may take long, to a server that does."""
    monkeypatch.setattr(parts, "PART_MAX", 10)
    for table in ("idempotency_keys", "statistics_added", "in_flight_added"):
        postgres.ask(TAKE_TIME.format(table))
    pool: ConnectionPool[Any] = open_pool(postgres.url, SCHEMA, size_max=2, timeout_seconds=TIMEOUT_SECONDS)
    yield pool
    pool.close()


def count(place: PostgresPlace, table: str) -> int:
    return int(place.ask(f"SELECT count(*) FROM {table}")[0][0])


def comes_to_an_end(turn: Callable[[], object], done: Callable[[], bool], what: str) -> None:
    """Turn after turn. On a busy machine one may come to nothing."""

    def take_turn() -> bool:
        try:
            turn()
        except StoreUnavailable:
            return False
        return done()

    until(take_turn, what, 60.0)


def test_a_days_keys_are_forgotten_and_weeks_are_made_whatever_one_statement_may_take(
    postgres: PostgresPlace, hurried: ConnectionPool[Any]
) -> None:
    postgres.ask(KEYS, (MANY,))
    ((newest,),) = postgres.ask(NEWEST_WEEK)
    postgres.ask(f"DROP TABLE {newest}")
    store = PostgresStore(hurried, CODEC, postgres.outbox, timeout_seconds=TIMEOUT_SECONDS)
    comes_to_an_end(store.upkeep, lambda: count(postgres, "idempotency_keys") == 0, "the keys are gone")
    assert postgres.ask(NEWEST_WEEK) == [(newest,)]


def test_what_was_not_folded_for_hours_is_folded_in_turns_and_exactly(
    postgres: PostgresPlace, hurried: ConnectionPool[Any]
) -> None:
    postgres.ask(ADDED, (MANY,))
    postgres.ask(IN_FLIGHT_ADDED, (MANY,))
    sums, in_flight = postgres.ask(SUMS), postgres.ask(IN_FLIGHT)
    statistics = PostgresStatistics(hurried, timeout_seconds=TIMEOUT_SECONDS)
    comes_to_an_end(
        statistics.fold,
        lambda: count(postgres, "statistics_added") + count(postgres, "in_flight_added") == 0,
        "all is folded",
    )
    assert postgres.ask(FOLDED) == sums
    assert postgres.ask(IN_FLIGHT_FOLDED) == in_flight


def test_a_turn_does_as_much_as_time_allows_and_the_next_one_goes_on_there(
    postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_MAX", 4)
    monkeypatch.setattr(parts, "TURN_SECONDS", 0.0)
    store, statistics = postgres.store(), PostgresStatistics(postgres.pool)
    for insert in (KEYS, EARLY, LETTERS, ADDED, IN_FLIGHT_ADDED):
        postgres.ask(insert, (10,))
    postgres.ask("UPDATE dead_letters SET settled_at = now() WHERE id <= 3")
    sums = postgres.ask(SUMS)
    assert [store.upkeep() for _ in range(3)] == [True, True, False]
    assert [count(postgres, one) for one in ("idempotency_keys", "early_events", "dead_letters")] == [0, 0, 3]
    assert [statistics.fold() for _ in range(4)] == [4, 4, 2, 0]
    assert postgres.ask(FOLDED) == sums
    assert count(postgres, "in_flight_added") == 0


def test_many_that_fold_part_by_part_at_once_fold_each_sum_once(
    postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_MAX", 7)
    postgres.ask(ADDED, (500,))
    postgres.ask(IN_FLIGHT_ADDED, (500,))
    sums, in_flight = postgres.ask(SUMS), postgres.ask(IN_FLIGHT)
    with ThreadPoolExecutor(4) as threads:
        folded = sum(threads.map(lambda _: PostgresStatistics(postgres.pool).fold(), range(4)))
    folded += PostgresStatistics(postgres.pool).fold()
    assert folded == 500
    assert postgres.ask(FOLDED) == sums
    assert postgres.ask(IN_FLIGHT_FOLDED) == in_flight


def test_what_another_forgets_or_folds_at_this_moment_is_passed_over(postgres: PostgresPlace) -> None:
    for insert in (KEYS, EARLY, LETTERS, ADDED, IN_FLIGHT_ADDED):
        postgres.ask(insert, (10,))
    tables = ("idempotency_keys", "early_events", "dead_letters", "statistics_added", "in_flight_added")
    with postgres.pool.connection() as connection:
        for table in tables:
            connection.execute(f"SELECT FROM {table} LIMIT 3 FOR UPDATE")
        postgres.store().upkeep()
        assert PostgresStatistics(postgres.pool).fold() == 7
        assert [count(postgres, table) for table in tables] == [3] * 5


def test_bringing_the_schema_up_to_date_deletes_nothing(postgres: PostgresPlace) -> None:
    postgres.ask(KEYS, (10,))
    migrate(postgres.url, SCHEMA)
    assert count(postgres, "idempotency_keys") == 10
