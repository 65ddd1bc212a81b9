"""A participant's ledger in memory: for tests and the simulation. Lost with the process.

`MemoryTables` stands for the database, which hosts of one participant share; what a transaction was given waits until
its commit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from threading import Condition
from typing import Any
from uuid import UUID

import msgspec

from ordersaga.bus.protocol import Outgoing, Record
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.outbox_memory import MemoryTable
from ordersaga.participants.ledger_protocol import (
    Answer,
    BadAnswer,
    Known,
    LedgerTransaction,
    LedgerUnavailable,
    Owner,
)
from ordersaga.participants.service import By, Row, ServiceSpec


@dataclass(slots=True)
class MemoryTables:
    """What has been committed, and who holds which row. `changed` guards all of it."""

    outbox: MemoryTable
    changed: Condition = field(default_factory=Condition)
    rows: dict[str, Any] = field(default_factory=dict)
    """In the order in which they were made."""
    answers: dict[UUID, Answer] = field(default_factory=dict)
    answered_at: dict[UUID, datetime] = field(default_factory=dict)
    """The oldest first."""
    dead_letters: dict[tuple[str, int, int], str] = field(default_factory=dict)
    acts: list[tuple[str, str, By]] = field(default_factory=list)
    held_by: dict[str, "MemoryTransaction"] = field(default_factory=dict)


class MemoryLedger:
    def __init__(
        self,
        tables: MemoryTables,
        spec: ServiceSpec,
        owner: Owner,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        timeout_seconds: float = 5.0,
    ) -> None:
        """`now` is the database's clock. `timeout_seconds`: how long to wait for a row that another host holds."""
        self._tables = tables
        self._spec = spec
        self._owner = owner
        self._now = now
        self._timeout_seconds = timeout_seconds

    def create_tables(self) -> None:
        pass

    @contextmanager
    def transaction(self) -> Iterator[LedgerTransaction]:
        transaction = MemoryTransaction(self._tables, self._spec, self._owner, self._now, self._timeout_seconds)
        try:
            yield transaction
            transaction.commit()
        finally:
            transaction.end()

    def close(self) -> None:
        pass


class MemoryTransaction:
    def __init__(
        self,
        tables: MemoryTables,
        spec: ServiceSpec,
        owner: Owner,
        now: Callable[[], datetime],
        timeout_seconds: float,
    ) -> None:
        self._tables = tables
        self._spec = spec
        self._owner = owner
        self._now = now
        self._timeout_seconds = timeout_seconds
        self._known: set[str] = set()
        self._rows: dict[str, Row] = {}
        self._answers: dict[UUID, Answer] = {}
        self._forgotten: Sequence[UUID] = ()
        self._records: list[tuple[Sequence[Outgoing], list[OutboxRow]]] = []
        self._dead: dict[tuple[str, int, int], str] = {}
        self._acts: list[tuple[str, str, By]] = []

    def load(self, keys: Sequence[str], names: Sequence[tuple[str, str]], message_ids: Sequence[UUID]) -> Known:
        wanted, called = set(keys), set(names)
        with self._tables.changed:
            self._lock(sorted(self._found(wanted, called)))
            found = self._found(wanted, called) & {key for key, one in self._tables.held_by.items() if one is self}
            rows = {key: self._rows.get(key, self._tables.rows[key]) for key in sorted(found)}
            answers = {one: self._tables.answers[one] for one in message_ids if one in self._tables.answers}
        self._known |= rows.keys()
        return Known(self._now(), rows, answers)

    def due(self, limit: int) -> Sequence[Any]:
        now = self._now()
        with self._tables.changed:
            free = [row for key, row in self._tables.rows.items() if self._tables.held_by.get(key, self) is self]
            passed = [row for row in free if row.status == "STARTED" and row.timeout_at and row.timeout_at <= now]
            passed = sorted(passed, key=lambda row: row.timeout_at)[:limit]
            self._lock([row.key for row in passed])
        self._known |= {row.key for row in passed}
        return passed

    def inbox(self, customer_id: str, limit: int) -> Sequence[Any]:
        with self._tables.changed:
            return [row for row in self._tables.rows.values() if row.customer_id == customer_id][::-1][:limit]

    def now(self) -> datetime:
        return self._now()

    def save(
        self, rows: Sequence[Row], answers: Mapping[UUID, Answer], records: Sequence[Outgoing]
    ) -> Sequence[OutboxRow]:
        with self._tables.changed:
            self._check(rows)
        for row in rows:
            if b"\\u0000" in msgspec.json.encode(row):
                raise BadAnswer("a text has the character NUL")
        self._rows |= {row.key: row for row in rows}
        self._answers |= answers
        written: list[OutboxRow] = []
        self._records.append((records, written))
        return written

    def forget(self, kept: timedelta, part_max: int) -> int:
        before = self._now() - kept
        with self._tables.changed:
            old = (one for one, at in self._tables.answered_at.items() if at < before)
            self._forgotten = tuple(islice(old, part_max))
        return len(self._forgotten)

    def acted(self, key: str, verb: str, by: By) -> None:
        self._acts.append((key, verb, by))

    def dead_letter(self, record: Record, reason: str) -> None:
        self._dead.setdefault((record.topic, record.partition, record.offset), reason)

    def commit(self) -> None:
        tables = self._tables
        with tables.changed:
            self._check(list(self._rows.values()))
            if self._answers.keys() & tables.answers.keys():
                raise LedgerUnavailable("another host answered one of these commands in this moment")
            tables.rows.update(self._rows)
            tables.answers.update(self._answers)
            tables.answered_at.update(dict.fromkeys(self._answers, self._now()))
            for one in self._forgotten:
                tables.answers.pop(one, None)
                tables.answered_at.pop(one, None)
            tables.dead_letters |= {key: self._dead[key] for key in self._dead.keys() - tables.dead_letters.keys()}
            tables.acts += self._acts
            for records, written in self._records:
                # Last, since whoever looks at the outbox sees it at once.
                written.extend(tables.outbox.write(records, self._owner.owner))

    def end(self) -> None:
        """Let go of what is held, whether it was committed or not."""
        with self._tables.changed:
            for key in [key for key, holder in self._tables.held_by.items() if holder is self]:
                del self._tables.held_by[key]
            self._tables.changed.notify_all()

    def _found(self, keys: set[str], names: set[tuple[str, str]]) -> set[str]:
        found = keys & self._tables.rows.keys()
        if names:
            rows = self._tables.rows.values()
            found |= {row.key for row in rows if not names.isdisjoint(self._spec.names_in(row))}
        return found

    def _check(self, rows: Sequence[Row]) -> None:
        """What two hosts that met would have written twice."""
        there = self._tables.rows
        if any(row.key in there and row.key not in self._known for row in rows):
            raise LedgerUnavailable("another host made one of these rows in this moment")
        mine = {row.key for row in rows}
        names = [name for row in rows for name in self._spec.names_in(row)]
        taken = {name for key, row in there.items() if key not in mine for name in self._spec.names_in(row)}
        if len(set(names)) < len(names) or not taken.isdisjoint(names):
            raise LedgerUnavailable("another row has one of these names")

    def _lock(self, keys: Sequence[str]) -> None:
        """`tables.changed` is held; it is let go while waiting."""
        clock = self._tables.outbox.clock
        until = clock.monotonic() + self._timeout_seconds
        for key in keys:
            while self._tables.held_by.get(key, self) is not self:
                if not clock.wait(self._tables.changed, until - clock.monotonic()) and clock.monotonic() >= until:
                    raise LedgerUnavailable(f"the row {key} is held by another host")
            self._tables.held_by.setdefault(key, self)
