"""A pool of connections that is well again within seconds of its database, however long that was away.

The pool tries by itself to replace a connection that was lost, with pauses that double as long as it tries: after two
minutes the next attempt may be two minutes away. So it tries for a moment only; from then on whoever asks for a
connection makes it try again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Connection
from psycopg.errors import ReadOnlySqlTransaction
from psycopg_pool import ConnectionPool

_RECONNECT_SECONDS = 2.0
_BY_INDEX = "-c enable_seqscan=off"


def open_pool(
    database_url: str,
    *,
    name: str,
    options: str,
    size_max: int,
    wait_seconds: float,
    connect_seconds: int,
    configure: Callable[[Connection[Any]], None],
) -> ConnectionPool[Connection[Any]]:
    """Connects in the background. `options`: settings of each connection, as on the server's command line; none at all
    for poolers that pass none on (and keep no plans). `wait_seconds`: for a free connection, until `PoolTimeout`.
    """
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
        configure=configure,
        open=False,
        name=name,
    )
    pool.open(wait=False)
    return pool


@contextmanager
def left_if_read_only(connection: Connection[Any]) -> Iterator[None]:
    """Around all use of a connection: one on which nothing can be written is used no more. A server that was the
    primary may be back as a standby, and another stand behind the same name by now.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error.__cause__ or error, ReadOnlySqlTransaction):
            connection.close()
        raise
