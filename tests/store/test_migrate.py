"""Bringing the schema up to date: once each, all or nothing, whoever starts at the same time or is killed meanwhile."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from uuid import UUID

import psycopg
import pytest

from ordersaga.local.postgres import PostgresServer
from ordersaga.orchestrator.store import migrate as migrating
from ordersaga.orchestrator.store.migrate import NEWEST, Migration, migrate, migrations
from ordersaga.orchestrator.store.protocol import SchemaInUse, SchemaMismatch, StoreUnavailable
from ordersaga.preparing import Prepared, Step
from tests.local.watching import program, until

from .places import SCHEMA, PostgresPlace

FIRST = Migration(1, "0001_first", "CREATE TABLE first (id int)")
SECOND = Migration(2, "0002_second", "ALTER TABLE first ADD COLUMN name text")
BROKEN = Migration(2, "0002_broken", "ALTER TABLE first ADD COLUMN name text; SELECT 1 / 0")


def tables(url: str, schema: str = SCHEMA) -> set[str]:
    with psycopg.connect(url) as connection:
        return {
            name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,))
        }


def test_ten_that_start_at_once_all_succeed_and_each_migration_is_applied_once(database_url: str) -> None:
    together = Barrier(10)

    def start(_: int) -> list[str]:
        together.wait(20)
        return list(migrate(database_url, SCHEMA))

    with ThreadPoolExecutor(10) as threads:
        applied = [name for names in threads.map(start, range(10)) for name in names]
    assert sorted(applied) == [migration.name for migration in migrations()]
    assert {"sagas", "saga_personal", "saga_history", "deadlines", "outbox", "outbox_owners"} <= tables(database_url)


def test_only_what_is_missing_is_applied(database_url: str) -> None:
    assert list(migrate(database_url, SCHEMA, known=[FIRST])) == ["0001_first"]
    assert list(migrate(database_url, SCHEMA, known=[FIRST, SECOND])) == ["0002_second"]
    assert list(migrate(database_url, SCHEMA, known=[FIRST, SECOND])) == []


def test_a_migration_that_fails_leaves_nothing_of_any(database_url: str) -> None:
    with pytest.raises(SchemaMismatch, match="division by zero"):
        migrate(database_url, SCHEMA, known=[FIRST, BROKEN])
    assert tables(database_url) == set()
    assert list(migrate(database_url, SCHEMA, known=[FIRST, SECOND])) == ["0001_first", "0002_second"]


def test_a_newer_schema_is_left_alone_and_the_message_says_what_to_do(database_url: str) -> None:
    migrate(database_url, SCHEMA, known=[FIRST, SECOND])
    with pytest.raises(
        SchemaMismatch, match="at version 2, made by a newer ordersaga; this one knows 1: run the newer one"
    ) as caught:
        migrate(database_url, SCHEMA, known=[FIRST])
    assert not caught.value.retriable


SLOW = """
import json, sys
from ordersaga.orchestrator.store.migrate import Migration, migrate
print(json.dumps("begins"), flush=True)
migrate(sys.argv[1], "ordersaga", known=[Migration(1, "0001_slow", "CREATE TABLE half (id int); SELECT pg_sleep(100)")])
"""


def sleeps(url: str) -> bool:
    with psycopg.connect(url) as connection:
        statement = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
        )
        return connection.execute(statement).fetchone() == (1,)


def test_one_that_is_killed_in_the_middle_leaves_no_lock_and_no_half_of_anything(database_url: str) -> None:
    with program(SLOW, database_url) as (child, _):
        until(lambda: sleeps(database_url), "the migration is under way")
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        assert list(migrate(database_url, SCHEMA, known=[FIRST])) == ["0001_first"]
    assert tables(database_url) == {"first", "schema_migrations"}


def test_a_migration_does_not_queue_in_front_of_running_workers(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(database_url, SCHEMA, known=[FIRST])
    monkeypatch.setattr(migrating, "_LOCK_TIMEOUT", "100ms")
    with psycopg.connect(database_url) as worker:
        worker.execute("SELECT * FROM ordersaga.first")
        with pytest.raises(SchemaInUse, match="55P03") as caught:
            migrate(database_url, SCHEMA, known=[FIRST, SECOND])
    assert caught.value.retriable
    assert list(migrate(database_url, SCHEMA, known=[FIRST, SECOND])) == ["0002_second"]


class Never:
    """What is not begun."""

    def start(self) -> None:
        raise AssertionError("the schema is not ready")

    def stop(self, timeout_seconds: float) -> bool:
        return True


def test_while_a_migration_waits_for_its_moment_others_work_on(database_url: str) -> None:
    migrate(database_url, SCHEMA, known=migrations()[:13])
    options = f"-c search_path={SCHEMA} -c statement_timeout=3s"
    waits = "SELECT count(*) FROM pg_locks WHERE relation = 'orphans'::regclass AND NOT granted"
    prepared = Prepared([Step(name="schema", do=lambda: migrate(database_url, SCHEMA))], Never())
    with (
        psycopg.connect(database_url, options=options) as reader,
        psycopg.connect(database_url, options=options, autocommit=True) as other,
    ):
        reader.execute("LOCK TABLE orphans IN ACCESS SHARE MODE")
        prepared.start()
        until(lambda: other.execute(waits).fetchone() == (1,), "the migration waits for its lock")
        assert other.execute("SELECT count(*) FROM orphans").fetchone() == (0,)
        until(lambda: "55P03" in prepared.health().detail, "it says so")
        assert prepared.stop(5.0)


def test_a_schema_may_have_any_name_and_two_in_one_database_do_not_meet(database_url: str) -> None:
    awkward = 'My "own" schema; -- x'
    migrate(database_url, awkward)
    migrate(database_url, SCHEMA)
    assert tables(database_url, awkward) == tables(database_url)


def as_user(name: str, url: str) -> str:
    return f"postgresql://{name}@{url.rpartition('@')[2]}"


def test_who_may_not_create_a_table_is_told_so_and_not_to_try_again(database_url: str) -> None:
    name = "visitor_" + database_url[-8:]
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {name} LOGIN")
        try:
            with pytest.raises(SchemaMismatch, match="42501"):
                migrate(as_user(name, database_url), SCHEMA)
        finally:
            owner.execute(f"DROP ROLE {name}")


def test_an_account_that_may_not_create_schemas_can_use_one_that_is_there(database_url: str) -> None:
    name = "tenant_" + database_url[-8:]
    url = as_user(name, database_url)
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {name} LOGIN")
        owner.execute(f"CREATE SCHEMA {SCHEMA} AUTHORIZATION {name}")
        try:
            assert migrate(url, SCHEMA)
        finally:
            owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


def test_a_database_that_is_away_is_a_reason_to_try_again() -> None:
    with pytest.raises(StoreUnavailable):
        migrate("postgresql://nobody@127.0.0.1:1/none", SCHEMA)


def test_an_address_that_nobody_can_read_is_no_reason_to_try_again() -> None:
    with pytest.raises(SchemaMismatch) as caught:
        migrate("postgresql+psycopg://saga@db/saga", SCHEMA)
    assert not caught.value.retriable


def test_a_server_that_freezes_is_given_up(tmp_path: Path) -> None:
    with PostgresServer.start(settings={"fsync": "off"}) as server:
        url = server.create_database()
        with ThreadPoolExecutor(1) as threads:
            slow = Migration(1, "0001_slow", "SELECT pg_sleep(100)")
            migration = threads.submit(migrate, url, SCHEMA, known=[slow], timeout_seconds=2.0)
            until(lambda: sleeps(url), "the migration is under way")
            server.freeze()
            with pytest.raises(StoreUnavailable):
                migration.result(20)
        server.thaw()


def test_a_schema_that_is_older_than_the_code_is_no_schema_to_work_on(postgres: PostgresPlace) -> None:
    postgres.ask("DELETE FROM schema_migrations WHERE version = %s", (NEWEST,))
    with pytest.raises(SchemaMismatch, match="ordersaga migrate"):
        postgres.store().check(5.0)


def test_a_schema_that_is_newer_than_the_code_can_be_worked_on(postgres: PostgresPlace) -> None:
    postgres.ask("INSERT INTO schema_migrations (version, name) VALUES (%s, 'newer')", (NEWEST + 1,))
    postgres.store().check(5.0)


def test_history_that_an_older_version_left_behind_for_ever_goes(database_url: str) -> None:
    migrate(database_url, SCHEMA, known=migrations()[:12])
    kept, left = UUID(int=1), UUID(int=2)
    with psycopg.connect(database_url, options=f"-c search_path={SCHEMA}") as connection:
        connection.execute(
            "INSERT INTO sagas (id, saga, version, status, revision, attention, resolved, created_at, updated_at,"
            " state) VALUES (%s, 'trial', 1, 'FAILED', 1, false, false, now(), now(), '{}')",
            (kept,),
        )
        history = "INSERT INTO saga_history (saga_id, revision, cause, body) VALUES (%s, 1, 'started', '{}')"
        connection.cursor().executemany(history, [(kept,), (left,)])
    assert "0013_history" in migrate(database_url, SCHEMA)
    with psycopg.connect(database_url, options=f"-c search_path={SCHEMA}") as connection:
        assert connection.execute("SELECT saga_id FROM saga_history").fetchall() == [(kept,)]


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.version for migration in migrations()] == list(range(1, NEWEST + 1))
    assert all(migration.name.startswith(f"{migration.version:04d}_") for migration in migrations())


def test_orphans_that_were_there_before_they_had_numbers_are_numbered(database_url: str) -> None:
    (numbering,) = (one for one in migrations() if one.name.endswith("_seen_to"))
    migrate(database_url, SCHEMA, known=[one for one in migrations() if one.version < numbering.version])
    add = f"""
        INSERT INTO {SCHEMA}.orphans (topic, partition, "offset", saga_id, type, value)
        SELECT 'payment_events', 0, n, gen_random_uuid(), 'payment.authorized', '' FROM generate_series(1, 3) n
    """
    with psycopg.connect(database_url) as connection:
        connection.execute(add.encode())
    migrate(database_url, SCHEMA)
    with psycopg.connect(database_url) as connection:
        connection.execute(add.replace("1, 3", "4, 4").encode())
        found = connection.execute(f"SELECT id FROM {SCHEMA}.orphans WHERE settled_at IS NULL ORDER BY id".encode())
        assert found.fetchall() == [(1,), (2,), (3,), (4,)], "the last by a process of the version before"
