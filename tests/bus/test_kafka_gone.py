"""Records that are deleted before they are read: the client goes on behind them and says nothing."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.kafka_client import place
from ordersaga.bus.protocol import Outgoing
from ordersaga.local.kafka import KafkaCluster
from tests.bus.conftest import new_topic, unique
from tests.bus.reading import commit, member, publish, read, values


@pytest.fixture
def bus(kafka_cluster: KafkaCluster) -> Iterator[KafkaBus]:
    """With counters of its own."""
    bus = KafkaBus(kafka_cluster.bootstrap_servers)
    yield bus
    bus.close(5)


def lines(topic: str, count: int) -> list[Outgoing]:
    return [Outgoing(topic, b"k", b"%d" % n) for n in range(count)]


def delete_up_to(bus: KafkaBus, topic: str, offset: int) -> None:
    admin = bus._clients.open_admin("by-hand")
    admin.delete_records({place(topic, 0): offset})
    admin.close()


def test_what_was_deleted_while_nobody_read_is_counted(bus: KafkaBus, group: str) -> None:
    topic = new_topic(bus, partitions=1)
    publish(bus, *lines(topic, 60))
    with member(bus, group, topic) as consumer:
        commit(consumer, read(consumer, 5))
    delete_up_to(bus, topic, 50)
    assert bus.group_lag(group, [topic]) == bus.group_lag(unique("group"), [topic]) == {(topic, 0): 10}

    with capture_logs() as said, member(bus, group, topic) as consumer:
        assert values(read(consumer, 10)) == [b"%d" % n for n in range(50, 60)]

    assert bus.counters["consumer_records_gone"] == 45
    (told,) = [line for line in said if line["event"] == "kafka.records_gone"]
    assert (told["log_level"], told["topic"], told["partition"]) == ("error", topic, 0)
    assert (told["from_offset"], told["to_offset"], told["records"]) == (5, 50, 45)


def test_what_was_deleted_after_it_was_read_is_not(bus: KafkaBus, group: str) -> None:
    topic = new_topic(bus, partitions=1)
    publish(bus, *lines(topic, 10))
    with member(bus, group, topic) as consumer:
        commit(consumer, read(consumer, 10))
        delete_up_to(bus, topic, 10)
        publish(bus, *lines(topic, 1))
        read(consumer, 1)
        consumer.rewind()
        publish(bus, *lines(topic, 1))
        read(consumer, 1)
    with member(bus, f"{group}-new", topic) as consumer:
        read(consumer, 2)
    assert bus.counters["consumer_records_gone"] == 0
