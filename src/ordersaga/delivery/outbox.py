"""The outbox in PostgreSQL: records are inserted in the transaction that changes the state, and deleted once the bus
has acknowledged them.

`write` and `written` belong into the caller's own transaction. They promise that the rows come back in the order of the
records, each with the row of its lane that it must wait for. That is exact where the writers of one lane exclude each
other (they hold the lock of one saga); it does not order what two transactions write to one lane at the same time.

`PostgresOutbox` is the rest: deleting, taking over, and the lease of this process, each a short transaction on a
connection of the pool.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from typing import Any
from uuid import UUID

import aiosql
import msgspec
import psycopg
from psycopg import Connection, Cursor
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from ordersaga.bus.protocol import Outgoing
from ordersaga.delivery.arrays import Bigints, Bytes, Texts, register
from ordersaga.delivery.clock import Clock, Randomness, SystemClock, SystemRandom
from ordersaga.delivery.deadline import Deadline
from ordersaga.delivery.lease import DatabaseClock, too_long_seconds
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.outbox_protocol import AnotherServer, LeaseLost, OutboxUnavailable, Pending
from ordersaga.delivery.pool import Entry, lent
from ordersaga.delivery.round_trip import round_trip
from ordersaga.wire.headers import unpacked

_SQL_FOLDER = files("ordersaga.delivery") / "sql"
_SQL = aiosql.from_str((_SQL_FOLDER / "outbox.sql").read_text(encoding="utf-8"), "psycopg")
TABLES_SQL = (_SQL_FOLDER / "tables.sql").read_text(encoding="utf-8")
"""The DDL, for the migrations of whoever owns the schema. Unqualified names: the search path decides."""

_encode_headers = msgspec.msgpack.Encoder().encode
_NO_HEADERS = _encode_headers(())


# Wherever a connection comes from, it can send our arrays.
register(psycopg.adapters)


def write(cursor: Cursor[Any], records: Sequence[Outgoing], owner: UUID, server: datetime | None = None) -> None:
    """Insert `records` in the caller's transaction, in their order. Within `round_trip` this only queues the statement.

    `owner` and `server` are those of `PostgresOutbox` as of now, read in this order. The cursor must not be used for
    anything else until `written` has read it.
    """
    if records:
        cursor.execute(
            _text("write"),
            {
                "owner": owner,
                "server": server,
                "topics": Texts([r.topic for r in records]),
                "keys": Bytes([r.key for r in records]),
                "values": Bytes([r.value for r in records]),
                "headers": Bytes([_encode_headers(r.headers) if r.headers else _NO_HEADERS for r in records]),
            },
        )


def written(cursor: Cursor[Any], records: Sequence[Outgoing]) -> list[OutboxRow]:
    """The rows that `write` made of the same `records`, in the same order: offer them to the relay right after COMMIT.

    Works with any row factory that keeps the columns in order (tuples, named tuples) and with dicts.
    """
    if not records:
        return []
    fetched = cursor.fetchall()
    assert len(fetched) == len(records), "the cursor was used between write and written"
    if isinstance(fetched[0], dict):
        fetched = [tuple(row.values()) for row in fetched]
    fetched.sort()  # by the id, as no two have the same
    last_of_lane: dict[tuple[str, bytes], int] = {}
    rows = []
    for (row_id, owner, earlier), record in zip(fetched, records, strict=True):
        lane = (record.topic, record.key)
        rows.append(OutboxRow(row_id=row_id, record=record, after=last_of_lane.get(lane, earlier), owner=owner))
        last_of_lane[lane] = row_id
    return rows


class PostgresOutbox:
    """This process's view of the outbox. Safe to use from several threads."""

    def __init__(
        self,
        pool: ConnectionPool[Any],
        owner: UUID,
        *,
        schema: str | None = None,
        lease_seconds: float = 15.0,
        name: str = "",
        deadline: Deadline | None = None,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        """`schema` None means that the search path of the pool's connections is right. `name` tells a person whose
        lease it is.

        A transaction that takes longer than `deadline` (a third of the lease, unless given) is cut off.
        """
        self._pool = pool
        self._owner = owner
        self._former: UUID | None = None
        self._server: datetime | None = None
        self._lease_seconds = lease_seconds
        self._database_clock = DatabaseClock(clock or SystemClock(), lease_seconds)
        self._name = name
        self._deadline = deadline or Deadline(lease_seconds / 3)
        self._entry = None if schema is None else Entry(schema, self._deadline.seconds)
        self._randomness = randomness or SystemRandom()

    @property
    def owner(self) -> UUID:
        return self._owner

    @property
    def server(self) -> datetime | None:
        return self._server

    @property
    def lease_seconds(self) -> float:
        return self._lease_seconds

    def register(self, *, anew: bool = False) -> None:
        owner = UUID(bytes=self._randomness.bytes(16), version=4) if anew else self._owner
        with self._transaction(on_any=True) as connection:
            lease = {"owner": owner, "lease_seconds": self._lease_seconds, "name": self._name}
            ((server,),) = _ask(connection, "register", lease)
        if anew:
            self._former = self._owner
        # In this order: who reads the owner, then the server, and gets two that do not go together has the old owner.
        self._server = server
        self._owner = owner

    def beat(self) -> None:
        with self._transaction() as connection:
            cursor = _ask(connection, "beat", {"owner": self._owner, "lease_seconds": self._lease_seconds})
            renewed = cursor.fetchone()
        if renewed is None:
            raise LeaseLost(f"the lease of {self._owner} ran out and was ended by another process")

    def release(self) -> None:
        with self._transaction(on_any=True) as connection:
            _ask(connection, "release", {"owner": self._owner})

    def acknowledged(self, row_ids: Sequence[int]) -> None:
        if row_ids:
            with self._transaction(on_any=True) as connection:
                _ask(connection, "acknowledged", {"row_ids": Bigints(row_ids), "server": self._server})

    def still_there(self, row_ids: Collection[int]) -> set[int]:
        if not row_ids:
            return set()
        with self._transaction() as connection:
            cursor = _ask(connection, "still_there", {"row_ids": Bigints(list(row_ids))})
            return {row_id for (row_id,) in cursor}

    def take_over(self, limit: int, *, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        is_believed = self._database_clock.is_believed(self._seconds)
        with self._transaction() as connection:
            if is_believed:
                _ask(connection, "bury", {"too_long_seconds": too_long_seconds(self._lease_seconds)})
            wanted = {"owner": self._owner, "former": self._former, "limit": limit, "without": Texts(list(without))}
            cursor = _ask(connection, "take_over", wanted)
            return sorted((_row(found) for found in cursor), key=lambda row: row.row_id)

    def left_behind(
        self,
        known: Collection[int],
        *,
        older_than_seconds: float,
        limit: int,
        without: Collection[str] = (),
        after: int = 0,
    ) -> Sequence[OutboxRow]:
        with self._transaction() as connection:
            wanted = {
                "owner": self._owner,
                "known": Bigints(list(known)),
                "older_than_seconds": older_than_seconds,
                "limit": limit,
                "without": Texts(list(without)),
                "after": after,
            }
            return [_row(found) for found in _ask(connection, "left_behind", wanted)]

    def _seconds(self) -> float:
        """In a round trip of its own: within one psycopg would begin a transaction again after what is waited for."""
        with self._transaction() as connection:
            asked = _ask(connection, "seconds", {})
        found = asked.fetchone()
        assert found is not None, "it has a row"
        return float(found[0])

    def pending(self) -> Pending:
        with self._transaction(on_any=True) as connection:
            found = _ask(connection, "pending", {}).fetchone()
        assert found is not None, "an aggregate has a row"
        return Pending(*found)

    @contextmanager
    def _transaction(self, *, on_any: bool = False) -> Iterator[Connection[Any]]:
        """BEGIN, the statements and COMMIT travel together, and all of it within the deadline. Raises `AnotherServer`,
        if not `on_any`: what the statements say of ids is not to be believed there.
        """
        server = None if on_any else self._server
        try:
            with lent(self._pool, self._deadline, self._deadline.seconds) as connection:
                with round_trip(connection):
                    if self._entry is not None:
                        self._entry.make(connection)
                    asked = _ask(connection, "is_same", {"server": server}) if server else None
                    yield connection
                    connection.commit()
                # Until a pipeline ends libpq says that no transaction is open, once a result was waited for in it: then
                # the COMMIT above was none.
                connection.commit()
        except (psycopg.Error, PoolTimeout, PoolClosed) as error:
            raise OutboxUnavailable(f"{type(error).__name__}: {error}".strip()) from error
        if asked is not None and asked.fetchone() != (True,):
            raise AnotherServer(f"the lease began on a server that was started at {server}")


_TEXTS: Mapping[str, bytes] = {
    name: getattr(_SQL, name).sql.encode() for name in _SQL.available_queries if not name.endswith("_cursor")
}


def _text(name: str) -> bytes:
    return _TEXTS[name]


def _ask(connection: Connection[Any], name: str, parameters: Mapping[str, Any]) -> Cursor[tuple[Any, ...]]:
    """A cursor of its own for each statement, since in a pipeline several wait for their results; tuples, whatever the
    pool's rows are.
    """
    return connection.cursor(row_factory=tuple_row).execute(_text(name), parameters)


def _row(found: tuple[Any, ...]) -> OutboxRow:
    row_id, owner, topic, key, value, headers, created_ms, after = found
    return OutboxRow(
        row_id=row_id,
        record=Outgoing(topic, key, value, unpacked(headers)),
        after=after,
        owner=owner,
        created_ms=created_ms,
    )
