"""A table that is busy and nearly empty stays small, and a plan that was made while it was empty reads no dead rows."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg_pool import ConnectionPool

from ordersaga.delivery.outbox import TABLES_SQL
from ordersaga.delivery.outbox_protocol import OutboxUnavailable
from ordersaga.delivery.pool import open_pool
from ordersaga.delivery.vacuum import Vacuum
from tests.waiting import until

ROWS = 6_000


@pytest.fixture
def pool(database_url: str) -> Iterator[ConnectionPool[Connection[Any]]]:
    with psycopg.connect(database_url) as connection:
        connection.execute(TABLES_SQL)
    pool = open_pool(
        database_url,
        name="test",
        options="-c search_path=public",
        size_max=2,
        wait_seconds=5.0,
        connect_seconds=3,
        configure=lambda connection: None,
    )
    yield pool
    pool.close()


def fill(url: str, rows: int = ROWS) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO outbox (owner, topic, key, value, headers)"
            " SELECT gen_random_uuid(), 't', convert_to(n::text, 'utf8'), 'v', 'h' FROM generate_series(1, %s) n",
            (rows,),
        )


def fill_with_dead(url: str, rows: int = ROWS) -> None:
    fill(url, rows)
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM outbox")
    until(lambda: dead_rows(url) >= rows, "the server has counted the dead rows")


def dead_rows(url: str) -> int:
    return int(asked(url, "SELECT pg_stat_get_dead_tuples('outbox'::regclass)"))


def asked(url: str, statement: str) -> Any:
    with psycopg.connect(url) as connection:
        found = connection.execute(statement.encode()).fetchone()
    assert found is not None
    return found[0]


def test_dead_rows_make_room_for_new_ones(pool: ConnectionPool[Connection[Any]], database_url: str) -> None:
    vacuum = Vacuum(pool, ["outbox"])
    fill_with_dead(database_url)
    first = asked(database_url, "SELECT pg_relation_size('outbox')")
    for _ in range(3):
        assert vacuum.run() == ["outbox"]
        fill_with_dead(database_url)
    assert asked(database_url, "SELECT pg_relation_size('outbox')") <= first * 1.1


def test_a_few_dead_rows_are_left_to_the_server(pool: ConnectionPool[Connection[Any]], database_url: str) -> None:
    fill_with_dead(database_url, 100)
    assert Vacuum(pool, ["outbox"], dead_rows_min=101).run() == []
    assert Vacuum(pool, ["outbox"], dead_rows_min=100).run() == ["outbox"]


def test_a_table_that_is_locked_is_passed_over(pool: ConnectionPool[Connection[Any]], database_url: str) -> None:
    fill_with_dead(database_url)
    with psycopg.connect(database_url) as other:
        other.execute("LOCK TABLE outbox IN SHARE UPDATE EXCLUSIVE MODE")  # as another vacuum does
        Vacuum(pool, ["outbox"]).run()
        assert dead_rows(database_url) >= ROWS


def test_a_table_of_another_role_is_left_to_the_server(
    pool: ConnectionPool[Connection[Any]], database_url: str
) -> None:
    fill_with_dead(database_url)
    role = f"guest_{asked(database_url, 'SELECT current_database()')}"
    with psycopg.connect(database_url) as connection:
        connection.execute(f"CREATE ROLE {role}".encode())
    try:
        with open_as(role, database_url) as guests:
            assert Vacuum(guests, ["outbox"]).run() == []
    finally:
        with psycopg.connect(database_url) as connection:
            connection.execute(f"DROP ROLE {role}".encode())
    assert dead_rows(database_url) >= ROWS


def open_as(role: str, url: str) -> ConnectionPool[Connection[Any]]:
    return ConnectionPool(url, kwargs={"options": f"-c role={role} -c search_path=public"}, min_size=1, open=True)


def test_the_connection_goes_back_as_it_was(pool: ConnectionPool[Connection[Any]], database_url: str) -> None:
    fill_with_dead(database_url)
    assert Vacuum(pool, ["outbox"]).run() == ["outbox"]
    with pool.connection() as connection:
        assert not connection.autocommit


def test_a_database_that_is_away_is_tried_again(pool: ConnectionPool[Connection[Any]]) -> None:
    pool.close()
    with pytest.raises(OutboxUnavailable) as caught:
        Vacuum(pool, ["outbox"]).run()
    assert caught.value.retriable


def test_a_plan_that_was_made_for_an_empty_table_does_for_a_full_one(
    pool: ConnectionPool[Connection[Any]], database_url: str
) -> None:
    fill(database_url, 20)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE outbox")
    with pool.connection() as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute("PREPARE look AS SELECT max(row_id) FROM outbox WHERE topic = $1 AND key = $2")
        connection.execute("EXECUTE look ('t', '1')")
        plan = " ".join(line for (line,) in connection.execute("EXPLAIN EXECUTE look ('t', '1')"))
    assert "outbox_lane" in plan
    assert "Seq Scan" not in plan
