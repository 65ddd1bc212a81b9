"""A pool of connections that is well again within seconds of its database, however long that was away.

The pool tries by itself to replace a connection that was lost, with pauses that double as long as it tries: after two
minutes the next attempt may be two minutes away. So it tries for a moment only; from then on whoever asks for a
connection makes it try again.

Nobody who uses one waits without end. A frozen server is noticed by nothing but a clock on our side: within `lent`
everything that waits for the server is under a `Deadline`, and a connection that it cuts off is thrown away. The server
in turn ends what a frozen process of ours left open, so that its locks do not outlive it for long (from PostgreSQL 17
on; before that nothing does, since psycopg ends each pipeline with a Flush, which stops the clock of
`idle_in_transaction_session_timeout`).
"""

import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from threading import BoundedSemaphore
from typing import Any, Protocol

import aiosql
import psycopg
from psycopg import Connection
from psycopg.errors import ReadOnlySqlTransaction
from psycopg_pool import ConnectionPool, PoolTimeout

from ordersaga.delivery.deadline import Deadline

_SQL = aiosql.from_str((files("ordersaga.delivery") / "sql" / "pool.sql").read_text("utf-8"), "psycopg")
_ENTER: bytes = _SQL.enter.sql.encode()
_RECONNECT_SECONDS = 2.0
_BY_INDEX = "-c enable_seqscan=off"
_HAS_TRANSACTION_TIMEOUT = 17_00_00


class Lender(Protocol):
    """Whoever lends connections: a pool, or a share of one."""

    def getconn(self, timeout: float | None = None) -> Connection[Any]: ...

    def putconn(self, conn: Connection[Any]) -> None: ...

    def close(self, timeout: float = 5.0) -> None: ...


class Share:
    """A part of a pool, for those who may take their time: however many they are, the others find a connection."""

    def __init__(self, pool: ConnectionPool[Connection[Any]], most: int) -> None:
        self._pool = pool
        self._free = BoundedSemaphore(most)

    def getconn(self, timeout: float | None = None) -> Connection[Any]:
        """Raises `PoolTimeout` where all of the share is lent for so long; by itself as long as the pool would wait."""
        seconds = self._pool.timeout if timeout is None else timeout
        if not self._free.acquire(timeout=seconds):
            raise PoolTimeout(f"all connections of this share are in use, for {seconds:g} s")
        try:
            return self._pool.getconn(timeout)
        except BaseException:
            self._free.release()
            raise

    def putconn(self, conn: Connection[Any]) -> None:
        try:
            self._pool.putconn(conn)
        finally:
            self._free.release()

    def close(self, timeout: float = 5.0) -> None:
        """The pool is its owner's to close."""


def open_pool(
    database_url: str,
    *,
    name: str,
    options: str,
    size_max: int,
    wait_seconds: float,
    connect_seconds: int,
    configure: Callable[[Connection[Any]], None],
    timeout_seconds: float | None = None,
) -> ConnectionPool[Connection[Any]]:
    """Connects in the background. `options`: settings of each connection, as on the server's command line; none at all
    for poolers that pass none on (and keep no plans). `wait_seconds`: for a free connection, until `PoolTimeout`.

    `timeout_seconds`: after which the server ends a statement; a second later, from PostgreSQL 17 on, a transaction.
    """

    deadline = Deadline(connect_seconds)

    def limited(connection: Connection[Any]) -> None:
        with deadline.guard(connection):
            configure(connection)
            if timeout_seconds is not None:
                _end_after(connection, timeout_seconds)

    if timeout_seconds is not None:
        options = f"{options} {_limits(timeout_seconds)}"
    pool: ConnectionPool[Connection[Any]] = ConnectionPool(
        database_url,
        kwargs={
            "options": f"{options} {_BY_INDEX}" if options else "",
            "connect_timeout": connect_seconds,
            "application_name": name,
        },
        min_size=1,
        max_size=size_max,
        timeout=wait_seconds,
        reconnect_timeout=_RECONNECT_SECONDS,
        configure=limited,
        open=False,
        name=name,
    )
    pool.open(wait=False)
    return pool


class Entry:
    """What a transaction begins with where a pooler passes on no settings of a connection: the schema, and limits."""

    def __init__(self, schema: str, timeout_seconds: float) -> None:
        """`timeout_seconds`: as for `open_pool`."""
        self._values = {
            "schema": schema,
            "timeout": _milliseconds(timeout_seconds),
            "transaction_timeout": _milliseconds(timeout_seconds + 1),
        }

    def make(self, connection: Connection[Any]) -> None:
        connection.execute(_ENTER, self._values)


@contextmanager
def lent(pool: Lender, deadline: Deadline, wait_seconds: float | None = None) -> Iterator[Connection[Any]]:
    """A connection that goes back with no transaction open, or not at all: whoever leaves by an exception has rolled
    back, within the deadline too. `wait_seconds`: for a free one, where it is not to be the pool's.
    """
    connection = _take(pool, wait_seconds)
    try:
        with deadline.guard(connection), _left_if_read_only(connection):
            try:
                yield connection
            except BaseException:
                with suppress(psycopg.Error):
                    connection.rollback()
                raise
    finally:
        pool.putconn(connection)


@contextmanager
def _left_if_read_only(connection: Connection[Any]) -> Iterator[None]:
    """Around all use of a connection: one on which nothing can be written is used no more. A server that was the
    primary may be back as a standby, and another stand behind the same name by now.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error.__cause__ or error, ReadOnlySqlTransaction):
            connection.close()
        raise


def _take(pool: Lender, wait_seconds: float | None) -> Connection[Any]:
    """One that was alive a moment ago. Looked at here: the pool would pause between those that are not."""
    while _has_hung_up(connection := pool.getconn(wait_seconds)):
        connection.close()
        pool.putconn(connection)
    return connection


def _has_hung_up(connection: Connection[Any]) -> bool:
    """Whether the server has ended the connection: nothing else makes an idle one readable. Asks the kernel, not the
    server.
    """
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


def _milliseconds(seconds: float) -> str:
    return f"{int(seconds * 1000)}ms"


def _limits(timeout_seconds: float) -> str:
    timeout = _milliseconds(timeout_seconds)
    return (
        f"-c statement_timeout={timeout} -c idle_in_transaction_session_timeout={timeout}"
        " -c client_connection_check_interval=1000"
    )


def _end_after(connection: Connection[Any], timeout_seconds: float) -> None:
    """A second later than a statement: the server forgets the limit of statements where that of transactions is no
    longer, and ends the connection with it.
    """
    if connection.info.server_version >= _HAS_TRANSACTION_TIMEOUT:
        connection.autocommit = True
        connection.execute(_SQL.end_after.sql, {"timeout": _milliseconds(timeout_seconds + 1)})
        connection.autocommit = False
