"""What has been in the archive for a while goes into files, and its rows in the database keep what finds it again: the
ids of saga, order and payment, whose it is, which file, which block, and the digest of its line.

    note the file's name  ->  write file and manifest, to the disk  ->  in one transaction it counts, rows are slim

So a saga is never in neither place. A file that does not count yet, or no more, is in `archive_leftovers` before it is
there: whoever dies in the middle leaves a name behind, and the next one takes the file away. One writes at a time; a
row that changes meanwhile (its saga has come back, its customer is erased) makes that file count for nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID, uuid4

from psycopg_pool import ConnectionPool

from ordersaga.delivery.arrays import Bytes, Integers, Texts, Uuids
from ordersaga.orchestrator.store.archive import FILES as SQL
from ordersaga.orchestrator.store.archive import SQL as ARCHIVE
from ordersaga.orchestrator.store.archive import line_in
from ordersaga.orchestrator.store.archive_files import (
    BLOCK_SAGAS,
    SUFFIX,
    ArchiveUnreadable,
    Directory,
    Line,
    Written,
    block_of,
    decoded,
    digest_of,
    encoded,
    lines_in,
)
from ordersaga.orchestrator.store.connections import AnyConnection, Connections, Row
from ordersaga.orchestrator.store.protocol import StoreError

SAGAS_MAX = 5_000
"""Of one file: a few megabytes, whose rows are changed in a fraction of a second. `to_file` has it too."""
WRITING_SECONDS_MAX = 600.0
"""Then whoever writes a file counts as dead."""
_ATTEMPTS = 3
_PAGE = 4 * BLOCK_SAGAS
_NO_ID, _LONG_AGO = UUID(int=0), datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """What went into one file."""

    sagas: int = 0
    name: str = ""
    is_busy: bool = False
    """Another is at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFile:
    id: int
    name: str
    sagas: int
    """Lines, those of sagas that have come back since among them."""
    size_bytes: int
    sha256: bytes
    blocks: Sequence[int]
    first_id: UUID
    last_id: UUID
    newest_at: datetime
    written_at: datetime


class Scrubs(Protocol):
    """How what is one customer's is taken out."""

    @property
    def customer_id(self) -> str: ...

    def line(self, line: Line) -> Line: ...

    def history(self, connection: AnyConnection, ids: Sequence[UUID]) -> None:
        """What the database has of these sagas' history still."""


class Overtaken(StoreError):
    """What was written counts for nothing: something changed meanwhile. Try again."""

    retriable = True


@dataclass(slots=True)
class _Content:
    """Of a file that is to be written."""

    blocks: list[tuple[bytes, int]] = field(default_factory=list)
    ids: list[UUID] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    """Of their rows."""
    places: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    newest_at: datetime = _LONG_AGO

    def add(self, rows: Sequence[Row]) -> None:
        lines = [encoded(line_in(row)) for row in rows]
        self.ids += [row[0] for row in rows]
        self.versions += [row[-1] for row in rows]
        self.places += [len(self.blocks)] * len(rows)
        self.digests += [digest_of(line) for line in lines]
        self.blocks.append((block_of(lines), len(lines)))
        self.newest_at = max(self.newest_at, *(row[6] for row in rows))


