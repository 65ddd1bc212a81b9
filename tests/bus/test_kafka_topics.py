"""What becomes of topics on real brokers, and what the client says of it: nothing, so we look ourselves."""

from typing import Any

from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.kafka_client import KafkaClients
from ordersaga.bus.kafka_settings import KafkaSecurity, KafkaTimings
from ordersaga.bus.protocol import Outgoing, TopicSpec
from ordersaga.local.kafka import KafkaCluster
from ordersaga.orchestrator.runtime.topic_watch import TopicWatch
from tests.bus.conftest import new_topic, unique
from tests.bus.reading import eventually, member, publish, read, values


def admin_of(cluster: KafkaCluster) -> Any:
    return KafkaClients(cluster.bootstrap_servers, KafkaSecurity(), KafkaTimings()).open_admin("by-hand")


def recreate(admin: Any, bus: KafkaBus, topic: str) -> None:
    admin.delete_topics([topic])
    eventually(lambda: topic not in bus.partitions(), "the topic is still there")
    eventually(lambda: bool(bus.create_topics([TopicSpec(topic, 1, {})])), "the topic could not be made again")


def test_a_topic_that_is_created_again_skips_records_in_silence_and_is_noticed(
    kafka_bus: KafkaBus, kafka_cluster: KafkaCluster
) -> None:
    topic, admin = new_topic(kafka_bus, partitions=1), admin_of(kafka_cluster)
    watch = TopicWatch(kafka_bus, [topic], every_seconds=0.0)
    watch.turn()
    with member(kafka_bus, unique("group"), topic) as consumer:
        publish(kafka_bus, *(Outgoing(topic, b"k", b"old %d" % number) for number in range(5)))
        read(consumer, 5)
        recreate(admin, kafka_bus, topic)
        publish(kafka_bus, *(Outgoing(topic, b"k", b"new %d" % number) for number in range(3)))
        watch.turn()
        found = [record.value for _ in range(10) for record in consumer.poll(10, 0.5)]
    admin.close()
    assert found == [], "this is what the client does: should it ever deliver them, the watch has less to say"
    assert "was deleted and created again" in "".join(watch._wrong.values())


def test_once_all_that_read_it_start_anew_nothing_is_skipped(kafka_bus: KafkaBus, kafka_cluster: KafkaCluster) -> None:
    topic, group, admin = new_topic(kafka_bus, partitions=1), unique("group"), admin_of(kafka_cluster)
    with member(kafka_bus, group, topic) as consumer:
        publish(kafka_bus, *(Outgoing(topic, b"k", b"old %d" % number) for number in range(5)))
        found = read(consumer, 5)
        consumer.commit({(topic, 0): found[-1].offset + 1})
        consumer.poll(1, 0.5)
    recreate(admin, kafka_bus, topic)
    admin.close()
    publish(kafka_bus, *(Outgoing(topic, b"k", b"new %d" % number) for number in range(3)))
    with member(kafka_bus, group, topic) as consumer:
        assert values(read(consumer, 3)) == [b"new 0", b"new 1", b"new 2"]


def test_brokers_say_whether_they_create_topics_by_themselves(kafka_bus: KafkaBus) -> None:
    topic = new_topic(kafka_bus, partitions=3)
    found = kafka_bus.describe()
    assert found.creates_topics is False
    assert found.topics[topic].partitions == 3
    with KafkaCluster.start(extra={"auto.create.topics.enable": "true"}) as cluster:
        other = KafkaBus(cluster.bootstrap_servers)
        assert other.describe().creates_topics is True
        other.close(2.0)
