"""What the database is asked for: round trips, partitions, prepared statements, settings, what the schema says."""

import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from psycopg_pool import ConnectionPool

from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.store.connections import Connections, statements
from ordersaga.orchestrator.store.postgres import PostgresStore, open_pool
from ordersaga.orchestrator.store.protocol import Batch, Lookup
from ordersaga.orchestrator.store.search import Search
from tests.speaking import turns_of

from .places import SCHEMA, PostgresPlace
from .sagas import (
    CODEC,
    PAST,
    AnyInstance,
    Person,
    begin,
    begun,
    change,
    changed,
    dead_letter,
    message,
    new_id,
    saga,
    waiting_until,
    with_data,
)


def test_a_transaction_waits_for_the_server_three_times(postgres: PostgresPlace) -> None:
    store, before = postgres.store(), saga()
    begin(store, before)
    with store.transaction() as transaction, turns_of(transaction._connection) as turns:
        loaded = transaction.load(Lookup(saga_ids=[before.saga_id]))
        after = changed(loaded.instances[before.saga_id], step="next")
        transaction.save(Batch(changes=[change(before, after, message(after))]))
        transaction._connection.commit()
    assert turns == ["F", "B"] * 3


def test_a_dead_letter_whose_header_has_no_value_is_read_with_an_empty_one(postgres: PostgresPlace) -> None:
    """An older version kept such rows."""
    store = postgres.store()
    with store.transaction() as transaction:
        transaction.save(Batch(dead_letters=[dead_letter(headers=[("named", b"x"), ("null", None)])]))
    (found,) = store.dead_letters()
    assert found.letter.record.headers == (("named", b"x"), ("null", b""))


# --- personal data --------------------------------------------------------------------------------


def test_personal_data_are_written_only_where_they_changed(postgres: PostgresPlace) -> None:
    store, one = postgres.store(), saga()
    with store.transaction() as transaction:
        transaction.save(begun(one))
    written = "SELECT xmin::text FROM saga_personal"
    first = postgres.ask(written)

    def move(**data: Any) -> None:
        with store.transaction() as transaction:
            before = transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
            transaction.save(Batch(changes=[change(before, with_data(before, **data))]))

    move(order_id="o-1")
    assert postgres.ask(written) == first
    move(personal=Person(customer_id="c-2"))
    assert postgres.ask(written) != first
    assert postgres.ask("SELECT customer_id FROM saga_personal") == [("c-2",)]


# --- partitions -----------------------------------------------------------------------------------

WHERE = "SELECT tableoid::regclass::text FROM saga_history WHERE saga_id = %s"


def begin_at(place: PostgresPlace, moment: datetime) -> AnyInstance:
    one = replace(saga(), saga_id=new_id(moment))
    with place.store().transaction() as transaction:
        transaction.save(begun(one))
    return one


def week_of(moment: datetime) -> str:
    monday = moment.date() - timedelta(days=moment.weekday())
    return f"saga_history_{monday:%Y%m%d}"


@pytest.mark.parametrize("days", [-7, 0, 7, 56])
def test_history_lies_in_the_partition_of_the_week_in_its_sagas_id(postgres: PostgresPlace, days: int) -> None:
    moment = datetime.now(UTC) + timedelta(days=days)
    one = begin_at(postgres, moment)
    assert postgres.ask(WHERE, (one.saga_id,)) == [(week_of(moment),)]


def test_history_of_a_week_that_nobody_made_is_kept_and_moves_when_it_is_made(postgres: PostgresPlace) -> None:
    moment = datetime.now(UTC) + timedelta(days=7 * 20)
    one, never = begin_at(postgres, moment), begin_at(postgres, datetime(2100, 1, 1, tzinfo=UTC))
    assert postgres.ask(WHERE, (one.saga_id,)) == [("saga_history_other",)]
    assert postgres.ask("SELECT make_history_partitions(21)") == [(13,)]
    assert postgres.ask(WHERE, (one.saga_id,)) == [(week_of(moment),)]
    assert postgres.ask(WHERE, (never.saga_id,)) == [("saga_history_other",)]
    assert [entry.revision for entry in postgres.store().history(one.saga_id)] == [1]


def test_making_partitions_keeps_no_writer_of_history_waiting(postgres: PostgresPlace) -> None:
    store, one = postgres.store(), saga()
    with store.transaction() as writing:
        writing.save(begun(one))
        assert postgres.ask("SELECT make_history_partitions(9)") == [(1,)]
    with psycopg.connect(postgres.url, options=f"-c search_path={SCHEMA}") as making:
        making.execute("SELECT make_history_partitions(10)")
        begin_at(postgres, datetime.now(UTC))


def test_upkeep_makes_room_and_forgets_what_nobody_asks_for(postgres: PostgresPlace) -> None:
    postgres.ask("DO $$ DECLARE name text; BEGIN FOR name IN SELECT inhrelid::regclass FROM pg_inherits WHERE"
                 " inhparent = 'saga_history'::regclass AND inhrelid <> 'saga_history_other'::regclass LOOP"
                 " EXECUTE 'DROP TABLE ' || name; END LOOP; END $$")  # fmt: skip
    postgres.ask(
        "INSERT INTO idempotency_keys (principal, key, fingerprint, created_at) VALUES"
        " ('p', 'old', '', now() - interval '3 days'), ('p', 'new', '', now())"
    )
    postgres.ask(
        'INSERT INTO early_events (topic, partition, "offset", reference, value, kept_until) VALUES'
        " ('t', 0, 1, 'o', '', now() - interval '1 minute'), ('t', 0, 2, 'o', '', now() + interval '1 minute')"
    )
    postgres.store().upkeep()
    one = begin_at(postgres, datetime.now(UTC))
    assert postgres.ask(WHERE, (one.saga_id,)) != [("saga_history_other",)]
    assert postgres.ask("SELECT key FROM idempotency_keys") == [("new",)]
    assert postgres.ask('SELECT "offset" FROM early_events') == [(2,)]


