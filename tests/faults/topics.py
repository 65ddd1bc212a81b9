"""What was really said, read from whole topics: each command had a saga, each line of the history reached its topic,
and how often the same record is there more than it was sent.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from uuid import uuid4

import psycopg

from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.kafka_reader import ReaderSession
from ordersaga.bus.protocol import BusUnavailable, Outgoing, Record
from ordersaga.wire.codec import Envelope, decode_announcement, decode_command
from ordersaga.wire.errors import WireError
from ordersaga.wire.topics import Topics
from tests.faults.lasting import lasts

READ_SECONDS = 120.0
READ_AGAIN_SECONDS = 30.0


@dataclass
class Said:
    """Of one deployment: how often each message id is on its topic."""

    times: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By topic and message id."""
    sagas: dict[str, str] = field(default_factory=dict)
    """Whose each message is."""
    types: dict[str, str] = field(default_factory=dict)


def read_all(bootstrap_servers: str) -> Said:
    """Every command and announcement of the orchestrator's, from the beginning to the end that is there now."""
    topics, said = Topics(), Said()
    commands = [topics.order_commands, topics.user_commands, topics.payment_commands, topics.timer_commands]
    with _bus(bootstrap_servers) as bus:
        for record in _records(bus, [*commands, topics.notification_events, topics.saga_events]):
            decode = decode_command if record.topic in commands else decode_announcement
            try:
                envelope = decode(record.value)
            except WireError:
                continue
            if isinstance(envelope, Envelope) and envelope.message_id is not None:
                message_id = str(envelope.message_id)
                said.times[record.topic, message_id] += 1
                said.sagas[message_id] = envelope.correlation_id
                said.types[message_id] = type(envelope.body).__name__
    return said


@dataclass(frozen=True)
class Published:
    unknown: list[str]
    """Message ids of sagas that are not in the database."""
    missing: list[str]
    """Message ids that the history says were sent, and no topic has."""
    doubled: dict[str, int]
    """By type: how many records there are beyond those that the history sent."""


def compare(said: Said, database_url: str) -> Published:
    """What the topics hold against what the sagas' histories say was sent."""
    sent: dict[str, int] = defaultdict(int)
    with psycopg.connect(database_url) as connection:
        known = {str(row[0]) for row in connection.execute("select id from ordersaga.sagas")}
        query = "select one ->> 'message_id' from ordersaga.saga_history, jsonb_array_elements(body -> 'sent') one"
        for (message_id,) in connection.execute(query):
            sent[message_id] += 1
    times: Counter[str] = Counter()
    for (_, message_id), count in said.times.items():
        times[message_id] += count
    doubled: Counter[str] = Counter()
    for message_id, count in times.items():
        if count > sent.get(message_id, count):
            doubled[said.types[message_id]] += count - sent[message_id]
    return Published(
        unknown=[one for one, saga_id in said.sagas.items() if saga_id not in known],
        missing=[one for one in sent if one not in times],
        doubled=dict(doubled),
    )


@contextmanager
def _bus(bootstrap_servers: str) -> Iterator[KafkaBus]:
    bus = KafkaBus(bootstrap_servers)
    try:
        yield bus
    finally:
        bus.close(5.0)


def _records(bus: KafkaBus, topics: Sequence[str]) -> Iterator[Record]:
    """Until nothing has come for two seconds, which is longer than a fetch takes."""
    consumer = bus.consumer(group=f"reads-all-{uuid4().hex[:12]}", topics=topics, client_id="reads-all")
    begun = last = monotonic()
    seen = False
    while monotonic() - last < (2.0 if seen else 20.0):
        if monotonic() - begun > READ_SECONDS:
            raise TimeoutError(f"the topics were not read within {READ_SECONDS:.0f} s")
        for record in consumer.poll(5_000, 0.5):
            last, seen = monotonic(), True
            yield record
    consumer.close(5.0)


def read_since(bootstrap_servers: str, topic: str, since_ms: int) -> list[Record]:
    """What was written to a topic since then (Unix time), by the broker's clock. Brokers that break are asked again."""
    until = monotonic() + READ_AGAIN_SECONDS
    while True:
        try:
            return _read_since(bootstrap_servers, topic, since_ms)
        except BusUnavailable:
            if monotonic() > until:
                raise
            lasts(0.5)


def _read_since(bootstrap_servers: str, topic: str, since_ms: int) -> list[Record]:
    with _bus(bootstrap_servers) as bus:
        partitions = [(topic, number) for number in range(bus.partitions()[topic])]
        reader = ReaderSession(bus._clients.open_reader("reads-lately"))
        try:
            return list(reader.read(partitions, since_ms, monotonic() + 20.0))
        finally:
            reader.close()


def publish(bootstrap_servers: str, records: Sequence[Outgoing]) -> None:
    """Past everything that is under test. What a broken broker does not take is left out."""
    with _bus(bootstrap_servers) as bus:
        bus.producer(client_id="says-again").publish(records, 10.0)
