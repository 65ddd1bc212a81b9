"""What is said together goes out together, and is waited for once; errors and results are as without."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from ordersaga.delivery.round_trip import INSIDES, round_trip
from tests.speaking import turns_of
from tests.waiting import until

LARGE = "x" * 300_000


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection[Any]]:
    with psycopg.connect(database_url, prepare_threshold=0) as connection:
        connection.execute("create table things (id int primary key, told text)")
        connection.commit()
        yield connection


@pytest.mark.parametrize("name", INSIDES)
def test_the_inner_names_of_the_library_that_we_use_are_there(connection: Connection[Any], name: str) -> None:
    with connection.pipeline() as pipeline:
        assert getattr(pipeline, name) is not None


def test_begin_statements_and_commit_are_waited_for_once(connection: Connection[Any]) -> None:
    with turns_of(connection) as turns, round_trip(connection):
        for number in range(5):
            connection.execute("insert into things values (%s, 'told')", [number])
        connection.commit()
    assert turns == ["F", "B"]
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE

    with turns_of(connection) as turns, connection.pipeline():
        connection.execute("delete from things")
        connection.commit()
    assert len(turns) > 2, "the library waits once by itself now"


def test_nothing_is_sent_before_the_block_ends(connection: Connection[Any], database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as other:
        held = "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711"
        with round_trip(connection):
            connection.execute("select pg_advisory_lock(4711)")
            assert other.execute(held).fetchone() == (0,)
        assert other.execute(held).fetchone() == (1,)


def test_results_are_there_after_the_block_and_within_it(connection: Connection[Any]) -> None:
    with round_trip(connection):
        connection.execute("insert into things values (1, 'told')")
        found = connection.execute("select id from things")
        counted = connection.cursor().execute("select count(*) from things")
        assert counted.fetchone() == (1,)
        removed = connection.execute("delete from things")
        connection.commit()
    assert found.fetchall() == [(1,)] and removed.rowcount == 1
    assert connection.execute("select count(*) from things").fetchone() == (0,)


def test_the_first_error_is_raised_and_nothing_after_it_is_done(connection: Connection[Any]) -> None:
    def whole() -> None:
        with round_trip(connection):
            connection.execute("insert into things values (1, 'told')")
            connection.execute("insert into things values (1, 'twice')")
            connection.execute("insert into nowhere values (1)")
            connection.commit()

    with pytest.raises(psycopg.errors.UniqueViolation):
        whole()
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
    connection.rollback()
    assert connection.execute("select count(*) from things").fetchone() == (0,)


def test_an_error_of_the_block_itself_comes_out_and_nothing_is_kept(connection: Connection[Any]) -> None:
    def whole() -> None:
        with round_trip(connection):
            connection.execute("insert into things values (1, 'told')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        whole()
    connection.rollback()
    assert connection.execute("select count(*) from things").fetchone() == (0,)


def test_much_may_be_said_while_much_is_answered(connection: Connection[Any]) -> None:
    """Neither side may wait for the other to listen first."""
    with round_trip(connection):
        said = [connection.cursor().execute("select %s::text || repeat('y', 300000)", [LARGE]) for _ in range(40)]
        connection.commit()
    assert all(cursor.fetchone() == (LARGE + "y" * 300_000,) for cursor in said)


def test_a_server_that_goes_is_an_error_of_the_connection(connection: Connection[Any], database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
        gone = "select count(*) from pg_stat_activity where pid = %s"
        until(lambda: other.execute(gone, [connection.info.backend_pid]).fetchone() == (0,), "it is gone")
    with pytest.raises(psycopg.OperationalError), round_trip(connection):
        connection.execute("select 1")
    assert connection.broken


def test_a_pipeline_of_the_library_is_as_it_was_afterwards(connection: Connection[Any]) -> None:
    with round_trip(connection):
        connection.execute("select 1")
    with connection.pipeline() as pipeline:
        assert not {"_sync_gen", "_communicate_gen"} & vars(pipeline).keys()
