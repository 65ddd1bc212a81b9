"""The store in PostgreSQL: one transaction per batch, three round trips, everything as arrays.

    BEGIN, lock in the order of ids, personal data, now    ->  decide  ->  write all tables  ->  COMMIT

Within a round trip the statements travel together (`delivery.round_trip`). The count of rows that were moved is looked
at before COMMIT, which is why that is a round trip of its own: a batch with a stale row commits nothing. When the
answer to COMMIT is lost nobody knows whether it took place: that is `CommitUnknown`, and loading again tells.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Protocol
from uuid import UUID

import psycopg
import structlog
from psycopg import Cursor
from psycopg_pool import ConnectionPool

from ordersaga.delivery import outbox
from ordersaga.delivery.arrays import Array, Texts, Transactions, Uuids
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.pool import Lender
from ordersaga.delivery.round_trip import round_trip
from ordersaga.orchestrator.store import in_flight, rows
from ordersaga.orchestrator.store.archive import bring_back
from ordersaga.orchestrator.store.archive_files import Directory
from ordersaga.orchestrator.store.codec_protocol import InstanceCodec
from ordersaga.orchestrator.store.connections import AnyConnection, Connections, Row, open_pool, statements
from ordersaga.orchestrator.store.decoded import decoded
from ordersaga.orchestrator.store.migrate import NEWEST
from ordersaga.orchestrator.store.protocol import (
    AnyInstance,
    BadRow,
    Batch,
    Change,
    Due,
    EarlyEvent,
    KeyTaken,
    Loaded,
    Lookup,
    RequestKey,
    SagaCount,
    SagaPage,
    SchemaMismatch,
    SettledAs,
    StaleWrite,
    StoredDeadLetter,
    StoredHistory,
    StoredOrphan,
    StoreError,
    StoreUnavailable,
    Unclaimed,
    WriteRefused,
)
from ordersaga.orchestrator.store.read import Reads
from ordersaga.orchestrator.store.recent import NO_SERVER, Recent, Written
from ordersaga.orchestrator.store.references import references_of
from ordersaga.orchestrator.store.search import EVERYTHING, Search
from ordersaga.orchestrator.store.sqlstates import as_ours, one_line
from ordersaga.orchestrator.store.standing import Standing, StoreCounts

__all__ = ["PostgresStore", "PostgresTransaction", "open_pool"]

_log = structlog.get_logger(__name__)
_SQL = statements("write.sql")
_LETTERS = statements("dead_letters.sql")
_WEEKS_AHEAD = 8
REFUSED_FOR_SECONDS = 90.0
"""So long what was refused is held against the database, unless something is taken in meanwhile: where nobody is let in
nothing is tried. Longer than the minute after which the alert comes.
"""


class Owner(Protocol):
    """Under whose name outbox rows are written, as of now."""

    @property
    def owner(self) -> UUID: ...

    @property
    def server(self) -> datetime | None: ...


class PostgresStore:
    def __init__(
        self,
        pool: ConnectionPool[AnyConnection],
        codec: InstanceCodec,
        owner: Owner,
        *,
        timeout_seconds: float = 10.0,
        schema: str | None = None,
        directory: Directory | None = None,
        readers: Lender | None = None,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        """`pool`: of `open_pool`. `schema`: where its connections do not know it themselves. `directory`: of the
        archive's files. `readers`: a share of the pool for what may take its time; all of it where none is given.
        """
        self._connections = Connections(pool, timeout_seconds, schema)
        self._codec = codec
        self._owner = owner
        self._directory = directory
        self._reads = Reads(self._connections, Connections(readers or pool, timeout_seconds, schema), codec, directory)
        self._recent = Recent()
        self._monotonic = monotonic
        self._refused: tuple[float, str] | None = None
        """When, and in which words, what was written was last refused; None where something was taken in since."""

    @contextmanager
    def transaction(self) -> Iterator["PostgresTransaction"]:
        try:
            with self._connections.transaction() as connection:
                transaction = PostgresTransaction(
                    connection, self._connections, self._codec, self._owner, self._recent, directory=self._directory
                )
                yield transaction
                assert not transaction.failed, "an error of the store was not let out of its transaction"
        except WriteRefused as error:
            self._refused = self._monotonic(), str(error)
            raise
        if transaction.written:
            self._refused = None
            self._recent.keep(transaction.number, transaction.server, transaction.written)

    def due(self, limit: int, *, windows_past_seconds: float = 0.0) -> Sequence[Due]:
        return self._reads.due(limit, windows_past_seconds)

    def put_off(self, due: Due, seconds: float) -> None:
        values = {"id": due.saga_id, "kind": due.kind.value, "seen": due.due_at, "seconds": seconds}
        self._connections.ask(_SQL["put_off"], values)

    def get(self, saga_id: UUID) -> AnyInstance | None:
        return self._reads.get(saga_id)

    def of_order(self, order_id: str) -> Sequence[UUID]:
        return self._reads.of_order(order_id)

    def page(self, search: Search = EVERYTHING, *, limit: int = 100, after: UUID | None = None) -> SagaPage:
        return self._reads.page(search, limit, after)

    def count(self, search: Search = EVERYTHING) -> SagaCount:
        return self._reads.count(search)

    def history(self, saga_id: UUID) -> Sequence[StoredHistory]:
        return self._reads.history(saga_id)

    def dead_letters(
        self, *, reason: str | None = None, settled: bool = False, limit: int = 100, before: int | None = None
    ) -> Sequence[StoredDeadLetter]:
        return self._reads.dead_letters(reason, settled, limit, before)

    def parked(self, reason: str, *, after: int = 0, limit: int = 100) -> Sequence[StoredDeadLetter]:
        return self._reads.parked(reason, after, limit)

    def dead_letter(self, letter_id: int) -> StoredDeadLetter | None:
        return self._reads.dead_letter(letter_id)

    def orphans(
        self, *, saga_id: UUID | None = None, settled: bool = False, limit: int = 100, before: int | None = None
    ) -> Sequence[StoredOrphan]:
        return self._reads.orphans(saga_id, settled, limit, before)

    def orphan(self, orphan_id: int) -> StoredOrphan | None:
        return self._reads.orphan(orphan_id)

    def request(self, principal: str, key: str) -> RequestKey | None:
        return self._reads.request(principal, key)

    def counts(self) -> StoreCounts:
        return self._reads.counts()

    def standing(self) -> Standing:
        return self._reads.standing()

    def check(self, timeout_seconds: float, *, to_write: bool = True, remembered: bool = True) -> None:
        """A schema that is newer than this version passes: newer ones only add while workers of this one may run."""
        try:
            version, is_read_only = self._reads.condition(timeout_seconds)
        except StoreError as error:
            if isinstance(error.__cause__, psycopg.errors.UndefinedTable):
                raise SchemaMismatch("the database has no tables of ordersaga: run `ordersaga migrate`") from error
            raise
        if version < NEWEST:
            raise SchemaMismatch(f"the schema is at version {version}, {NEWEST} is needed: run `ordersaga migrate`")
        if not to_write:
            return
        if is_read_only:
            raise StoreUnavailable("it can only be read: a standby, or default_transaction_read_only is on")
        if remembered and (refused := self._refused) and self._monotonic() - refused[0] < REFUSED_FOR_SECONDS:
            raise WriteRefused(f"it takes nothing in: {refused[1]}")

    def upkeep(self) -> bool:
        self._reads.make_partitions(_WEEKS_AHEAD)
        is_more = self._reads.forget()
        if off_by := in_flight.correct(self._connections):
            _log.warning("store.in_flight_corrected", sagas=off_by)
        return is_more

    def close(self) -> None:
        self._connections.close()


class PostgresTransaction:
    """See `store.protocol.Transaction`."""

    def __init__(
        self,
        connection: AnyConnection,
        connections: Connections,
        codec: InstanceCodec,
        owner: Owner,
        recent: Recent,
        *,
        directory: Directory | None = None,
    ) -> None:
        self._recent = recent
        self._directory = directory
        self.number, self.server = 0, NO_SERVER
        """The server's for this transaction, and when that was started, once it has written."""
        self.written: list[AnyInstance] = []
        self._connection = connection
        self._connections = connections
        self._codec = codec
        self._owner = owner
        self._entered = False
        self.failed = False

    def load(self, wanted: Lookup, *, skip_locked: bool = False) -> Loaded:
        loaded = self._lock(wanted, skip_locked=skip_locked)
        if skip_locked or not loaded.missing:
            return loaded
        with self._round_trip():
            bring_back(self._connection, loaded.missing, self._directory)
        # Whoever brought one back meanwhile was waited for.
        return loaded.joined(self._lock(Lookup(saga_ids=loaded.missing), skip_locked=False))

    def _lock(self, wanted: Lookup, *, skip_locked: bool) -> Loaded:
        """What is in the hot tables; missing is what the archive has of one of the references, too."""
        saga_ids = list(wanted.saga_ids)
        server, known = self._recent.of(saga_ids)
        values: dict[str, Array | datetime] = {
            "ids": Uuids(saga_ids),
            "written": Transactions([one.by for one in known]),
            "server": server,
        }
        lock, personal = "lock_free" if skip_locked else "lock", "personal"
        if wanted.order_ids or wanted.payment_ids:
            values |= {"order_ids": Texts(list(wanted.order_ids)), "payment_ids": Texts(list(wanted.payment_ids))}
            lock, personal = lock + "_by_reference", personal + "_by_reference"
        with self._round_trip():
            locked = self._execute(lock, values) if wanted else None
            around = self._execute(personal, values)
        return self._loaded(wanted, locked.fetchall() if locked else [], around.fetchall(), known)

    def _loaded(self, wanted: Lookup, locked: Sequence[Row], around: Sequence[Row], known: Sequence[Written]) -> Loaded:
        data_of = {saga_id: data for _, saga_id, data in around}
        instances, unknown, references = {}, set(), set()
        for saga_id, saga, version, state, order_id, payment_id, number in locked:
            if saga is None:
                continue
            if state is None:
                instances[saga_id] = known[number - 1].instance
            elif (found := decoded(self._codec, (saga_id, saga, version, state, data_of.get(saga_id)))) is not None:
                instances[saga_id] = found
            else:
                unknown.add(saga_id)
                references |= references_of(order_id, payment_id)
        return Loaded(
            now=around[0][0].astimezone(UTC),
            instances=instances,
            unknown_versions=unknown,
            unknown_references=references,
            missing=rows.missing(wanted, locked),
        )

    def claim(self, references: Collection[str]) -> Sequence[EarlyEvent]:
        if not references:
            return []
        values: dict[str, Array] = {"references": Texts(sorted(references))}
        with self._round_trip():
            self._execute("hold_references", values)
            claimed = self._execute("claim_early", values)
        found = [
            EarlyEvent(reference=reference, topic=topic, partition=partition, offset=offset, value=value)
            for reference, topic, partition, offset, value in claimed
        ]
        return sorted(found, key=lambda one: (one.topic, one.partition, one.offset))

    def save(self, batch: Batch) -> Sequence[OutboxRow]:
        rows.check_revisions(batch.changes)
        self._check_early(batch.early)
        records = [*(message for change in batch.changes for message in change.messages), *batch.messages]
        moved = [change for change in batch.changes if change.before is not None]
        moving, outgoing, keys, kept, numbered = (self._connection.cursor() for _ in range(5))
        try:
            with self._round_trip():
                numbered.execute(_SQL["written_by"])
                if batch.learnt:
                    references: dict[str, Array] = {"references": Texts(sorted(batch.learnt))}
                    self._execute("hold_references", references)
                    kept.execute(_SQL["kept_early"], references)
                if batch.keys:
                    keys.execute(_SQL["add_keys"], rows.key_columns(batch.keys))
                self._write_sagas(batch.changes, moved, moving)
                self._write_around(batch)
                outbox.write(outgoing, records, self._owner.owner, self._owner.server)
        except BadRow:
            # The history of a stale change breaks a key: that is no fault of the row.
            self._check_all_moved(moving, moved)
            raise
        if batch.learnt and kept.fetchone() is not None:
            self.failed = True
            raise Unclaimed("an event is kept for an id that was learnt")
        self._check_all_moved(moving, moved)
        if 0 <= keys.rowcount < len(batch.keys):
            self.failed = True
            raise KeyTaken("a request key is there already")
        ((self.number, self.server),) = numbered.fetchall()
        self.written += [change.after for change in batch.changes]
        return outbox.written(outgoing, records)

    def settle_dead_letter(self, letter_id: int, how: SettledAs, by: str, why: str, role: str = "operator") -> bool:
        values = {"id": letter_id, "how": how.value, "by": by, "why": why, "role": role}
        with self._round_trip():
            settled = self._connection.execute(_LETTERS["settle"], values)
        return settled.rowcount == 1

    def discard_orphan(self, orphan_id: int, by: str, why: str, role: str = "operator") -> bool:
        values = {"id": orphan_id, "by": by, "why": why, "role": role}
        with self._round_trip():
            discarded = self._connection.execute(_LETTERS["discard_orphan"], values)
        return discarded.rowcount == 1

    def _check_early(self, early: Sequence[EarlyEvent]) -> None:
        if not early:
            return
        values: dict[str, Array] = {"references": Texts(sorted({one.reference for one in early}))}
        with self._round_trip():
            self._execute("hold_references", values)
            known = self._execute("known_references", values)
        if (found := known.fetchone()) and found[0]:
            self.failed = True
            raise StaleWrite("the order or payment of an early event was learnt meanwhile")

    def _check_all_moved(self, moving: Cursor[Row], moved: Sequence[Change]) -> None:
        if 0 <= moving.rowcount < len(moved):
            self.failed = True
            raise StaleWrite(f"{len(moved) - moving.rowcount} sagas were changed since they were loaded")

    def _write_sagas(self, changes: Sequence[Change], moved: Sequence[Change], moving: Cursor[Row]) -> None:
        if new := [change for change in changes if change.before is None]:
            self._execute("begin_sagas", rows.new_columns(new, self._codec))
        if moved:
            moving.execute(_SQL["move_sagas"], rows.moved_columns(moved, self._codec))

    def _write_around(self, batch: Batch) -> None:
        """Everything but the sagas themselves; a statement without rows is not sent."""
        kept, erased = rows.personal_columns(batch.changes, self._codec)
        to_set, to_clear = rows.deadline_columns(batch)
        for name, columns in (
            ("keep_personal", kept),
            ("erase_personal", erased),
            ("add_history", rows.history_columns(batch.changes)),
            ("set_deadlines", to_set),
            ("clear_deadlines", to_clear),
            ("add_dead_letters", rows.dead_letter_columns(batch.dead_letters)),
            ("add_orphans", rows.orphan_columns(batch.orphans)),
            ("add_early", rows.early_columns(batch.early)),
            ("add_sums", rows.sum_columns(batch.sums)),
            ("add_in_flight", rows.in_flight_columns(batch.changes)),
        ):
            if any(columns.values()):
                self._execute(name, columns)

    def _execute(self, name: str, values: Mapping[str, Array | datetime]) -> Cursor[Row]:
        return self._connection.execute(_SQL[name], values)

    @contextmanager
    def _round_trip(self) -> Iterator[None]:
        """All statements of the block travel together; every error as one of ours."""
        try:
            with round_trip(self._connection):
                if not self._entered:
                    self._connections.enter(self._connection)
                    self._entered = True
                yield
        except psycopg.Error as error:
            self.failed = True
            raise as_ours(error) from error
        except ValueError as error:
            # What cannot even be sent: half a surrogate pair, a number that fits no column.
            self.failed = True
            raise BadRow(one_line(error)) from error
