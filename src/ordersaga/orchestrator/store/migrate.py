"""Brings the schema up to date: plain SQL files, forward only, each applied once.

All of it is one transaction under a transaction-level advisory lock. Ten processes may start at once: one migrates, the
others wait and find nothing to do. A process that is killed in the middle leaves nothing behind, neither half a
migration nor a lock: both end with its connection. (Migration libraries keep their lock as a row of a table, which
outlives a killed process, or commit between migrations; what is left of one without that is this page.)

Migrations must be safe while workers of the version before are running: they add, and take away only what that version
no longer uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import psycopg
from psycopg import sql

from ordersaga.delivery.outbox import TABLES_SQL
from ordersaga.orchestrator.store.protocol import SchemaMismatch, StoreUnavailable

_LOCK = "ordersaga.migrate"
_LOCK_TIMEOUT = "10s"
"""For locks on tables: a migration gives up rather than queue in front of running workers."""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    text: str


def migrations() -> Sequence[Migration]:
    """All that this version knows, in order. The outbox's tables come from `delivery`, which owns them."""
    folder = files("ordersaga.orchestrator.store") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    found = [Migration(int(name[:4]), name.removesuffix(".sql"), (folder / name).read_text("utf-8")) for name in names]
    return [Migration(1, found[0].name, found[0].text + "\n" + TABLES_SQL), *found[1:]]


NEWEST = len(migrations())


def migrate(database_url: str, schema: str) -> Sequence[str]:
    """Apply what is missing; returns the names of what was applied. Raises `StoreUnavailable`, `SchemaMismatch`."""
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            return _apply(connection, schema)
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"cannot migrate: {error}".strip()) from error


def _apply(connection: psycopg.Connection[tuple[object, ...]], schema: str) -> Sequence[str]:
    connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"{_LOCK}.{schema}",))
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(_LOCK_TIMEOUT)))
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(schema)))
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations"
        " (version int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )
    done = {row[0] for row in connection.execute("SELECT version FROM schema_migrations")}
    if done and max(int(str(version)) for version in done) > NEWEST:
        raise SchemaMismatch(
            f"the schema {schema!r} was made by a newer version of ordersaga: run that version, or use another schema"
        )
    missing = [migration for migration in migrations() if migration.version not in done]
    for migration in missing:
        connection.execute(migration.text.encode())
        row = (migration.version, migration.name)
        connection.execute("INSERT INTO schema_migrations (version, name) VALUES (%s, %s)", row)
    return [migration.name for migration in missing]
