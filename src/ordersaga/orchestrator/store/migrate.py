"""Brings the schema up to date: plain SQL files, forward only, each applied once.

All of it is one transaction under a transaction-level advisory lock. Ten processes may start at once: one migrates, the
others wait and find nothing to do. A process that is killed in the middle leaves nothing behind, neither half a
migration nor a lock: both end with its connection. (Libraries for migrations keep their lock as a row of a table, which
outlives a killed process, and commit between migrations. Without those two, what is left of one is this page.)

Migrations must be safe while workers of the version before are running: they add, and take away only what that version
no longer uses. A file that has been released is never edited: what it made stands in databases already. That holds for
the outbox's tables too, which `delivery` owns and the first migration includes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import psycopg

from ordersaga.delivery.deadline import Deadline
from ordersaga.delivery.outbox import TABLES_SQL
from ordersaga.orchestrator.store.connections import AnyConnection, statements
from ordersaga.orchestrator.store.protocol import SchemaInUse, SchemaMismatch, StoreError, StoreUnavailable
from ordersaga.orchestrator.store.sqlstates import meaning_of, one_line

_SQL = statements("migrate.sql")
_PARTITIONS = statements("read.sql")["make_partitions"]
_LOCK = "ordersaga.migrate"
_LOCK_TIMEOUT = "2s"
"""Whoever else wants the table waits as long, and is not to miss its own limit for it."""
_CONNECT_SECONDS = 10
_TIMEOUT_SECONDS = 600.0
"""For all of it, waiting for another process included: a frozen server is given up some time."""
_WEEKS_AHEAD = 8


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    text: str


def migrations() -> Sequence[Migration]:
    """All that this version knows, in order."""
    folder = files("ordersaga.orchestrator.store") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    found = [Migration(int(name[:4]), name.removesuffix(".sql"), (folder / name).read_text("utf-8")) for name in names]
    return [Migration(1, found[0].name, found[0].text + "\n" + TABLES_SQL), *found[1:]]


_ALL = migrations()
NEWEST = _ALL[-1].version


def migrate(
    database_url: str,
    schema: str,
    *,
    known: Sequence[Migration] = _ALL,
    timeout_seconds: float = _TIMEOUT_SECONDS,
) -> Sequence[str]:
    """Apply what is missing; returns the names of what was applied. Raises `StoreUnavailable`, `SchemaInUse`,
    `SchemaMismatch`.

    `known`: other migrations than this version's, for tests of this page.
    """
    try:
        connection: AnyConnection = psycopg.connect(database_url, connect_timeout=_CONNECT_SECONDS)
        with connection, Deadline(timeout_seconds).guard(connection):
            applied = _apply(connection, schema, known)
            connection.commit()
            return applied
    except psycopg.Error as error:
        raise _cannot_migrate(error) from error


def _apply(connection: AnyConnection, schema: str, known: Sequence[Migration]) -> Sequence[str]:
    def ask(statement: str, **values: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        return connection.execute(_SQL[statement], values)

    ask("lock", name=f"{_LOCK}.{schema}")
    ask("give_up_after", timeout=_LOCK_TIMEOUT)
    for (statement,) in ask("how_to_create", schema=schema).fetchall():
        connection.execute(statement.encode())
    ask("enter", schema=schema)
    ask("create_record")
    done = {version for (version,) in ask("applied")}
    newest = known[-1].version
    if newer := [version for version in done if version > newest]:
        raise SchemaMismatch(
            f"the schema {schema!r} is at version {max(newer)}, made by a newer ordersaga; this one knows {newest}: "
            "run the newer one, or this one without migrating (a schema only adds while older workers may run)"
        )
    missing = [migration for migration in known if migration.version not in done]
    for migration in missing:
        connection.execute(migration.text.encode())
        ask("record", version=migration.version, name=migration.name)
    if known is _ALL:
        connection.execute(_PARTITIONS, {"weeks_ahead": _WEEKS_AHEAD})
    return [migration.name for migration in missing]


def _cannot_migrate(error: psycopg.Error) -> StoreError:
    """To be tried again, unless the server says that it is of no use: not allowed, or a table is not as expected. Or
    there was no server, since nobody could read its address.
    """
    state = error.sqlstate or ""
    is_of_use = state or not isinstance(error, psycopg.ProgrammingError)
    retriable = is_of_use and meaning_of(state).retriable and not state.startswith(("42", "3F", "0A", "2B"))
    kind: type[StoreError] = StoreUnavailable if retriable else SchemaMismatch
    if isinstance(error, psycopg.errors.LockNotAvailable):
        kind = SchemaInUse
    return kind(f"cannot migrate: {state} {one_line(error)}")
