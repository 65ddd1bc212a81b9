"""The archive in PostgreSQL: one row per saga, each part of it compressed JSON, exactly as its table had it.

The history that a saga leaves behind is not deleted row by row: it stays in the partition of its week, which is dropped
as a whole once no other saga needs it. What is in no week goes with its saga, and what is left when a saga is forgotten
for good goes then.
"""

import zlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog
from psycopg.errors import LockNotAvailable
from psycopg_pool import ConnectionPool

from ordersaga.delivery.arrays import Bytes, Integers, Json, Texts, Uuids
from ordersaga.delivery.round_trip import round_trip
from ordersaga.orchestrator.store.archive_files import NOTHING, ArchiveUnreadable, Directory, Line
from ordersaga.orchestrator.store.archive_protocol import Archived, Moved
from ordersaga.orchestrator.store.connections import AnyConnection, Connections, Row, statements
from ordersaga.orchestrator.store.protocol import DamagedRow, StoredHistory, StoreUnavailable
from ordersaga.orchestrator.store.search import Search
from ordersaga.orchestrator.store.searching import parameters

_log = structlog.get_logger(__name__)

SQL, FILES = statements("archive.sql"), statements("archive_files.sql")
STAY_MAX = 1_000
"""Sagas of a week whose history is moved so that the rest can be dropped. With more of them, the week stays."""
PAGE_MAX = 100
_NO_ID, _AFTER_ALL_IDS = UUID(int=0), UUID(int=2**128 - 1)
_EMPTY = b"[]"
_FILE, _BLOCK, _DIGEST = 10, 11, 12
"""Columns of `get` and `take`."""


class PostgresArchive:
    """See `store.archive_protocol.Archive`."""

    def __init__(
        self,
        pool: ConnectionPool[AnyConnection],
        *,
        timeout_seconds: float = 10.0,
        schema: str | None = None,
        directory: Directory | None = None,
    ) -> None:
        """`pool` and `schema` as for `PostgresStore`; the pool is the store's to close. `directory`: of files."""
        self._connections = Connections(pool, timeout_seconds, schema)
        self._directory = directory

    def move(self, *, older_than: timedelta, limit: int, after: UUID | None = None) -> Moved:
        with self._connections.transaction() as connection:
            self._connections.enter(connection)
            connection.execute(SQL["keep_for_me"])
            wanted = {"age": older_than, "after": after or _NO_ID, "limit": limit}
            ids = [saga_id for (saga_id,) in connection.execute(SQL["lock_old"], wanted)]
            if ids:
                found = connection.execute(SQL["read"], {"ids": Uuids(ids)}).fetchall()
                with round_trip(connection):
                    connection.execute(SQL["add"], _columns(found))
                    connection.execute(SQL["remove"], {"ids": Uuids(ids)})
                    connection.execute(SQL["remove_weekless"], {"ids": Uuids(ids)})
        return Moved(count=len(ids), last=ids[-1] if len(ids) == limit else None)

    def drop_history(self, *, older_than: timedelta) -> Sequence[str]:
        dropped: list[str] = []
        for name, first, past in self._connections.ask(SQL["weeks"], {"age": older_than}):
            wanted = {"name": name, "first": first, "past": past, "most": STAY_MAX}
            try:
                ((gone,),) = self._connections.ask(SQL["drop_week"], wanted)
            except StoreUnavailable as error:
                if not isinstance(error.__cause__, LockNotAvailable):
                    raise
                _log.info("archive.week_in_use", week=name)
                break
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
                file=file,
            )
            for saga_id, saga, version, status, order_id, payment_id, at, file in self._connections.ask(
                SQL["page"], wanted
            )
        ]

    def knows(self, order_id: str | None, payment_id: str | None) -> bool:
        ((found,),) = self._connections.ask(SQL["knows"], {"order_id": order_id, "payment_id": payment_id})
        return bool(found)

    def restore(self, saga_id: UUID) -> Sequence[UUID]:
        with self._connections.transaction() as connection:
            self._connections.enter(connection)
            ids = [one for (one,) in connection.execute(SQL["with_its_order"], {"id": saga_id})]
            return bring_back(connection, ids, self._directory)

    def forget(self, *, older_than: timedelta, limit: int) -> int:
        with self._connections.transaction() as connection:
            self._connections.enter(connection)
            ids = [saga_id for (saga_id,) in connection.execute(SQL["forget"], {"age": older_than, "limit": limit})]
            connection.execute(SQL["forget_history"], {"ids": Uuids(ids)})
        return len(ids)


def bring_back(connection: AnyConnection, saga_ids: Collection[UUID], directory: Directory | None) -> Sequence[UUID]:
    """From the archive into the hot tables, in the transaction that is open; which ones. Raises `ArchiveUnreadable`."""
    with round_trip(connection):
        connection.execute(SQL["keep_still"])
        taking = connection.execute(SQL["take"], {"ids": Uuids(list(saga_ids))})
    taken = taking.fetchall()
    if not taken:
        return []
    lines = [line_in(row) for row in taken if row[_FILE] is None] + _filed(connection, taken, directory)
    personals = [bytes(line.personal) for line in lines if line.is_personal]
    with round_trip(connection):
        connection.execute(SQL["put_back"], {"rows": Json([bytes(line.state) for line in lines])})
        connection.execute(SQL["put_back_history"], {"rows": Json([bytes(line.history) for line in lines])})
        if personals:
            connection.execute(SQL["put_back_personal"], {"rows": Json(personals)})
    return [line.id for line in lines]


