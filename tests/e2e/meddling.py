"""Trouble on the way, on real Kafka: records of chosen sagas get lost, are late or come twice.

It stands between a reference participant and its bus. What a saga suffers follows from its customer: the command that
places the order names both.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Lock
from typing import Any

from ordersaga.bus.protocol import (
    Bus,
    Cluster,
    Consumer,
    GroupMember,
    Outcome,
    Outgoing,
    Producer,
    Published,
    Read,
    Record,
    TopicSpec,
)
from ordersaga.wire import messages as m
from ordersaga.wire.codec import Envelope, decode_command, decode_event

LATE_SECONDS = 9.0
ANSWERS: Mapping[type[m.Message], type[m.Message]] = {
    m.OrderCreated: m.CreateOrder,
    m.PaymentInfoRetrieved: m.GetPaymentInfo,
    m.PaymentAuthorized: m.AuthorizePayment,
    m.OrderStatusUpdated: m.UpdateOrderStatus,
    m.TimerStarted: m.StartOrderTimer,
    m.OrderCancelled: m.CancelOrder,
    m.PaymentReleased: m.RevertPayment,
    m.TimerCancelled: m.CancelTimer,
}
"""What an answer answers."""


class Trouble(StrEnum):
    BEFORE = "the command gets lost"
    AFTER = "the answer gets lost"
    LATE = "the answer is late"
    TWICE = "the command comes twice"


@dataclass(frozen=True)
class Case:
    """What one saga suffers. `customer_id` is chosen by whoever places the order."""

    customer_id: str
    command: type[m.Message] | None = None
    trouble: Any = None
    once: bool = False
    """Only the first time."""


@dataclass
class Cases:
    by_customer: Mapping[str, Case]
    of_saga: dict[str, Case] = field(default_factory=dict)
    met: dict[str, int] = field(default_factory=dict)
    """How often each customer's trouble happened."""
    _lock: Lock = field(default_factory=Lock)

    def suffers(self, saga_id: str, command: m.Message) -> Case | None:
        """The case of this saga, if this is the command at which something happens to it."""
        with self._lock:
            if isinstance(command, m.CreateOrder):
                self.of_saga[saga_id] = self.by_customer[command.customer_id]
            case = self.of_saga.get(saga_id)
            if case is None or case.command is not type(command):
                return None
            if case.once and self.met.get(case.customer_id):
                return None
            self.met[case.customer_id] = self.met.get(case.customer_id, 0) + 1
            return case

    def silenced(self, saga_id: str, command: type[m.Message]) -> Case | None:
        case = self.of_saga.get(saga_id)
        return case if case and case.command is command else None


class MeddlingBus:
    def __init__(self, bus: Bus, cases: Cases) -> None:
        self._bus = bus
        self._cases = cases

    def consumer(
        self, *, group: str, topics: Sequence[str], client_id: str, instance_id: str | None = None
    ) -> Consumer:
        consumer = self._bus.consumer(group=group, topics=topics, client_id=client_id, instance_id=instance_id)
        poll = consumer.poll

        def meddled(max_records: int, timeout_seconds: float) -> Sequence[Record]:
            found: list[Record] = []
            for record in poll(max_records, timeout_seconds):
                found += [record] * self._times(record)
            return found

        consumer.poll = meddled  # type: ignore[method-assign]
        return consumer

    def producer(self, *, client_id: str) -> Producer:
        return _Producer(self._bus.producer(client_id=client_id), self._silenced)

    def read_log(
        self, topics: Collection[str], take: Callable[[Record], None], since_ms: int, idle_seconds: float
    ) -> None:
        self._bus.read_log(topics, take, since_ms, idle_seconds)

    def partitions(self) -> Mapping[str, int]:
        return self._bus.partitions()

    def describe(self) -> Cluster:
        return self._bus.describe()

    def read_again(self, group: str, since_ms: int) -> Mapping[tuple[str, int], int]:
        return self._bus.read_again(group, since_ms)

    def group_lag(self, group: str, topics: Collection[str]) -> Mapping[tuple[str, int], int]:
        return self._bus.group_lag(group, topics)

    def group_reads(self, group: str, topics: Collection[str]) -> Mapping[tuple[str, int], Read]:
        return self._bus.group_reads(group, topics)

    def members(self, group: str) -> Sequence[GroupMember]:
        return self._bus.members(group)

    def create_topics(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        return self._bus.create_topics(topics)

    def written_since(
        self, records: Sequence[Outgoing], since_ms: int, timeout_seconds: float, before_ms: int | None = None
    ) -> Sequence[bool]:
        return self._bus.written_since(records, since_ms, timeout_seconds, before_ms)

    def check(self, timeout_seconds: float) -> None:
        self._bus.check(timeout_seconds)

    def close(self, timeout_seconds: float) -> None:
        self._bus.close(timeout_seconds)

    def _times(self, record: Record) -> int:
        """How often a command is delivered. A batch is committed whole, so what is left out is lost."""
        envelope = decode_command(record.value) if "commands" in record.topic else None
        if not isinstance(envelope, Envelope):
            return 1
        case = self._cases.suffers(envelope.correlation_id, envelope.body)
        if case is None:
            return 1
        return {Trouble.BEFORE: 0, Trouble.TWICE: 2}.get(case.trouble, 1)

    def _silenced(self, record: Outgoing) -> Trouble | None:
        """What happens to an answer."""
        envelope = decode_event(record.value) if "events" in record.topic else None
        if not isinstance(envelope, Envelope):
            return None
        case = self._cases.silenced(envelope.correlation_id, ANSWERS.get(type(envelope.body), m.Message))
        return case.trouble if case and case.trouble in (Trouble.AFTER, Trouble.LATE) else None


class _Producer:
    def __init__(self, producer: Producer, silenced: Callable[[Outgoing], Trouble | None]) -> None:
        self._producer = producer
        self._silenced = silenced

    def publish(self, records: Sequence[Outgoing], timeout_seconds: float) -> Sequence[Outcome]:
        troubles = [self._silenced(record) for record in records]
        late = [record for record, trouble in zip(records, troubles, strict=True) if trouble is Trouble.LATE]
        if late:
            later = threading.Timer(LATE_SECONDS, lambda: self._producer.publish(late, 10.0))
            later.daemon = True
            later.start()
        sent = [record for record, trouble in zip(records, troubles, strict=True) if trouble is None]
        outcomes = iter(self._producer.publish(sent, timeout_seconds) if sent else ())
        kept = Outcome(Published.ACKNOWLEDGED)
        return [next(outcomes) if trouble is None else kept for trouble in troubles]

    def partition(self, topic: str, key: bytes) -> int | None:
        return self._producer.partition(topic, key)

    def cut_off(self) -> bool:
        return self._producer.cut_off()

    def close(self, timeout_seconds: float) -> None:
        self._producer.close(timeout_seconds)
