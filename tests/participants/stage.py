"""Participants on a real database, asked by hand: what the tests of this folder stand on."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import Record
from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.delivery.messages import OutboxRow
from ordersaga.participants.everyone import host_of
from ordersaga.participants.host import Host
from ordersaga.participants.service import Asked, Reply, ServiceSpec
from ordersaga.wire import messages as m
from ordersaga.wire.codec import Envelope, decode_event, encode
from ordersaga.wire.ids import message_id
from ordersaga.wire.topics import Participant, Topics

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SAGA = UUID("019b7e6c-0000-7000-8000-000000000001")
TOPICS = Topics()
_offsets = itertools.count()

CREATE = m.CreateOrder(customer_id="c-1", order_details={"foodItems": []}, saga_id=str(SAGA))
CANCEL = m.CancelOrder(reason="CUSTOMER_REQUEST", saga_id=str(SAGA))
AUTHORIZE = m.AuthorizePayment(
    order_id="o-1",
    customer=m.PayingCustomer(
        clerk_user_id="c-1", stripe_customer_id="cus_1", user_stripe_card=m.Card(payment_method_id="pm_card_visa")
    ),
    order=m.PayableOrder(amount=870, description="food"),
    return_url="",
)
REVERT = m.RevertPayment(reason="CUSTOMER_REQUEST", order_id="o-1")
START = m.StartOrderTimer(order_id="o-1", customer_id="c-1", timeout_at=NOON)
CANCEL_TIMER = m.CancelTimer(order_id="o-1", reason="CUSTOMER_REQUEST")


def asked(command: m.Message, *, outcome: Any = None, key: str = str(SAGA)) -> Asked:
    return Asked(key=key, command=command, message_id=uuid4(), now=NOON, new_id=uuid4().hex, outcome=outcome)


@dataclass
class Pure:
    """One row of one service, in memory."""

    spec: ServiceSpec
    row: Any = None

    def ask(self, command: m.Message, *, outcome: Any = None) -> m.Event | None:
        reply: Reply = self.spec.answer(self.row, asked(command, outcome=outcome))
        self.row = reply.row if reply.row is not None else self.row
        return reply.event


@dataclass
class Hosted:
    """A participant on a real database; nothing of it runs in the background."""

    host: Host
    url: str
    participant: Participant
    offered: list[OutboxRow] = field(default_factory=list)

    def ask(self, *commands: m.Message, saga_id: UUID = SAGA, step: str = "") -> list[m.Message]:
        """One batch; the answers in the order of the commands."""
        return self.deliver([command_record(command, saga_id, step) for command in commands])

    def deliver(self, records: list[Record]) -> list[m.Message]:
        self.offered.clear()
        self.host.handle(records)
        return [envelope.body for envelope in self.envelopes()]

    def envelopes(self) -> list[Envelope]:
        read = [decode_event(row.value) for row in self.offered]
        return [envelope for envelope in read if isinstance(envelope, Envelope)]

    def one(self, sql: str) -> Any:
        with self.host._ledger.transaction() as transaction:
            row = transaction.connection.execute(sql.encode()).fetchone()
        assert row
        return row[0]


def command_record(command: m.Message, saga_id: UUID = SAGA, step: str = "", trace: str = "") -> Record:
    """As the orchestrator sends it: the same command of the same saga and step has the same id."""
    asked_id = message_id(saga_id, step or m.type_of(command), "do")
    value = encode(command, correlation_id=saga_id, timestamp=NOON, source="test", message_id=asked_id)
    headers = (("traceparent", trace.encode()),) if trace else ()
    return raw(value, headers)


def raw(value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()) -> Record:
    return Record("commands", 0, next(_offsets), str(SAGA).encode(), value, headers, 0)


@contextmanager
def hosted(participant: Participant, database_url: str) -> Iterator[Hosted]:
    bus = MemoryBus(topics=TOPICS.all())
    host = host_of(participant, bus, database_url, topics=TOPICS, clock=SystemClock(), randomness=SystemRandom())
    found = Hosted(host, database_url, participant)
    host._relay.offer = found.offered.extend  # type: ignore[method-assign, assignment]
    host.create_tables()
    yield found
    host.stop(5)
    bus.close(1)
