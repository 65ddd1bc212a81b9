"""Records of one customer that were set aside: found by what tells of them, and remembered as theirs.

What tells is the customer's id, the ids of their orders' sagas, and what services call their cards by. It is looked for
in the key, the value and the headers, as it stands there: many of these records cannot be read. An id that is part of a
longer one is another's. Sagas lose all of that when they are erased, and a record may wait for a person for longer: so
it is marked first, with a digest of the customer's id.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

import msgspec

from ordersaga.delivery.arrays import Bigints, Bytes
from ordersaga.orchestrator.store.archive import ArchiveReads
from ordersaga.orchestrator.store.archive_files import ArchiveUnreadable, Directory, Line
from ordersaga.orchestrator.store.connections import AnyConnection, Connections, statements
from ordersaga.orchestrator.store.search import Search
from ordersaga.wire.headers import unpacked

_SQL = statements("erasure.sql")
LOOKED_MAX = 500
"""Records, or sagas of the archive, that one statement looks at."""
NEEDLES_MAX = 50
"""What one statement looks for."""
_CARDS = ("stripe_customer_id", "payment_method_id")
"""By which services call a customer who is not named."""
_ATTEMPTS = 3
_BEFORE = rb"(?:(?<![\w\-\x80-\xff])|(?<=\\[bfnrt])|(?<=\\u00[0-7][0-9A-Fa-f]))"
_AFTER = rb"(?![\w\-\x80-\xff])"


class _Person(msgspec.Struct):
    """Of personal data, as far as it is looked at here."""

    stripe_customer_id: str | None = None
    payment_method_id: str | None = None


class _Row(msgspec.Struct):
    data: _Person


class Needles:
    """Texts, in the ways in which they may be written."""

    def __init__(self, texts: Iterable[str]) -> None:
        forms = {form for text in texts if text for form in _forms(text)}
        self.forms = sorted(forms)
        self._found = re.compile(_BEFORE + b"(?:" + b"|".join(map(re.escape, self.forms)) + b")" + _AFTER)

    def are_in(self, *parts: bytes | None) -> bool:
        return bool(self.forms) and any(part and self._found.search(part) for part in parts)


class SetAside:
    def __init__(self, connections: Connections, directory: Directory | None) -> None:
        """`directory`: of the archive's files."""
        self._connections = connections
        self._archive = ArchiveReads(connections, directory)

    def claim(self, customer_id: str, principal: str) -> Needles:
        """Mark what is theirs, seen to or not; what tells of them without their sagas' ids. Before anything is erased.
        `principal`: the digest that it is marked with. Raises `StoreError`, `ArchiveUnreadable`.
        """
        personal, sagas = {customer_id}, set[str]()
        for saga_id, person in self._theirs(customer_id):
            sagas.add(str(saga_id))
            personal.update(card for name in _CARDS if (card := getattr(person, name)))
        told = [*sorted(personal), *sorted(sagas)]
        for begin in range(0, len(told), NEEDLES_MAX):
            needles = Needles(told[begin : begin + NEEDLES_MAX])
            for table in ("letters", "orphans"):
                self._mark(table, needles, principal)
        return Needles(personal)

    def waiting(self, connection: AnyConnection, needles: Needles, principal: str) -> int:
        """How many somebody waits for still: of those that are marked, of events that came too early, and of messages
        on their way.
        """
        ((marked,),) = connection.execute(_SQL["left_over"], {"principal": principal}).fetchall()
        passing = connection.execute(_SQL["passing"], {"needles": Bytes(needles.forms)})
        return int(marked) + sum(needles.are_in(*parts) for parts in passing)

    # --- small print --------------------------------------------------------------------------------

    def _theirs(self, customer_id: str) -> Iterator[tuple[UUID, _Person]]:
        for saga_id, data in self._connections.ask(_SQL["personal_of"], {"customer": customer_id}):
            yield saga_id, msgspec.json.decode(data, type=_Person)
        search, after = Search(archived=True, customer_id=customer_id), None
        while True:
            lines = self._archived(search, after)
            for line in lines:
                yield (line, _Person()) if isinstance(line, UUID) else (line.id, _person_in(line))
            if len(lines) < LOOKED_MAX:
                return
            after = lines[-1] if isinstance(lines[-1], UUID) else lines[-1].id

    def _archived(self, search: Search, after: UUID | None) -> Sequence[Line | UUID]:
        """Of one whose row is damaged the id alone."""
        attempts = 0
        while True:
            try:
                return self._archive.search(search, looked_max=LOOKED_MAX, after=after)
            except ArchiveUnreadable as error:
                # A file that is written anew meanwhile has another name now.
                attempts += 1
                if attempts == _ATTEMPTS:
                    raise ArchiveUnreadable(f"{error}: put it back first") from error

    def _mark(self, table: str, needles: Needles, principal: str) -> None:
        after = 0
        while True:
            wanted = {"needles": Bytes(needles.forms), "after": after, "looked_max": LOOKED_MAX}
            rows = self._connections.ask(_SQL[f"{table}_with"], wanted)
            looked, last, *_ = rows[0]
            ids = [number for _, _, number, *parts in rows if number is not None and _is_in(needles, *parts)]
            if ids:
                with self._connections.transaction() as connection:
                    self._connections.enter(connection)
                    connection.execute(_SQL[f"mark_{table}"], {"ids": Bigints(ids), "principal": principal})
            if looked < LOOKED_MAX:
                return
            after = last


def _person_in(line: Line) -> _Person:
    return msgspec.json.decode(line.personal, type=_Row).data if line.is_personal else _Person()


def _is_in(needles: Needles, key: bytes | None, value: bytes | None, headers: bytes | None) -> bool:
    named = unpacked(headers) if headers else ()
    return needles.are_in(key, value, *(part for name, told in named for part in (name.encode(), told)))


def _forms(text: str) -> set[bytes]:
    as_json = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    return {form.encode() for form in (text, *as_json)}
