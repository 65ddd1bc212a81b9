"""Erasure of what belongs to one person: in live sagas and archived ones, in histories, in records that were set aside.

Files of the archive are written anew, one after the other; the rest is one transaction. What is under way keeps what it
needs to end; it is counted, and the next call finds it. Not reached are Kafka's topics, which keep what we create for a
week, and backups.
"""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from psycopg_pool import ConnectionPool

from ordersaga.delivery.arrays import Bytes, Uuids
from ordersaga.orchestrator.store.archive import FILES
from ordersaga.orchestrator.store.archive_files import NOTHING, ArchiveUnreadable, Directory, Line
from ordersaga.orchestrator.store.connections import AnyConnection, Connections, statements
from ordersaga.orchestrator.store.filing import Overtaken, PostgresFiling

_SQL = statements("erasure.sql")
_ERASED = {"actor": "erased", "why": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What was done, and what is left for another time."""

    sagas: int
    archived: int
    records: int
    """Set aside and seen to, or of nobody: deleted."""
    under_way: int
    """Sagas that have not ended: untouched."""
    waiting: int
    """Records that wait for a person, for a saga or for a broker: untouched."""
    files_written: bool = False
    """A file of the archive is being written at this moment, and may count for nothing after all: then it is taken
    away within some minutes.
    """

    @property
    def is_all(self) -> bool:
        return not (self.under_way or self.waiting or self.files_written)


class PostgresErasure:
    def __init__(
        self,
        pool: ConnectionPool[AnyConnection],
        *,
        timeout_seconds: float = 10.0,
        schema: str | None = None,
        directory: Directory | None = None,
    ) -> None:
        """`pool` and `schema` as for `PostgresStore`; the pool is the store's to close. `directory`: of the archive's
        files.
        """
        self._connections = Connections(pool, timeout_seconds, schema)
        self._filing = (
            PostgresFiling(pool, directory, timeout_seconds=timeout_seconds, schema=schema) if directory else None
        )

    def erase(self, customer_id: str, *, by: str, why: str) -> Erased:
        """Raises `StoreError`. Done before, it finds nothing; ended in the middle, it is to be done again."""
        in_files = self._in_files(customer_id)
        with self._connections.transaction() as connection:
            self._connections.enter(connection)
            found = connection.execute(_SQL["sagas_of"], {"customer": customer_id}).fetchall()
            ended = [saga_id for saga_id, under_way in found if not under_way]
            self._live(connection, ended, customer_id)
            archived = self._archived(connection, customer_id, in_files)
            again = connection.execute(_SQL["sagas_of"], {"customer": customer_id}).fetchall()
            if any(not under_way for _, under_way in again):
                raise Overtaken("something of theirs has come back from the archive meanwhile: ask again")
            principal = hashlib.sha256(customer_id.encode()).hexdigest()
            connection.execute(_SQL["forget_keys"], {"principal": principal})
            connection.execute(_SQL["erase_audit"], {"customer": customer_id})
            needles = {"needles": Bytes(_needles(customer_id))}
            records = sum(
                connection.execute(_SQL[name], needles).rowcount for name in ("forget_letters", "forget_orphans")
            )
            ((letters, early, outgoing),) = connection.execute(_SQL["left_over"], needles).fetchall()
            ((writing,),) = connection.execute(FILES["is_writing"]).fetchall()
            erased = Erased(
                sagas=len(ended),
                archived=archived,
                records=records,
                under_way=len(found) - len(ended),
                waiting=letters + early + outgoing,
                files_written=bool(writing),
            )
            connection.execute(_SQL["remember"], {"actor": by, "why": why, "outcome": _told(erased)})
        return erased

    def _live(self, connection: AnyConnection, ids: list[UUID], customer_id: str) -> None:
        values = {"ids": Uuids(ids), "customer": customer_id}
        for name in ("erase_requested", "erase_history"):
            connection.execute(_SQL[name], values)
        connection.execute(_SQL["erase_personal"], {"ids": Uuids(ids)})

    def _in_files(self, customer_id: str) -> Sequence[UUID]:
        if self._filing is not None:
            return self._filing.erase(customer_id, lambda line: _scrubbed_line(line, customer_id))
        if self._connections.ask(FILES["files_of"], {"customer": customer_id}):
            raise ArchiveUnreadable(
                "files of the archive hold them: set ORDERSAGA_ARCHIVE_DIRECTORY to where those are"
            )
        return []

    def _archived(self, connection: AnyConnection, customer_id: str, in_files: Sequence[UUID]) -> int:
        # Their history is still in its week too, until that is dropped.
        connection.execute(_SQL["erase_history"], {"ids": Uuids(in_files), "customer": customer_id})
        found = connection.execute(_SQL["archived"], {"customer": customer_id}).fetchall()
        # Now that what is in no file is locked. (A row that was waited for and has gone into one is not among those.)
        if connection.execute(FILES["files_of"], {"customer": customer_id}).fetchall():
            raise Overtaken("something of theirs has gone into a file of the archive meanwhile: ask again")
        if found:
            ids, states, histories = zip(*found, strict=True)
            values = {
                "ids": Uuids(ids),
                "states": Bytes([_without(one, customer_id) for one in states]),
                "histories": Bytes([_without(one, customer_id) for one in histories]),
            }
            connection.execute(_SQL["erase_archived"], values)
            connection.execute(_SQL["erase_history"], {"ids": Uuids(ids), "customer": customer_id})
        return len(found) + len(in_files)


def _scrubbed_line(line: Line, customer_id: str) -> Line:
    state, history = (
        msgspec.Raw(msgspec.json.encode(_scrubbed(msgspec.json.decode(part), customer_id)))
        for part in (line.state, line.history)
    )
    return msgspec.structs.replace(line, state=state, history=history, personal=msgspec.Raw(NOTHING))


def _without(compressed: bytes, customer_id: str) -> bytes:
    """Compressed JSON in which `customer_id` asked for nothing."""
    whole = zlib.decompress(compressed)
    return zlib.compress(msgspec.json.encode(_scrubbed(msgspec.json.decode(whole), customer_id)))


def _scrubbed(part: Any, customer_id: str) -> Any:
    if isinstance(part, list):
        return [_scrubbed(one, customer_id) for one in part]
    if not isinstance(part, dict):
        return part
    kept = {name: _scrubbed(one, customer_id) for name, one in part.items()}
    return kept | _ERASED if _asked_by(part, customer_id) else kept


def _asked_by(part: dict[str, Any], customer_id: str) -> bool:
    """As `erase_requested` says."""
    actor = part.get("actor")
    if not isinstance(actor, str):
        return False
    return part.get("role") == "customer" or actor == customer_id or actor.startswith(f"{customer_id} (")


def _needles(customer_id: str) -> list[bytes]:
    """As a value of JSON, in the ways that it may be written."""
    return sorted({json.dumps(customer_id, ensure_ascii=ascii_only).encode() for ascii_only in (True, False)})


def _told(erased: Erased) -> str:
    return (
        f"{erased.sagas} sagas, {erased.archived} archived, {erased.records} records erased;"
        f" {erased.under_way} sagas under way, {erased.waiting} records waiting"
    )
