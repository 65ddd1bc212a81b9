"""Members of a group on real brokers: a restart under one name, a listener that fails, what is logged."""

import logging
import time

import pytest

from ordersaga.bus import kafka_client
from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.kafka_settings import KafkaTimings
from ordersaga.local.kafka import KafkaCluster
from tests.bus.conftest import new_topic, unique
from tests.bus.reading import commit, member, numbered, poll_until, publish, read


def test_a_restart_under_the_same_name_has_its_partitions_back_at_once(kafka_cluster: KafkaCluster) -> None:
    bus = KafkaBus(kafka_cluster.bootstrap_servers, timings=KafkaTimings(session_timeout_ms=100_000))
    topic, group = new_topic(bus), unique("group")
    with member(bus, group, topic, instance_id="a") as stays:
        with member(bus, group, topic, instance_id="b") as leaves:
            poll_until(lambda: len(stays.assigned()) == len(leaves.assigned()) == 2, "both have theirs", stays, leaves)
            kept, had = set(stays.assigned()), set(leaves.assigned())
        # One with a name does not leave when it ends: nothing moves while it is away.
        with member(bus, group, topic, instance_id="b") as back:
            began = time.monotonic()
            poll_until(lambda: set(back.assigned()) == had, "it has its own again", stays, back)
            took_seconds = time.monotonic() - began
            assert set(stays.assigned()) == kept
    assert took_seconds < 50.0, "the session lasts a hundred: it did not wait for that to end"
    bus.close(5)


def test_a_listener_that_fails_hurts_nobody(
    kafka_bus: KafkaBus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Unfenced, the client would raise in every poll for ever, keep its partitions, and give none to a newcomer."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    topic, group = new_topic(kafka_bus), unique("group")
    monkeypatch.setattr(kafka_client.ConsumerSession, "took_place", broken)
    with caplog.at_level(logging.ERROR), member(kafka_bus, group, topic) as first:
        publish(kafka_bus, *numbered(topic, 20))
        commit(first, read(first, 20))
        with member(kafka_bus, group, topic) as second:
            poll_until(lambda: len(first.assigned()) == len(second.assigned()) == 2, "both have some", first, second)
    assert "a rebalance could not be noted" in caplog.text


def test_nothing_that_a_client_logs_at_debug_holds_keys_values_or_passwords(
    kafka_bus: KafkaBus, caplog: pytest.LogCaptureFixture
) -> None:
    """Unfenced, the library logs each record it sends at DEBUG, and with SASL PLAIN the password."""
    caplog.set_level(logging.DEBUG)
    topic = new_topic(kafka_bus)
    found = numbered(topic, 3)
    publish(kafka_bus, *found)
    with member(kafka_bus, unique("group"), topic) as consumer:
        read(consumer, 3)
    assert logging.getLogger("kafka").getEffectiveLevel() >= logging.INFO
    assert not any(str(record.value) in caplog.text for record in found)
