"""A participant's ledger in PostgreSQL: its rows, its answers, its outbox, in a schema of its own.

Rows and answers of a batch are read and written as arrays.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID

import aiosql
import msgspec
import psycopg
from psycopg import Connection, sql
from psycopg.adapt import Loader
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from ordersaga.bus.protocol import Headers, Outgoing, Record
from ordersaga.delivery import outbox, pool
from ordersaga.delivery.arrays import Array, Bytes, Texts, Uuids
from ordersaga.delivery.deadline import Deadline
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.round_trip import round_trip
from ordersaga.participants.ledger_protocol import (
    Answer,
    BadAnswer,
    Known,
    LedgerUnavailable,
    Owner,
)
from ordersaga.participants.service import By, Row, ServiceSpec

AnyConnection = Connection[tuple[Any, ...]]
_FOLDER = files("ordersaga.participants")
_SQL = aiosql.from_str((_FOLDER / "host.sql").read_text("utf-8"), "psycopg")
_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(Headers).decode
TIMEOUT_SECONDS = 10.0
"""For a transaction, which takes milliseconds."""
_MAKING_SECONDS = 600.0
"""For making tables, waiting for another host included."""
_BAD_ROW_CLASSES = ("22", "23", "54")
_LOCK_TIMEOUT = "2s"
"""For a table that is to be changed. It takes longer than `deadlock_timeout`, after which the server sends a vacuum of
its own away that holds it.
"""


def open_pool(
    database_url: str, schema: str, *, size_max: int = 4, timeout_seconds: float = TIMEOUT_SECONDS
) -> ConnectionPool[AnyConnection]:
    """Connections that find the tables of `schema`. Connects in the background."""

    def configure(connection: AnyConnection) -> None:
        connection.prepare_threshold = 2
        connection.adapters.register_loader("jsonb", _RawJson)

    return pool.open_pool(
        database_url,
        name=f"ordersaga {schema}",
        options=f"-c search_path={schema}",
        size_max=size_max,
        wait_seconds=5.0,
        connect_seconds=5,
        configure=configure,
        timeout_seconds=timeout_seconds,
    )


class _RawJson(Loader):
    def load(self, data: bytes | bytearray | memoryview) -> bytes:
        return bytes(data)


class _Form:
    """How the rows of one participant are read and written."""

    def __init__(self, spec: ServiceSpec) -> None:
        self.names = spec.names
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(spec.row).decode
        columns = [sql.Identifier(name) for name in spec.row.__struct_fields__]
        updates = [sql.SQL("{0} = excluded.{0}").format(column) for column in columns]
        self.save = (
            sql.SQL(_text("save"))
            .format(columns=sql.SQL(", ").join(columns), updates=sql.SQL(", ").join(updates))
            .as_bytes(None)
        )
        named = [
            sql.SQL(" OR {} = ANY (({})::text[])").format(sql.Identifier(name), sql.Placeholder(name))
            for name in spec.names
        ]
        self.load = sql.SQL(_text("load")).format(or_named=sql.SQL("").join(named)).as_bytes(None)


class PostgresLedger:
    def __init__(
        self,
        pool: ConnectionPool[AnyConnection],
        spec: ServiceSpec,
        owner: Owner,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """`timeout_seconds`: after which a transaction is cut off, by a clock on our side."""
        self._pool = pool
        self._deadline = Deadline(timeout_seconds)
        self._making = Deadline(_MAKING_SECONDS)
        self._owner = owner
        self._spec = spec
        self._form = _Form(spec)

    def create_tables(self) -> None:
        """Make what is missing, and ask for no lock on a table where nothing is. Ten hosts may do so at once: the lock
        that they wait for ends with the transaction.
        """
        name = self._spec.participant.value
        tables = (_FOLDER / name / "tables.sql").read_text("utf-8")
        with self._transaction(self._making) as transaction:
            connection = transaction.connection
            connection.execute(_text("take_time"))
            connection.execute(_text("lock"), {"name": self._spec.schema})
            connection.execute(_text("give_up_after"), {"timeout": _LOCK_TIMEOUT})
            connection.execute(sql.SQL(_text("schema")).format(schema=sql.Identifier(self._spec.schema)))
            connection.execute(((_FOLDER / "host_tables.sql").read_text("utf-8") + tables).encode())
            found = connection.execute(_text("outbox_table")).fetchone()
            if found is None or found[0] is None:
                connection.execute(outbox.TABLES_SQL.encode())

    def transaction(self) -> AbstractContextManager["PostgresTransaction"]:
        return self._transaction(self._deadline)

    @contextmanager
    def _transaction(self, deadline: Deadline) -> Iterator["PostgresTransaction"]:
        try:
            with pool.lent(self._pool, deadline) as connection:
                yield PostgresTransaction(connection, self._form, self._owner)
                connection.commit()
        except (PoolTimeout, PoolClosed) as error:
            raise LedgerUnavailable(f"no connection to the database: {_one_line(error)}") from error
        except psycopg.errors.UniqueViolation as error:
            # Another host did the same in the same moment: asked again, it is found.
            raise LedgerUnavailable(_one_line(error)) from error
        except psycopg.Error as error:
            kind = BadAnswer if (error.sqlstate or "").startswith(_BAD_ROW_CLASSES) else LedgerUnavailable
            raise kind(f"{error.sqlstate or ''} {_one_line(error)}".strip()) from error
        except (ValueError, OverflowError) as error:
            raise BadAnswer(_one_line(error)) from error

    def close(self) -> None:
        self._pool.close(timeout=2.0)


class PostgresTransaction:
    def __init__(self, connection: AnyConnection, form: _Form, owner: Owner) -> None:
        self.connection = connection
        self._form = form
        self._owner = owner
        self._known: list[str] = []
        """Keys of the rows that this transaction has locked."""

    def load(self, keys: Sequence[str], names: Sequence[tuple[str, str]], message_ids: Sequence[UUID]) -> Known:
        """The rows under `keys` and those with `names` (column and value), and what was answered to `message_ids`."""
        wanted: dict[str, Array] = {name: Texts([v for n, v in names if n == name]) for name in self._form.names}
        with round_trip(self.connection):
            rows = self.connection.execute(self._form.load, {"keys": Texts(keys), **wanted})
            said = self.connection.execute(_text("answers"), {"message_ids": Uuids(message_ids)})
        found = self._decoded(rows.fetchall())
        answers = said.fetchall()
        return Known(answers[0][0], {row.key: row for row in found}, _answers(answers))

    def due(self, limit: int) -> Sequence[Any]:
        """Timers that have run out, locked."""
        return self._decoded(self.connection.execute(_text("load_due"), {"limit": limit}).fetchall())

    def inbox(self, customer_id: str, limit: int) -> Sequence[Any]:
        wanted = {"customer_id": customer_id, "limit": limit}
        return self._decoded(self.connection.execute(_text("inbox"), wanted).fetchall())

    def now(self) -> datetime:
        found = self.connection.execute(_text("now")).fetchone()
        assert found
        moment: datetime = found[0]
        return moment

    def save(
        self, rows: Sequence[Row], answers: Mapping[UUID, Answer], records: Sequence[Outgoing]
    ) -> Sequence[OutboxRow]:
        """What was done, what was answered for the first time, and what is to be sent."""
        cursor, saved = self.connection.cursor(), self.connection.cursor()
        with round_trip(self.connection):
            if rows:
                # In one order everywhere: hosts that meet wait for each other, and not in a circle.
                document = msgspec.json.encode(sorted(rows, key=lambda row: row.key)).decode()
                saved.execute(self._form.save, {"rows": document, "known": Texts(self._known)})
            if answers:
                self.connection.execute(_text("remember"), _answer_columns(answers))
            outbox.write(cursor, records, self._owner.owner, self._owner.server)
        if rows and saved.rowcount != len(rows):
            raise LedgerUnavailable("another host made one of these rows in this moment")
        return outbox.written(cursor, records)

    def forget(self, kept: timedelta, part_max: int) -> int:
        found = self.connection.execute(_text("forget"), {"kept": kept, "part_max": part_max}).fetchone()
        assert found
        return int(found[0])

    def acted(self, key: str, verb: str, by: By) -> None:
        columns = {"key": key, "verb": verb, "actor": by.actor, "role": by.role, "reason": by.reason}
        self.connection.execute(_text("acted"), columns)

    def _decoded(self, found: Sequence[tuple[Any, ...]]) -> list[Any]:
        rows = [self._form.decode(text) for (text,) in found]
        self._known.extend(row.key for row in rows)
        return rows

    def dead_letter(self, record: Record, reason: str) -> None:
        columns = {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "key": record.key,
            "value": record.value,
            "reason": reason.replace("\0", "\\0")[:1000].encode("utf-8", "backslashreplace").decode(),
        }
        self.connection.execute(_text("dead_letter"), columns)


def _answers(found: Sequence[tuple[Any, ...]]) -> dict[UUID, Answer]:
    return {
        message_id: Answer(asked, Outgoing(topic, key, value, _decode_headers(headers)))
        for _, message_id, asked, topic, key, value, headers in found
        if message_id is not None
    }


def _answer_columns(answers: Mapping[UUID, Answer]) -> Mapping[str, Array]:
    ids = sorted(answers)
    records = [answers[one].record for one in ids]
    return {
        "message_ids": Uuids(ids),
        "asked": Bytes([answers[one].asked for one in ids]),
        "topics": Texts([record.topic for record in records]),
        "keys": Bytes([record.key for record in records]),
        "values": Bytes([record.value for record in records]),
        "headers": Bytes([_encode_headers(record.headers) for record in records]),
    }


def _text(name: str) -> Any:
    return getattr(_SQL, name).sql


def _one_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
