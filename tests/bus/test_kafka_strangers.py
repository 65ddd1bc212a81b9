"""What others write to a topic, and the library of this house cannot or would not."""

from contextlib import suppress

import pytest

from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.kafka_client import place
from ordersaga.bus.protocol import Outgoing
from ordersaga.local.kafka import KafkaCluster
from tests.bus.conftest import new_topic
from tests.bus.reading import read_all


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
