"""A broker that refuses one record ruins the client for all topics. What remains of that for whoever publishes."""

import time

from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.protocol import Outgoing, Published
from tests.bus.conftest import new_topic, unique
from tests.bus.reading import all_acknowledged, publish, published, read_all, values


def test_only_the_record_that_a_broker_finds_invalid_is_refused(kafka_bus: KafkaBus, group: str) -> None:
    """A compacted topic takes no record without a key."""
    compacted = new_topic(kafka_bus, partitions=1, cleanup_policy="compact")
    beside = new_topic(kafka_bus)
    good = [Outgoing(compacted, b"key-%d" % n, b"%d" % n) for n in range(20)]
    others = [Outgoing(beside, b"key-%d" % n, b"%d" % n) for n in range(20)]
    producer = kafka_bus.producer(client_id="p")

    outcomes = producer.publish([*good[:9], Outgoing(compacted, b"", b"bad"), *good[9:], *others], 20)

    assert [i for i, outcome in enumerate(published(outcomes)) if outcome is Published.REFUSED] == [9]
    assert published(outcomes).count(Published.ACKNOWLEDGED) == 40
    assert "InvalidRecord" in outcomes[9].error
    assert values(read_all(kafka_bus, compacted, 20, group)) == [b"%d" % n for n in range(20)]
    assert sorted(filter(None, values(read_all(kafka_bus, beside, 20, group)))) == sorted(r.value for r in others)
    assert kafka_bus.counters["producer_rebuilds.fatal"] >= 1
    assert all_acknowledged(producer.publish([Outgoing(compacted, b"k", b"later")], 10))
    producer.close(5)


def test_only_the_record_that_a_topic_finds_too_large_is_refused(kafka_bus: KafkaBus, group: str) -> None:
    small = new_topic(kafka_bus, partitions=1, max_message_bytes="2000")
    good = [Outgoing(small, b"key-%d" % n, b"%d" % n) for n in range(10)]
    large = Outgoing(small, b"large", bytes(5_000))

    outcomes = publish(kafka_bus, *good[:5], large, *good[5:])

    assert [i for i, outcome in enumerate(published(outcomes)) if outcome is not Published.ACKNOWLEDGED] == [5]
    assert outcomes[5].published is Published.REFUSED
    assert values(read_all(kafka_bus, small, 10, group)) == [b"%d" % n for n in range(10)]


def test_a_lane_does_not_go_on_past_a_record_that_a_broker_refused(kafka_bus: KafkaBus, group: str) -> None:
    small = new_topic(kafka_bus, partitions=1, max_message_bytes="2000")
    lane = [Outgoing(small, b"a", value) for value in (b"1", bytes(5_000), b"3", b"4")]

    outcomes = publish(kafka_bus, *lane, Outgoing(small, b"b", b"5"))

    assert published(outcomes) == [
        Published.ACKNOWLEDGED,
        Published.REFUSED,
        Published.UNKNOWN,
        Published.UNKNOWN,
        Published.ACKNOWLEDGED,
    ]
    assert values(read_all(kafka_bus, small, 2, group)) == [b"1", b"5"]


def test_several_bad_records_in_one_call_are_all_found(kafka_bus: KafkaBus, group: str) -> None:
    small = new_topic(kafka_bus, partitions=2, max_message_bytes="2000")
    bad = {3, 4, 17}
    records = [Outgoing(small, b"key-%d" % n, bytes(5_000) if n in bad else b"%d" % n) for n in range(20)]

    outcomes = publish(kafka_bus, *records)

    assert {i for i, outcome in enumerate(published(outcomes)) if outcome is Published.REFUSED} == bad
    assert published(outcomes).count(Published.ACKNOWLEDGED) == 17
    assert len(read_all(kafka_bus, small, 17, group)) == 17


def test_a_missing_topic_costs_no_waiting(kafka_bus: KafkaBus) -> None:
    missing = unique("missing")
    topic = new_topic(kafka_bus)
    producer = kafka_bus.producer(client_id="p")
    producer.publish([Outgoing(topic, b"k", b"")], 10)
    began = time.monotonic()
    outcomes = producer.publish(
        [*[Outgoing(missing, b"%d" % n, b"") for n in range(50)], Outgoing(topic, b"k", b"")], 60
    )
    assert time.monotonic() - began < 20
    assert published(outcomes) == [Published.REFUSED] * 50 + [Published.ACKNOWLEDGED]
    producer.close(5)


def test_records_may_be_compressed(kafka_bus: KafkaBus, kafka_cluster: object, group: str) -> None:
    topic = new_topic(kafka_bus)
    bus = KafkaBus(kafka_cluster.bootstrap_servers, compression="gzip")  # type: ignore[attr-defined]
    assert all_acknowledged(publish(bus, *[Outgoing(topic, b"k", b"x" * 1_000) for _ in range(50)]))
    bus.close(5)
    assert values(read_all(kafka_bus, topic, 50, group)) == [b"x" * 1_000] * 50
