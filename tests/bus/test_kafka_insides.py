"""What is mended in the client library from outside, and that the names which that needs are there."""

import socket
import struct
import time
from collections import deque
from importlib import import_module
from operator import attrgetter
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.kafka_client import ConsumerSession, KafkaClients
from ordersaga.bus.kafka_insides import INSIDES, let_sleep, see_what_has_arrived
from ordersaga.bus.kafka_settings import KafkaSecurity, KafkaTimings
from ordersaga.bus.protocol import Outgoing, TopicSpec
from ordersaga.local.kafka import KafkaCluster
from tests.bus.conftest import unique
from tests.bus.reading import eventually


@pytest.mark.parametrize("path", INSIDES)
def test_the_inner_names_of_the_library_that_we_use_are_there(kafka_cluster: KafkaCluster, path: str) -> None:
    kind, name = path.split(".", 1)
    import_kafka = import_module("kafka")
    client = getattr(import_kafka, kind)(bootstrap_servers=kafka_cluster.bootstrap_servers)
    try:
        assert attrgetter(name)(client) is not None
    finally:
        client.close()


def test_records_that_arrive_while_the_next_request_is_sent_are_not_waited_beside() -> None:
    class Arriving:
        """What `fetch_records` needs, with a response that comes in that very moment."""

        _reset_task = None
        _manager = SimpleNamespace(wait_for=None)

        def __init__(self) -> None:
            self._fetch_futures: deque[Any] = deque()
            self._completed_fetches: list[str] = []
            self._net = SimpleNamespace(run=lambda _, wakeup, __: self.waits.append(wakeup.is_done))
            self.waits: list[bool] = []

        def send_fetches(self) -> None:
            self._completed_fetches.append("a response")
            self._fetch_futures.append(import_module("kafka.future").Future())

        def fetched_records(self, *_: object, **__: object) -> tuple[list[str], bool]:
            found, self._completed_fetches = self._completed_fetches, []
            return found, False

    fetch_records = import_module("kafka.consumer.fetcher").Fetcher.fetch_records
    as_it_is, mended = Arriving(), Arriving()
    see_what_has_arrived(mended, import_module("kafka.future").Future().success(None))
    assert fetch_records(as_it_is, timeout_ms=1) == fetch_records(mended, timeout_ms=1) == (["a response"], False)
    assert (as_it_is.waits, mended.waits) == ([False], [True])


@pytest.mark.parametrize("mended", [False, True])
def test_a_member_joins_to_the_end_however_little_time_a_poll_has(kafka_cluster: KafkaCluster, mended: bool) -> None:
    bus = KafkaBus(kafka_cluster.bootstrap_servers)
    topic = unique("joined")
    bus.create_topics([TopicSpec(topic, 2, {})])
    bus.close(5.0)
    client = import_module("kafka").KafkaConsumer(
        bootstrap_servers=kafka_cluster.bootstrap_servers, group_id=unique("group"), enable_auto_commit=False
    )
    coordinator = client._coordinator

    def news() -> list[Any]:
        """What was divided, and what there is."""
        return [coordinator._assignment_snapshot, coordinator._metadata_snapshot]

    try:
        if mended:
            ConsumerSession(client, [topic])
        else:
            client.subscribe([topic])
        divided = {topic: {0, 1}}
        eventually(lambda: client.poll(200) == {} and coordinator.stable() and news() == [divided] * 2, "not joined")
        coordinator._assignment_snapshot = {topic: {0}}  # as it is when partitions have come since
        client.poll(0)
        assert coordinator.rebalance_in_progress()
        eventually(lambda: coordinator._join_task.is_done or Event().wait(0.02), "no answer came")
        for _ in range(3):
            client.poll(200)
        assert coordinator.stable() is mended, "the library joins to the end now" if not mended else "still joining"
        assert coordinator._heartbeat_enabled is mended
    finally:
        client.close()


def test_what_goes_out_together_wakes_the_thread_that_sends_once(kafka_cluster: KafkaCluster) -> None:
    bus = KafkaBus(kafka_cluster.bootstrap_servers)
    bus.create_topics([TopicSpec("wakes", 6, {})])
    bus.close(5.0)
    client = import_module("kafka").KafkaProducer(bootstrap_servers=kafka_cluster.bootstrap_servers, linger_ms=10_000)
    wake, woken = client._sender.wakeup, []
    client._sender.wakeup = lambda: woken.append(1)
    try:
        client.partitions_for("wakes")
        woken.clear()
        with let_sleep(client._sender):
            first = [client.send("wakes", b"1", partition=number) for number in range(3)]
        assert woken == []
        others = [client.send("wakes", b"2", partition=number) for number in range(3, 6)]
        assert woken == [1, 1, 1], "the library does so still"
        client._sender.wakeup = wake
        client.flush(10)
        assert all(future.succeeded() for future in [*first, *others])
    finally:
        client._sender.wakeup = wake
        client.close()


def test_what_waits_in_the_sockets_of_a_producer_is_thrown_away_when_they_are_closed(
    kafka_cluster: KafkaCluster,
) -> None:
    """A network that heals would deliver it, long after the client was cut off."""
    bus, topic = KafkaBus(kafka_cluster.bootstrap_servers), unique("topic")
    bus.create_topics([TopicSpec(topic, 1, {})])
    bus.close(5.0)
    clients = KafkaClients(kafka_cluster.bootstrap_servers, KafkaSecurity(), KafkaTimings())
    session = clients.open_producer("p", None, 1_000_000)
    try:
        session.wait([session.send(Outgoing(topic, b"k", b"v"), 0)], time.monotonic() + 30.0)
        connections = session._client._sender._client._manager._conns.values()
        sockets = [one.transport._sock for one in connections if one.transport is not None]
        lingering = [one.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) for one in sockets]
        assert lingering and all(struct.unpack("ii", one) == (1, 0) for one in lingering)
    finally:
        session.close(5.0)
