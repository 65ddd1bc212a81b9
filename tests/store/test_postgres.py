"""What the database is asked for, and how it goes about it: plans, partitions, prepared statements, settings."""

import dataclasses
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from threading import Thread
from typing import Any
from uuid import UUID

import psycopg
import pytest
from msgspec.structs import replace
from psycopg_pool import ConnectionPool

from ordersaga.delivery import arrays
from ordersaga.delivery.arrays import Texts, Transactions, Uuids
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.store import rows
from ordersaga.orchestrator.store.connections import statements
from ordersaga.orchestrator.store.postgres import PostgresStore, open_pool
from ordersaga.orchestrator.store.protocol import Batch, Lookup
from ordersaga.orchestrator.store.recent import NO_SERVER, Recent
from ordersaga.orchestrator.store.search import Search
from ordersaga.orchestrator.store.searching import page_statement, parameters
from tests.local.watching import until
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


# --- plans ----------------------------------------------------------------------------------------

FILLED = """
    INSERT INTO sagas (id, saga, version, status, revision, order_id, payment_id, reason, attention, resolved,
                       created_at, updated_at, state)
    SELECT first_id_of(now() - n * interval '1 second'), 'trial', 1,
           CASE WHEN n % 1000 = 0 THEN 'FAILED' ELSE 'COMPLETED' END, 1, 'o-' || n, 'p-' || n,
           CASE WHEN n % 1000 = 0 THEN 'PAYMENT_DECLINED' END, n % 500 = 0, false,
           now(), now(), to_jsonb(repeat('x', 1000)) FROM generate_series(1, 20000) n;
    INSERT INTO saga_personal (saga_id, customer_id, data)
        SELECT id, 'c-' || row_number() OVER () % 500, to_jsonb(repeat('x', 500)) FROM sagas;
    INSERT INTO saga_history (saga_id, revision, cause, body) SELECT id, 1, 'started', '{}' FROM sagas;
    INSERT INTO deadlines (saga_id, kind, due_at) SELECT id, 'command', now() + interval '1 hour' FROM sagas;
    ANALYZE
"""
IDS = Uuids([UUID(int=n) for n in range(32)])
KNOWN = {"ids": IDS, "written": Transactions([0] * 32), "server": NO_SERVER}
REFERENCES = {"ids": IDS, "order_ids": Texts(["o-7", "o-8"]), "payment_ids": Texts(["p-9"])}
DUE = {"known": Texts(["trial 1"]), "limit": 100}

