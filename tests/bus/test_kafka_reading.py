"""Reading back what was written, where a partition has no leader: what cannot be asked is not what is not there."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.kafka_client import KafkaClients
from ordersaga.bus.kafka_consumer import KafkaConsumer
from ordersaga.bus.kafka_reader import ReaderSession
from ordersaga.bus.kafka_settings import KafkaSecurity, KafkaTimings
from ordersaga.bus.protocol import BusUnavailable
from ordersaga.local.kafka import KafkaCluster
from tests.bus.conftest import new_topic
from tests.bus.reading import member, numbered, publish, read


@pytest.fixture
def client(kafka_cluster: KafkaCluster) -> Iterator[Any]:
    client = KafkaClients(kafka_cluster.bootstrap_servers, KafkaSecurity(), KafkaTimings()).open_reader("reads")
    yield client
    client.close()


def lose_the_leader(client: Any, partition: int) -> None:
    """As the client is told of it."""
    cluster = client._fetcher._manager.cluster
    leader_of = cluster.leader_for_partition
    cluster.leader_for_partition = lambda tp: -1 if tp.partition == partition else leader_of(tp)


@pytest.mark.parametrize("lost_after", ["nothing", "end_offsets"])
def test_a_log_of_which_a_partition_cannot_be_asked_is_not_read(
    kafka_bus: KafkaBus, client: Any, lost_after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client leaves it out in silence, or raises what is no error of its own."""
    topic = new_topic(kafka_bus, partitions=2)
    publish(kafka_bus, *numbered(topic, 20))
    reader = ReaderSession(client)

    def then_lose(*args: Any, **settings: Any) -> Any:
        answer = asked(*args, **settings)
        lose_the_leader(client, 1)
        return answer

    if lost_after == "nothing":
        lose_the_leader(client, 1)
    else:
        asked = client.end_offsets
        monkeypatch.setattr(client, "end_offsets", then_lose)
    began = time.monotonic()
    with pytest.raises(BusUnavailable, match="leader"):
        list(reader.read([(topic, 0), (topic, 1)], 0, time.monotonic() + 30.0))
    assert time.monotonic() - began < 15.0, "it is said at once, not when the time is over"


def test_a_consumer_that_cannot_ask_a_partition_for_its_end_does_not_fail(kafka_bus: KafkaBus, group: str) -> None:
    topic = new_topic(kafka_bus, partitions=2)
    publish(kafka_bus, *numbered(topic, 20))
    with member(kafka_bus, group, topic) as consumer:
        read(consumer, 20)
        assert isinstance(consumer, KafkaConsumer)
        session: Any = consumer._client
        lose_the_leader(session._client, 1)
        assert not session.behind()
