"""Connections to the database, each use of one under a deadline, every error as one of ours.

What keeps it from waiting without end is `delivery.pool`'s.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import aiosql
import psycopg
from psycopg import Connection
from psycopg.adapt import Loader
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from ordersaga.delivery import arrays, pool
from ordersaga.delivery.deadline import Deadline
from ordersaga.delivery.pool import Entry, Lender
from ordersaga.delivery.round_trip import round_trip
from ordersaga.orchestrator.store.protocol import StoreUnavailable
from ordersaga.orchestrator.store.sqlstates import as_ours, commit_failed, one_line

AnyConnection = Connection[tuple[Any, ...]]
Row = tuple[Any, ...]

_CONNECT_SECONDS = 3
_WAIT_SECONDS = 2.0
"""For a free connection: then the caller is told to try again later."""


def statements(file: str) -> Mapping[str, bytes]:
    """The text of each named statement of a file in `sql/`."""
    text = (files("ordersaga.orchestrator.store") / "sql" / file).read_text("utf-8")
    queries = aiosql.from_str(text, "psycopg")
    names = [name for name in queries.available_queries if not name.endswith("_cursor")]
    return {name: getattr(queries, name).sql.encode() for name in names}


def open_pool(
    database_url: str, schema: str | None, *, size_max: int, prepares: bool = True, timeout_seconds: float = 10.0
) -> ConnectionPool[AnyConnection]:
    """Connections that find the schema's tables and hand JSON over as it is. Connects in the background.

    `prepares` off: no prepared statements, for poolers that hand each transaction to another connection. Those pass on
    no settings either: `schema` None leaves them out, and the store is told the schema instead, and enters all of them
    anew in each transaction.

    `timeout_seconds`: after which the server ends a statement, and from PostgreSQL 17 on a transaction.
    """

    def configure(connection: AnyConnection) -> None:
        connection.prepare_threshold = 2 if prepares else None
        connection.adapters.register_loader("jsonb", _RawJson)
        arrays.register(connection.adapters)

    return pool.open_pool(
        database_url,
        name="ordersaga",
        options="" if schema is None else _options(schema),
        size_max=size_max,
        wait_seconds=_WAIT_SECONDS,
        connect_seconds=_CONNECT_SECONDS,
        configure=configure,
        timeout_seconds=None if schema is None else timeout_seconds,
    )


def _options(schema: str) -> str:
    quoted = schema.replace('"', '""').replace("\\", "\\\\").replace(" ", "\\ ")
    return f'-c search_path="{quoted}"'


class _RawJson(Loader):
    """JSON as bytes: whoever wants it parsed knows into what."""

    def load(self, data: bytes | bytearray | memoryview) -> bytes:
        return bytes(data)


class Connections:
    def __init__(self, pool: Lender, timeout_seconds: float, schema: str | None) -> None:
        """`schema`: to be entered anew in each transaction, with the limits; None where the connections know both."""
        self._pool = pool
        self._entry = None if schema is None else Entry(schema, timeout_seconds)
        self._deadline = Deadline(timeout_seconds)
        self._others: dict[float, Deadline] = {}

    @contextmanager
    def transaction(self) -> Iterator[AnyConnection]:
        with self._guarded(self._deadline, None) as connection:
            yield connection
            _commit(connection)

    def ask(self, statement: bytes, values: Mapping[str, Any], *, timeout_seconds: float | None = None) -> list[Row]:
        """One statement in a transaction of its own, in one round trip."""
        deadline = self._deadline
        if timeout_seconds is not None:
            deadline = self._others.setdefault(timeout_seconds, Deadline(timeout_seconds))
        with self._guarded(deadline, timeout_seconds) as connection:
            with round_trip(connection):
                self.enter(connection)
                cursor = connection.execute(statement, values)
                connection.commit()
            return cursor.fetchall()

    def enter(self, connection: AnyConnection) -> None:
        """First in each transaction."""
        if self._entry is not None:
            self._entry.make(connection)

    def close(self) -> None:
        self._pool.close(timeout=2.0)

    @contextmanager
    def _guarded(self, deadline: Deadline, wait_seconds: float | None) -> Iterator[AnyConnection]:
        """A connection that goes back with no transaction open, or not at all."""
        try:
            with pool.lent(self._pool, deadline, wait_seconds) as connection:
                yield connection
        except (PoolTimeout, PoolClosed) as error:
            raise StoreUnavailable(f"no connection to the database: {one_line(error)}") from error
        except psycopg.Error as error:
            raise as_ours(error) from error


def _commit(connection: AnyConnection) -> None:
    try:
        connection.commit()
    except psycopg.Error as error:
        raise commit_failed(error) from error
