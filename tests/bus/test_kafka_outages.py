"""Brokers that are frozen, killed, started again or not there yet: nothing is lost, doubled or reordered, and nothing
waits longer than it was told to.
"""

import gc
import ssl
import time
from collections.abc import Iterator
from threading import Event

import pytest

from ordersaga.bus.kafka import KafkaBus, KafkaSecurity, KafkaTimings
from ordersaga.bus.protocol import BusUnavailable, Outgoing, Published, Record
from ordersaga.delivery.consume import ConsumeLoop
from ordersaga.local.kafka import KafkaCluster
from tests.bus.conftest import new_topic
from tests.bus.reading import (
    all_acknowledged,
    commit,
    eventually,
    meanwhile,
    member,
    nothing_comes,
    publish_until_acknowledged,
    published,
    read,
    values,
)
from tests.waiting import until

KEYS = 5
# The Kafka client leaves a socket to the garbage collector whose broker came or went during the first exchange.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Here, and not in a test that has no broker to blame."""
    yield
    gc.collect()


@pytest.fixture
def bus(breakable: KafkaCluster, impatient: KafkaTimings) -> KafkaBus:
    return KafkaBus(breakable.bootstrap_servers, timings=impatient)


def numbered(topic: str, first: int, count: int) -> list[Outgoing]:
    return [Outgoing(topic, b"key-%d" % (n % KEYS), b"%d" % n) for n in range(first, first + count)]


def numbers(records: list[Record], key: bytes) -> list[int]:
    return [int(record.value or b"") for record in records if record.key == key]


def all_ten_are_there_once(bus: KafkaBus, group: str, topic: str) -> None:
    with member(bus, group, topic) as consumer:
        assert len(read(consumer, 10)) == 10
        assert nothing_comes(consumer)
    bus.close(5)


def test_an_unknown_record_that_is_published_again_is_written_once(
    breakable: KafkaCluster, bus: KafkaBus, group: str
) -> None:
    topic = new_topic(bus)
    producer = bus.producer(client_id="p")
    assert all_acknowledged(producer.publish(numbered(topic, 0, 5), 10))
    breakable.nodes[0].freeze()
    try:
        began = time.monotonic()
        outcomes = producer.publish(numbered(topic, 5, 5), 0.5)
        assert time.monotonic() - began < 2
        assert published(outcomes) == [Published.UNKNOWN] * 5
    finally:
        breakable.nodes[0].thaw()

    publish_until_acknowledged(producer, numbered(topic, 5, 5))

    assert not bus.counters["producer_rebuilds.stuck"]
    all_ten_are_there_once(bus, group, topic)


def test_what_a_stuck_producer_wrote_after_all_is_found_and_not_written_again(
    breakable: KafkaCluster, bus: KafkaBus, group: str
) -> None:
    topic = new_topic(bus)
    producer = bus.producer(client_id="p")
    producer.publish(numbered(topic, 0, 5), 10)
    breakable.nodes[0].freeze()
    try:
        wanted = numbered(topic, 5, 5)

        def is_dropped() -> bool:
            assert published(producer.publish(wanted, 0.3)) == [Published.UNKNOWN] * 5
            return bus.counters["producer_rebuilds.stuck"] == 1

        eventually(is_dropped, "the client was not dropped")
    finally:
        breakable.nodes[0].thaw()

    publish_until_acknowledged(producer, wanted)

    assert bus.counters["producer_records_found_written"] == 5
    all_ten_are_there_once(bus, group, topic)


def test_what_a_producer_had_when_it_was_cut_off_is_written_once_at_most(
    breakable: KafkaCluster, bus: KafkaBus, group: str
) -> None:
    topic = new_topic(bus)
    producer = bus.producer(client_id="p")
    producer.publish(numbered(topic, 0, 5), 10)
    breakable.nodes[0].freeze()
    try:
        wanted = numbered(topic, 5, 5)
        assert published(producer.publish(wanted, 0.3)) == [Published.UNKNOWN] * 5
        assert producer.cut_off(), "something is in doubt"
        assert published(producer.publish(wanted, 0.3)) == [Published.UNKNOWN] * 5
    finally:
        breakable.nodes[0].thaw()

    publish_until_acknowledged(producer, wanted)

    assert not producer.cut_off()
    all_ten_are_there_once(bus, group, topic)


def test_a_broker_killed_while_records_are_published_loses_and_doubles_none(
    breakable: KafkaCluster, bus: KafkaBus, group: str
) -> None:
    topic = new_topic(bus)
    producer = bus.producer(client_id="p")
    producer.publish(numbered(topic, 0, 5), 10)
    some_are_out = Event()

    def publish_in_batches() -> None:
        for first in range(5, 405, 20):
            publish_until_acknowledged(producer, numbered(topic, first, 20))
            some_are_out.set()

    with meanwhile(publish_in_batches):
        assert some_are_out.wait(10)
        breakable.nodes[0].kill()
        breakable.nodes[0].start()
        breakable.nodes[0].wait_ready()

    with member(bus, group, topic) as consumer:
        found = read(consumer, 405)
        assert nothing_comes(consumer)
    for key in range(KEYS):
        assert numbers(found, b"key-%d" % key) == list(range(key, 405, KEYS))
    bus.close(5)


