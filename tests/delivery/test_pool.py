"""After its server was away the pool is used again at once, however long it had tried in vain; what is lent comes back
fit for the next one, and the server ends what takes too long.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import OperationalError
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from ordersaga.delivery.deadline import Deadline
from ordersaga.delivery.pool import Share, lent, open_pool
from ordersaga.local.postgres import PostgresServer
from tests.waiting import until


def test_a_server_that_was_away_for_long_is_used_again_within_seconds(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    server = PostgresServer.start(tmp_path / "postgres")
    pool = open_pool(
        server.create_database(),
        name="test",
        options="",
        size_max=2,
        wait_seconds=1.0,
        connect_seconds=3,
        configure=lambda connection: None,
    )

    def answers() -> bool:
        try:
            with pool.connection() as connection:
                return bool(connection.execute("select true").fetchone())
        except (OperationalError, PoolTimeout):
            return False

    try:
        until(answers, "the pool has connected")
        server.kill()
        for _ in range(12):  # long enough for pauses that double to be too long
            with pytest.raises((OperationalError, PoolTimeout)), pool.connection() as connection:
                connection.execute("select true")
        server.restart()
        until(answers, "the pool is well again", within_seconds=4.0)
    finally:
        pool.close()
        server.stop()


# --- what is lent ---------------------------------------------------------------------------------

END_ALL = (
    "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity"
    " where datname = current_database() and pid <> pg_backend_pid()"
)
LIMITS = "select name, setting::int from pg_settings where name in ('statement_timeout', 'transaction_timeout')"


@pytest.fixture
def pool(database_url: str) -> Iterator[ConnectionPool[Any]]:
    pool = open_pool(
        database_url,
        name="test",
        options="-c application_name=test",
        size_max=2,
        wait_seconds=30.0,
        connect_seconds=30,
        configure=lambda connection: None,
        timeout_seconds=60.0,
    )
    yield pool
    pool.close()


def test_what_was_not_committed_is_gone_and_the_next_one_finds_no_transaction(pool: ConnectionPool[Any]) -> None:
    def leave_by_an_exception() -> None:
        with lent(pool, Deadline(60.0)) as connection:
            connection.execute("create table things ()")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave_by_an_exception()
    with lent(pool, Deadline(60.0)) as connection:
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert connection.execute("select to_regclass('things')").fetchone() == (None,)
        connection.commit()


def test_a_connection_that_ended_while_idle_is_noticed_before_it_is_lent(
    pool: ConnectionPool[Any], database_url: str
) -> None:
    pool.wait(60)
    with psycopg.connect(database_url) as other:
        assert other.execute(END_ALL).fetchone() == (1,)
    with lent(pool, Deadline(60.0)) as connection:
        assert connection.execute("select true").fetchone()
        connection.commit()


def test_a_connection_on_which_nothing_can_be_written_is_lent_once(pool: ConnectionPool[Any]) -> None:
    used: list[psycopg.Connection[Any]] = []

    def write() -> None:
        with lent(pool, Deadline(60.0)) as connection:
            used.append(connection)
            connection.execute("set transaction read only")
            connection.execute("create table things ()")

    for _ in range(2):
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            write()
    assert used[0] is not used[1]


def test_the_server_ends_a_statement_before_it_ends_the_transaction(pool: ConnectionPool[Any]) -> None:
    """With equal limits it would end the connection instead."""
    with lent(pool, Deadline(60.0)) as connection:
        limits: dict[str, int] = dict(connection.execute(LIMITS))
        connection.commit()
    assert limits.pop("statement_timeout") == 60_000
    assert all(one > 60_000 for one in limits.values()), "servers before 17 have none for transactions"


def test_a_server_that_freezes_while_a_connection_is_made_keeps_nobody_waiting_without_end(tmp_path: Path) -> None:
    """The pool has three workers for all that it does."""
    tmp_path.chmod(0o755)
    with PostgresServer.start(tmp_path / "postgres") as server:
        pool = open_pool(
            server.create_database(),
            name="test",
            options="-c application_name=test",
            size_max=1,
            wait_seconds=1.0,
            connect_seconds=2,
            configure=lambda connection: server.freeze(),
            timeout_seconds=60.0,
        )

        def tries_again() -> bool:
            with suppress(PoolTimeout):
                pool.putconn(pool.getconn(0.1))
            return pool.get_stats().get("connections_errors", 0) > 0

        until(tries_again, "the first is given up", within_seconds=15.0)
        server.thaw()
        pool.close()


# --- a share of it --------------------------------------------------------------------------------


def test_a_share_lends_so_many_and_no_more_and_leaves_the_rest_to_others(pool: ConnectionPool[Any]) -> None:
    share = Share(pool, 1)
    with lent(share, Deadline(10.0)) as connection:
        with pytest.raises(PoolTimeout), lent(share, Deadline(10.0), 0.05):
            pytest.fail("it is more than the share")
        with lent(pool, Deadline(10.0)) as other:
            assert other is not connection
    with lent(share, Deadline(10.0)) as again:
        assert again.execute("select true").fetchone() == (True,)


def test_a_share_gets_back_what_was_lent_in_vain_or_came_back_closed(pool: ConnectionPool[Any]) -> None:
    share = Share(pool, 1)

    def lose() -> None:
        with lent(share, Deadline(10.0)) as connection:
            connection.close()
            connection.execute("select true")

    for _ in range(3):
        with pytest.raises(OperationalError, match="closed"):
            lose()
    pool.close()
    for _ in range(3):
        with pytest.raises(PoolClosed), lent(share, Deadline(10.0), 0.05):
            pytest.fail("the pool is closed")
