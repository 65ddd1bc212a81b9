"""Where stores are tried: PostgreSQL and memory, with the few looks behind the curtain that the tests need."""

from dataclasses import replace
from datetime import UTC, datetime
from threading import Condition
from typing import Any, Protocol
from uuid import UUID, uuid4

import psycopg
from psycopg_pool import ConnectionPool

from ordersaga.delivery.outbox import PostgresOutbox
from ordersaga.delivery.outbox_memory import MemoryOutbox, MemoryTable
from ordersaga.delivery.outbox_protocol import Outbox
from ordersaga.orchestrator.store.archive import PostgresArchive
from ordersaga.orchestrator.store.archive_memory import MemoryArchive
from ordersaga.orchestrator.store.archive_protocol import Archive
from ordersaga.orchestrator.store.codec_protocol import InstanceCodec
from ordersaga.orchestrator.store.memory import MemoryStore
from ordersaga.orchestrator.store.memory_tables import MemoryTables
from ordersaga.orchestrator.store.postgres import PostgresStore, open_pool
from ordersaga.orchestrator.store.protocol import Store

from .sagas import CODEC

SCHEMA = "ordersaga"


class Place(Protocol):
    """Data that several processes share."""

    @property
    def outbox(self) -> Outbox: ...

    def store(self, codec: InstanceCodec = CODEC) -> Store:
        """One more process."""

    def archive(self) -> Archive: ...

    def someone_waits(self) -> bool:
        """Whether a transaction waits for another to end."""

    def stored(self, saga_id: UUID) -> tuple[bytes, bytes | None]:
        """The state and the personal data, as they are kept."""

    def damage(self, saga_id: UUID) -> None:
        """What its row holds is no saga from now on."""

    def close(self) -> None: ...


class PostgresPlace:
    def __init__(self, url: str, *, connections_max: int = 6) -> None:
        self.url = url
        self.pool: ConnectionPool[Any] = open_pool(url, SCHEMA, size_max=connections_max)
        self.outbox = PostgresOutbox(self.pool, uuid4(), lease_seconds=600.0)

    def store(self, codec: InstanceCodec = CODEC) -> PostgresStore:
        return PostgresStore(self.pool, codec, self.outbox)

    def archive(self) -> PostgresArchive:
        return PostgresArchive(self.pool)

    def someone_waits(self) -> bool:
        statement = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(self.ask(statement)[0][0])

    def stored(self, saga_id: UUID) -> tuple[bytes, bytes | None]:
        statement = (
            "SELECT s.state::text, p.data::text FROM sagas s LEFT JOIN saga_personal p ON p.saga_id = s.id"
            " WHERE s.id = %s"
        )
        ((state, personal),) = self.ask(statement, (saga_id,))
        return state.encode(), personal.encode() if personal is not None else None

    def damage(self, saga_id: UUID) -> None:
        self.ask("UPDATE sagas SET state = state - 'status' WHERE id = %s", (saga_id,))

    def ask(self, statement: Any, values: Any = None) -> list[tuple[Any, ...]]:
        """On a connection of its own."""
        with psycopg.connect(self.url, options=f"-c search_path={SCHEMA}") as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        self.pool.close()


class MemoryPlace:
    def __init__(self) -> None:
        self.condition = CountedCondition()
        self.tables = MemoryTables(outbox=MemoryTable(), changed=self.condition)
        self.outbox = MemoryOutbox(self.tables.outbox, uuid4())

    def store(self, codec: InstanceCodec = CODEC) -> MemoryStore:
        return MemoryStore(self.tables, codec, self.outbox)

    def archive(self) -> MemoryArchive:
        return MemoryArchive(self.tables, CODEC, now=lambda: datetime.now(UTC))

    def someone_waits(self) -> bool:
        return self.condition.waiting > 0

    def stored(self, saga_id: UUID) -> tuple[bytes, bytes | None]:
        row = self.tables.sagas[saga_id]
        return row.state, row.personal

    def damage(self, saga_id: UUID) -> None:
        self.tables.sagas[saga_id] = replace(self.tables.sagas[saga_id], state=b"{}")

    def close(self) -> None:
        pass


class CountedCondition(Condition):
    """Knows how many wait."""

    waiting = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.waiting += 1
        try:
            return super().wait(timeout)
        finally:
            self.waiting -= 1
