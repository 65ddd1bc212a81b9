"""Participants on a real database, asked by hand: what the tests of this folder stand on."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import Record
from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.delivery.messages import OutboxRow
from ordersaga.participants.everyone import host_of
from ordersaga.participants.host import Host
from ordersaga.participants.ledger import PostgresLedger
from ordersaga.participants.service import Asked, By, Consult, Reply, ServiceSpec, Verb
from ordersaga.wire import messages as m
from ordersaga.wire.codec import Envelope, decode_event, encode
from ordersaga.wire.ids import message_id, uuid7
from ordersaga.wire.topics import Participant, Topics

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SAGA = UUID("019b7e6c-0000-7000-8000-000000000001")
ANOTHER = UUID("019b7e6c-0000-7000-8000-000000000002")
TOPICS = Topics()
BY = By(actor="op-7", role="support", reason="the customer called")
_offsets = itertools.count()

DETAILS = {"foodItems": [{"name": "burrito", "price": 4.35, "quantity": 2}], "deliveryFee": 1.5}


def create(saga_id: UUID = SAGA, **details: Any) -> m.CreateOrder:
    return m.CreateOrder(customer_id="c4n4ry-1", order_details={**DETAILS, **details}, saga_id=str(saga_id))


def authorize(order_id: str = "o-1", card: str = "pm_card_visa", amount: int = 1020) -> m.AuthorizePayment:
    return m.AuthorizePayment(
        order_id=order_id,
        customer=m.PayingCustomer(
            clerk_user_id="c4n4ry-1", stripe_customer_id="cus_c4n4ry", user_stripe_card=m.Card(payment_method_id=card)
        ),
        order=m.PayableOrder(amount=amount, description="food"),
        return_url="",
    )


def start(order_id: str = "o-1", timeout_at: datetime = NOON) -> m.StartOrderTimer:
    return m.StartOrderTimer(order_id=order_id, customer_id="c4n4ry-1", timeout_at=timeout_at)


CREATE, AUTHORIZE, START = create(), authorize(), start()
CANCEL = m.CancelOrder(reason="CUSTOMER_REQUEST", saga_id=str(SAGA))
REVERT = m.RevertPayment(reason="CUSTOMER_REQUEST", order_id="o-1")
CANCEL_TIMER = m.CancelTimer(order_id="o-1", reason="CUSTOMER_REQUEST")


def saga_id() -> UUID:
    return uuid7(1_800_000_000_000, uuid4().bytes)


@dataclass
class Pure:
    """One row of one service, in memory."""

    spec: ServiceSpec
    row: Any = None
    consult: Consult | None = None
    key: str = str(SAGA)

    def ask(self, command: m.Message | Verb, *, asked_id: UUID | None = None) -> m.Event | None:
        return self.reply(command, asked_id=asked_id).event

    def reply(self, command: m.Message | Verb, *, asked_id: UUID | None = None) -> Reply:
        by = BY if isinstance(command, Verb) else None
        asked = Asked(
            key=self.key, command=command, message_id=asked_id or uuid4(), now=NOON, new_id=uuid4().hex, by=by
        )
        outcomes = self.consult([(self.row, asked)]) if self.consult else {}
        reply = self.spec.answer(self.row, replace(asked, outcome=outcomes.get(asked.message_id)))
        self.row = reply.row if reply.row is not None else self.row
        return reply


@dataclass
class Hosted:
    """A participant on a real database; nothing of it runs in the background unless it is started."""

    host: Host
    bus: MemoryBus
    offered: list[OutboxRow] = field(default_factory=list)

    def ask(self, *commands: m.Message, saga_id: UUID = SAGA, step: str = "") -> list[m.Message]:
        """One batch; the answers in the order of the commands."""
        return self.deliver([command_record(command, saga_id, step) for command in commands])

    def deliver(self, records: list[Record]) -> list[m.Message]:
        self.offered.clear()
        self.host.handle(records)
        return [envelope.body for envelope in self.envelopes()]

    def envelopes(self) -> list[Envelope]:
        return envelopes([row.record.value for row in self.offered])

    @property
    def ledger(self) -> PostgresLedger:
        assert isinstance(self.host._ledger, PostgresLedger)
        return self.host._ledger

    def one(self, sql: str) -> Any:
        with self.ledger.transaction() as transaction:
            row = transaction.connection.execute(sql.encode()).fetchone()
        assert row
        return row[0]

    def clear_age(self, interval: str) -> None:
        """As if the provider had been asked so long ago."""
        with self.ledger.transaction() as transaction:
            transaction.connection.execute(
                f"update sandbox_intents set created_at = created_at - interval '{interval}'".encode()
            )

    def clear(self, *tables: str) -> None:
        with self.ledger.transaction() as transaction:
            transaction.connection.execute(f"truncate {', '.join(tables)}".encode())


def envelopes(values: list[bytes]) -> list[Envelope]:
    read = [decode_event(value) for value in values]
    return [envelope for envelope in read if isinstance(envelope, Envelope)]


def command_record(command: m.Message, saga_id: UUID = SAGA, step: str = "", trace: str = "") -> Record:
    """As the orchestrator sends it: the same command of the same saga and step has the same id."""
    asked_id = message_id(saga_id, step or m.type_of(command), "do")
    value = encode(command, correlation_id=saga_id, timestamp=NOON, source="test", message_id=asked_id)
    headers = (("traceparent", trace.encode()),) if trace else ()
    return raw(value, headers)


def raw(value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()) -> Record:
    return Record("commands", 0, next(_offsets), str(SAGA).encode(), value, headers, 0)


@contextmanager
def hosted(
    participant: Participant, database_url: str, *, tables: bool = True, timeout_seconds: float = 60.0
) -> Iterator[Hosted]:
    """Asked by hand: what it would publish is kept in `offered`."""
    with running(participant, database_url, start=False, tables=tables, timeout_seconds=timeout_seconds) as found:
        found.host._relay.offer = found.offered.extend  # type: ignore[method-assign, assignment]
        yield found


@contextmanager
def running(
    participant: Participant,
    database_url: str,
    bus: MemoryBus | None = None,
    *,
    start: bool = True,
    tables: bool = True,
    timeout_seconds: float = 60.0,
) -> Iterator[Hosted]:
    """With all its loops, over `bus`. `tables`: whether it makes them. `timeout_seconds`: for a transaction; more than
    by default, so that nothing is cut off where a machine is slow.
    """
    shared = bus or MemoryBus(topics=TOPICS.all())
    host = host_of(
        participant,
        shared,
        database_url,
        topics=TOPICS,
        clock=SystemClock(),
        randomness=SystemRandom(),
        lease_seconds=2.0,
        timeout_seconds=timeout_seconds,
    )
    try:
        if tables:
            host.create_tables()
        if start:
            host.start()
        yield Hosted(host, shared)
    finally:
        host.stop(10)
        if bus is None:
            shared.close(1)
