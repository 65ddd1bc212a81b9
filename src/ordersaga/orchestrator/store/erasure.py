"""Erasure of what belongs to one person: in live sagas and archived ones, in histories, in records that were set aside.

Files of the archive are written anew, one after the other; the rest is one transaction. What is under way keeps what it
needs to end; it is counted, and the next call finds it. Not reached are Kafka's topics, which keep what we create for a
week, and backups.
"""

import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from psycopg_pool import ConnectionPool

from ordersaga.delivery.arrays import Bytes, Integers, Json, Uuids
from ordersaga.orchestrator.store.archive import FILES
from ordersaga.orchestrator.store.archive_files import NOTHING, ArchiveUnreadable, Directory, Line
from ordersaga.orchestrator.store.connections import AnyConnection, Connections, statements
from ordersaga.orchestrator.store.erasure_set_aside import SetAside
from ordersaga.orchestrator.store.filing import Overtaken, PostgresFiling
from ordersaga.wire.codes import is_code

_SQL = statements("erasure.sql")
_ERASED = {"actor": "erased", "why": ""}
_QUOTED = re.compile(
    r"(?<=^payment failed with ).*(?=: compare with the provider whether a hold was made$)"
    r"|(?<= could not be taken back: ).*$",
    re.DOTALL,
)
"""What `attention` of older versions has of a service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What was done, and what is left for another time."""

    sagas: int
    archived: int
    records: int
    """Set aside, or of nobody, and seen to: deleted."""
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
        self._set_aside = SetAside(self._connections, directory)
        self._filing = (
            PostgresFiling(pool, directory, timeout_seconds=timeout_seconds, schema=schema) if directory else None
        )

    def erase(self, customer_id: str, *, by: str, why: str) -> Erased:
        """Raises `StoreError`. Done before, it finds nothing; ended in the middle, it is to be done again."""
        theirs = _Theirs(customer_id)
        principal = hashlib.sha256(customer_id.encode()).hexdigest()
        self._check_files(customer_id)
        needles = self._set_aside.claim(customer_id, principal)
        in_files = self._in_files(theirs)
        with self._connections.transaction() as connection:
            self._connections.enter(connection)
            found = connection.execute(_SQL["sagas_of"], {"customer": customer_id}).fetchall()
            ended = [(saga_id, state) for saga_id, under_way, state in found if not under_way]
            self._live(connection, ended, theirs)
            archived = self._archived(connection, theirs)
            again = connection.execute(_SQL["sagas_of"], {"customer": customer_id}).fetchall()
            if any(not under_way for _, under_way, _ in again):
                raise Overtaken("something of theirs has come back from the archive meanwhile: ask again")
            left = {"principal": principal, "under_way": Uuids([saga_id for saga_id, _, _ in again])}
            connection.execute(_SQL["forget_keys"], left)
            connection.execute(_SQL["erase_audit"], {"customer": customer_id})
            theirs_are = {"principal": principal}
            records = sum(
                connection.execute(_SQL[name], theirs_are).rowcount for name in ("forget_letters", "forget_orphans")
            )
            waiting = self._set_aside.waiting(connection, needles, principal)
            ((writing,),) = connection.execute(FILES["is_writing"]).fetchall()
            erased = Erased(
                sagas=len(ended),
                archived=archived + in_files,
                records=records,
                under_way=len(again),
                waiting=waiting,
                files_written=bool(writing),
            )
            connection.execute(_SQL["remember"], {"actor": by, "why": why, "outcome": _told(erased)})
        return erased

    def _live(self, connection: AnyConnection, ended: Sequence[tuple[UUID, bytes]], theirs: "_Theirs") -> None:
        ids = [saga_id for saga_id, _ in ended]
        states = Json([theirs.left_of(state) for _, state in ended])
        connection.execute(_SQL["erase_states"], {"ids": Uuids(ids), "states": states})
        theirs.history(connection, ids)
        connection.execute(_SQL["erase_personal"], {"ids": Uuids(ids)})

    def _check_files(self, customer_id: str) -> None:
        if self._filing is None and self._connections.ask(FILES["files_of"], {"customer": customer_id}):
            raise ArchiveUnreadable(
                "files of the archive hold them: set ORDERSAGA_ARCHIVE_DIRECTORY to where those are"
            )

    def _in_files(self, theirs: "_Theirs") -> int:
        return self._filing.erase(theirs) if self._filing is not None else 0

    def _archived(self, connection: AnyConnection, theirs: "_Theirs") -> int:
        customer = {"customer": theirs.customer_id}
        found = connection.execute(_SQL["archived"], customer).fetchall()
        # Now that what is in no file is locked. (A row that was waited for and has gone into one is not among those.)
        if connection.execute(FILES["files_of"], customer).fetchall():
            raise Overtaken("something of theirs has gone into a file of the archive meanwhile: ask again")
        if found:
            ids, states, histories = zip(*found, strict=True)
            values = {
                "ids": Uuids(ids),
                "states": Bytes([zlib.compress(theirs.left_of(zlib.decompress(one))) for one in states]),
                "histories": Bytes([zlib.compress(theirs.left_of(zlib.decompress(one))) for one in histories]),
            }
            connection.execute(_SQL["erase_archived"], values)
            # Their history is still in its week too, until that is dropped.
            theirs.history(connection, ids)
        return len(found)