PLANS: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "lock": ("write.sql", KNOWN, {"sagas_pkey"}),
    "lock_free": ("write.sql", KNOWN, {"sagas_pkey"}),
    "lock_by_reference": ("write.sql", REFERENCES, {"sagas_pkey", "sagas_order_id", "sagas_payment_id"}),
    "lock_free_by_reference": ("write.sql", REFERENCES, {"sagas_pkey", "sagas_order_id", "sagas_payment_id"}),
    "personal": ("write.sql", KNOWN, {"sagas_pkey", "saga_personal_pkey"}),
    "personal_by_reference": (
        "write.sql", REFERENCES, {"saga_personal_pkey", "sagas_pkey", "sagas_order_id", "sagas_payment_id"},
    ),
    "clear_deadlines": ("write.sql", {"ids": IDS, "kinds": Texts(["command"] * 32)}, {"deadlines_pkey"}),
    "due": ("read.sql", DUE, {"deadlines_due", "sagas_pkey"}),
    "get": ("read.sql", {"id": UUID(int=1)}, {"sagas_pkey", "saga_personal_pkey"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def filled(postgres_server: Any, migrated: str) -> Iterator[psycopg.Connection[Any]]:
    url = postgres_server.create_database(template=migrated)
    with psycopg.connect(url, options=f"-c search_path={SCHEMA}", autocommit=True) as connection:
        arrays.register(connection.adapters)
        connection.execute(FILLED)
        yield connection
    postgres_server.drop_database(url)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@pytest.mark.parametrize("name", PLANS)
def test_what_is_asked_often_is_answered_from_the_index_that_is_meant(
    filled: psycopg.Connection[Any], name: str
) -> None:
    file, values, indexes = PLANS[name]
    found = filled.execute(b"EXPLAIN (FORMAT JSON) " + statements(file)[name], values).fetchone()
    assert found is not None
    plan = list(nodes(found[0][0]["Plan"]))
    assert {node["Index Name"] for node in plan if "Index Name" in node} == indexes
    assert [node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"] == []


SEARCHES = {
    "sagas_pkey": Search(),
    "sagas_status": Search(statuses=frozenset({Status.FAILED, Status.COMPLETED})),
    "sagas_reason": Search(reason=Reason.PAYMENT_DECLINED, statuses=frozenset({Status.COMPENSATED})),
    "sagas_order_id": Search(order_id="o-7", step="ONE"),
    "sagas_attention": Search(attention=True, text="x"),
    "saga_personal_customer": Search(customer_id="c-7", statuses=frozenset({Status.COMPLETED})),
}


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("index", SEARCHES)
def test_a_search_goes_by_the_index_that_leaves_the_fewest(
    filled: psycopg.Connection[Any], index: str, oldest_first: bool
) -> None:
    search = dataclasses.replace(SEARCHES[index], oldest_first=oldest_first)
    values = parameters(search, limit=100, looked_max=2000 if search.narrows else 100, after=None)
    found = filled.execute(b"EXPLAIN (FORMAT JSON) " + page_statement(search), values).fetchone()
    assert found is not None
    plan = list(nodes(found[0][0]["Plan"]))
    used = {node["Index Name"] for node in plan if "Index Name" in node}
    assert index in used and used <= {index, "sagas_pkey", "saga_personal_pkey"}
    assert [node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"] == []


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("index", ["sagas_pkey", "sagas_status"])
def test_a_page_far_in_begins_where_the_one_before_ended(
    filled: psycopg.Connection[Any], index: str, oldest_first: bool
) -> None:
    """Not with the first of all: 19,000 entries of the index are 90 of its pages and more."""
    search = dataclasses.replace(SEARCHES[index], oldest_first=oldest_first)
    far = f"SELECT id FROM sagas ORDER BY id {'ASC' if oldest_first else 'DESC'} OFFSET 19000 LIMIT 1"
    after = filled.execute(far.encode()).fetchone()
    assert after is not None
    values = parameters(search, limit=10, looked_max=10, after=after[0])
    explain = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + page_statement(search)
    found = filled.execute(explain, values).fetchone()
    assert found is not None
    plan = next(node for node in nodes(found[0][0]["Plan"]) if node.get("Index Name") == index)
    assert plan["Actual Rows"] * plan["Actual Loops"] >= 10
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 40


def test_moving_a_saga_touches_its_row_by_its_key(filled: psycopg.Connection[Any]) -> None:
    one = saga()
    columns = rows.moved_columns([change(one, changed(one))] * 32, CODEC)
    found = filled.execute(b"EXPLAIN (FORMAT JSON) " + statements("write.sql")["move_sagas"], columns).fetchone()
    assert found is not None
    plan = list(nodes(found[0][0]["Plan"]))
    assert {node["Index Name"] for node in plan if "Index Name" in node} == {"sagas_pkey"}


def test_a_look_for_what_is_due_stops_at_the_first_that_is_not(filled: psycopg.Connection[Any]) -> None:
    statement = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statements("read.sql")["due"]
    found = filled.execute(statement, DUE).fetchone()
    assert found is not None
    assert found[0][0]["Plan"]["Shared Hit Blocks"] + found[0][0]["Plan"]["Shared Read Blocks"] < 10


def test_a_step_that_changes_nothing_searched_for_touches_no_index(postgres: PostgresPlace) -> None:
    store, one = postgres.store(), saga()
    with store.transaction() as transaction:
        transaction.save(begun(one))
    moved = one
    for step in ("TWO", "THREE"):
        with store.transaction() as transaction:
            transaction.save(Batch(changes=[change(moved, moved := changed(moved, step=step))]))
    hot = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'sagas'"
    # Each connection tells its figures when it is idle for a while or ends.
    postgres.pool.close()
    until(lambda: postgres.ask(hot) == [(2, 2)], "both updates stayed on their page")


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


def load(store: PostgresStore, saga_id: UUID) -> AnyInstance:
    with store.transaction() as transaction:
        return transaction.load(Lookup(saga_ids=[saga_id])).instances[saga_id]


def test_what_this_process_wrote_last_is_not_read_again(postgres: PostgresPlace) -> None:
    store, one = postgres.store(), waiting_until(saga(), PAST)
    with store.transaction() as transaction:
        transaction.save(begun(one))
    assert load(store, one.saga_id) is one
    with store.transaction() as transaction:
        before = transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
        transaction.save(Batch(changes=[change(before, after := changed(before, step="TWO"))]))
    assert load(store, one.saga_id) is after
    assert load(postgres.store(), one.saga_id) == after, "as another process reads it"


def test_what_waits_for_no_answer_is_not_remembered(postgres: PostgresPlace) -> None:
    store, one = postgres.store(), saga()
    with store.transaction() as transaction:
        transaction.save(begun(one))
    assert (found := load(store, one.saga_id)) == one and found is not one


def test_a_row_that_anybody_touched_is_read_though_its_revision_is_the_same(postgres: PostgresPlace) -> None:
    store, one = postgres.store(), waiting_until(saga(note="as written"), PAST)
    with store.transaction() as transaction:
        transaction.save(begun(one))
    touched = "UPDATE sagas SET state = jsonb_set(state, '{data,note}', '\"by hand\"')"
    postgres.ask(touched)
    found = load(store, one.saga_id)
    assert (found.revision, found.data.note) == (one.revision, "by hand")
    assert found.data.personal == one.data.personal


def test_who_waited_for_a_row_gets_what_was_written_meanwhile(postgres: PostgresPlace) -> None:
    mine, other, one = postgres.store(), postgres.store(), waiting_until(saga(), PAST)
    with mine.transaction() as transaction:
        transaction.save(begun(one))
    found: list[AnyInstance] = []
    waiting = Thread(target=lambda: found.append(load(mine, one.saga_id)))
    with other.transaction() as transaction:
        before = transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
        waiting.start()
        until(postgres.someone_waits, "one waits")
        transaction.save(Batch(changes=[change(before, newest := changed(before, step="TWO"))]))
    waiting.join(20)
    assert found == [newest]


def test_what_was_not_committed_is_not_remembered(postgres: PostgresPlace) -> None:
    store, one = postgres.store(), waiting_until(saga(), PAST)
    with store.transaction() as transaction:
        transaction.save(begun(one))

    def fail() -> None:
        with store.transaction() as transaction:
            before = transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
            transaction.save(Batch(changes=[change(before, changed(before, step="TWO"))]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert load(store, one.saga_id) == one


def test_no_more_are_remembered_than_there_is_room_for() -> None:
    recent, sagas = Recent(most=3), [waiting_until(saga(), PAST) for _ in range(5)]
    recent.keep(1, PAST, sagas)
    recent.keep(2, PAST, sagas[2:3])
    recent.keep(3, PAST, [changed(sagas[4], outstanding=None)])
    server, found = recent.of(one.saga_id for one in sagas)
    assert server == PAST
    assert {saga_id: by for saga_id, (by, _) in found.items()} == {sagas[2].saga_id: 2, sagas[3].saga_id: 1}


def test_what_was_written_on_another_server_is_forgotten() -> None:
    recent, (older, newer) = Recent(), [waiting_until(saga(), PAST) for _ in range(2)]
    recent.keep(7, PAST, [older])
    recent.keep(3, PAST + timedelta(hours=1), [newer])
    server, found = recent.of([older.saga_id, newer.saga_id])
    assert server == PAST + timedelta(hours=1) and found.keys() == {newer.saga_id}


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
