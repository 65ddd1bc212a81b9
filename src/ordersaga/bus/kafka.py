"""The bus on Apache Kafka.

Building it, a consumer or a producer connects to nothing and fails for nothing that a broker does: connecting happens
when it is needed, on a thread of its own, and is tried again for ever. What is promised of publishing and of reading
stands in `bus.kafka_producer` and `bus.kafka_consumer`; `bus.kafka_client` alone knows the client library.

Topics are looked up before they are used, never created by the way: a name with a typo is refused, or waited for.
Brokers should have `auto.create.topics.enable=false` all the same.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Literal, TypeVar

from ordersaga.bus import kafka_consumer, kafka_producer
from ordersaga.bus.bounded import bounded, in_background
from ordersaga.bus.connecting import Connecting
from ordersaga.bus.counters import Counters
from ordersaga.bus.kafka_admin import AdminSession
from ordersaga.bus.kafka_client import KafkaClients
from ordersaga.bus.kafka_consumer import KafkaConsumer
from ordersaga.bus.kafka_producer import Identity, KafkaProducer, identity_of
from ordersaga.bus.kafka_reader import ReaderSession
from ordersaga.bus.kafka_settings import KafkaSecurity, KafkaTimings
from ordersaga.bus.protocol import (
    Access,
    BusError,
    BusRefused,
    BusUnavailable,
    Cluster,
    GroupMember,
    Outgoing,
    Read,
    Record,
    TopicSpec,
)

__all__ = ["KafkaBus", "KafkaSecurity", "KafkaTimings"]

T = TypeVar("T")
ADMIN_TIMEOUT_SECONDS = 10.0
ANSWER_SECONDS = 1.0
REMEMBER_SECONDS = 60.0
"""How long a topic that exists is not looked for again."""
LOOK_AGAIN_SECONDS = 1.0
"""How long one that is missing is not."""


class KafkaBus:
    """`bus.protocol.Bus`. Thread-safe; consumers and producers are as their protocol says."""

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        client_id: str = "ordersaga",
        security: KafkaSecurity | None = None,
        timings: KafkaTimings | None = None,
        compression: Literal["gzip"] | None = None,
        record_bytes_max: int = 1_000_000,
    ) -> None:
        """`record_bytes_max` is the brokers' `message.max.bytes`, or less."""
        rebuilds = (*kafka_consumer.REBUILDS, *kafka_producer.REBUILDS)
        self.counters = Counters((*rebuilds, kafka_consumer.GONE, kafka_consumer.UNREADABLE))
        self._timings = timings or KafkaTimings()
        self._clients = KafkaClients(bootstrap_servers, security or KafkaSecurity(), self._timings)
        self._client_id = client_id
        self._compression = compression
        self._record_bytes_max = record_bytes_max
        self._admin: Connecting[AdminSession] = Connecting(
            "admin",
            open_client=lambda: AdminSession(self._clients.open_admin(f"{client_id}-admin")),
            discard=lambda client: in_background(client.close),
        )
        self._topics: Mapping[str, int] = {}
        self._topics_until = 0.0
        self._missing_at: dict[str, float] = {}
        self._members: list[KafkaConsumer | KafkaProducer] = []

    def consumer(
        self, *, group: str, topics: Sequence[str], client_id: str, instance_id: str | None = None
    ) -> KafkaConsumer:
        consumer = KafkaConsumer(
            Connecting(
                "consumer",
                open_client=lambda: self._clients.open_consumer(client_id, group, topics, instance_id),
                discard=lambda client: in_background(lambda: client.close({}, 1.0)),
            ),
            topics=topics,
            topic_exists=self._topic_exists,
            counters=self.counters,
            stalled_seconds=self._timings.stalled_seconds,
        )
        self._members.append(consumer)
        return consumer

    def producer(self, *, client_id: str) -> KafkaProducer:
        producer = KafkaProducer(
            Connecting(
                "producer",
                open_client=lambda: self._clients.open_producer(client_id, self._compression, self._record_bytes_max),
                discard=lambda client: client.cut_off(),
            ),
            topic_exists=self._topic_exists,
            written_since=self.written_since,
            counters=self.counters,
            record_bytes_max=self._record_bytes_max,
            stuck_seconds=self._timings.stuck_seconds,
        )
        self._members.append(producer)
        return producer

    def partitions(self) -> Mapping[str, int]:
        return self._ask(AdminSession.partitions, ADMIN_TIMEOUT_SECONDS)

    def describe(self) -> Cluster:
        return self._ask(AdminSession.describe, ADMIN_TIMEOUT_SECONDS)

    def group_lag(self, group: str, topics: Collection[str]) -> Mapping[tuple[str, int], int]:
        return {place: one.unread for place, one in self.group_reads(group, topics).items()}

    def group_reads(self, group: str, topics: Collection[str]) -> Mapping[tuple[str, int], Read]:
        return self._ask(lambda admin: admin.group_reads(group, topics), ADMIN_TIMEOUT_SECONDS)

    def read_again(self, group: str, since_ms: int) -> Mapping[tuple[str, int], int]:
        return self._ask(lambda admin: admin.read_again(group, since_ms), ADMIN_TIMEOUT_SECONDS)

    def access(self, group: str) -> Access:
        """What we may do, as the brokers say it. Raises `BusUnavailable`, `BusRefused`."""
        return self._ask(lambda admin: admin.access(group), ADMIN_TIMEOUT_SECONDS)

    def members(self, group: str) -> Sequence[GroupMember]:
        return self._ask(lambda admin: admin.members(group), ADMIN_TIMEOUT_SECONDS)

    def create_topics(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        existing = self.partitions()
        missing = [spec for spec in topics if spec.name not in existing]
        created = self._ask(lambda admin: admin.create(missing), ADMIN_TIMEOUT_SECONDS) if missing else []
        for name in created:
            self._missing_at.pop(name, None)
        return created

    def check(self, timeout_seconds: float) -> None:
        self._ask(AdminSession.partitions, timeout_seconds)

    def written_since(
        self, records: Sequence[Outgoing], since_ms: int, timeout_seconds: float, before_ms: int | None = None
    ) -> Sequence[bool]:
        wanted = {identity_of(record) for record in records}
        found: Counter[Identity] = Counter()

        def count(record: Record) -> None:
            identity = (record.topic, record.key or b"", record.value or b"", record.headers)
            if identity in wanted:
                found[identity] += 1

        until = time.monotonic() + timeout_seconds
        partitions = self._partitions_of({record.topic for record in records}, timeout_seconds)
        if not partitions:
            return [False] * len(records)

        def read(reader: ReaderSession) -> Iterator[Record]:
            return reader.read(partitions, since_ms, until, before_ms)

        try:
            bounded(lambda: self._read(read, count), until - time.monotonic())
        except BusError as error:
            raise BusUnavailable(str(error)) from error
        return [_counted(found, identity_of(record)) for record in records]

    def read_log(
        self, topics: Collection[str], take: Callable[[Record], None], since_ms: int, idle_seconds: float
    ) -> None:
        partitions = self._partitions_of(topics, idle_seconds)
        if not partitions:
            return
        until = time.monotonic() + idle_seconds
        try:
            self._read(lambda reader: reader.read(partitions, since_ms, until, idle_seconds=idle_seconds), take)
        except BusError as error:
            raise BusUnavailable(str(error)) from error

    def close(self, timeout_seconds: float) -> None:
        until = time.monotonic() + timeout_seconds
        for member in self._members:
            member.close(max(0.0, until - time.monotonic()))
        admin = self._admin.close()
        if admin is not None:
            in_background(admin.close)

    def _read(self, read: Callable[[ReaderSession], Iterator[Record]], take: Callable[[Record], None]) -> bool:
        reader = ReaderSession(self._clients.open_reader(f"{self._client_id}-reader"))
        try:
            for record in read(reader):
                take(record)
        finally:
            reader.close()
        return True

    def _partitions_of(self, topics: Collection[str], timeout_seconds: float) -> Sequence[tuple[str, int]]:
        """All of each: how many a topic had when a record was sent is not known, and a key's depends on it."""
        counts = self._ask(AdminSession.partitions, timeout_seconds)
        return [(topic, number) for topic in sorted(topics) for number in range(counts.get(topic, 0))]

    def _topic_exists(self, topic: str, timeout_seconds: float) -> bool:
        """What exists is remembered for a minute; what does not is looked for once a second at most."""
        now = time.monotonic()
        if topic in self._topics and now < self._topics_until:
            return True
        if now - self._missing_at.get(topic, -math.inf) < LOOK_AGAIN_SECONDS:
            return False
        self._topics_until = now + REMEMBER_SECONDS
        try:
            self._topics = self._ask(AdminSession.partitions, timeout_seconds)
        except BusUnavailable:
            if topic in self._topics:
                return True
            raise
        self._missing_at = {name: at for name, at in self._missing_at.items() if now - at < LOOK_AGAIN_SECONDS}
        if topic not in self._topics:
            self._missing_at[topic] = now
        return topic in self._topics

    def _ask(self, question: Callable[[AdminSession], T], timeout_seconds: float) -> T:
        until = time.monotonic() + timeout_seconds
        admin = self._admin.get(timeout_seconds)
        try:
            # A connected client is given a moment even by those who would not wait: it would never answer them else.
            return bounded(lambda: question(admin), max(until - time.monotonic(), ANSWER_SECONDS))
        except BusRefused:
            raise
        except BusError as error:
            self._admin.drop(admin)
            raise BusUnavailable(str(error)) from error
        except Exception as error:
            if self._admin.holds(admin):
                raise
            # The library says of a client that was closed under it whatever comes to its mind.
            raise BusUnavailable(
                "another question was not answered, and this connection was given up for it"
            ) from error


def _counted(found: Counter[Identity], identity: Identity) -> bool:
    """Two equal records asked for are there when the log has two."""
    found[identity] -= 1
    return found[identity] >= 0
