"""Services that answer in Kafka transactions: what is no record takes an offset, and must not look unread."""

from collections.abc import Iterator

import pytest

from ordersaga.bus import kafka_consumer
from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.kafka_client import ConsumerSession
from ordersaga.bus.kafka_consumer import KafkaConsumer
from ordersaga.bus.protocol import Consumer, Outgoing
from ordersaga.delivery.consume import ConsumeLoop
from ordersaga.local.kafka import KafkaCluster
from tests.bus.conftest import new_topic
from tests.bus.reading import commit, eventually, member, nothing_comes, publish, read, values
from tests.waiting import until


class Writer:
    def __init__(self, servers: str, topic: str) -> None:
        from kafka import KafkaProducer

        self._topic = topic
        self._client = KafkaProducer(
            bootstrap_servers=servers, transactional_id=f"writer-of-{topic}", enable_idempotence=True
        )
        self._client.init_transactions()

    def says(self, *said: bytes) -> None:
        self._write(said)
        self._client.commit_transaction()

    def takes_back(self, *said: bytes) -> None:
        self._write(said)
        self._client.flush()  # else nothing of it is written, and no end of it either
        self._client.abort_transaction()

    def close(self) -> None:
        self._client.close()

    def _write(self, said: tuple[bytes, ...]) -> None:
        self._client.begin_transaction()
        for value in said:
            self._client.send(self._topic, value, partition=0)


@pytest.fixture
def topic(kafka_bus: KafkaBus) -> str:
    return new_topic(kafka_bus, partitions=2)


@pytest.fixture
def writer(kafka_cluster: KafkaCluster, topic: str) -> Iterator[Writer]:
    writer = Writer(kafka_cluster.bootstrap_servers, topic)
    yield writer
    writer.close()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could be committed too early would be."""
    monkeypatch.setattr(kafka_consumer, "LOOK_PAST_RECORDS_SECONDS", 0.0)
    monkeypatch.setattr(kafka_consumer, "COMMIT_TOGETHER_SECONDS", 0.0)


def test_the_end_of_a_transaction_does_not_look_unread(
    kafka_bus: KafkaBus, topic: str, group: str, writer: Writer
) -> None:
    writer.says(b"1", b"2")
    with member(kafka_bus, group, topic) as consumer:
        commit(consumer, read(consumer, 2))
        eventually(lambda: nothing_comes(consumer) and all_is_read(kafka_bus, group, topic), "its end is committed")
        assert kafka_bus.group_reads(group, [topic])[topic, 0].end == 3


def test_what_is_taken_back_does_not_look_unread_though_no_record_comes(
    kafka_bus: KafkaBus, topic: str, group: str, writer: Writer
) -> None:
    publish(kafka_bus, Outgoing(topic, b"key-0", b"before"))
    with member(kafka_bus, group, topic) as consumer:
        commit(consumer, read(consumer, 1))
        eventually(lambda: nothing_comes(consumer) and all_is_read(kafka_bus, group, topic), "the record is committed")
        writer.takes_back(b"1", b"2")
        eventually(lambda: nothing_comes(consumer) and all_is_read(kafka_bus, group, topic), "what follows it is, too")
    writer.takes_back(b"3")
    assert not all_is_read(kafka_bus, group, topic)
    with member(kafka_bus, group, topic) as next_one:
        eventually(
            lambda: nothing_comes(next_one) and all_is_read(kafka_bus, group, topic), "also by who reads nothing"
        )


@pytest.mark.usefixtures("often")
def test_what_was_delivered_and_is_not_handled_is_not_committed(
    kafka_bus: KafkaBus, topic: str, group: str, writer: Writer
) -> None:
    writer.says(b"1", b"2")
    writer.takes_back(b"3")
    with member(kafka_bus, group, topic) as consumer:
        first, _ = read(consumer, 2)
        assert nothing_comes(consumer), "it has seen all that is in the topic"
        assert read_to(kafka_bus, group, topic) == 0
        commit(consumer, [first])
        eventually(lambda: nothing_comes(consumer) and read_to(kafka_bus, group, topic) == 1, "what is handled is")
        assert nothing_comes(consumer) and read_to(kafka_bus, group, topic) == 1
        consumer.rewind()
        assert values(read(consumer, 1)) == [b"2"]
        assert nothing_comes(consumer) and read_to(kafka_bus, group, topic) == 1
    with member(kafka_bus, group, topic) as next_one:
        found = read(next_one, 1)
        assert values(found) == [b"2"]
        commit(next_one, found)
        eventually(lambda: nothing_comes(next_one) and all_is_read(kafka_bus, group, topic), "all is handled")


@pytest.mark.usefixtures("often")
def test_nothing_is_skipped_while_a_batch_cannot_be_handled(
    kafka_bus: KafkaBus, topic: str, group: str, writer: Writer
) -> None:
    """The consumer is polled meanwhile, and the batch is lost with its process."""

    class Away(Exception):
        retriable = True

    committed: list[int] = []

    def fail(records: object) -> None:
        committed.append(read_to(kafka_bus, group, topic))
        raise Away

    writer.says(b"1")
    writer.takes_back(b"2")
    writer.says(b"3")
    consumer = kafka_bus.consumer(group=group, topics=[topic], client_id="test-consumer")
    loop = ConsumeLoop(consumer, fail, lambda record, error: None, retry_first_seconds=0.05, retry_most_seconds=0.1)
    loop.start()
    until(lambda: len(committed) >= 10, "it is tried again and again")
    assert loop.stop(10) and set(committed) == {0}

    with member(kafka_bus, group, topic) as next_one:
        found = read(next_one, 2)
        assert values(found) == [b"1", b"3"]
        commit(next_one, found)
        eventually(lambda: nothing_comes(next_one) and all_is_read(kafka_bus, group, topic), "all is handled")


@pytest.mark.usefixtures("often")
def test_where_nothing_happens_nothing_is_committed(
    kafka_bus: KafkaBus, topic: str, group: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[object] = []
    send = ConsumerSession.commit

    def count(session: ConsumerSession, *what: object) -> None:
        commits.append(what)
        send(session, *what)  # type: ignore[arg-type]

    writer.says(b"1")
    with member(kafka_bus, group, topic) as consumer:
        commit(consumer, read(consumer, 1))
        eventually(lambda: nothing_comes(consumer) and all_is_read(kafka_bus, group, topic), "its end is committed")
        eventually(lambda: nothing_comes(consumer) and is_confirmed(consumer), "and the consumer knows")
        monkeypatch.setattr(ConsumerSession, "commit", count)
        assert nothing_comes(consumer, 2.0)
    assert not commits


def all_is_read(bus: KafkaBus, group: str, topic: str) -> bool:
    return not any(bus.group_lag(group, [topic]).values())


def read_to(bus: KafkaBus, group: str, topic: str) -> int:
    return bus.group_reads(group, [topic])[topic, 0].read_to


def is_confirmed(consumer: Consumer) -> bool:
    assert isinstance(consumer, KafkaConsumer)
    return not consumer._unconfirmed
