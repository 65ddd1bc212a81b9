"""What only a real database can show: transactions side by side, a database that hangs, one that is away."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from ordersaga.bus.protocol import Outgoing
from ordersaga.delivery.deadline import Deadline
from ordersaga.delivery.outbox import TABLES_SQL, PostgresOutbox, write, written
from ordersaga.delivery.outbox_protocol import AnotherServer, OutboxUnavailable
from tests.speaking import turns_of

from .stage import ONE, TWO

A, B = Outgoing("t", b"a", b"1"), Outgoing("t", b"b", b"2")


@pytest.fixture
def url(database_url: str) -> str:
    with psycopg.connect(database_url) as connection:
        connection.execute(TABLES_SQL)
    return database_url


@pytest.fixture
def pool(url: str) -> Iterator[ConnectionPool[Connection[Any]]]:
    with ConnectionPool(url, min_size=1, max_size=3, open=True) as pool:
        yield pool


def commit(url: str, owner: UUID, *records: Outgoing) -> list[int]:
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        write(cursor, records, owner)
        return [row.row_id for row in written(cursor, records)]


def living(pool: ConnectionPool[Connection[Any]], owner: UUID) -> PostgresOutbox:
    outbox = PostgresOutbox(pool, owner, lease_seconds=600.0)
    outbox.register()
    return outbox


def test_what_was_acknowledged_is_deleted_in_one_round_trip(url: str) -> None:
    with ConnectionPool(url, min_size=1, max_size=1, open=True) as pool:
        outbox = living(pool, ONE)
        row_ids = commit(url, ONE, A, B)
        with pool.connection() as connection:
            turns = turns_of(connection)
        with turns as found:
            outbox.acknowledged(row_ids)
        assert found == ["F", "B"] and outbox.still_there(row_ids) == set()


def test_what_names_rows_is_one_statement_however_great_their_ids(url: str) -> None:
    """The server plans a statement anew for each type that its values come in."""
    always = {"prepare_threshold": 0}
    with ConnectionPool(url, kwargs=always, min_size=1, max_size=1, open=True) as pool:
        outbox = living(pool, ONE)
        for row_id in (1, 2**20, 2**40):
            outbox.acknowledged([row_id])
            outbox.still_there([row_id])
            outbox.left_behind([row_id], older_than_seconds=0.0, limit=10)
        outbox.left_behind((), older_than_seconds=0.0, limit=10)
        with pool.connection() as connection:
            statements = connection.execute("SELECT statement FROM pg_prepared_statements").fetchall()
        texts = [text for (text,) in statements if "row_id" in text]
        assert len(texts) == len(set(texts)) == 3


def test_a_row_whose_header_has_no_value_is_taken_over_with_an_empty_one(url: str, pool: Any) -> None:
    """An older version wrote such rows: a dead letter's copy has the headers of a stranger's record."""
    (row_id,) = commit(url, ONE, Outgoing("t", b"a", b"1", (("named", b"x"), ("null", b""))))
    with psycopg.connect(url) as connection:
        headers = msgspec.msgpack.encode((("named", b"x"), ("null", None)))
        connection.execute("UPDATE outbox SET headers = %s WHERE row_id = %s", (headers, row_id))
    (row,) = living(pool, TWO).take_over(10)
    assert (row.row_id, row.record.headers) == (row_id, (("named", b"x"), ("null", b"")))


def test_rows_can_be_written_and_fetched_within_a_pipeline(url: str) -> None:
    with psycopg.connect(url) as connection, connection.pipeline():
        first, other, second = connection.cursor(), connection.cursor(), connection.cursor()
        write(first, [A, B, A], ONE)
        other.execute("SELECT 42")
        write(second, [A], ONE)
        one, _, three = written(first, [A, B, A])
        assert other.fetchone() == (42,)
        assert three.after == one.row_id
        assert written(second, [A])[0].after == three.row_id


def test_rows_can_be_fetched_as_dicts(url: str) -> None:
    with psycopg.connect(url) as connection, connection.cursor(row_factory=dict_row) as cursor:
        write(cursor, [A, A], ONE)
        first, second = written(cursor, [A, A])
    assert (second.after, second.owner) == (first.row_id, ONE)


def test_a_batch_of_many_keeps_its_order(url: str) -> None:
    records = [Outgoing("t", b"%d" % (n % 7), b"%d" % n) for n in range(2000)]
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        write(cursor, records, ONE)
        rows = written(cursor, records)
        stored = cursor.execute("SELECT row_id, value FROM outbox ORDER BY row_id").fetchall()
    assert stored == [(row.row_id, row.record.value) for row in rows]
    assert [row.record for row in rows] == records


def test_a_row_whose_transaction_ends_late_is_found_though_later_ids_were_seen_before(url: str, pool: Any) -> None:
    one = living(pool, ONE)
    with psycopg.connect(url) as slow, slow.cursor() as cursor:
        write(cursor, [A], ONE)
        (early,) = written(cursor, [A])
        (late,) = commit(url, ONE, B)
        assert [row.row_id for row in one.left_behind((), older_than_seconds=0.0, limit=10)] == [late]
    assert early.row_id < late
    assert [row.row_id for row in one.left_behind([late], older_than_seconds=0.0, limit=10)] == [early.row_id]


def test_two_that_take_over_at_once_do_not_wait_for_each_other_nor_get_the_same(url: str, pool: Any) -> None:
    first, second = commit(url, ONE, A, B)
    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM outbox WHERE row_id = %s FOR UPDATE", (first,))
        assert [row.row_id for row in living(pool, TWO).take_over(10)] == [second]


def test_an_owner_that_renews_while_another_buries_it_lives_and_nobody_waits_for_it(url: str, pool: Any) -> None:
    """The lease has run out, but the renewal is under way and not visible yet."""
    dead = PostgresOutbox(pool, ONE, lease_seconds=0.0, deadline=Deadline(10.0))
    dead.register()
    row_ids = commit(url, ONE, A)
    two = PostgresOutbox(pool, TWO, lease_seconds=600.0, deadline=Deadline(5.0))
    two.register()
    with psycopg.connect(url) as renewing:
        renewing.execute("UPDATE outbox_owners SET lease_until = now() WHERE owner = %s", (ONE,))
        assert list(two.take_over(10)) == []
    dead.beat()
    assert [row.row_id for row in two.take_over(10)] == row_ids, "once it was not renewed in time"


def test_a_clock_that_is_put_back_keeps_no_lease_of_a_dead_process_and_hides_no_row(url: str, pool: Any) -> None:
    living(pool, ONE)
    two = living(pool, TWO)
    (row_id,) = commit(url, ONE, A)
    (mine,) = commit(url, TWO, B)
    with psycopg.connect(url) as connection:
        later = "UPDATE outbox_owners SET lease_until = lease_until + interval '1 hour' WHERE owner = %s"
        connection.execute(later, (ONE,))
        connection.execute("UPDATE outbox SET created_at = created_at + interval '1 hour'")
    assert [row.row_id for row in two.take_over(10)] == [row_id]
    assert [row.row_id for row in two.left_behind([row_id], older_than_seconds=5.0, limit=10)] == [mine]


def test_taking_over_is_no_reason_for_the_server_to_warn(url: str) -> None:
    told: list[str | None] = []

    def listen(connection: Connection[Any]) -> None:
        connection.add_notice_handler(lambda notice: told.append(notice.message_primary))

    commit(url, ONE, A)
    with ConnectionPool(url, min_size=1, max_size=1, open=True, configure=listen) as pool:
        two = living(pool, TWO)
        assert len(two.take_over(10)) == 1
        assert len(two.left_behind((), older_than_seconds=0.0, limit=10)) == 1
    assert told == []


LIMITS = (
    "SELECT name, setting::int FROM pg_settings WHERE name IN"
    " ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')"
)


def test_behind_a_pooler_its_transactions_have_the_limits_of_all_others(pool: Any) -> None:
    outbox = PostgresOutbox(pool, ONE, schema="public", deadline=Deadline(7.0))
    with outbox._transaction(on_any=True) as connection:
        limits: dict[str, int] = dict(connection.execute(LIMITS).fetchall())
    assert limits.pop("statement_timeout") == limits.pop("idle_in_transaction_session_timeout") == 7_000
    assert all(one == 8_000 for one in limits.values()), "servers before 17 have none for transactions"


def test_on_another_server_ids_are_not_believed(url: str, pool: Any) -> None:
    """They may be other rows there: nothing is deleted, nothing learnt, and what is written is nobody's."""
    one = living(pool, ONE)
    server = one.server
    assert server is not None
    row_ids = commit(url, ONE, A)
    one._server = server - timedelta(seconds=1)
    one.acknowledged(row_ids)
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        write(cursor, [B], one.owner, one.server)
        (nobodys,) = written(cursor, [B])
    for ask in (
        one.beat,
        lambda: one.still_there(row_ids),
        lambda: one.take_over(10),
        lambda: one.left_behind((), older_than_seconds=0.0, limit=10),
    ):
        with pytest.raises(AnotherServer):
            ask()

    one.register(anew=True)
    two = living(pool, TWO)
    assert (one.server, one.owner != ONE) == (server, True)
    assert nobodys.owner not in (ONE, one.owner)
    assert [row.row_id for row in two.take_over(10)] == [nobodys.row_id]
    assert [row.row_id for row in one.take_over(10)] == row_ids, "before its old lease has ended"


