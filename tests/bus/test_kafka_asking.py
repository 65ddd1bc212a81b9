"""Several threads ask one admin client: what one of them does to it is no surprise to the others. What fails while a
client is opened leaves none behind.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from threading import Event
from types import SimpleNamespace

import pytest

from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.kafka_admin import AdminSession
from ordersaga.bus.kafka_client import KafkaClients, place
from ordersaga.bus.kafka_settings import KafkaSecurity, KafkaTimings
from ordersaga.bus.protocol import BusUnavailable, Read


class Admin:
    """Never answers; closed, it fails as the library does."""

    def __init__(self) -> None:
        self.asked, self.closed = Event(), Event()

    def describe_topics(self) -> Iterator[object]:
        self.asked.set()
        assert self.closed.wait(30.0)
        raise RuntimeError("closed!")

    def close(self) -> None:
        self.closed.set()


class Broken(Admin):
    def describe_topics(self) -> Iterator[object]:
        raise RuntimeError("a bug of ours")


def test_whoever_asks_a_client_that_another_gives_up_is_told_that_nobody_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admin = Admin()
    monkeypatch.setattr(KafkaClients, "open_admin", lambda *_: admin)
    bus = KafkaBus("127.0.0.1:1")
    with ThreadPoolExecutor(1) as threads:
        patient = threads.submit(bus.check, 30.0)
        assert admin.asked.wait(30.0)
        with pytest.raises(BusUnavailable, match="no answer in time"):
            bus.check(0.1)
        with pytest.raises(BusUnavailable, match="given up"):
            patient.result(30.0)
    bus.close(1.0)


def test_what_fails_with_a_client_that_is_there_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KafkaClients, "open_admin", lambda *_: Broken())
    bus = KafkaBus("127.0.0.1:1")
    with pytest.raises(RuntimeError, match="a bug of ours"):
        bus.check(5.0)
    bus.close(1.0)


class Unsubscribed:
    """Connected, and no broker tells it of a topic."""

    def __init__(self) -> None:
        self.closed = Event()
        self._fetcher = SimpleNamespace(_parse_fetched_data=None, _append=None)
        self._subscription = SimpleNamespace(request_offset_reset=None, seek=None)

    def partitions_for_topic(self, topic: str) -> object:
        raise import_module("kafka.errors").KafkaConnectionError("socket disconnected")

    def close(self, **_: object) -> None:
        self.closed.set()


def test_a_consumer_that_is_connected_and_cannot_subscribe_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Unsubscribed()
    clients = KafkaClients("127.0.0.1:1", KafkaSecurity(), KafkaTimings())
    monkeypatch.setattr(clients, "_open", lambda *_, **__: client)
    with pytest.raises(BusUnavailable, match="socket disconnected"):
        clients.open_consumer("c", "g", ["t"], None)
    assert client.closed.wait(10.0)


def test_the_lag_of_a_partition_that_no_broker_tells_of_is_left_out() -> None:
    partitions = [{"error_code": 0, "leader_id": 1, "replica_nodes": [1], "isr_nodes": [1]}] * 2
    client = SimpleNamespace(
        describe_topics=lambda: [{"name": "t", "topic_id": "t", "error_code": 0, "partitions": partitions}],
        list_group_offsets=lambda asked: {group: {} for group in asked},
        list_partition_offsets=lambda asked: {place("t", 0): SimpleNamespace(offset=7 if -1 in asked.values() else 2)},
    )
    assert AdminSession(client).group_reads("g", ["t"]) == {("t", 0): Read(2, 7)}
