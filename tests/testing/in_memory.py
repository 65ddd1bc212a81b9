"""Reference participants in memory, which can be killed, and in which a fault can be planted at each of their edges.

A kill is what a `kill -9` is to everybody else: nothing more comes out, nothing more is committed to the bus, and the
next process begins with what was in the database.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from ordersaga.bus.memory import MemoryBus, MemoryConsumer, MemoryProducer
from ordersaga.bus.protocol import BusError, BusUnavailable, Outcome, Outgoing, Published, Record
from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.outbox_memory import MemoryOutbox, MemoryTable
from ordersaga.delivery.outbox_protocol import OutboxUnavailable
from ordersaga.delivery.relay import Relay
from ordersaga.delivery.relay_pace import RelayPace
from ordersaga.participants.everyone import SERVICES
from ordersaga.participants.host import Host
from ordersaga.participants.ledger_memory import MemoryLedger, MemoryTables
from ordersaga.participants.ledger_protocol import LedgerTransaction, LedgerUnavailable
from ordersaga.participants.order.service import Accept, GiveBack
from ordersaga.participants.payment.consult import ConsultProvider
from ordersaga.participants.payment.provider_memory import MemoryProvider
from ordersaga.participants.service import Asked, By, Refused, Reply, ServiceSpec
from ordersaga.participants.timer.service import expire
from ordersaga.participants.user.service import answer_anyone
from ordersaga.testing.conformance import Case, Effect, MeansFailed, Subject
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant, Topics

TOPICS = Topics()
BY = By(actor="conformance", role="operator", reason="a conformance run")
LEASE_SECONDS = 1.0
Answer = Callable[[Any, Asked], Reply]
Answering = Callable[[Answer], Answer]


@dataclass
class Fault:
    """What is wrong with a participant, at its edges: what it reads, what it says, what it decides, what it keeps."""

    hears: Callable[[Record], Record | None] = lambda record: record
    says: Callable[[Outgoing], Sequence[Outgoing]] = lambda record: [record]
    answers: Answering = lambda answer: answer
    keeps: Callable[[MemoryTables], None] = lambda tables: None
    """What a kill does to its database."""
    ledger: Callable[[Case, Sequence[Effect]], Sequence[Effect]] = lambda case, effects: effects
    killed: Callable[[], None] = lambda: None
    dies_of: Callable[[Record], bool] = lambda record: False


class Line:
    """The bus of one process, until it is cut."""

    def __init__(self, bus: MemoryBus, fault: Fault) -> None:
        self.bus, self.fault, self.is_cut = bus, fault, False
        self.consumers: list[MemoryConsumer] = []

    def check(self, error: type[Exception]) -> None:
        if self.is_cut:
            raise error("this process is dead")

    def cut(self) -> None:
        self.is_cut = True
        for consumer in self.consumers:
            consumer.close(0.0)

    def consumer(self, **how: Any) -> "CutConsumer":
        consumer = self.bus.consumer(**how)
        self.consumers.append(consumer)
        return CutConsumer(self, consumer)

    def producer(self, *, client_id: str) -> "CutProducer":
        return CutProducer(self, self.bus.producer(client_id=client_id))


class CutOutbox(MemoryOutbox):
    def __init__(self, line: Line, table: MemoryTable) -> None:
        super().__init__(table, uuid4(), lease_seconds=LEASE_SECONDS)
        self._line = line

    def beat(self) -> None:
        self._line.check(OutboxUnavailable)
        super().beat()

    def register(self, *, anew: bool = False) -> None:
        self._line.check(OutboxUnavailable)
        super().register(anew=anew)

    def acknowledged(self, row_ids: Sequence[int]) -> None:
        self._line.check(OutboxUnavailable)
        super().acknowledged(row_ids)

    def take_over(self, limit: int, *, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        self._line.check(OutboxUnavailable)
        return super().take_over(limit, without=without)

    def release(self) -> None:
        if not self._line.is_cut:
            super().release()


class CutLedger(MemoryLedger):
    def __init__(self, line: Line, tables: MemoryTables, spec: ServiceSpec, outbox: CutOutbox) -> None:
        super().__init__(tables, spec, outbox)
        self._line = line

    @contextmanager
    def transaction(self) -> Iterator[LedgerTransaction]:
        self._line.check(LedgerUnavailable)
        with super().transaction() as transaction:
            yield transaction
            self._line.check(LedgerUnavailable)


class CutConsumer:
    def __init__(self, line: Line, consumer: MemoryConsumer) -> None:
        self._line, self._consumer = line, consumer
        self._is_ill = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """What comes in while it dies comes to the next process."""
        try:
            records = () if self._dead else self._consumer.poll(max_records, timeout_seconds)
        except BusError as error:
            raise BusUnavailable("cut off") from error
        self._is_ill = self._is_ill or any(self._line.fault.dies_of(record) for record in records)
        if self._dead:
            raise BusUnavailable("cut off")
        heard = [self._line.fault.hears(record) for record in records]
        return [record for record in heard if record is not None]

    @property
    def _dead(self) -> bool:
        return self._line.is_cut or self._is_ill

    def commit(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        if not self._line.is_cut:
            self._consumer.commit(next_offsets)


class CutProducer:
    def __init__(self, line: Line, producer: MemoryProducer) -> None:
        self._line, self._producer = line, producer

    def publish(self, records: Sequence[Outgoing], timeout_seconds: float) -> Sequence[Outcome]:
        if self._line.is_cut:
            return [Outcome(Published.UNKNOWN, "cut off")] * len(records)
        for record in records:
            self._producer.publish(self._line.fault.says(record), timeout_seconds)
        return [Outcome(Published.ACKNOWLEDGED)] * len(records)

    def partition(self, topic: str, key: bytes) -> int | None:
        return self._producer.partition(topic, key)

    def cut_off(self) -> bool:
        return self._producer.cut_off()

    def close(self, timeout_seconds: float) -> None:
        self._producer.close(timeout_seconds)


@dataclass
class InMemory:
    """One participant, its ledger and its desk."""

    participant: Participant
    fault: Fault = field(default_factory=Fault)
    bus: MemoryBus = field(default_factory=lambda: MemoryBus(topics=TOPICS.all()))
    tables: MemoryTables = field(default_factory=lambda: MemoryTables(outbox=MemoryTable()))
    provider: MemoryProvider = field(default_factory=MemoryProvider)
    key: Callable[[str, m.Message], str] | None = None
    """What it keeps its rows by; None: as the reference participant does."""

    def __post_init__(self) -> None:
        self._dying: list[Host] = []
        self._start()

    def subject(self, **more: Any) -> Subject:
        how = {"ledger": self, "desk": self, "restart": self.restart, **more}
        return Subject(
            participant=self.participant,
            bus=self.bus,
            answer_seconds=20.0,
            quiet_seconds=1.0,
            greeting_seconds=20.0,
            recovery_seconds=10.0,
            **how,
        )

    def restart(self) -> None:
        self._line.cut()
        self._dying.append(self._host)
        self.fault.killed()
        self.fault.keeps(self.tables)
        self._start()

    def stop(self) -> None:
        self._line.cut()
        for host in [*self._dying, self._host]:
            host.stop(5.0)

    def effects(self, case: Case) -> Sequence[Effect]:
        return self.fault.ledger(case, self._effects(case))

    def accept(self, order_id: str) -> None:
        self._act(order_id, Accept(runner_id="r-1"))

    def give_back(self, order_id: str) -> None:
        self._act(order_id, GiveBack())

    def _act(self, order_id: str, verb: Any) -> None:
        try:
            self._host.act(order_id, verb, BY)
        except Refused as error:
            raise MeansFailed(str(error)) from error

    def _effects(self, case: Case) -> Sequence[Effect]:
        with self.tables.changed:
            rows = list(self.tables.rows.values())
        if self.participant is Participant.NOTIFICATION:
            return [Effect(effect_id=row.key, stands=True) for row in rows if row.customer_id == case.customer_id]
        mine = [row for row in rows if row.key.startswith(case.saga_id) or row.key == case.order_id]
        if self.participant is Participant.PAYMENT:
            return [self._hold(row) for row in mine if row.payment_intent_id]
        standing = ("PENDING", "CREATED", "ACCEPTED", "STARTED")
        return [Effect(effect_id=row.order_id or row.key, stands=row.status in standing) for row in mine]

    def _hold(self, row: Any) -> Effect:
        """As the provider has it, whatever the row says."""
        held = self.provider.statuses[row.payment_intent_id] in ("HELD", "CAPTURED")
        return Effect(effect_id=row.payment_intent_id, stands=held, amount_cents=row.amount_cents)

    def _start(self) -> None:
        self._line = Line(self.bus, self.fault)
        outbox = CutOutbox(self._line, self.tables.outbox)
        pace = RelayPace(scan_interval_seconds=0.2)
        relay = Relay(self._line.producer(client_id="service"), outbox, pace)
        spec = self._spec()
        self._host = Host(
            spec,
            self._line,  # type: ignore[arg-type]
            CutLedger(self._line, self.tables, spec, outbox),
            relay,
            topics=TOPICS,
            clock=SystemClock(),
            randomness=SystemRandom(),
            consult=ConsultProvider(self.provider) if self.participant is Participant.PAYMENT else None,
            expire=expire if self.participant is Participant.TIMER else None,
            expire_every_seconds=0.1,
        )
        self._host.start()

    def _spec(self) -> ServiceSpec:
        spec = SERVICES[self.participant]
        answer = answer_anyone if self.participant is Participant.USER else spec.answer
        return replace(spec, answer=self.fault.answers(answer), key=self.key or spec.key)