def test_the_tables_may_live_in_a_schema_of_their_own(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE SCHEMA payment")
        connection.execute("SET LOCAL search_path TO payment")
        connection.execute(TABLES_SQL)
        with connection.cursor() as cursor:
            write(cursor, [A], ONE)
            (row,) = written(cursor, [A])
    with ConnectionPool(database_url, min_size=1, max_size=1, open=True) as pool:
        outbox = PostgresOutbox(pool, ONE, schema="payment")
        outbox.register()
        assert outbox.still_there([row.row_id]) == {row.row_id}
        with pool.connection() as connection:
            assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)


def test_a_database_that_does_not_answer_is_given_up_and_its_connection_thrown_away(url: str, pool: Any) -> None:
    (row_id,) = commit(url, ONE, A)
    outbox = PostgresOutbox(pool, ONE, deadline=Deadline(0.2))
    with psycopg.connect(url) as holder:
        holder.execute("SELECT 1 FROM outbox WHERE row_id = %s FOR UPDATE", (row_id,))
        with pytest.raises(OutboxUnavailable):
            outbox.acknowledged([row_id])
    outbox.acknowledged([row_id])
    assert outbox.still_there([row_id]) == set()


def test_a_deadline_leaves_those_alone_who_are_done(url: str, pool: Any) -> None:
    deadline = Deadline(0.5)
    outbox = PostgresOutbox(pool, ONE, deadline=deadline)
    for _ in range(2):
        outbox.register()
        with pool.connection() as connection:
            # Longer than the deadline, on the connection that was guarded a moment ago.
            connection.execute("SELECT pg_sleep(0.7)")


def test_a_database_that_is_away_is_a_reason_to_try_again(pool: Any) -> None:
    outbox = PostgresOutbox(pool, ONE)
    pool.close()
    with pytest.raises(OutboxUnavailable) as caught:
        outbox.beat()
    assert caught.value.retriable


def test_a_missing_table_is_no_crash_of_the_relay(database_url: str) -> None:
    with ConnectionPool(database_url, min_size=1, max_size=1, open=True) as pool, pytest.raises(OutboxUnavailable):
        PostgresOutbox(pool, ONE).take_over(1)