class PostgresFiling:
    def __init__(
        self,
        pool: ConnectionPool[AnyConnection],
        directory: Directory,
        *,
        timeout_seconds: float = 10.0,
        schema: str | None = None,
    ) -> None:
        """`pool` and `schema` as for `PostgresStore`; the pool is the store's to close."""
        self._connections = Connections(pool, timeout_seconds, schema)
        self._directory = directory

    def file(self, *, older_than: timedelta, sagas_max: int = SAGAS_MAX) -> Filed:
        """Write one file of what was archived longer ago than that, oldest ids first. Harmless beside anybody, and
        whenever it is ended. Raises `StoreError`.
        """
        self.sweep()
        if not self._connections.ask(SQL["to_file"], _wanted(older_than, _NO_ID, 1)):
            return Filed()
        for _ in range(_ATTEMPTS):
            name = _new_name()
            if not self._begun(name):
                return Filed(is_busy=True)
            with suppress(Overtaken):
                return self._file(name, older_than, sagas_max)
        return Filed(is_busy=True)

    def files(self) -> Sequence[ArchiveFile]:
        """Those that count, oldest sagas first."""
        return [_file_in(row) for row in self._connections.ask(SQL["all_files"], {})]

    def sweep(self) -> int:
        """Take away files that count no more; how many. Raises `StoreUnavailable` where one cannot be."""
        with self._connections.transaction() as connection:
            self._connections.enter(connection)
            names = [name for (name,) in connection.execute(SQL["leftovers"])]
            for name in names:
                self._directory.remove(name)
            connection.execute(SQL["forget_leftovers"], {"names": Texts(names)})
        return len(names)

    def forget(self, *, older_than: timedelta) -> int:
        """Delete one file for good whose sagas have all been archived longer than that; how many sagas it held."""
        with self._connections.transaction() as connection:
            self._connections.enter(connection)
            found = connection.execute(SQL["file_to_forget"], {"age": older_than}).fetchall()
            if not found:
                return 0
            ((number, name),) = found
            ids = [saga_id for (saga_id,) in connection.execute(SQL["forget_sagas_of"], {"file": number})]
            connection.execute(ARCHIVE["forget_history"], {"ids": Uuids(ids)})
            connection.execute(SQL["forget_file"], {"id": number})
            connection.execute(SQL["counts_no_more"], {"name": name})
        self.sweep()
        return len(ids)

    def erase(self, scrubs: Scrubs) -> int:
        """Write every file anew that holds something of theirs; how many lines were changed. With its line each saga
        loses the name by which it is found, so its history is seen to in the same transaction. Done before, it finds
        nothing. Raises `StoreError`, `ArchiveUnreadable`.
        """
        self.sweep()
        erased = 0
        for _ in range(_ATTEMPTS):
            files = [number for (number,) in self._connections.ask(SQL["files_of"], {"customer": scrubs.customer_id})]
            if not files:
                return erased
            for number in files:
                with suppress(Overtaken):
                    erased += self._erase_in(number, scrubs)
                self.sweep()
        raise Overtaken("files of the archive are written by others at this moment: ask again")

    # --- one file -----------------------------------------------------------------------------------

    def _begun(self, name: str) -> bool:
        with self._connections.transaction() as connection:
            self._connections.enter(connection)
            connection.execute(SQL["keep_exports_apart"])
            wanted = {"name": name, "seconds": WRITING_SECONDS_MAX}
            return connection.execute(SQL["begin_export"], wanted).rowcount == 1

    def _file(self, name: str, older_than: timedelta, sagas_max: int) -> Filed:
        try:
            content = self._content(older_than, sagas_max)
            if not content.ids:
                self._give_up(name)
                return Filed()
            span = {"first_id": content.ids[0], "last_id": content.ids[-1]}
            written = self._directory.write(name, content.blocks, **span)
            with self._counting(name) as connection:
                self._leave(connection, name, content, written)
        except BaseException:
            # Where it counts already, this changes nothing.
            with suppress(StoreError):
                self._give_up(name)
                self.sweep()
            raise
        return Filed(sagas=len(content.ids), name=name)

    def _content(self, older_than: timedelta, sagas_max: int) -> _Content:
        content, after = _Content(), _NO_ID
        while (left := sagas_max - len(content.ids)) > 0:
            rows = self._connections.ask(SQL["to_file"], _wanted(older_than, after, min(_PAGE, left)))
            for begin in range(0, len(rows), BLOCK_SAGAS):
                content.add(rows[begin : begin + BLOCK_SAGAS])
            if len(rows) < min(_PAGE, left):
                break
            after = rows[-1][0]
        return content

    def _leave(self, connection: AnyConnection, name: str, content: _Content, written: Written) -> None:
        values = _columns(name, written) | {
            "first_id": content.ids[0],
            "last_id": content.ids[-1],
            "newest_at": content.newest_at,
        }
        ((number,),) = connection.execute(SQL["add_file"], values).fetchall()
        left = {
            "file": number,
            "ids": Uuids(content.ids),
            "versions": Texts(content.versions),
            "blocks": Integers(content.places),
            "digests": Bytes(content.digests),
        }
        if connection.execute(SQL["leave_to_file"], left).rowcount != len(content.ids):
            raise Overtaken("a saga was changed while it was written to a file")

    def _erase_in(self, number: int, scrubs: Scrubs) -> int:
        found = self._connections.ask(SQL["one_file"], {"id": number})
        if not found:
            return 0
        old = _file_in(found[0])
        theirs = self._connections.ask(SQL["theirs_in"], {"file": number, "customer": scrubs.customer_id})
        stale: dict[UUID, int] = dict(self._connections.ask(SQL["stale_in"], {"file": number}))
        anew = _Anew({saga_id: (block, digest) for saga_id, block, digest in theirs}, stale, scrubs)
        name = _new_name()
        self._do("begin_rewrite", {"name": name, "seconds": WRITING_SECONDS_MAX})
        try:
            blocks = self._written_anew(old, anew)
            written = self._directory.write(name, blocks, first_id=old.first_id, last_id=old.last_id)
            with self._counting(name) as connection:
                self._replace(connection, old, name, written, anew)
        except BaseException:
            with suppress(StoreError):
                self._give_up(name)
                self.sweep()
            raise
        return len(anew.theirs)

    def _written_anew(self, old: ArchiveFile, anew: "_Anew") -> Sequence[tuple[bytes, int]]:
        try:
            parts = self._directory.parts(old.name, old.blocks, old.sha256)
            return [anew.block(place, part) for place, part in enumerate(parts)]
        except ArchiveUnreadable:
            now = self._connections.ask(SQL["one_file"], {"id": old.id})
            if now and _file_in(now[0]).name == old.name:
                raise
            raise Overtaken("the file was written anew by another, who took it away while it was read") from None

    def _replace(self, connection: AnyConnection, old: ArchiveFile, name: str, written: Written, anew: "_Anew") -> None:
        if not connection.execute(SQL["lock_file"], {"id": old.id, "name": old.name}).fetchall():
            raise Overtaken("the file was written anew by another")
        connection.execute(SQL["replace_file"], {"id": old.id} | _columns(name, written))
        changed = {
            "file": old.id,
            "ids": Uuids(list(anew.theirs)),
            "was": Bytes([digest for _, digest in anew.theirs.values()]),
            "digests": Bytes([anew.digests[saga_id] for saga_id in anew.theirs]),
        }
        connection.execute(SQL["erase_in_file"], changed)
        anew.scrubs.history(connection, list(anew.theirs))
        connection.execute(SQL["forget_stale"], {"file": old.id, "ids": Uuids(list(anew.stale))})
        connection.execute(SQL["counts_no_more"], {"name": old.name})

    # --- small print --------------------------------------------------------------------------------

    @contextmanager
    def _counting(self, name: str) -> Iterator[AnyConnection]:
        """The transaction from whose end on a file counts."""
        with self._connections.transaction() as connection:
            self._connections.enter(connection)
            if connection.execute(SQL["counts_now"], {"name": name}).rowcount != 1:
                # Whoever gave it up has taken away what was there then, and knows of it no more.
                self._directory.remove(name)
                raise Overtaken("writing the file took so long that it was given up")
            yield connection

    def _give_up(self, name: str) -> None:
        self._do("give_up", {"name": name})

    def _do(self, statement: str, values: Mapping[str, object]) -> None:
        with self._connections.transaction() as connection:
            self._connections.enter(connection)
            connection.execute(SQL[statement], values)


