"""Keeps tables small that are busy and nearly empty.

Rows of an outbox live for milliseconds, those of deadlines for seconds, and each leaves a dead one behind. The server
removes those by itself once a minute at best (`autovacuum_naptime`, which it shares among all its databases): at 500
sagas a second an outbox of a thousand rows takes 360 MB until then. So whoever fills such a table vacuums it, every few
seconds. Several processes may: one does it, the others pass.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import aiosql
import psycopg
import structlog
from psycopg import Connection, sql
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from ordersaga.delivery.deadline import Deadline
from ordersaga.delivery.outbox_protocol import OutboxUnavailable

_log = structlog.get_logger(__name__)
_SQL = aiosql.from_str((files("ordersaga.delivery") / "sql" / "vacuum.sql").read_text(encoding="utf-8"), "psycopg")
_FULL: bytes = _SQL.full_of_dead.sql.encode()

VACUUM_EVERY_SECONDS = 10.0
DEAD_ROWS_MIN = 5_000
"""Fewer are left to the server."""
_TIMEOUT_SECONDS = 20.0


class Vacuum:
    def __init__(
        self,
        pool: ConnectionPool[Connection[Any]],
        tables: Sequence[str],
        *,
        schema: str | None = None,
        dead_rows_min: int = DEAD_ROWS_MIN,
    ) -> None:
        """`schema` None means that the search path of the pool's connections is right. Who does not own a table leaves
        it to the server.
        """
        self._pool = pool
        self._tables = list(tables)
        self._schema = schema
        self._dead_rows_min = dead_rows_min
        self._deadline = Deadline(_TIMEOUT_SECONDS)

    def run(self) -> Sequence[str]:
        """Returns the tables that were vacuumed. Raises `OutboxUnavailable`."""
        try:
            with self._alone() as connection:
                found = connection.execute(
                    _FULL, {"schema": self._schema, "tables": self._tables, "dead_rows_min": self._dead_rows_min}
                ).fetchall()
                for schema, table in found:
                    connection.execute(_STATEMENT.format(sql.Identifier(schema, table)))
        except psycopg.errors.QueryCanceled as error:
            # It took too long: there is more than is ours to do.
            _log.warning("vacuum.left_to_the_server", error=str(error).strip())
            return []
        except (psycopg.Error, PoolTimeout, PoolClosed) as error:
            raise OutboxUnavailable(f"{type(error).__name__}: {error}".strip()) from error
        return [table for _, table in found]

    @contextmanager
    def _alone(self) -> Iterator[Connection[Any]]:
        """Each statement a transaction of its own: this one goes in no other way."""
        with self._pool.connection() as connection, self._deadline.guard(connection):
            connection.autocommit = True
            try:
                yield connection
            finally:
                if not connection.broken:
                    connection.autocommit = False


_STATEMENT = sql.SQL("VACUUM (SKIP_LOCKED, TRUNCATE false) {}")
"""The file keeps its size: giving a part of it back would lock the table."""
