"""The store in PostgreSQL: one transaction per batch, three round trips, everything as arrays.

    BEGIN, load FOR UPDATE in the order of ids, now    ->  decide  ->  write all tables  ->  COMMIT

A frozen server is noticed by nothing but a clock on our side, so each transaction runs under a `Deadline`; a connection
that it cuts off is thrown away. When the answer to COMMIT is lost nobody knows whether it took place: that is
`CommitUnknown`, and loading again tells.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Protocol
from uuid import UUID

import aiosql
import msgspec
import psycopg
from psycopg import Connection, Cursor
from psycopg.adapt import Loader
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from ordersaga.delivery import outbox
from ordersaga.delivery.deadline import Deadline
from ordersaga.delivery.messages import OutboxRow
from ordersaga.orchestrator.core.instance import Instance, Status
from ordersaga.orchestrator.store import rows
from ordersaga.orchestrator.store.migrate import NEWEST
from ordersaga.orchestrator.store.protocol import (
    BadRow,
    Batch,
    CommitUnknown,
    DeadlineKind,
    Due,
    InstanceCodec,
    Loaded,
    Lookup,
    SagaPage,
    SchemaMismatch,
    StaleWrite,
    StoreCounts,
    StoredHistory,
    StoreError,
    StoreUnavailable,
)

AnyInstance = Instance[Any]
AnyConnection = Connection[tuple[Any, ...]]
_FOLDER = files("ordersaga.orchestrator.store") / "sql"
_WRITE = aiosql.from_str((_FOLDER / "write.sql").read_text("utf-8"), "psycopg")
_READ = aiosql.from_str((_FOLDER / "read.sql").read_text("utf-8"), "psycopg")
_PAGE_MAX = 100

BAD_ROW_CLASSES = ("22", "23", "54")
"""SQLSTATE classes in which the row is at fault: data exception, integrity constraint, program limit. In all others the
moment is.
"""


def open_pool(database_url: str, schema: str, *, size_max: int, prepares: bool = True) -> ConnectionPool[AnyConnection]:
    """Connections that find the schema's tables and hand JSON over as it is. Connects when it is first used.

    `prepares` off: no prepared statements, for poolers that hand each transaction to another connection.
    """

    def configure(connection: AnyConnection) -> None:
        connection.prepare_threshold = 2 if prepares else None
        connection.adapters.register_loader("jsonb", _RawJson)

    pool: ConnectionPool[AnyConnection] = ConnectionPool(
        database_url,
        kwargs={"options": f"-c search_path={schema}", "connect_timeout": 5, "application_name": "ordersaga"},
        min_size=1,
        max_size=size_max,
        timeout=2.0,
        configure=configure,
        open=False,
        name="ordersaga",
    )
    pool.open(wait=False)
    return pool


class _RawJson(Loader):
    """JSON as bytes: whoever wants it parsed knows into what."""

    def load(self, data: bytes | bytearray | memoryview) -> bytes:
        return bytes(data)


class _Owner(Protocol):
    """Under whose name outbox rows are written, as of now."""

    @property
    def owner(self) -> UUID: ...


class PostgresStore:
    def __init__(
        self, pool: ConnectionPool[AnyConnection], codec: InstanceCodec, owner: _Owner, *, timeout_seconds: float = 10.0
    ) -> None:
        self._pool = pool
        self._codec = codec
        self._owner = owner
        self._deadline = Deadline(timeout_seconds)

    @contextmanager
    def transaction(self) -> Iterator["PostgresTransaction"]:
        with self._connection() as connection:
            transaction = PostgresTransaction(connection, self._codec, self._owner)
            yield transaction
            _commit(connection)

    def due(self, limit: int) -> Sequence[Due]:
        with self._connection() as connection:
            found = connection.execute(_text(_READ, "due"), {"limit": limit}).fetchall()
        return [Due(saga_id, DeadlineKind(kind), due_at) for saga_id, kind, due_at in found]

    def get(self, saga_id: UUID) -> AnyInstance | None:
        with self._connection() as connection:
            found = connection.execute(_text(_READ, "get"), {"id": saga_id}).fetchone()
        if found is None or not self._codec.knows(found[1], found[2]):
            return None
        return _decoded(self._codec, found)

    def page(self, *, statuses: Collection[Status] = (), limit: int = 100, before: UUID | None = None) -> SagaPage:
        limit = min(limit, _PAGE_MAX)
        wanted = {"before": before, "limit": limit + 1, "statuses": [status.value for status in statuses]}
        with self._connection() as connection:
            found = connection.execute(_text(_READ, "page_of_statuses" if statuses else "page"), wanted).fetchall()
        shown = [_decoded(self._codec, row) for row in found[:limit] if self._codec.knows(row[1], row[2])]
        return SagaPage(instances=shown, next_before=found[limit - 1][0] if len(found) > limit else None)

    def history(self, saga_id: UUID) -> Sequence[StoredHistory]:
        with self._connection() as connection:
            found = connection.execute(_text(_READ, "history"), {"id": saga_id}).fetchall()
        return [
            StoredHistory(revision=revision, at=at, cause=cause, body=msgspec.json.decode(body))
            for revision, at, cause, body in found
        ]

    def counts(self) -> StoreCounts:
        with self._connection() as connection:
            by_status = connection.execute(_text(_READ, "count_statuses")).fetchall()
            others = connection.execute(_text(_READ, "count_others")).fetchone() or (0, 0, 0, 0)
        return StoreCounts(
            by_status={Status(status): count for status, count in by_status},
            outbox_rows=others[0],
            deadlines_due=others[1],
            dead_letters=others[2],
            orphans=others[3],
        )

    def check(self, timeout_seconds: float) -> None:
        try:
            with self._connection(timeout_seconds) as connection:
                version = (connection.execute(_text(_READ, "schema_version")).fetchone() or (0,))[0]
        except StoreError as error:
            if isinstance(error.__cause__, psycopg.errors.UndefinedTable):
                raise SchemaMismatch("the database has no tables of ordersaga: run `ordersaga migrate`") from error
            raise
        if version < NEWEST:
            raise SchemaMismatch(f"the schema is at version {version}, {NEWEST} is needed: run `ordersaga migrate`")

    def close(self) -> None:
        self._pool.close(timeout=2.0)

    @contextmanager
    def _connection(self, timeout_seconds: float | None = None) -> Iterator[AnyConnection]:
        """One transaction on a connection of the pool, under the deadline; every database error as one of ours."""
        try:
            with self._pool.connection(timeout_seconds) as connection, self._deadline.guard(connection):
                yield connection
        except (PoolTimeout, PoolClosed) as error:
            raise StoreUnavailable(f"no connection to the database: {_one_line(error)}") from error
        except psycopg.Error as error:
            raise _as_ours(error) from error


class PostgresTransaction:
    """See `store.protocol.Transaction`."""

    def __init__(self, connection: AnyConnection, codec: InstanceCodec, owner: _Owner) -> None:
        self._connection = connection
        self._codec = codec
        self._owner = owner

    def load(self, wanted: Lookup, *, skip_locked: bool = False) -> Loaded:
        with self._connection.pipeline():
            found = self._locked(wanted, skip_locked)
            now = self._connection.execute(_text(_WRITE, "now"))
        moment = now.fetchone()
        assert moment
        known, unknown = {}, set()
        for row in found.fetchall() if found else ():
            if self._codec.knows(row[1], row[2]):
                known[row[0]] = _decoded(self._codec, row)
            else:
                unknown.add(row[0])
        return Loaded(now=moment[0], instances=known, unknown_versions=unknown)

    def _locked(self, wanted: Lookup, skip_locked: bool) -> Cursor[tuple[Any, ...]] | None:
        ids = list(wanted.saga_ids)
        if wanted.order_ids or wanted.payment_ids:
            references = {"order_ids": list(wanted.order_ids), "payment_ids": list(wanted.payment_ids)}
            return self._connection.execute(_text(_WRITE, "load_by_reference"), {"ids": ids, **references})
        if ids:
            return self._connection.execute(_text(_WRITE, "load_free" if skip_locked else "load"), {"ids": ids})
        return None

    def save(self, batch: Batch) -> Sequence[OutboxRow]:
        changes = batch.changes
        for change in changes:
            assert change.before is None or change.before.revision < change.after.revision, (
                "a change has a new revision"
            )
        records = [*(message for change in changes for message in change.messages), *batch.messages]
        new = [change for change in changes if change.before is None]
        moved = [change for change in changes if change.before is not None]
        try:
            with self._connection.pipeline():
                update = self._write_sagas(new, moved)
                self._write_around(batch)
                cursor = self._connection.cursor()
                outbox.write(cursor, records, self._owner.owner)
            if update is not None and update.rowcount != len(moved):
                raise StaleWrite(f"{len(moved) - update.rowcount} sagas were changed since they were loaded")
            return outbox.written(cursor, records)
        except (ValueError, OverflowError, psycopg.DataError) as error:
            # What cannot even be sent: a NUL in a text, a number that fits no column.
            raise BadRow(_one_line(error)) from error

    def _write_sagas(self, new: Sequence[Any], moved: Sequence[Any]) -> Cursor[tuple[Any, ...]] | None:
        if new:
            self._connection.execute(_text(_WRITE, "begin_sagas"), rows.new_columns(new, self._codec))
        if moved:
            return self._connection.execute(_text(_WRITE, "move_sagas"), rows.moved_columns(moved, self._codec))
        return None

    def _write_around(self, batch: Batch) -> None:
        """Everything but the sagas themselves; a statement without rows is not sent."""
        to_set, to_clear = rows.deadline_columns(batch.changes)
        for name, columns in (
            ("keep_personal", rows.personal_columns(batch.changes, self._codec)),
            ("add_history", rows.history_columns(batch.changes)),
            ("set_deadlines", to_set),
            ("clear_deadlines", to_clear),
            ("add_dead_letters", rows.dead_letter_columns(batch.dead_letters)),
            ("add_orphans", rows.orphan_columns(batch.orphans)),
        ):
            if next(iter(columns.values())):
                self._connection.execute(_text(_WRITE, name), columns)


def _commit(connection: AnyConnection) -> None:
    try:
        connection.commit()
    except psycopg.errors.IntegrityError:
        raise
    except psycopg.OperationalError as error:
        if error.sqlstate:
            raise
        raise CommitUnknown(f"the answer to COMMIT was lost: {_one_line(error)}") from error


def _as_ours(error: psycopg.Error) -> StoreError:
    """The row is at fault or the moment is: by SQLSTATE, see `BAD_ROW_CLASSES`."""
    state = error.sqlstate or ""
    if state.startswith(BAD_ROW_CLASSES) or (not state and isinstance(error, psycopg.DataError)):
        return BadRow(f"{state} {_one_line(error)}".strip())
    return StoreUnavailable(f"{state} {_one_line(error)}".strip())


def _decoded(codec: InstanceCodec, row: tuple[Any, ...]) -> AnyInstance:
    _, saga, version, state, personal = row
    return codec.decode(saga, version, state, personal)


def _text(queries: Any, name: str) -> Any:
    return getattr(queries, name).sql


def _one_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
