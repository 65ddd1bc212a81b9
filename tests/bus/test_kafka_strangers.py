"""What others write to a topic, and the library of this house cannot or would not."""

from contextlib import suppress
from functools import partial

import pytest
from structlog.testing import capture_logs

from ordersaga.bus import kafka_insides
from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.kafka_client import place
from ordersaga.bus.kafka_consumer import REBUILDS, UNREADABLE
from ordersaga.bus.protocol import Consumer, Outgoing
from ordersaga.local.kafka import KafkaCluster
from tests.bus.conftest import new_topic
from tests.bus.reading import commit, eventually, member, nothing_comes, numbered, publish, read, read_all, values


@pytest.fixture
def topic(kafka_bus: KafkaBus) -> str:
    return new_topic(kafka_bus, partitions=1)


def test_a_header_without_a_value_comes_as_an_empty_one(
    kafka_cluster: KafkaCluster, kafka_bus: KafkaBus, topic: str, group: str
) -> None:
    """What came with one could not be sent on, and not be read from the outbox: it was tried for ever."""
    from kafka import KafkaProducer

    headers = [("named", b"x"), ("null", None)]
    writer = KafkaProducer(bootstrap_servers=kafka_cluster.bootstrap_servers, linger_ms=60_000)
    writer.send(topic, b"first")
    with suppress(TypeError):  # it is in the batch of the first all the same
        writer._accumulator.append(place(topic, 0), None, None, b"second", headers)
    writer.close()

    first, second = read_all(kafka_bus, topic, 2, group)

    assert (first.value, first.headers) == (b"first", ())
    assert (second.value, second.headers) == (b"second", (("named", b"x"), ("null", b"")))
    assert list(kafka_bus.written_since([Outgoing(topic, b"", b"second", second.headers)], 0, 10)) == [True]


class Misspelt(str):  # noqa: SLOT000 (of one test)
    """The library writes `caf\\xe9` for it, as a service does whose strings are Latin-1."""

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return b"caf\xe9"


def test_a_header_whose_name_is_not_utf_8_comes_with_what_can_be_read_of_it(
    kafka_cluster: KafkaCluster, kafka_bus: KafkaBus, topic: str, group: str
) -> None:
    from kafka import KafkaProducer

    writer = KafkaProducer(bootstrap_servers=kafka_cluster.bootstrap_servers)
    for name, value in (("plain", b"first"), (Misspelt(), b"second"), ("plain", b"third")):
        writer.send(topic, value, key=b"key", headers=[(name, b"\xff"), ("more", b"x")])
    writer.close()

    first, second, third = read_all(kafka_bus, topic, 3, group)

    assert second.headers == (("caf\\xe9", b"\xff"), ("more", b"x"))
    assert (second.key, second.value, second.offset) == (b"key", b"second", 1)
    assert first.headers == third.headers == (("plain", b"\xff"), ("more", b"x"))
    assert [first.value, third.value] == [b"first", b"third"]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_whatever_kafka_compresses_with_is_read(kafka_bus: KafkaBus, codec: str, group: str) -> None:
    """The broker compresses, so it is Kafka's own code that wrote this."""
    topic = new_topic(kafka_bus, partitions=1, compression_type=codec)
    sent = [Outgoing(topic, b"k", b"%d " % number * 100) for number in range(300)]
    publish(kafka_bus, *sent)
    assert values(read_all(kafka_bus, topic, 300, group)) == [record.value for record in sent]


def test_a_partition_that_cannot_be_read_stops_no_other_and_is_read_once_it_can_be(
    kafka_cluster: KafkaCluster, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = KafkaBus(kafka_cluster.bootstrap_servers)
    pressed, plain = new_topic(bus, partitions=1, compression_type="zstd"), new_topic(bus, partitions=2)
    publish(bus, Outgoing(pressed, b"k", b"needs a package"), *numbered(plain, 40))
    monkeypatch.setattr(kafka_insides, "TRY_AGAIN_SECONDS", 0.3)
    monkeypatch.setattr("kafka.codec.zstd", None)

    with capture_logs() as said, member(bus, group, pressed, plain) as consumer:
        found = read(consumer, 40)
        commit(consumer, found)
        publish(bus, *numbered(plain, 40))
        assert {record.topic for record in [*found, *read(consumer, 40)]} == {plain}
        eventually(lambda: nothing_comes(consumer) and _is_left_alone(consumer, pressed), "it is told")
        why = consumer.unreadable()[pressed, 0]
        assert why.startswith("at offset 0: UnsupportedCodecError") and "Libraries for zstd" in why
        assert (pressed, 0) in consumer.assigned() and (pressed, 0) not in consumer.lag()
        assert bus.counters[UNREADABLE] == 1
        assert [line["error"] for line in said if line["event"] == "kafka.partition_unreadable"] == [why]

        monkeypatch.undo()
        assert values(read(consumer, 1)) == [b"needs a package"]
        assert not consumer.unreadable() and bus.counters[UNREADABLE] == 0
        assert sum(bus.counters[name] for name in REBUILDS) == 0
    bus.close(5)


def test_what_a_transaction_takes_back_was_never_said(
    kafka_cluster: KafkaCluster, kafka_bus: KafkaBus, topic: str, group: str
) -> None:
    from kafka import KafkaProducer

    known_as = {"transactional_id": f"writer-of-{topic}", "enable_idempotence": True}
    writer = KafkaProducer(bootstrap_servers=kafka_cluster.bootstrap_servers, **known_as)
    send = partial(writer.send, topic, partition=0)
    writer.init_transactions()
    with member(kafka_bus, group, topic) as consumer:
        writer.begin_transaction()
        send(b"kept")
        writer.commit_transaction()
        writer.begin_transaction()
        send(b"taken back")
        writer.abort_transaction()
        publish(kafka_bus, Outgoing(topic, b"k", b"said at once"))
        assert values(read(consumer, 2)) == [b"kept", b"said at once"]

        writer.begin_transaction()
        send(b"said in the end")
        writer.flush()
        publish(kafka_bus, Outgoing(topic, b"k", b"behind it"))
        assert nothing_comes(consumer), "whether it is kept is not known yet"
        assert sum(consumer.lag().values()) > 0, "so somebody may still have said something"
        writer.commit_transaction()
        assert values(read(consumer, 2)) == [b"said in the end", b"behind it"]
        eventually(lambda: nothing_comes(consumer) and consumer.lag() == {(topic, 0): 0}, "all is read, markers too")
    writer.close()


def _is_left_alone(consumer: Consumer, topic: str) -> bool:
    return (topic, 0) in consumer.unreadable()