@dataclass(slots=True)
class _Anew:
    """What a file becomes."""

    theirs: dict[UUID, tuple[int, bytes]]
    """Lines to change: in which block each is, and its digest."""
    stale: dict[UUID, int]
    """Lines to leave out: in which block."""
    scrubs: Scrubs
    digests: dict[UUID, bytes] = field(default_factory=dict)
    """Of the lines that were changed."""

    def __post_init__(self) -> None:
        for saga_id in self.stale:
            self.theirs.pop(saga_id, None)

    def block(self, place: int, compressed: bytes) -> tuple[bytes, int]:
        lines = lines_in(compressed)
        if place not in {block for block, _ in self.theirs.values()} and place not in self.stale.values():
            return compressed, len(lines)
        kept = [anew for line in lines if (anew := self._line(line)) is not None]
        return block_of(kept), len(kept)

    def _line(self, line: bytes) -> bytes | None:
        one = decoded(line)
        if one.id in self.stale:
            return None
        if one.id not in self.theirs:
            return line
        anew = encoded(self.scrubs.line(one))
        self.digests[one.id] = digest_of(anew)
        return anew


def _new_name() -> str:
    return f"sagas-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}{SUFFIX}"


def _wanted(older_than: timedelta, after: UUID, limit: int) -> dict[str, object]:
    return {"age": older_than, "after": after, "limit": limit}


def _columns(name: str, written: Written) -> dict[str, object]:
    return {
        "name": name,
        "sagas": written.sagas,
        "size_bytes": written.size_bytes,
        "sha256": written.sha256,
        "blocks": list(written.blocks),
    }


def _file_in(row: Row) -> ArchiveFile:
    number, name, sagas, size, sha256, blocks, first_id, last_id, newest_at, written_at = row
    return ArchiveFile(
        id=number,
        name=name,
        sagas=sagas,
        size_bytes=size,
        sha256=sha256,
        blocks=blocks,
        first_id=first_id,
        last_id=last_id,
        newest_at=newest_at.astimezone(UTC),
        written_at=written_at.astimezone(UTC),
    )
