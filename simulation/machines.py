"""What a simulated process reaches: bus, store, outbox and ledger, each of which may fail it, and none of which serves
the dead.

Behind them are the in-memory doubles, which keep what the real ones promise (one suite of tests runs over both); what
is added here is trouble.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from ordersaga.bus.memory import MemoryBus, MemoryConsumer, identity_of
from ordersaga.bus.protocol import (
    BusUnavailable,
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
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.outbox_memory import MemoryOutbox
from ordersaga.delivery.outbox_protocol import OutboxUnavailable, Pending
from ordersaga.orchestrator.store.archive_memory import MemoryArchive
from ordersaga.orchestrator.store.archive_protocol import Archived, Moved
from ordersaga.orchestrator.store.memory import MemoryStore, MemoryTransaction
from ordersaga.orchestrator.store.protocol import CommitUnknown, Due, StoreUnavailable
from ordersaga.participants.ledger_memory import MemoryLedger
from ordersaga.participants.ledger_protocol import LedgerTransaction, LedgerUnavailable
from simulation.faults import Faults
from simulation.scheduler import Machine, Scheduler

_T = TypeVar("_T")
TopicPartition = tuple[str, int]
_ACKNOWLEDGED = Outcome(Published.ACKNOWLEDGED)


@dataclass
class Trouble:
    """Asks whether something goes wrong now, for one machine."""

    scheduler: Scheduler
    faults: Faults
    machine: Machine

    def happens(self, kind: str) -> bool:
        self.machine.check()
        return self.faults.happens(kind, self.scheduler.seconds, self.machine.name)

    def check(self) -> None:
        self.machine.check()


@dataclass(frozen=True)
class Ways:
    """What may become of a record on its way."""

    may_get_lost: Callable[[Outgoing], str | None]
    """The kind of fault that loses a record; None where such a record is never lost."""
    may_come_twice: Callable[[str], bool]
    may_come_late: Callable[[str], bool]
    later: Callable[[Outgoing], None]
    """Publish it some time later."""


class MachineBus:
    """The bus, as one machine sees it."""

    def __init__(self, bus: MemoryBus, trouble: Trouble, ways: Ways) -> None:
        self._bus = bus
        self._trouble = trouble
        self._ways = ways
        self.consumers: list[MemoryConsumer] = []

    def consumer(
        self, *, group: str, topics: Sequence[str], client_id: str, instance_id: str | None = None
    ) -> Consumer:
        consumer = self._bus.consumer(group=group, topics=topics, client_id=client_id, instance_id=instance_id)
        self.consumers.append(consumer)
        return MachineConsumer(consumer, self._trouble)

    def producer(self, *, client_id: str) -> Producer:
        return MachineProducer(self._bus.producer(client_id=client_id), self._trouble, self._ways)

    def written_since(
        self, records: Sequence[Outgoing], since_ms: int, timeout_seconds: float, before_ms: int | None = None
    ) -> Sequence[bool]:
        self._trouble.check()
        if self._trouble.happens("publish_unknown"):
            raise BusUnavailable("no broker answers")
        return self._bus.written_since(records, since_ms, timeout_seconds, before_ms)

    def read_log(
        self, topics: Collection[str], take: Callable[[Record], None], since_ms: int, idle_seconds: float
    ) -> None:
        self._bus.read_log(topics, take, since_ms, idle_seconds)

    def partitions(self) -> Mapping[str, int]:
        return self._bus.partitions()

    def describe(self) -> Cluster:
        return self._bus.describe()

    def group_lag(self, group: str, topics: Collection[str]) -> Mapping[tuple[str, int], int]:
        return self._bus.group_lag(group, topics)

    def read_again(self, group: str, since_ms: int) -> Mapping[tuple[str, int], int]:
        return self._bus.read_again(group, since_ms)

    def group_reads(self, group: str, topics: Collection[str]) -> Mapping[tuple[str, int], Read]:
        return self._bus.group_reads(group, topics)

    def members(self, group: str) -> Sequence[GroupMember]:
        return self._bus.members(group)

    def create_topics(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        return self._bus.create_topics(topics)

    def check(self, timeout_seconds: float) -> None:
        self._trouble.check()

    def close(self, timeout_seconds: float) -> None:
        pass


class MachineConsumer:
    def __init__(self, consumer: MemoryConsumer, trouble: Trouble) -> None:
        self._consumer = consumer
        self._trouble = trouble

    def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        self._trouble.check()
        return self._consumer.poll(max_records, timeout_seconds)

    def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        self._trouble.check()
        self._consumer.commit(next_offsets)

    def wake(self) -> None:
        self._consumer.wake()

    def pause(self) -> None:
        self._consumer.pause()

    def resume(self) -> None:
        self._consumer.resume()

    def rewind(self) -> None:
        self._trouble.check()
        self._consumer.rewind()

    def assigned(self) -> Collection[TopicPartition]:
        return self._consumer.assigned()

    def lag(self, since: float | None = None) -> Mapping[TopicPartition, int]:
        return self._consumer.lag(since)

    def unreadable(self) -> Mapping[TopicPartition, str]:
        return self._consumer.unreadable()

    def leave(self, timeout_seconds: float) -> None:
        self._trouble.check()
        self._consumer.leave(timeout_seconds)

    def close(self, timeout_seconds: float) -> None:
        """The dead say no goodbye: their group notices by itself."""
        self._trouble.check()
        self._consumer.close(timeout_seconds)


class MachineProducer:
    """As the real one it has a record in the log once, though its answer got lost, while it lives."""

    def __init__(self, producer: Producer, trouble: Trouble, ways: Ways) -> None:
        self._producer = producer
        self._trouble = trouble
        self._ways = ways
        self._written_unknown: set[Any] = set()

    def publish(self, records: Sequence[Outgoing], timeout_seconds: float) -> Sequence[Outcome]:
        self._trouble.check()
        blocked: set[tuple[str, bytes]] = set()
        return [self._publish(record, blocked) for record in records]

    def partition(self, topic: str, key: bytes) -> int | None:
        return self._producer.partition(topic, key)

    def cut_off(self) -> bool:
        """Nothing waits here: a record is written at once, whatever is said of it."""
        return False

    def close(self, timeout_seconds: float) -> None:
        pass

    def _publish(self, record: Outgoing, blocked: set[tuple[str, bytes]]) -> Outcome:
        lane, identity = (record.topic, record.key), identity_of(record)
        if lane in blocked:
            return Outcome(Published.UNKNOWN, "held back")
        if identity in self._written_unknown:
            self._written_unknown.discard(identity)
            return _ACKNOWLEDGED
        if self._trouble.happens("publish_unknown"):
            if record.key:
                blocked.add(lane)
            if self._trouble.scheduler.random.random() < 0.5:
                self._put(record)
                self._written_unknown.add(identity)
            return Outcome(Published.UNKNOWN, "no acknowledgement")
        self._put(record)
        return _ACKNOWLEDGED

    def _put(self, record: Outgoing) -> None:
        kind = self._ways.may_get_lost(record)
        if kind and self._trouble.happens(kind):
            return
        if self._ways.may_come_late(record.topic) and self._trouble.happens("record_late"):
            self._ways.later(record)
            return
        self._producer.publish([record], 1.0)
        if self._ways.may_come_twice(record.topic) and self._trouble.happens("record_twice"):
            self._producer.publish([record], 1.0)


class MachineArchive:
    """Fails with its machine."""

    def __init__(self, archive: MemoryArchive, trouble: Trouble) -> None:
        self._archive = archive
        self._trouble = trouble

    def move(self, *, older_than: timedelta, limit: int, after: UUID | None = None) -> Moved:
        self._check()
        return self._archive.move(older_than=older_than, limit=limit, after=after)

    def drop_history(self, *, older_than: timedelta) -> Sequence[str]:
        self._check()
        return self._archive.drop_history(older_than=older_than)

    def page(self, *, limit: int = 100, before: UUID | None = None) -> Sequence[Archived]:
        return self._archive.page(limit=limit, before=before)

    def knows(self, order_id: str | None, payment_id: str | None) -> bool:
        return self._archive.knows(order_id, payment_id)

    def restore(self, saga_id: UUID) -> Sequence[UUID]:
        return self._archive.restore(saga_id)

    def forget(self, *, older_than: timedelta, limit: int) -> int:
        return self._archive.forget(older_than=older_than, limit=limit)

    def _check(self) -> None:
        self._trouble.check()
        if self._trouble.happens("database_away"):
            raise StoreUnavailable("the database is away")


class MachineStore:
    def __init__(self, store: MemoryStore, trouble: Trouble) -> None:
        self._store = store
        self._trouble = trouble

    @contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        self._trouble.check()
        if self._trouble.happens("database_away"):
            raise StoreUnavailable("the database is away")
        with self._store.transaction() as transaction:
            yield transaction
            # The dead commit nothing.
            self._trouble.check()
            if self._trouble.happens("commit_lost"):
                raise CommitUnknown("the connection broke before COMMIT")
        if self._trouble.happens("commit_unknown"):
            raise CommitUnknown("the connection broke after COMMIT")

    def due(self, limit: int, *, windows_past_seconds: float = 0.0) -> Sequence[Due]:
        self._trouble.check()
        if self._trouble.happens("database_away"):
            raise StoreUnavailable("the database is away")
        return self._store.due(limit, windows_past_seconds=windows_past_seconds)

    def put_off(self, due: Due, seconds: float) -> None:
        self._trouble.check()
        self._store.put_off(due, seconds)

    def get(self, saga_id: UUID) -> Any:
        self._trouble.check()
        return self._store.get(saga_id)

    def upkeep(self) -> bool:
        self._trouble.check()
        return self._store.upkeep()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class MachineOutbox:
    def __init__(self, outbox: MemoryOutbox, trouble: Trouble) -> None:
        self._outbox = outbox
        self._trouble = trouble

    @property
    def owner(self) -> UUID:
        return self._outbox.owner

    @property
    def server(self) -> datetime | None:
        return self._outbox.server

    @property
    def lease_seconds(self) -> float:
        return self._outbox.lease_seconds

    def register(self, *, anew: bool = False) -> None:
        self._ask(lambda: self._outbox.register(anew=anew))

    def beat(self) -> None:
        self._ask(self._outbox.beat)

    def release(self) -> None:
        self._ask(self._outbox.release)

    def acknowledged(self, row_ids: Sequence[int]) -> None:
        self._ask(lambda: self._outbox.acknowledged(row_ids))

    def still_there(self, row_ids: Collection[int]) -> set[int]:
        return self._ask(lambda: self._outbox.still_there(row_ids))

    def take_over(self, limit: int, *, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        return self._ask(lambda: self._outbox.take_over(limit, without=without))

    def left_behind(
        self,
        known: Collection[int],
        *,
        older_than_seconds: float,
        limit: int,
        without: Collection[str] = (),
        after: int = 0,
    ) -> Sequence[OutboxRow]:
        return self._ask(
            lambda: self._outbox.left_behind(
                known, older_than_seconds=older_than_seconds, limit=limit, without=without, after=after
            )
        )

    def pending(self) -> Pending:
        return self._outbox.pending()

    def _ask(self, action: Callable[[], _T]) -> _T:
        if self._trouble.happens("database_away"):
            raise OutboxUnavailable("the database is away")
        found = action()
        if self._trouble.happens("commit_unknown"):
            raise OutboxUnavailable("the answer got lost")
        return found


class MachineLedger:
    def __init__(self, ledger: MemoryLedger, trouble: Trouble) -> None:
        self._ledger = ledger
        self._trouble = trouble

    def create_tables(self) -> None:
        self._ledger.create_tables()

    @contextmanager
    def transaction(self) -> Iterator[LedgerTransaction]:
        self._trouble.check()
        if self._trouble.happens("database_away"):
            raise LedgerUnavailable("the database is away")
        with self._ledger.transaction() as transaction:
            yield transaction
            self._trouble.check()
            if self._trouble.happens("commit_lost"):
                raise LedgerUnavailable("the connection broke before COMMIT")
        if self._trouble.happens("commit_unknown"):
            raise LedgerUnavailable("the connection broke after COMMIT")

    def close(self) -> None:
        self._ledger.close()
