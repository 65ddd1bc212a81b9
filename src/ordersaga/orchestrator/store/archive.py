"""The archive in PostgreSQL: one row per saga, each part of it compressed JSON, exactly as its table had it.

The history that a saga leaves behind is not deleted row by row: it stays in the partition of its week, which is dropped
as a whole once no other saga needs it.
"""

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg_pool import ConnectionPool

from ordersaga.delivery.arrays import Bytes, Integers, Json, Texts, Uuids
from ordersaga.orchestrator.store.archive_protocol import Archived, Moved
from ordersaga.orchestrator.store.connections import AnyConnection, Connections, Row, statements
from ordersaga.orchestrator.store.protocol import Lookup, StoredHistory

SQL = statements("archive.sql")
STAY_MAX = 1_000
"""Sagas of a week whose history is moved so that the rest can be dropped. With more of them, the week stays."""
PAGE_MAX = 100
_NO_ID, _AFTER_ALL_IDS = UUID(int=0), UUID(int=2**128 - 1)
_EMPTY = b"[]"


class PostgresArchive:
    """See `store.archive_protocol.Archive`."""

    def __init__(
        self, pool: ConnectionPool[AnyConnection], *, timeout_seconds: float = 10.0, schema: str | None = None
    ) -> None:
        """`pool` and `schema` as for `PostgresStore`; the pool is the store's to close."""
        self._connections = Connections(pool, timeout_seconds, schema)

    def move(self, *, older_than: timedelta, limit: int, after: UUID | None = None) -> Moved:
        with self._connections.transaction() as connection:
            self._connections.enter(connection)
            connection.execute(SQL["keep_for_me"])
            wanted = {"age": older_than, "after": after or _NO_ID, "limit": limit}
            ids = [saga_id for (saga_id,) in connection.execute(SQL["lock_old"], wanted)]
            if ids:
                found = connection.execute(SQL["read"], {"ids": Uuids(ids)}).fetchall()
                with connection.pipeline():
                    connection.execute(SQL["add"], _columns(found))
                    connection.execute(SQL["remove"], {"ids": Uuids(ids)})
        return Moved(count=len(ids), last=ids[-1] if len(ids) == limit else None)

    def drop_history(self, *, older_than: timedelta) -> Sequence[str]:
        dropped = []
        for name, first, past in self._connections.ask(SQL["weeks"], {"age": older_than}):
            wanted = {"name": name, "first": first, "past": past, "most": STAY_MAX}
            ((gone,),) = self._connections.ask(SQL["drop_week"], wanted)
            dropped += [name] if gone else []
        return dropped

    def page(self, *, limit: int = 100, before: UUID | None = None) -> Sequence[Archived]:
        wanted = {"before": before or _AFTER_ALL_IDS, "limit": max(1, min(limit, PAGE_MAX))}
        return [
            Archived(
                saga_id=saga_id,
                saga=saga,
                version=version,
                status=status,
                order_id=order_id,
                payment_id=payment_id,
                at=at.astimezone(UTC),
            )
            for saga_id, saga, version, status, order_id, payment_id, at in self._connections.ask(SQL["page"], wanted)
        ]

    def knows(self, order_id: str | None, payment_id: str | None) -> bool:
        ((found,),) = self._connections.ask(SQL["knows"], {"order_id": order_id, "payment_id": payment_id})
        return bool(found)

    def restore(self, saga_id: UUID) -> bool:
        with self._connections.transaction() as connection:
            self._connections.enter(connection)
            return bring_back(connection, Lookup(saga_ids=[saga_id])) > 0

    def forget(self, *, older_than: timedelta, limit: int) -> int:
        with self._connections.transaction() as connection:
            self._connections.enter(connection)
            return connection.execute(SQL["forget"], {"age": older_than, "limit": limit}).rowcount


def bring_back(connection: AnyConnection, wanted: Lookup) -> int:
    """From the archive into the hot tables, in the transaction that is open; how many."""
    values = {
        "ids": Uuids(list(wanted.saga_ids)),
        "order_ids": Texts(list(wanted.order_ids)),
        "payment_ids": Texts(list(wanted.payment_ids)),
    }
    with connection.pipeline():
        connection.execute(SQL["keep_still"])
        taking = connection.execute(SQL["take"], values)
    taken = taking.fetchall()
    if taken:
        states, histories, personals = (
            Json([zlib.decompress(one) for one in column if one]) for column in zip(*taken, strict=True)
        )
        with connection.pipeline():
            connection.execute(SQL["put_back"], {"rows": states})
            connection.execute(SQL["put_back_history"], {"rows": histories})
            if personals:
                connection.execute(SQL["put_back_personal"], {"rows": personals})
    return len(taken)


def saga_in(row: Row) -> tuple[str, int, bytes, bytes | None]:
    """Of a row of `get`: the saga, its version, its state and personal data as their tables would have them."""
    saga, version, state, personal = row
    return saga, version, _member(state, "state"), None if personal is None else _member(personal, "data")


class _Entry(msgspec.Struct):
    revision: int
    at: datetime
    cause: str
    body: dict[str, Any]


_entries = msgspec.json.Decoder(list[_Entry]).decode


def history_in(row: Row) -> list[StoredHistory]:
    """Of a row of `history`."""
    return [
        StoredHistory(revision=one.revision, at=one.at.astimezone(UTC), cause=one.cause, body=one.body)
        for one in _entries(zlib.decompress(row[0]))
    ]


def _member(compressed: bytes, name: str) -> bytes:
    whole: dict[str, msgspec.Raw] = msgspec.json.decode(zlib.decompress(compressed), type=dict[str, msgspec.Raw])
    return bytes(whole[name])


def _columns(found: Sequence[Row]) -> dict[str, object]:
    ids, sagas, versions, statuses, order_ids, payment_ids, customers, states, personals, histories = zip(
        *found, strict=True
    )
    return {
        "ids": Uuids(ids),
        "sagas": Texts(sagas),
        "versions": Integers(versions),
        "statuses": Texts(statuses),
        "order_ids": Texts(order_ids),
        "payment_ids": Texts(payment_ids),
        "customers": Texts(customers),
        "states": Bytes([zlib.compress(one) for one in states]),
        "histories": Bytes([zlib.compress(one or _EMPTY) for one in histories]),
        "personals": Bytes([None if one is None else zlib.compress(one) for one in personals]),
    }