@dataclass(frozen=True, slots=True)
class _Theirs:
    """What is one customer's: what they asked for, in their words, and what services said of them; see
    `filing.Scrubs`.
    """

    customer_id: str

    def line(self, line: Line) -> Line:
        state, history = (msgspec.Raw(self.left_of(part)) for part in (line.state, line.history))
        return msgspec.structs.replace(line, state=state, history=history, personal=msgspec.Raw(NOTHING))

    def history(self, connection: AnyConnection, ids: Sequence[UUID]) -> None:
        found = connection.execute(_SQL["told_in_history"], {"ids": Uuids(ids)}).fetchall()
        if found:
            sagas, revisions, bodies = zip(*found, strict=True)
            values = {
                "sagas": Uuids(ids),
                "ids": Uuids(sagas),
                "revisions": Integers(revisions),
                "bodies": Json([self.left_of(one) for one in bodies]),
            }
            connection.execute(_SQL["erase_history"], values)

    def left_of(self, document: bytes | msgspec.Raw) -> bytes:
        """Of JSON."""
        return msgspec.json.encode(self._left(msgspec.json.decode(document), ""))

    def _left(self, part: Any, name: str) -> Any:
        if isinstance(part, list):
            return [self._left(one, name) for one in part]
        if isinstance(part, dict):
            kept = {key: self._left(one, key) for key, one in part.items()}
            return kept | _ERASED if self._asked(part) else kept
        if not isinstance(part, str):
            return part
        if self._is_told(name, part):
            return _ERASED["actor"]
        return _QUOTED.sub(_without_sentence, part) if name == "attention" else part

    def _asked(self, part: dict[str, Any]) -> bool:
        """Whoever is called a customer there is this one, under whatever name. And so is who gave their id beside the
        name of a token.
        """
        actor = part.get("actor")
        if not isinstance(actor, str):
            return False
        return part.get("role") == "customer" or actor == self.customer_id or actor.startswith(f"{self.customer_id} (")

    def _is_told(self, name: str, text: str) -> bool:
        """Whether a service said it, and more than a code. `attention` is ours, and may quote: see `_QUOTED`."""
        if name in ("error", "refusal", "problem"):
            return self.customer_id in text or not is_code(text)
        return name == "attention" and self.customer_id in text


def _without_sentence(quoted: re.Match[str]) -> str:
    return quoted[0] if is_code(quoted[0]) else _ERASED["actor"]


def _told(erased: Erased) -> str:
    return (
        f"{erased.sagas} sagas, {erased.archived} archived, {erased.records} records erased;"
        f" {erased.under_way} sagas under way, {erased.waiting} records waiting"
    )