# --- connections ----------------------------------------------------------------------------------


def work(store: PostgresStore, times: int = 6) -> None:
    for _ in range(times):
        one = waiting_until(saga(order_id="o"), PAST)
        with store.transaction() as transaction:
            transaction.load(Lookup())
            transaction.save(begun(one))
        with store.transaction() as transaction:
            before = transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
            transaction.save(Batch(changes=[change(before, changed(before))]))


def prepared(pool: ConnectionPool[Any]) -> set[str]:
    with pool.connection() as connection:
        return {text for (text,) in connection.execute("SELECT statement FROM pg_prepared_statements")}


def test_what_is_asked_often_is_prepared_once(postgres: PostgresPlace) -> None:
    pool: ConnectionPool[Any] = open_pool(postgres.url, SCHEMA, size_max=1)
    store = PostgresStore(pool, CODEC, postgres.outbox)
    work(store)
    before = prepared(pool)
    assert any("INSERT INTO sagas" in text for text in before)
    assert any("UPDATE sagas" in text for text in before)
    assert any("FOR UPDATE" in text for text in before)
    work(store)
    assert len(prepared(pool)) == len(before)
    store.close()


def test_behind_a_pooler_nothing_is_prepared_and_the_schema_is_entered_in_each_transaction(
    postgres: PostgresPlace,
) -> None:
    pool: ConnectionPool[Any] = open_pool(postgres.url, None, size_max=1, prepares=False)
    store = PostgresStore(pool, CODEC, postgres.outbox, schema=SCHEMA)
    work(store)
    store.check(5.0)
    assert store.page(Search(statuses=frozenset([Status.STARTED]))).instances
    assert prepared(pool) == set()
    with pool.connection() as connection:
        assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)
    store.close()


LIMITS = (
    "SELECT name, setting FROM pg_settings WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout',"
    " 'transaction_timeout', 'client_connection_check_interval')"
)


def test_behind_a_pooler_each_transaction_has_the_limits_that_connections_have_without_one(
    postgres: PostgresPlace,
) -> None:
    with postgres.pool.connection() as connection:
        wanted = dict(connection.execute(LIMITS).fetchall())
    assert len(wanted) >= 3 and "0" not in wanted.values()
    pool: ConnectionPool[Any] = open_pool(postgres.url, None, size_max=1, prepares=False)
    connections = Connections(pool, 10.0, SCHEMA)
    with connections.transaction() as connection:
        connections.enter(connection)
        assert dict(connection.execute(LIMITS).fetchall()) == wanted
    with pool.connection() as connection:
        assert set(dict(connection.execute(LIMITS).fetchall()).values()) == {"0"}, "nothing is left for others"
    connections.close()


def test_times_are_utc_whatever_the_database_thinks(postgres: PostgresPlace) -> None:
    postgres.ask(f"ALTER DATABASE {postgres.url.rpartition('/')[2]} SET timezone = 'Asia/Kolkata'")
    pool: ConnectionPool[Any] = open_pool(postgres.url, SCHEMA, size_max=1)
    store, one = PostgresStore(pool, CODEC, postgres.outbox), waiting_until(saga(), PAST)
    with store.transaction() as transaction:
        now = transaction.load(Lookup()).now
        transaction.save(begun(one))
    (due,) = store.due(1)
    (entry,) = store.history(one.saga_id)
    assert (now.tzinfo, due.due_at.tzinfo, entry.at.tzinfo) == (UTC, UTC, UTC)
    assert due.due_at == PAST
    store.close()


def test_a_commit_is_on_disk_when_it_is_answered(postgres: PostgresPlace) -> None:
    with postgres.pool.connection() as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


# --- what the schema says of itself ---------------------------------------------------------------

NOT_EXPLAINED = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'i', 'I') AND NOT c.relispartition
      AND obj_description(c.oid, 'pg_class') IS NULL
      AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = c.oid)
"""
EXPLAINED_WHERE_THEY_ARE_MADE = {"outbox", "outbox_owners", "outbox_lane", "outbox_owner", "schema_migrations"}


def test_every_table_and_index_says_what_it_is_for(postgres: PostgresPlace) -> None:
    assert {name for (name,) in postgres.ask(NOT_EXPLAINED)} - EXPLAINED_WHERE_THEY_ARE_MADE == set()


@pytest.mark.parametrize("file", ["read.sql", "write.sql", "migrate.sql"])
def test_every_statement_has_a_sentence(file: str) -> None:
    text = (files("ordersaga.orchestrator.store") / "sql" / file).read_text("utf-8")
    heads = re.findall(r"^-- name: (\w+)\(.*\n(.*)$", text, re.MULTILINE)
    assert len(heads) == len(statements(file))
    assert [name for name, line in heads if not re.match(r"-- [A-Z].*", line)] == []
