"""The bus in one process: topics, partitions, offsets and groups as plain lists and dictionaries under one lock.

It keeps what `bus.protocol` promises, and no more than that on purpose: what a member read and did not commit is
delivered again after `rewind`, after `close`, and to the next owner when a partition moves. So code that relies on
more than at-least-once fails here as it would on Kafka.

It is deterministic: no randomness, no polling, and no clock but the injected one (for timestamps and for those who
wait). Nothing survives the process.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Condition

from ordersaga.bus.memory_group import Group, Member
from ordersaga.bus.partitioner import partition_of
from ordersaga.bus.protocol import (
    BusError,
    BusRefused,
    BusUnavailable,
    Cluster,
    FencedMember,
    GroupMember,
    Headers,
    Outcome,
    Outgoing,
    Published,
    Read,
    Record,
    TopicSpec,
    TopicState,
)
from ordersaga.delivery.clock import Clock, SystemClock

TopicPartition = tuple[str, int]
_ACKNOWLEDGED = Outcome(Published.ACKNOWLEDGED)
_HELD_BACK = Outcome(Published.UNKNOWN, "not sent: an earlier record with this key was not acknowledged")


class MemoryBus:
    """Any number of threads may use one bus; each consumer belongs to one of them."""

    def __init__(
        self,
        *,
        topics: Sequence[str] = (),
        partitions: int = 6,
        record_bytes_max: int = 1_000_000,
        clock: Clock | None = None,
    ) -> None:
        """`topics` exist from the start, with `partitions` each; others through `create_topics`."""
        self._changed = Condition()
        self._log: dict[str, list[list[Record]]] = {topic: [[] for _ in range(partitions)] for topic in topics}
        self._groups: dict[str, Group] = {}
        self._keyless_next: dict[str, int] = {}
        self._record_bytes_max = record_bytes_max
        self._clock = clock or SystemClock()
        self._consumers: list[MemoryConsumer] = []

    def consumer(
        self, *, group: str, topics: Sequence[str], client_id: str, instance_id: str | None = None
    ) -> "MemoryConsumer":
        consumer = MemoryConsumer(self, group, tuple(topics), client_id, instance_id)
        self._consumers.append(consumer)
        return consumer

    def producer(self, *, client_id: str) -> "MemoryProducer":
        return MemoryProducer(self)

    def partitions(self) -> Mapping[str, int]:
        with self._changed:
            return {topic: len(logs) for topic, logs in self._log.items()}

    def describe(self) -> Cluster:
        topics = {topic: TopicState(count, topic) for topic, count in self.partitions().items()}
        return Cluster(topics, creates_topics=False)

    def group_lag(self, group: str, topics: Collection[str]) -> Mapping[TopicPartition, int]:
        return {place: one.unread for place, one in self.group_reads(group, topics).items()}

    def group_reads(self, group: str, topics: Collection[str]) -> Mapping[TopicPartition, Read]:
        with self._changed:
            found = self._groups.get(group)
            committed = found.committed if found else {}
            return {
                (topic, number): Read(committed.get((topic, number), 0), len(log))
                for topic in topics
                for number, log in enumerate(self._log.get(topic, ()))
            }

    def read_again(self, group: str, since_ms: int) -> Mapping[TopicPartition, int]:
        with self._changed:
            found = self._groups.get(group)
            if found is None:
                return {}
            if found.members:
                raise BusRefused(f"the group {group} cannot be set back while somebody reads for it")
            again = {}
            for (topic, partition), offset in found.committed.items():
                read = self._log[topic][partition][:offset]
                first = next((record.offset for record in read if record.timestamp_ms >= since_ms), offset)
                if first < offset:
                    again[topic, partition] = offset - first
                    found.committed[topic, partition] = first
            return again

    def members(self, group: str) -> Sequence[GroupMember]:
        with self._changed:
            found = self._groups.get(group)
            return [GroupMember(one.client_id, tuple(one.positions)) for one in found.members] if found else []

    def create_topics(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        for spec in topics:
            if spec.partitions < 1:
                raise BusRefused(f"topic {spec.name}: it needs at least one partition, not {spec.partitions}")
        with self._changed:
            missing = [spec for spec in topics if spec.name not in self._log]
            for spec in missing:
                self._log[spec.name] = [[] for _ in range(spec.partitions)]
            self._changed.notify_all()
            return [spec.name for spec in missing]

    def written_since(
        self, records: Sequence[Outgoing], since_ms: int, timeout_seconds: float, before_ms: int | None = None
    ) -> Sequence[bool]:
        """Two equal records asked for are there when the log has two."""
        until_ms = math.inf if before_ms is None else before_ms
        with self._changed:
            topics = {record.topic for record in records} & self._log.keys()
            logs = [log for topic in topics for log in self._log[topic]]
            found = Counter(
                identity_of(record) for log in logs for record in log if since_ms <= record.timestamp_ms < until_ms
            )
        answers = []
        for record in records:
            identity = identity_of(record)
            answers.append(found[identity] > 0)
            found[identity] -= 1
        return answers

    def check(self, timeout_seconds: float) -> None:
        pass

    def read_log(
        self, topics: Collection[str], take: Callable[[Record], None], since_ms: int, idle_seconds: float
    ) -> None:
        with self._changed:
            logs = [list(log) for topic in topics for log in self._log.get(topic, ())]
        for log in logs:
            first = next((number for number, record in enumerate(log) if record.timestamp_ms >= since_ms), len(log))
            for record in log[first:]:
                take(record)

    def close(self, timeout_seconds: float) -> None:
        for consumer in self._consumers:
            consumer.close(timeout_seconds)

    def records(self, topic: str) -> Sequence[Record]:
        """All records of a topic, partition by partition: for tests and for looking at."""
        with self._changed:
            return [record for log in self._log[topic] for record in log]

    def _publish(self, records: Sequence[Outgoing]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        blocked: set[tuple[str, bytes]] = set()
        with self._changed:
            for record in records:
                lane = (record.topic, record.key)
                outcome = _HELD_BACK if lane in blocked else self._append(record)
                if outcome is not _ACKNOWLEDGED and record.key:
                    blocked.add(lane)
                outcomes.append(outcome)
            self._changed.notify_all()
        return outcomes

    def _append(self, record: Outgoing) -> Outcome:
        logs = self._log.get(record.topic)
        if logs is None:
            return Outcome(Published.REFUSED, f"topic {record.topic} does not exist")
        if size_bytes(record) > self._record_bytes_max:
            return Outcome(Published.REFUSED, f"{size_bytes(record)} bytes are more than {self._record_bytes_max}")
        partition = partition_of(record.key, len(logs)) if record.key else self._next_partition(record.topic)
        logs[partition].append(
            Record(
                topic=record.topic,
                partition=partition,
                offset=len(logs[partition]),
                key=record.key or None,
                value=record.sent,
                headers=record.headers,
                timestamp_ms=int(self._clock.now().timestamp() * 1000),
            )
        )
        return _ACKNOWLEDGED

    def _next_partition(self, topic: str) -> int:
        number = self._keyless_next.get(topic, 0)
        self._keyless_next[topic] = number + 1
        return number % len(self._log[topic])


class MemoryProducer:
    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus
        self._closed = False

    def publish(self, records: Sequence[Outgoing], timeout_seconds: float) -> Sequence[Outcome]:
        if self._closed:
            return [Outcome(Published.UNKNOWN, "not sent: the producer is closed")] * len(records)
        return self._bus._publish(records)

    def partition(self, topic: str, key: bytes) -> int | None:
        count = len(self._bus._log.get(topic, ()))
        return partition_of(key, count) if key and count else None

    def cut_off(self) -> bool:
        """What was handed over is in the log."""
        return False

    def close(self, timeout_seconds: float) -> None:
        self._closed = True


class MemoryConsumer:
    def __init__(
        self, bus: MemoryBus, group: str, topics: tuple[str, ...], client_id: str, instance_id: str | None
    ) -> None:
        self._bus = bus
        self._group_name = group
        self._changed = bus._changed
        self._member = Member(client_id=client_id, topics=topics, instance_id=instance_id)
        self._group: Group | None = None
        self._paused = False
        self._woken = False
        self._closed = False

    def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        with self._changed:
            self._join()
            self._wait(timeout_seconds)
            self._woken = False
            self._raise_if_out()
            return [] if self._paused else self._take(max_records)

    def _wait(self, seconds: float) -> None:
        """Until there is a reason to return from a poll."""
        clock = self._bus._clock
        until = clock.monotonic() + seconds
        while not (self._woken or self._closed or self._deliverable()) and (left := until - clock.monotonic()) > 0:
            clock.wait(self._changed, left)

    def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        with self._changed:
            self._raise_if_out()
            if self._group is not None:
                self._group.commit(self._member, next_offsets)

    def pause(self) -> None:
        with self._changed:
            self._paused = True

    def resume(self) -> None:
        with self._changed:
            self._paused = False

    def rewind(self) -> None:
        with self._changed:
            if self._group is not None:
                self._member.positions = {tp: self._group.committed.get(tp, 0) for tp in self._member.positions}

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def assigned(self) -> Collection[TopicPartition]:
        with self._changed:
            return tuple(self._member.positions)

    def lag(self, since: float | None = None) -> Mapping[TopicPartition, int]:
        with self._changed:
            return {tp: self._end(tp) - position for tp, position in self._member.positions.items()}

    def unreadable(self) -> Mapping[TopicPartition, str]:
        return {}

    def leave(self, timeout_seconds: float) -> None:
        with self._changed:
            if self._group is not None:
                self._group.leave(self._member)
                self._group = None
            self._changed.notify_all()

    def close(self, timeout_seconds: float) -> None:
        with self._changed:
            self._closed = True
            self.leave(timeout_seconds)

    def _join(self) -> None:
        self._raise_if_out()
        if self._group is not None:
            return
        for topic in self._member.topics:
            if topic not in self._bus._log:
                raise BusUnavailable(f"topic {topic} does not exist")
        self._group = self._bus._groups.setdefault(self._group_name, Group())
        self._group.join(self._member, {topic: len(logs) for topic, logs in self._bus._log.items()})
        self._changed.notify_all()

    def _raise_if_out(self) -> None:
        if self._member.fenced:
            raise FencedMember(f"another consumer uses the instance id {self._member.instance_id}")
        if self._closed:
            raise BusError("this consumer is closed")

    def _deliverable(self) -> bool:
        if self._member.fenced:
            return True
        return not self._paused and any(self._end(tp) > position for tp, position in self._member.positions.items())

    def _take(self, max_records: int) -> list[Record]:
        """From each partition in turn; the one that was read last goes to the end of the line."""
        taken: list[Record] = []
        for tp, position in list(self._member.positions.items()):
            records = self._bus._log[tp[0]][tp[1]][position : position + max_records - len(taken)]
            if records:
                del self._member.positions[tp]
                self._member.positions[tp] = position + len(records)
                taken += records
            if len(taken) >= max_records:
                break
        return taken

    def _end(self, tp: TopicPartition) -> int:
        return len(self._bus._log[tp[0]][tp[1]])


def size_bytes(record: Outgoing) -> int:
    return len(record.key) + len(record.value) + sum(len(name) + len(value) for name, value in record.headers)


def identity_of(record: Outgoing | Record) -> tuple[str, bytes, bytes, Headers]:
    return record.topic, record.key or b"", record.value or b"", record.headers
