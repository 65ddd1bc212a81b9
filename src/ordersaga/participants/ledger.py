"""A participant's own tables: its rows, its answers, its outbox, in a schema of its own.

One transaction holds what was done and what is said about it, or neither. Rows and answers of a batch are read and
written as arrays.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, Protocol
from uuid import UUID

import aiosql
import msgspec
import psycopg
from psycopg import Connection, sql
from psycopg.adapt import Loader
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from ordersaga.bus.protocol import Headers, Outgoing, Record
from ordersaga.delivery import outbox
from ordersaga.delivery.arrays import Array, Bytes, Texts, Uuids
from ordersaga.delivery.messages import OutboxRow
from ordersaga.participants.service import Row, ServiceSpec

AnyConnection = Connection[tuple[Any, ...]]
_FOLDER = files("ordersaga.participants")
_SQL = aiosql.from_str((_FOLDER / "host.sql").read_text("utf-8"), "psycopg")
_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(Headers).decode
_BAD_ROW_CLASSES = ("22", "23", "54")


class LedgerError(Exception):
    """The ledger could not do what was asked.

    LedgerError
    ├── LedgerUnavailable   the database is away or busy, or two hosts met: roll back and try again (retriable)
    └── BadAnswer           the database refuses what a row holds: put the record aside
    """

    retriable = False


class LedgerUnavailable(LedgerError):
    retriable = True


class BadAnswer(LedgerError):
    pass


class _Owner(Protocol):
    @property
    def owner(self) -> UUID: ...


@dataclass(frozen=True, slots=True)
class Known:
    """What a batch finds."""

    now: datetime
    rows: Mapping[str, Any]
    answers: Mapping[UUID, Outgoing]


def open_pool(database_url: str, schema: str, *, size_max: int = 4) -> ConnectionPool[AnyConnection]:
    """Connections that find the tables of `schema`. Connects when it is first used."""

    def configure(connection: AnyConnection) -> None:
        connection.prepare_threshold = 2
        connection.adapters.register_loader("jsonb", _RawJson)

    pool: ConnectionPool[AnyConnection] = ConnectionPool(
        database_url,
        kwargs={"options": f"-c search_path={schema}", "connect_timeout": 5, "application_name": f"ordersaga {schema}"},
        min_size=1,
        max_size=size_max,
        timeout=5.0,
        configure=configure,
        open=False,
        name=schema,
    )
    pool.open(wait=False)
    return pool


class _RawJson(Loader):
    def load(self, data: bytes | bytearray | memoryview) -> bytes:
        return bytes(data)


class Ledger:
    def __init__(self, pool: ConnectionPool[AnyConnection], spec: ServiceSpec, owner: _Owner) -> None:
        self._pool = pool
        self._owner = owner
        self._spec = spec
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(spec.row).decode
        columns = [sql.Identifier(name) for name in spec.row.__struct_fields__]
        updates = [sql.SQL("{0} = excluded.{0}").format(column) for column in columns]
        self._save = sql.SQL(_text("save")).format(
            columns=sql.SQL(", ").join(columns), updates=sql.SQL(", ").join(updates)
        )

    def create_tables(self) -> None:
        """Make what is missing. Ten hosts may do so at once: the lock ends with the transaction."""
        name = self._spec.participant.value
        tables = (_FOLDER / name / "tables.sql").read_text("utf-8")
        with self.transaction() as transaction:
            connection = transaction.connection
            connection.execute(_text("lock"), {"name": self._spec.schema})
            connection.execute(sql.SQL(_text("schema")).format(schema=sql.Identifier(self._spec.schema)))
            connection.execute(((_FOLDER / "host_tables.sql").read_text("utf-8") + tables).encode())
            found = connection.execute(_text("outbox_table")).fetchone()
            if found is None or found[0] is None:
                connection.execute(outbox.TABLES_SQL.encode())

    @contextmanager
    def transaction(self) -> Iterator["LedgerTransaction"]:
        try:
            with self._pool.connection() as connection:
                yield LedgerTransaction(connection, self._decode, self._save, self._owner)
        except (PoolTimeout, PoolClosed) as error:
            raise LedgerUnavailable(f"no connection to the database: {_one_line(error)}") from error
        except psycopg.errors.UniqueViolation as error:
            # Another host did the same command in the same moment: asked again, it is answered from memory.
            raise LedgerUnavailable(_one_line(error)) from error
        except psycopg.Error as error:
            kind = BadAnswer if (error.sqlstate or "").startswith(_BAD_ROW_CLASSES) else LedgerUnavailable
            raise kind(f"{error.sqlstate or ''} {_one_line(error)}".strip()) from error
        except (ValueError, OverflowError) as error:
            raise BadAnswer(_one_line(error)) from error

    def close(self) -> None:
        self._pool.close(timeout=2.0)


class LedgerTransaction:
    def __init__(
        self, connection: AnyConnection, decode: Callable[[bytes], Any], save: sql.Composed, owner: _Owner
    ) -> None:
        self.connection = connection
        self._decode = decode
        self._save = save
        self._owner = owner

    def load(self, keys: Collection[str], message_ids: Collection[UUID]) -> Known:
        with self.connection.pipeline():
            rows = self.connection.execute(_text("load"), {"keys": sorted(keys)})
            answers = self.connection.execute(_text("answers"), {"message_ids": list(message_ids)})
            now = self.connection.execute(_text("now"))
        moment = now.fetchone()
        assert moment
        found = {row.key: row for (text,) in rows.fetchall() for row in [self._decode(text)]}
        said = {
            message_id: Outgoing(topic, key, value, _decode_headers(headers))
            for message_id, topic, key, value, headers in answers.fetchall()
        }
        return Known(moment[0], found, said)

    def due(self, limit: int) -> tuple[datetime, Sequence[Any]]:
        """Timers that have run out, locked."""
        found = self.connection.execute(_text("load_due"), {"limit": limit}).fetchall()
        return self.now(), [self._decode(text) for (text,) in found]

    def order(self, order_id: str) -> Any | None:
        found = self.connection.execute(_text("load_order"), {"order_id": order_id}).fetchone()
        return self._decode(found[0]) if found else None

    def inbox(self, customer_id: str) -> Sequence[Any]:
        found = self.connection.execute(_text("inbox"), {"customer_id": customer_id}).fetchall()
        return [self._decode(text) for (text,) in found]

    def now(self) -> datetime:
        found = self.connection.execute(_text("now")).fetchone()
        assert found
        moment: datetime = found[0]
        return moment

    def save(
        self, rows: Sequence[Row], answers: Mapping[UUID, Outgoing], records: Sequence[Outgoing]
    ) -> Sequence[OutboxRow]:
        """What was done, what was answered for the first time, and what is to be sent."""
        cursor = self.connection.cursor()
        with self.connection.pipeline():
            if rows:
                self.connection.execute(self._save, {"rows": msgspec.json.encode(rows).decode()})
            if answers:
                self.connection.execute(_text("remember"), _answer_columns(answers))
            outbox.write(cursor, records, self._owner.owner)
        return outbox.written(cursor, records)

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


def _answer_columns(answers: Mapping[UUID, Outgoing]) -> Mapping[str, Array]:
    return {
        "message_ids": Uuids(list(answers)),
        "topics": Texts([one.topic for one in answers.values()]),
        "keys": Bytes([one.key for one in answers.values()]),
        "values": Bytes([one.value for one in answers.values()]),
        "headers": Bytes([_encode_headers(one.headers) for one in answers.values()]),
    }


def _text(name: str) -> Any:
    return getattr(_SQL, name).sql


def _one_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