def _filed(connection: AnyConnection, taken: Sequence[Row], directory: Directory | None) -> list[Line]:
    """Of those in files; that they are in them still is remembered."""
    rows = [row for row in taken if row[_FILE] is not None]
    if not rows:
        return []
    found = connection.execute(FILES["hold_files"], {"ids": list({row[_FILE] for row in rows})}).fetchall()
    lines = lines_in_files(rows, found, directory)
    left = {
        "files": Integers([row[_FILE] for row in rows]),
        "blocks": Integers([row[_BLOCK] for row in rows]),
        "ids": Uuids([row[0] for row in rows]),
        "customers": Texts([row[-1] for row in rows]),
    }
    connection.execute(SQL["remember_lines"], left)
    return lines


def packed(text: bytes) -> bytes:
    """Compressed. With a window of 8 KiB, a saga's worth: setting up the usual one costs more than all the rest."""
    compressing = zlib.compressobj(wbits=13, memLevel=6)
    return compressing.compress(text) + compressing.flush()


def line_in(row: Row) -> Line:
    """Of a row of `get`, `take` or `to_file` that is in no file. Raises `DamagedRow`."""
    saga_id, saga, version, status, order_id, payment_id, at, *compressed = row
    try:
        state, history, personal = (zlib.decompress(one) if one is not None else NOTHING for one in compressed[:3])
    except zlib.error as error:
        raise DamagedRow(saga_id, str(error)) from error
    return Line(
        id=saga_id,
        saga=saga,
        version=version,
        status=status,
        order_id=order_id,
        payment_id=payment_id,
        archived_at=at.astimezone(UTC),
        state=msgspec.Raw(state),
        history=msgspec.Raw(history),
        personal=msgspec.Raw(personal),
    )


def lines_in_files(rows: Sequence[Row], files: Sequence[Row], directory: Directory | None) -> list[Line]:
    """Of rows of `get` or `take` that are in files; `files`: rows of `files` or `hold_files`."""
    if directory is None:
        raise ArchiveUnreadable("it is in a file of the archive: set ORDERSAGA_ARCHIVE_DIRECTORY to where those are")
    where = {number: (name, blocks) for number, name, blocks in files}
    by_block: dict[tuple[int, int], dict[UUID, bytes]] = {}
    for row in rows:
        by_block.setdefault((row[_FILE], row[_BLOCK]), {})[row[0]] = row[_DIGEST]
    found: list[Line] = []
    for (file, block), wanted in by_block.items():
        name, starts = where[file]
        found += directory.lines(name, (starts[block], starts[block + 1]), wanted).values()
    return found


class ArchiveReads:
    """One archived saga, wherever it is, without a lock."""

    def __init__(self, connections: Connections, directory: Directory | None) -> None:
        self._ask = connections.ask
        self._directory = directory

    def one(self, saga_id: UUID) -> Line | None:
        """None where it is not in the archive. Raises `ArchiveUnreadable`, `DamagedRow`."""
        try:
            return self._one(saga_id)
        except ArchiveUnreadable:
            # A file that is written anew meanwhile has another name now.
            return self._one(saga_id)

    def search(self, search: Search, *, looked_max: int, after: UUID | None) -> Sequence[Line | UUID]:
        """The next so many by their ids, of the order or customer and time that is searched for; the rest is for the
        caller to look at. Of one whose row is damaged the id alone. Raises `ArchiveUnreadable`.
        """
        source = "archived_by_id"
        if search.order_id is not None or search.customer_id is not None:
            source = "archived_by_order" if search.order_id is not None else "archived_by_customer"
        statement = SQL[source].replace(b"{way}", b"ASC" if search.oldest_first else b"DESC")
        rows = self._ask(statement, parameters(search, limit=0, looked_max=looked_max, after=after))
        kept = {row[0]: _line_or_id(row) for row in rows if row[_FILE] is None}
        if filed := [row for row in rows if row[_FILE] is not None]:
            files = self._ask(FILES["files"], {"ids": list({row[_FILE] for row in filed})})
            kept |= {line.id: line for line in lines_in_files(filed, files, self._directory)}
        return [kept[row[0]] for row in rows]

    def _one(self, saga_id: UUID) -> Line | None:
        rows = self._ask(SQL["get"], {"id": saga_id})
        if not rows:
            return None
        if rows[0][_FILE] is None:
            return line_in(rows[0])
        return lines_in_files(rows, self._ask(FILES["files"], {"ids": [rows[0][_FILE]]}), self._directory)[0]


def _line_or_id(row: Row) -> Line | UUID:
    try:
        return line_in(row)
    except DamagedRow:
        saga_id: UUID = row[0]
        return saga_id


def saga_in(line: Line) -> Row:
    """As the hot tables would have it: id, saga, version, state, personal data. Raises `DamagedRow`."""
    try:
        personal = _member(line.personal, "data") if line.is_personal else None
        return line.id, line.saga, line.version, _member(line.state, "state"), personal
    except (msgspec.DecodeError, KeyError) as error:
        raise DamagedRow(line.id, f"{type(error).__name__}: {error}") from error


class _Entry(msgspec.Struct):
    revision: int
    at: datetime
    cause: str
    body: dict[str, Any]


_entries = msgspec.json.Decoder(list[_Entry]).decode


def history_in(line: Line) -> list[StoredHistory]:
    return [
        StoredHistory(revision=one.revision, at=one.at.astimezone(UTC), cause=one.cause, body=one.body)
        for one in _entries(line.history)
    ]


def _member(whole: msgspec.Raw, name: str) -> bytes:
    members: dict[str, msgspec.Raw] = msgspec.json.decode(whole, type=dict[str, msgspec.Raw])
    return bytes(members[name])


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
        "states": Bytes([packed(one) for one in states]),
        "histories": Bytes([packed(one or _EMPTY) for one in histories]),
        "personals": Bytes([None if one is None else packed(one) for one in personals]),
    }
