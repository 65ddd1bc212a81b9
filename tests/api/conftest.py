"""The API over a real handler and a real store, without sockets and without a bus: what goes out is kept in a list."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from litestar.testing import TestClient

from ordersaga.bus.memory import MemoryBus
from ordersaga.delivery.background import Health
from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.outbox_memory import MemoryOutbox, MemoryTable
from ordersaga.orchestrator.api.app import AppSettings, create_app
from ordersaga.orchestrator.api.asking import Api
from ordersaga.orchestrator.api.orders import OrderLimits
from ordersaga.orchestrator.runtime.admission import Admission, AdmissionLimits
from ordersaga.orchestrator.runtime.beginnings import at_once
from ordersaga.orchestrator.runtime.counting import Counting
from ordersaga.orchestrator.runtime.dead_letters import DeadLetters
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.runtime.measuring import Measures, Standing, exposition
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.service import Report
from ordersaga.orchestrator.runtime.verbs import Verbs
from ordersaga.orchestrator.sagas.complete_order import COMPLETE_ORDER
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.orchestrator.store.audit import Audit, MemoryAudit, PostgresAudit
from ordersaga.orchestrator.store.board import PostgresBoard
from ordersaga.orchestrator.store.board_memory import MemoryBoard
from ordersaga.orchestrator.store.board_protocol import Board
from ordersaga.orchestrator.store.codec import Codec
from ordersaga.orchestrator.store.memory import MemoryStore
from ordersaga.orchestrator.store.memory_tables import MemoryTables
from ordersaga.orchestrator.store.migrate import migrate
from ordersaga.orchestrator.store.postgres import PostgresStore, open_pool
from ordersaga.orchestrator.store.statistics import PostgresStatistics
from ordersaga.orchestrator.store.statistics_memory import MemoryStatistics
from ordersaga.orchestrator.store.statistics_protocol import Statistics
from ordersaga.wire.topics import Topics

SHOP = "https://shop.example"
BODY_BYTES_MAX = 20_000
STARTED_MAX = 500


@dataclass
class _Owner:
    owner: UUID = field(default_factory=uuid4)
    server: None = None


@dataclass(repr=False)
class Stage:
    """What a test has in hand."""

    api: Api
    handler: Handler
    published: list[OutboxRow]
    health: list[Health]
    """What the service will say of its parts."""
    client: TestClient[Any]

    def place(self, **more: Any) -> str:
        """An order; returns the id of its saga."""
        answer = self.client.post("/orders", json=order(**more))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["saga_id"])


def order(**more: Any) -> dict[str, Any]:
    """One that is in order; `more` goes into its details."""
    item = {"name": "c4n4ry Burrito", "price": 9.95, "quantity": 2}
    details = {"foodItems": [item], "deliveryLocation": "c4n4ry Hall B, room 4", "deliveryFee": 4.35}
    return {"customer_id": "c4n4ry-user-1", "order_details": details | more}


def stage_of(
    store: Any,
    health: list[Health],
    published: list[OutboxRow],
    board: Board | None = None,
    statistics: Statistics | None = None,
    *,
    audit: Audit | None = None,
) -> tuple[Api, Handler]:
    tables = MemoryTables(outbox=MemoryTable())
    board = board or MemoryBoard(tables)
    statistics = statistics or MemoryStatistics(tables, Codec({}), now=lambda: datetime.now(UTC))
    audit = audit or MemoryAudit()
    sagas = Sagas([CREATE_ORDER, COMPLETE_ORDER])
    measures = Measures()
    counting = Counting(measures.facts)
    handler = Handler(store, sagas, published.extend, topics=Topics(), counting=counting)
    standing = Standing(
        counting=counting,
        store=store,
        outbox=MemoryOutbox(MemoryTable(), uuid4()),
        bus=MemoryBus(),
        group="create-order",
        topics=Topics().answers(),
        kafka={"consumer_rebuilds.stalled": 2, "consumer_records_gone": 45, "consumer_partitions_unreadable": 3},
    )
    api = Api(
        verbs=Verbs(
            handler,
            at_once(handler),
            SystemClock(),
            SystemRandom(),
            admit=measures.admitting(lambda: admission_of(board).check()),
            audit=audit,
        ),
        letters=DeadLetters(store, handler, audit=audit),
        store=store,
        board=board,
        statistics=statistics,
        audit=audit,
        sagas=sagas,
        health=lambda: report_of(health),
        metrics=exposition(measures, standing),
        limits=OrderLimits(),
        return_url="https://shop.example/back",
        version="0.0.0",
    )
    return api, handler


def admission_of(board: Board) -> Admission:
    """As of now: no loop reads the board here."""
    admission = Admission(AdmissionLimits(started_max=STARTED_MAX))
    admission.learn(board.read(admission.count_to))
    return admission


def report_of(health: Sequence[Health]) -> Report:
    return Report(parts=health)


@contextmanager
def staged(store: Any, board: Board, statistics: Statistics, audit: Audit | None = None) -> Iterator[Stage]:
    health = [Health(name="database", healthy=True), Health(name="relay", healthy=True)]
    published: list[OutboxRow] = []
    api, handler = stage_of(store, health, published, board, statistics, audit=audit)
    app = create_app(api, AppSettings(cors_origins=[SHOP], body_bytes_max=BODY_BYTES_MAX))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Stage(api=api, handler=handler, published=published, health=health, client=client)


@pytest.fixture
def stage(memory_stage: Stage) -> Stage:
    return memory_stage


@pytest.fixture
def memory_stage() -> Iterator[Stage]:
    """Over a store of the test's own, in memory."""
    tables = MemoryTables(outbox=MemoryTable())
    codec = Codec(Sagas([CREATE_ORDER, COMPLETE_ORDER]).data_types())
    statistics = MemoryStatistics(tables, codec, now=lambda: datetime.now(UTC))
    with staged(MemoryStore(tables, codec, _Owner()), MemoryBoard(tables), statistics) as found:
        yield found


@pytest.fixture
def postgres_stage(database_url: str) -> Iterator[Stage]:
    """Over PostgreSQL, which can refuse what Python takes."""
    migrate(database_url, "saga")
    pool = open_pool(database_url, "saga", size_max=4)
    store = PostgresStore(pool, Codec(Sagas([CREATE_ORDER, COMPLETE_ORDER]).data_types()), _Owner())
    with staged(store, PostgresBoard(pool), PostgresStatistics(pool), PostgresAudit(pool)) as found:
        yield found
    store.close()
