"""The store of a process without a database: for tests, the simulation, and whatever may be lost with the process.

It keeps the same promises, by the same means: one lock per saga, held until the transaction ends and taken in the
order of ids; everything that a batch writes appears at once, or nothing of it does; a row that is not the one which was
loaded is refused. Instances are kept as the codec wrote them, and the texts and documents that PostgreSQL refuses are
refused here, so that what works on this store works on the other.

It does not promise to survive anything. `MemoryTables` stands for the database that several processes share.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import msgspec

from ordersaga.delivery.messages import OutboxRow
from ordersaga.orchestrator.store.codec_protocol import InstanceCodec
from ordersaga.orchestrator.store.memory_read import MemoryReads
from ordersaga.orchestrator.store.memory_tables import MemoryTables, SagaRow, decoded
from ordersaga.orchestrator.store.protocol import (
    BadRow,
    Batch,
    Change,
    Due,
    EarlyEvent,
    Loaded,
    Lookup,
    Settled,
    SettledAs,
    StaleWrite,
    StoredDeadLetter,
    StoredHistory,
    StoredOrphan,
    StoreUnavailable,
    Unclaimed,
)
from ordersaga.orchestrator.store.references import references_of
from ordersaga.orchestrator.store.rows import check_revisions, moved_deadlines, reference_of
from ordersaga.orchestrator.store.storable import check_batch_storable, check_documents, free_keys, records_of

EARLY_KEPT_FOR = timedelta(hours=1)


class Owner(Protocol):
    """Under whose name outbox rows are written, as of now."""

    @property
    def owner(self) -> UUID: ...


class MemoryStore(MemoryReads):
    def __init__(
        self,
        tables: MemoryTables,
        codec: InstanceCodec,
        owner: Owner,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        timeout_seconds: float = 10.0,
    ) -> None:
        """`now` is the database's clock: the one that deadlines are compared with. `timeout_seconds`: how long to wait
        for a saga that another transaction holds.
        """
        super().__init__(tables, codec, now)
        self._owner = owner
        self._timeout_seconds = timeout_seconds

    @contextmanager
    def transaction(self) -> Iterator["MemoryTransaction"]:
        self._check_open()
        transaction = MemoryTransaction(self._tables, self._codec, self._owner, self._now, self._timeout_seconds)
        try:
            yield transaction
            transaction.commit()
        finally:
            transaction.end()

    def put_off(self, due: Due, seconds: float) -> None:
        self._check_open()
        with self._tables.changed:
            if self._tables.deadlines.get((due.saga_id, due.kind)) == due.due_at:
                self._tables.deadlines[due.saga_id, due.kind] = self._now() + timedelta(seconds=seconds)
                self._tables.failing.add((due.saga_id, due.kind))

    def check(self, timeout_seconds: float, *, to_write: bool = True, remembered: bool = True) -> None:
        self._check_open()

    def upkeep(self) -> bool:
        self._check_open()
        now = self._now()
        with self._tables.changed:
            for key in [key for key, (until, _) in self._tables.early.items() if until <= now]:
                del self._tables.early[key]
        return False

    def close(self) -> None:
        self._closed = True


class MemoryTransaction:
    """See `store.protocol.Transaction`. What `save` was given waits here until the commit."""

    def __init__(
        self,
        tables: MemoryTables,
        codec: InstanceCodec,
        owner: Owner,
        now: Callable[[], datetime],
        timeout_seconds: float,
    ) -> None:
        self._tables = tables
        self._codec = codec
        self._owner = owner
        self._now = now
        self._timeout_seconds = timeout_seconds
        self._failed = False
        self._sagas: dict[UUID, SagaRow] = {}
        self._saved: list[tuple[Batch, list[OutboxRow]]] = []
        self._claimed: dict[str, None] = {}
        self._taken: list[EarlyEvent] = []
        self._settled: dict[int, tuple[SettledAs, str, str]] = {}
        self._discarded: dict[int, tuple[str, str]] = {}
        """Orphans."""

    def load(self, wanted: Lookup, *, skip_locked: bool = False) -> Loaded:
        instances, unknown, references = {}, set(), set()
        with self._tables.changed:
            self._lock(sorted(self._found(wanted)), skip_locked=skip_locked)
            if not skip_locked and self._tables.bring_back(wanted):
                self._lock(sorted(self._found(wanted)), skip_locked=False)
            rows = [self._tables.sagas[saga_id] for saga_id in sorted(self._found(wanted) & self._held())]
            for row in rows:
                instance = decoded(self._codec, row)
                if instance is None:
                    unknown.add(row.saga_id)
                    references |= references_of(row.order_id, row.payment_id)
                else:
                    instances[row.saga_id] = instance
            return Loaded(
                now=self._now(),
                instances=instances,
                unknown_versions=unknown,
                unknown_references=references,
                missing=set(wanted.saga_ids).difference(row.saga_id for row in rows),
            )

    def claim(self, references: Collection[str]) -> Sequence[EarlyEvent]:
        with self._tables.changed:
            claimed = self._early_for(references)
        self._claimed |= dict.fromkeys(references) | {one.reference: None for one in claimed}
        self._taken += claimed
        return claimed

    def save(self, batch: Batch) -> Sequence[OutboxRow]:
        check_revisions(batch.changes)
        try:
            new_rows = [self._row(change) for change in batch.changes]
            check_batch_storable(batch)
            with self._tables.changed:
                self._lock(sorted(row.saga_id for row in new_rows), skip_locked=False)
                for change, row in zip(batch.changes, new_rows, strict=True):
                    self._check_current(change)
                    self._sagas[row.saga_id] = row
        except BaseException:
            self._failed = True
            raise
        rows: list[OutboxRow] = []
        self._saved.append((batch, rows))
        return rows

    def settle_dead_letter(self, letter_id: int, how: SettledAs, by: str, why: str, role: str = "operator") -> bool:
        with self._tables.changed:
            open_ones = [one.id for one in self._tables.dead_letters.values() if one.settled is None]
        if letter_id not in open_ones:
            return False
        self._settled[letter_id] = (how, by, why)
        return True

    def discard_orphan(self, orphan_id: int, by: str, why: str, role: str = "operator") -> bool:
        with self._tables.changed:
            open_ones = [one.id for one in self._tables.orphans.values() if one.settled is None]
        if orphan_id not in open_ones:
            return False
        self._discarded[orphan_id] = (by, why)
        return True

    def commit(self) -> None:
        assert not self._failed, "an error of the store was not let out of its transaction"
        at = self._now()
        with self._tables.changed:
            self._check_early()
            self._tables.keys |= free_keys(self._tables.keys, [one for batch, _ in self._saved for one in batch.keys])
            for one in self._taken:
                self._tables.early.pop((one.topic, one.partition, one.offset), None)
            self._tables.sagas.update(self._sagas)
            self._settle(at)
            for batch, rows in self._saved:
                self._write_around(batch, at)
                # Last, since whoever looks at the outbox sees it at once.
                rows.extend(self._tables.outbox.write(records_of(batch), self._owner.owner))

    def _settle(self, at: datetime) -> None:
        for key, letter in self._tables.dead_letters.items():
            if (wish := self._settled.get(letter.id)) and letter.settled is None:
                settled = Settled(at=at, how=wish[0], by=wish[1], why=wish[2])
                self._tables.dead_letters[key] = dataclasses.replace(letter, settled=settled)
        for place, orphan in self._tables.orphans.items():
            if (said := self._discarded.get(orphan.id)) and orphan.settled is None:
                settled = Settled(at=at, how=SettledAs.DISCARDED, by=said[0], why=said[1])
                self._tables.orphans[place] = dataclasses.replace(orphan, settled=settled)

    def end(self) -> None:
        """Let go of what is held, whether it was committed or not."""
        with self._tables.changed:
            for saga_id in self._held():
                del self._tables.held_by[saga_id]
            self._tables.changed.notify_all()

    def _early_for(self, references: Collection[str]) -> list[EarlyEvent]:
        now, wanted = self._now(), set(references)
        kept = [one for until, one in self._tables.early.values() if one.reference in wanted and until > now]
        return sorted(kept, key=lambda one: (one.topic, one.partition, one.offset))

    def _check_early(self) -> None:
        """Whoever keeps an event for an id and whoever learns the id go one after the other."""
        learnt = {reference for batch, _ in self._saved for reference in batch.learnt}
        if len(self._early_for(self._claimed.keys() | learnt)) != len(self._taken):
            raise Unclaimed("an event is kept for an id that was learnt")
        wanted = {one.reference for batch, _ in self._saved for one in batch.early}
        for row in self._tables.everywhere() if wanted else ():
            if wanted & references_of(row.order_id, row.payment_id):
                raise StaleWrite("the order or payment of an early event was learnt meanwhile")

    def _found(self, wanted: Lookup) -> set[UUID]:
        found = self._tables.sagas.keys() & set(wanted.saga_ids)
        if wanted.order_ids or wanted.payment_ids:
            orders, payments = set(wanted.order_ids), set(wanted.payment_ids)
            rows = self._tables.sagas.values()
            found |= {row.saga_id for row in rows if row.order_id in orders or row.payment_id in payments}
        return found

    def _held(self) -> set[UUID]:
        return {saga_id for saga_id, holder in self._tables.held_by.items() if holder is self}

    def _lock(self, saga_ids: Iterable[UUID], *, skip_locked: bool) -> None:
        """`tables.changed` is held; it is let go while waiting."""
        clock = self._tables.outbox.clock
        deadline = clock.monotonic() + self._timeout_seconds
        for saga_id in saga_ids:
            while self._tables.held_by.get(saga_id, self) is not self and not skip_locked:
                if not clock.wait(self._tables.changed, deadline - clock.monotonic()) and clock.monotonic() >= deadline:
                    raise StoreUnavailable(f"the saga {saga_id} is held by another transaction")
            self._tables.held_by.setdefault(saga_id, self)

    def _row(self, change: Change) -> SagaRow:
        """As the database would keep it. Raises `BadRow`."""
        instance = change.after
        try:
            state, personal = self._codec.encode(instance), self._codec.encode_personal(instance.data)
        except ValueError as error:
            raise BadRow(str(error)) from error
        check_documents(state, personal or b"")
        if instance.revision >= 2**31:
            raise BadRow(f"the revision {instance.revision} is too great")
        return SagaRow(
            saga_id=instance.saga_id,
            saga=instance.saga,
            version=instance.version,
            status=instance.status,
            revision=instance.revision,
            order_id=reference_of(instance, "order_id"),
            payment_id=reference_of(instance, "payment_id"),
            state=state,
            personal=personal,
        )

    def _check_current(self, change: Change) -> None:
        saga_id = change.after.saga_id
        stored = self._sagas.get(saga_id) or self._tables.sagas.get(saga_id)
        if change.before is None:
            if stored is not None:
                raise BadRow(f"there is a saga {saga_id}")
        elif stored is None or stored.revision != change.before.revision:
            raise StaleWrite(f"the saga {saga_id} was changed since it was loaded")
        revisions = [entry.revision for entry in change.history]
        written = {entry.revision for entry in self._tables.history.get(saga_id, ())}
        if len({*revisions, *written}) < len(revisions) + len(written):
            raise BadRow(f"the history of {saga_id} has one of the revisions {revisions}")

    def _write_around(self, batch: Batch, at: datetime) -> None:
        for change in batch.changes:
            saga_id = change.after.saga_id
            for entry in change.history:
                body = msgspec.json.decode(msgspec.json.encode(entry.body))
                stored = StoredHistory(revision=entry.revision, at=at, cause=entry.cause, body=body)
                self._tables.history.setdefault(saga_id, []).append(stored)
        moved = {change.after.saga_id for change in batch.changes}
        for failed in [one for one in self._tables.failing if one[0] in moved]:
            self._tables.failing.remove(failed)
            self._tables.deadlines[failed] = at
        for deadline, due in moved_deadlines(batch).items():
            self._tables.failing.discard(deadline)
            if due is None:
                self._tables.deadlines.pop(deadline, None)
            else:
                self._tables.deadlines[deadline] = due
        self._tables.statistics += [(at, one) for one in batch.sums]
        for dead in batch.dead_letters:
            stored_letter = StoredDeadLetter(id=len(self._tables.dead_letters) + 1, at=at, letter=dead)
            key = (dead.topic, dead.partition, dead.offset, dead.timestamp_ms)
            self._tables.dead_letters.setdefault(key, stored_letter)
        for one in batch.orphans:
            stored_orphan = StoredOrphan(id=len(self._tables.orphans) + 1, at=at, orphan=one)
            self._tables.orphans.setdefault((one.topic, one.partition, one.offset, one.saga_id), stored_orphan)
        for early in batch.early:
            self._tables.early.setdefault((early.topic, early.partition, early.offset), (at + EARLY_KEPT_FOR, early))
