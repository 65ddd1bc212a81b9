"""How the database goes about what it is asked for: by which index, and how much of it is read and touched."""

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from ordersaga.delivery import arrays
from ordersaga.delivery.arrays import Texts, Transactions, Uuids
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.store import rows
from ordersaga.orchestrator.store.connections import statements
from ordersaga.orchestrator.store.protocol import Batch
from ordersaga.orchestrator.store.recent import NO_SERVER
from ordersaga.orchestrator.store.search import Search
from ordersaga.orchestrator.store.searching import page_statement, parameters
from tests.local.watching import until

from .places import SCHEMA, PostgresPlace
from .sagas import CODEC, begun, change, changed, saga

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
    INSERT INTO archive (saga_id, saga, version, status, order_id, payment_id, state, history)
        SELECT first_id_of(now() - interval '200 days' - n * interval '1 second'), 'trial', 1, 'CANCELLED', 'a-' || n,
            'q-' || n, decode(repeat('00', 1000), 'hex'), '' FROM generate_series(1, 20000) n;
    ANALYZE
"""
WEEK = """
    CREATE TABLE saga_history_20250106 PARTITION OF saga_history
        FOR VALUES FROM ('01943924-0000-0000-0000-000000000000') TO ('01945d30-c400-0000-0000-000000000000');
    INSERT INTO saga_history (saga_id, revision, cause, body)
        SELECT first_id_of('2025-01-07Z'::timestamptz + n * interval '1 s'), 1, 'started', to_jsonb(repeat('x', 1000))
        FROM generate_series(1, 20000) n;
    INSERT INTO sagas (id, saga, version, status, revision, attention, resolved, created_at, updated_at, state)
        SELECT saga_id, 'trial', 1, 'FAILED', 1, false, false, now(), now(), '{}' FROM saga_history_20250106
        ORDER BY saga_id LIMIT 3;
    ANALYZE
"""
IDS = Uuids([UUID(int=n) for n in range(32)])
KNOWN = {"ids": IDS, "written": Transactions([0] * 32), "server": NO_SERVER}
REFERENCES = KNOWN | {"order_ids": Texts(["o-7", "o-8"]), "payment_ids": Texts(["p-9"])}
DUE = {"known": Texts(["trial 1"]), "limit": 100, "windows_past_seconds": 0.0}

PLANS: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "lock": ("write.sql", KNOWN, {"sagas_pkey"}),
    "lock_free": ("write.sql", KNOWN, {"sagas_pkey"}),
    "lock_by_reference": (
        "write.sql", REFERENCES,
        {"sagas_pkey", "sagas_order_id", "sagas_payment_id", "archive_order_id", "archive_payment_id"},
    ),
    "lock_free_by_reference": ("write.sql", REFERENCES, {"sagas_pkey", "sagas_order_id", "sagas_payment_id"}),
    "personal": ("write.sql", KNOWN, {"sagas_pkey", "saga_personal_pkey"}),
    "personal_by_reference": (
        "write.sql", REFERENCES, {"saga_personal_pkey", "sagas_pkey", "sagas_order_id", "sagas_payment_id"},
    ),
    "known_references": (
        "write.sql", {"references": Texts(["order_id o-7", "payment_id p-9"])},
        {"sagas_order_id", "sagas_payment_id", "archive_order_id", "archive_payment_id"},
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
    assert {node["Index Name"] for node in plan if "Index Name" in node} == {"sagas_pkey", "deadlines_failing"}


def test_a_look_for_what_is_due_stops_at_the_first_that_is_not(filled: psycopg.Connection[Any]) -> None:
    statement = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statements("read.sql")["due"]
    found = filled.execute(statement, DUE).fetchone()
    assert found is not None
    assert found[0][0]["Plan"]["Shared Hit Blocks"] + found[0][0]["Plan"]["Shared Read Blocks"] < 10


def test_a_week_of_history_is_dropped_without_reading_it(filled: psycopg.Connection[Any]) -> None:
    """All who write history wait meanwhile. It has 2,800 pages, and what stays is in one of them; some 800 reads are
    of the catalogue.
    """
    drop = statements("archive.sql")["drop_week"]
    with filled.transaction(force_rollback=True):
        filled.execute(WEEK)
        (week,) = filled.execute(statements("archive.sql")["weeks"], {"age": timedelta(days=90)}).fetchall()
        values = dict(zip(("name", "first", "past"), week, strict=True)) | {"most": 1000}
        found = filled.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + drop, values).fetchone()
        assert found is not None
        assert found[0][0]["Plan"]["Shared Hit Blocks"] + found[0][0]["Plan"]["Shared Read Blocks"] < 2000
        assert filled.execute("SELECT count(*) FROM saga_history_other").fetchone() == (3,)


ARCHIVED = """
    INSERT INTO archive (saga_id, saga, version, status, state, history)
        SELECT first_id_of(now() - interval '100 days' - n * interval '1 second'), 'trial', 1, 'CANCELLED',
            decode(repeat('00', 1000), 'hex'), ''
        FROM generate_series(1, 20000) n;
    ANALYZE archive
"""
A_MONTH = {"age": timedelta(days=30), "limit": 200}


@pytest.mark.parametrize(
    ("file", "name", "values"),
    [("archive.sql", "forget", A_MONTH), ("archive_files.sql", "to_file", A_MONTH | {"after": UUID(int=0)})],
)
def test_a_look_for_what_is_old_does_not_read_all_that_is_young(
    filled: psycopg.Connection[Any], file: str, name: str, values: dict[str, Any]
) -> None:
    statement = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statements(file)[name]
    with filled.transaction(force_rollback=True):
        filled.execute(ARCHIVED)
        found = filled.execute(statement, values).fetchone()
    assert found is not None
    assert found[0][0]["Plan"]["Shared Hit Blocks"] + found[0][0]["Plan"]["Shared Read Blocks"] < 50


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
