"""A handler on a real database, with a participant's voice to speak to it: what the tests of the runtime stand on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from psycopg_pool import ConnectionPool

from ordersaga.bus.protocol import Record
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.outbox import PostgresOutbox
from ordersaga.orchestrator.core.instance import Instance
from ordersaga.orchestrator.runtime.counting import Counting
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.turn import New
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER, Customer, OrderData
from ordersaga.orchestrator.store.codec import Codec
from ordersaga.orchestrator.store.migrate import migrate
from ordersaga.orchestrator.store.postgres import PostgresStore, open_pool
from ordersaga.orchestrator.store.protocol import CommitUnknown, StoreUnavailable
from ordersaga.testing.story import FULL
from ordersaga.wire import messages as m
from ordersaga.wire.codec import Envelope, decode_command, encode
from ordersaga.wire.ids import uuid7
from ordersaga.wire.topics import Topics
from tests.canaries import ADDRESS, CUSTOMER
from tests.waiting import until

TOPICS = Topics()
DEFINITION = replace(CREATE_ORDER, kinds=FULL)
_offsets = count()


def answer_lost() -> None:
    """For a failpoint."""
    raise CommitUnknown("the answer to COMMIT was lost")


def away(saga_id: UUID) -> Any:
    """In place of `Store.get`."""
    raise StoreUnavailable(f"no connection to the database that has {saga_id}")


def new_saga_id() -> UUID:
    return uuid7(int(datetime.now(UTC).timestamp() * 1000), uuid4().bytes)


@dataclass
class Stage:
    """`sent` holds the outbox rows that were handed to the relay, in order."""

    store: PostgresStore
    pool: ConnectionPool[Any]
    counting: Counting = field(default_factory=Counting)
    sent: list[OutboxRow] = field(default_factory=list)
    sagas: Sagas = field(default_factory=lambda: Sagas([DEFINITION]))

    @property
    def handler(self) -> Handler:
        return Handler(self.store, self.sagas, self.sent.extend, topics=TOPICS, counting=self.counting)

    def begin(self) -> UUID:
        customer = Customer(customer_id=CUSTOMER, order_details={"foodItems": [], "deliveryLocation": ADDRESS})
        data = OrderData(personal=customer, amount_cents=870)
        return self.handler.begin(New(saga="create_order", saga_id=new_saga_id(), data=data)).saga_id

    def get(self, saga_id: UUID) -> Instance[Any]:
        found = self.store.get(saga_id)
        assert found
        return found

    def commands(self) -> list[m.Message]:
        """What was sent to participants since the last look."""
        sent, self.sent[:] = list(self.sent), []
        read = [decode_command(row.record.value) for row in sent if row.record.topic.endswith("_commands")]
        return [envelope.body for envelope in read if isinstance(envelope, Envelope)]

    def answer(self, saga_id: UUID, event: m.Event) -> Record:
        """A full participant's answer to the command that is out."""
        out = self.get(saga_id).outstanding
        return record(event, saga_id, causation_id=out.message_id if out else None)

    def one(self, sql: str, *parameters: Any) -> Any:
        with self.pool.connection() as connection:
            row = connection.execute(sql.encode(), parameters).fetchone()
        assert row
        return row[0]

    def grow_old(self) -> None:
        """By a moment, all sagas that there are."""
        until(lambda: bool(self.one("select bool_and(id < first_id_of(clock_timestamp())) from sagas")), "time passes")

    def execute(self, sql: str, *parameters: Any) -> None:
        with self.pool.connection() as connection:
            connection.execute(sql.encode(), parameters)


def record(
    event: m.Event, correlation_id: UUID | str, *, causation_id: UUID | None = None, topic: str = "order_events"
) -> Record:
    value = encode(
        event, correlation_id=correlation_id, timestamp=datetime.now(UTC), source="test", causation_id=causation_id
    )
    return raw(value, topic)


def raw(value: bytes | None, topic: str = "order_events") -> Record:
    return Record(topic, 0, next(_offsets), None, value, (), 0)


@contextmanager
def opened(database_url: str) -> Iterator[Stage]:
    migrate(database_url, "ordersaga")
    pool = open_pool(database_url, "ordersaga", size_max=8)
    outbox = PostgresOutbox(pool, uuid4())
    yield Stage(PostgresStore(pool, Codec({("create_order", 1): OrderData}), outbox), pool)
    pool.close()


def settle(stage: Stage, saga_id: UUID, events: Sequence[m.Event]) -> None:
    """Answer the commands of one saga, one after the other."""
    for event in events:
        stage.handler.records([stage.answer(saga_id, event)])
