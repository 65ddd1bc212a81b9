"""Real brokers on this machine: killed, frozen, started again on the same data, and never left behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.protocol import BusUnavailable, TopicSpec
from ordersaga.local.failures import NotReady
from ordersaga.local.kafka import KafkaCluster, open_kafka
from ordersaga.local.kafka_wire import accepts_partitions, answers
from ordersaga.local.ports import hold_port, release_ports

from .forwarding import forwarded
from .watching import is_alive, program, until

PARENT = """
import json, signal
from ordersaga.local.kafka import KafkaCluster
cluster = KafkaCluster.start()
print(json.dumps([cluster.bootstrap_servers, str(cluster.directory), cluster.nodes[0].pid]), flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaCluster]:
    """Each test leaves it ready."""
    with KafkaCluster.start() as cluster:
        yield cluster


@contextmanager
def connected(bootstrap_servers: str) -> Iterator[KafkaBus]:
    bus = KafkaBus(bootstrap_servers)
    yield bus
    bus.close(5)


def create_topic(cluster: KafkaCluster, name: str) -> None:
    with connected(cluster.bootstrap_servers) as bus:
        bus.create_topics([TopicSpec(name=name, partitions=3, config={})])


def topics(bootstrap_servers: str) -> set[str]:
    with connected(bootstrap_servers) as bus:
        return set(bus.partitions())


def test_a_topic_can_be_made_as_soon_as_start_returns(broker: KafkaCluster) -> None:
    create_topic(broker, "orders")
    assert "orders" in topics(broker.bootstrap_servers)


def test_no_topic_is_left_by_asking_whether_a_broker_is_ready(broker: KafkaCluster) -> None:
    assert accepts_partitions(broker.nodes[0].ports.client, 1)
    assert not any("ready" in name for name in topics(broker.bootstrap_servers))


def test_a_node_that_is_not_in_the_cluster_gets_no_partitions(broker: KafkaCluster) -> None:
    assert not accepts_partitions(broker.nodes[0].ports.client, 2)


def test_a_killed_broker_comes_back_with_its_data_on_its_port(broker: KafkaCluster) -> None:
    create_topic(broker, "kept")
    node = broker.nodes[0]
    node.kill()
    assert not answers(node.ports.client)
    node.restart()
    assert "kept" in topics(broker.bootstrap_servers)


def test_a_frozen_broker_does_not_answer_until_it_is_thawed(broker: KafkaCluster) -> None:
    node = broker.nodes[0]
    node.freeze()
    try:
        assert not answers(node.ports.client)
    finally:
        node.thaw()
        node.wait_ready()


def test_clients_of_the_second_listener_are_sent_to_the_proxy(broker: KafkaCluster) -> None:
    ports = broker.nodes[0].ports
    with connected(f"127.0.0.1:{ports.behind_proxy}") as bus, pytest.raises(BusUnavailable):
        bus.partitions()
    with forwarded(ports.proxy, ports.behind_proxy):
        assert "orders" in topics(broker.proxied_bootstrap_servers)


def test_two_processes_have_a_cluster_each(broker: KafkaCluster) -> None:
    with program(PARENT) as (_, (bootstrap_servers, _, _)):
        assert "orders" not in topics(bootstrap_servers)
        assert "orders" in topics(broker.bootstrap_servers)


def test_a_killed_parent_leaves_no_broker_behind() -> None:
    with program(PARENT) as (parent, (_, _, broker_pid)):
        assert is_alive(broker_pid)
        parent.kill()
        until(lambda: not is_alive(broker_pid), "the broker has gone with its parent")


def test_data_are_thrown_away_unless_they_were_given_a_place() -> None:
    with KafkaCluster.start() as cluster:
        assert cluster.directory.is_dir()
    assert not cluster.directory.exists()
    cluster.stop()


def test_a_cluster_can_be_started_again_where_it_was(tmp_path: Path) -> None:
    with KafkaCluster.start(directory=tmp_path) as cluster:
        create_topic(cluster, "kept")
    with KafkaCluster.start(directory=tmp_path) as again:
        assert "kept" in topics(again.bootstrap_servers)


def test_a_broker_that_cannot_start_says_why_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(NotReady, match=r"(?s)Kafka node 1 ended.*num\.io\.threads"):
        KafkaCluster.start(directory=tmp_path, extra={"num.io.threads": "0"})
    port = int((tmp_path / "node-1.properties").read_text().split("PLAINTEXT://127.0.0.1:")[1].split(",")[0])
    hold_port(port)
    release_ports([port])


def test_brokers_that_are_given_are_used_and_never_stopped(
    broker: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    given = open_kafka()
    assert given.bootstrap_servers == broker.bootstrap_servers
    given.stop()
    assert answers(broker.nodes[0].ports.client)


def test_three_brokers_notice_a_killed_one_and_take_it_back(three_brokers: KafkaCluster) -> None:
    one, two, three = three_brokers.nodes
    three.kill()
    until(lambda: not accepts_partitions(one.ports.client, three.node_id), "the others have noticed")
    assert accepts_partitions(one.ports.client, two.node_id)
    three.restart()
    assert accepts_partitions(one.ports.client, three.node_id)