def test_a_consumer_lives_through_the_death_of_its_broker(breakable: KafkaCluster, bus: KafkaBus, group: str) -> None:
    topic = new_topic(bus)
    producer = bus.producer(client_id="p")
    producer.publish(numbered(topic, 0, 100), 10)
    with member(bus, group, topic) as consumer:
        found = read(consumer, 50)
        commit(consumer, found)
        breakable.nodes[0].kill()
        commit(consumer, found)

        def says_so() -> bool:
            try:
                found.extend(consumer.poll(100, 0.5))
            except BusUnavailable:
                return True
            return False

        eventually(says_so, "no broker was there and the consumer did not say so")
        breakable.nodes[0].start()
        breakable.nodes[0].wait_ready()
        publish_until_acknowledged(producer, numbered(topic, 100, 50))
        everything = {b"%d" % n for n in range(150)}

        def all_came() -> bool:
            try:
                found.extend(consumer.poll(100, 0.5))
            except BusUnavailable:
                return False
            return everything <= set(values(found))

        eventually(all_came, "records are missing")
        commit(consumer, found)
        assert not bus.counters["consumer_rebuilds.error"]
    for key in range(KEYS):
        # What was not committed in time may have come twice.
        first_time = list(dict.fromkeys(numbers(found, b"key-%d" % key)))
        assert first_time == list(range(key, 150, KEYS))
    bus.close(5)


def test_a_frozen_broker_has_told_no_end_since_it_froze(breakable: KafkaCluster, bus: KafkaBus, group: str) -> None:
    topic = new_topic(bus)
    assert all_acknowledged(bus.producer(client_id="p").publish(numbered(topic, 0, 5), 10))
    with member(bus, group, topic) as consumer:

        def told_since(moment: float) -> bool:
            return not consumer.poll(10, 0.1) and set(consumer.lag(moment)) == set(consumer.assigned())

        read(consumer, 5)
        eventually(lambda: told_since(0.0), "told")
        breakable.nodes[0].freeze()
        try:
            frozen_at = time.monotonic()
            for _ in range(5):
                assert not consumer.poll(10, 0.1), "which is no sign that there is nothing"
                assert not consumer.lag(frozen_at)
        finally:
            breakable.nodes[0].thaw()
        eventually(lambda: told_since(frozen_at), "told again")
        assert sum(consumer.lag(frozen_at).values()) == 0
    bus.close(5)


def test_while_a_broker_is_frozen_a_loop_does_not_take_silence_for_an_answer(
    breakable: KafkaCluster, group: str
) -> None:
    """Its connection stands, so the client has nothing to say for half a minute."""
    bus = KafkaBus(breakable.bootstrap_servers)
    topic = new_topic(bus)
    handled: list[Record] = []
    consumer = bus.consumer(group=group, topics=[topic], client_id="c")
    loop = ConsumeLoop(consumer, handled.extend, lambda record, error: None)
    loop.start()
    try:
        until(lambda: loop.caught_up, "it has caught up")
        breakable.nodes[0].freeze()
        try:
            frozen_at = time.monotonic()
            until(lambda: not loop.caught_up, "it knows that it does not know")
            until(lambda: loop.cut_off, "no broker answers")
            until(lambda: not loop.health().healthy, "it says so")
            assert time.monotonic() - frozen_at < 20, "well before a service is expected to have answered"
            assert loop.health().detail == "for 5 s or more no broker has told how much there is to read"
        finally:
            breakable.nodes[0].thaw()
        until(lambda: loop.caught_up and loop.health().healthy, "it has caught up again")
        assert not loop.cut_off
        assert all_acknowledged(bus.producer(client_id="p").publish(numbered(topic, 0, 5), 30))
        until(lambda: len(handled) == 5, "it reads on")
    finally:
        loop.stop(5)
        bus.close(5)


def test_what_is_built_without_a_broker_works_as_soon_as_there_is_one(
    breakable: KafkaCluster, impatient: KafkaTimings, group: str
) -> None:
    with_broker = KafkaBus(breakable.bootstrap_servers)
    topic = new_topic(with_broker)
    with_broker.close(5)
    breakable.nodes[0].kill()

    bus = KafkaBus(breakable.bootstrap_servers, timings=impatient)
    producer = bus.producer(client_id="p")
    with member(bus, group, topic) as consumer:
        with pytest.raises(BusUnavailable, match=r"ECONNREFUSED|refused|[Cc]onnect"):
            bus.check(3)
        began = time.monotonic()
        (outcome,) = producer.publish([Outgoing(topic, b"k", b"1")], 0.5)
        assert outcome.published is Published.UNKNOWN and "not sent" in outcome.error
        with pytest.raises(BusUnavailable):
            consumer.poll(1, 0.5)
        assert time.monotonic() - began < 3

        breakable.nodes[0].start()
        breakable.nodes[0].wait_ready()
        publish_until_acknowledged(producer, [Outgoing(topic, b"k", b"1")])
        assert values(read(consumer, 1)) == [b"1"]
        bus.check(5)
    bus.close(5)


def test_closing_in_an_outage_takes_no_longer_than_allowed(breakable: KafkaCluster, bus: KafkaBus, group: str) -> None:
    topic = new_topic(bus)
    producer = bus.producer(client_id="p")
    producer.publish(numbered(topic, 0, 5), 10)
    consumer = bus.consumer(group=group, topics=[topic], client_id="c")
    commit(consumer, read(consumer, 5))
    breakable.nodes[0].freeze()
    try:
        producer.publish(numbered(topic, 5, 5), 0.2)
        began = time.monotonic()
        consumer.close(1)
        producer.close(1)
        bus.close(1)
        assert time.monotonic() - began < 4
    finally:
        breakable.nodes[0].thaw()


def test_the_cause_of_a_connection_that_fails_is_told(breakable: KafkaCluster, impatient: KafkaTimings) -> None:
    """Encryption towards a port that has none."""
    security = KafkaSecurity(protocol="SSL", ssl_context=ssl.create_default_context())
    bus = KafkaBus(breakable.bootstrap_servers, security=security, timings=impatient)
    with pytest.raises(BusUnavailable, match=r"SSL|[Hh]andshake"):
        bus.check(3)
    bus.close(1)
