"""What every bus promises: `bus.protocol`, sentence by sentence, over both implementations."""

import time
from contextlib import suppress
from threading import Event

import pytest

from ordersaga.bus.partitioner import partition_of
from ordersaga.bus.protocol import (
    Bus,
    BusError,
    BusRefused,
    BusUnavailable,
    Outgoing,
    Published,
    Record,
    TopicSpec,
)
from tests.bus.conftest import PARTITIONS, grow, new_topic, unique
from tests.bus.reading import (
    PATIENCE_SECONDS,
    all_acknowledged,
    commit,
    eventually,
    meanwhile,
    member,
    numbered,
    publish,
    publish_until_acknowledged,
    published,
    read,
    read_all,
    values,
)


def test_a_record_is_delivered_as_it_was_handed_over(bus: Bus, topic: str, group: str) -> None:
    before_ms = time.time_ns() // 1_000_000
    record = Outgoing(topic, b"\x00key", b"\xff\x00value", (("traceparent", b"00-1"), ("empty", b"")))
    assert all_acknowledged(publish(bus, record))

    (found,) = read_all(bus, topic, 1, group)

    assert (found.topic, found.key, found.value, found.headers) == (topic, record.key, record.value, record.headers)
    assert 0 <= found.partition < PARTITIONS and found.offset == 0
    assert before_ms <= found.timestamp_ms <= time.time_ns() // 1_000_000


def test_an_empty_value_is_a_value(bus: Bus, topic: str, group: str) -> None:
    publish(bus, Outgoing(topic, b"k", b""))
    assert values(read_all(bus, topic, 1, group)) == [b""]


def test_a_record_may_have_no_value_at_all(bus: Bus, topic: str, group: str) -> None:
    publish(bus, Outgoing(topic, b"k", b"", tombstone=True))
    assert values(read_all(bus, topic, 1, group)) == [None]


def test_records_with_one_key_keep_their_order_on_one_partition(bus: Bus, topic: str, group: str) -> None:
    records = numbered(topic, 200)
    assert all_acknowledged(publish(bus, *records))

    found = read_all(bus, topic, 200, group)

    for key in {record.key for record in records}:
        of_key = [record for record in found if record.key == key]
        assert values(of_key) == [record.value for record in records if record.key == key]
        assert len({record.partition for record in of_key}) == 1


def test_both_buses_send_a_key_to_the_same_partition(bus: Bus, topic: str, group: str) -> None:
    publish(bus, *[Outgoing(topic, b"saga-%d" % n, b"") for n in (1, 2, 3, 5)])
    found = {record.key: record.partition for record in read_all(bus, topic, 4, group)}
    assert found == {b"saga-1": 1, b"saga-2": 2, b"saga-3": 0, b"saga-5": 3}


def test_a_producer_knows_where_it_sends_a_key(bus: Bus, topic: str, group: str) -> None:
    producer = bus.producer(client_id="t")
    try:
        publish_until_acknowledged(producer, numbered(topic, 20))
        found = {record.key: record.partition for record in read_all(bus, topic, 20, group)}
        assert found == {key: producer.partition(topic, key or b"") for key in found}
        assert producer.partition(topic, b"") is None and producer.partition("no-such-topic", b"k") is None
    finally:
        producer.close(5.0)


def test_records_without_a_key_are_spread_and_come_without_one(bus: Bus, topic: str, group: str) -> None:
    found: list[Record] = []

    def each_has_some() -> bool:
        # A partition counts once the client has heard that it has a leader, which takes it a while for a new topic.
        assert all_acknowledged(publish(bus, *[Outgoing(topic, b"", b"%d" % n) for n in range(60)]))
        found.extend(read(consumer, 60))
        return len({record.partition for record in found}) == PARTITIONS

    with member(bus, group, topic) as consumer:
        eventually(each_has_some, "each partition is written to")
    assert {record.key for record in found} == {None}


def test_a_topic_that_does_not_exist_is_refused_and_others_are_not(bus: Bus, topic: str) -> None:
    outcomes = publish(bus, Outgoing("no-such-topic", b"a", b""), Outgoing(topic, b"b", b""))
    assert published(outcomes) == [Published.REFUSED, Published.ACKNOWLEDGED]
    assert "no-such-topic" in outcomes[0].error
    assert "no-such-topic" not in bus.partitions()


def test_a_record_that_is_too_large_is_refused_and_others_are_not(bus: Bus, topic: str, group: str) -> None:
    large = Outgoing(topic, b"a", b"x" * 1_000_001)
    outcomes = publish(bus, large, Outgoing(topic, b"b", b"small"))
    assert published(outcomes) == [Published.REFUSED, Published.ACKNOWLEDGED]
    assert values(read_all(bus, topic, 1, group)) == [b"small"]


def test_what_follows_a_refused_record_in_its_lane_is_held_back(bus: Bus, topic: str, group: str) -> None:
    outcomes = publish(
        bus,
        Outgoing(topic, b"a", b"1"),
        Outgoing(topic, b"a", b"x" * 1_000_001),
        Outgoing(topic, b"a", b"3"),
        Outgoing(topic, b"b", b"4"),
    )
    assert published(outcomes) == [
        Published.ACKNOWLEDGED,
        Published.REFUSED,
        Published.UNKNOWN,
        Published.ACKNOWLEDGED,
    ]
    assert sorted(filter(None, values(read_all(bus, topic, 2, group)))) == [b"1", b"4"]


def test_a_producer_that_is_cut_off_sends_what_comes_after(bus: Bus, topic: str, group: str) -> None:
    producer = bus.producer(client_id="p")
    assert not producer.cut_off()
    for value in (b"1", b"2"):
        assert all_acknowledged(producer.publish([Outgoing(topic, b"k", value)], 10))
        assert not producer.cut_off(), "nothing is in doubt"
    assert values(read_all(bus, topic, 2, group)) == [b"1", b"2"]
    producer.close(5)


def test_a_closed_producer_sends_nothing_and_says_so(bus: Bus, topic: str) -> None:
    producer = bus.producer(client_id="p")
    producer.close(1)
    producer.close(1)
    (outcome,) = producer.publish([Outgoing(topic, b"k", b"v")], 1)
    assert outcome.published is Published.UNKNOWN and "closed" in outcome.error


def test_several_threads_may_publish_through_one_producer(bus: Bus, topic: str, group: str) -> None:
    producer = bus.producer(client_id="p")

    def work(name: bytes) -> None:
        for n in range(20):
            assert all_acknowledged(producer.publish([Outgoing(topic, name, b"%d" % n)], 20))

    with meanwhile(lambda: work(b"a")), meanwhile(lambda: work(b"b")), meanwhile(lambda: work(b"c")):
        pass
    producer.close(5)

    found = read_all(bus, topic, 60, group)
    for name in (b"a", b"b", b"c"):
        assert [record.value for record in found if record.key == name] == [b"%d" % n for n in range(20)]


def test_a_record_is_delivered_again_until_its_offset_is_committed(bus: Bus, topic: str, group: str) -> None:
    publish(bus, *numbered(topic, 20))
    first = read_all(bus, topic, 20, group)

    with member(bus, group, topic) as consumer:
        again = read(consumer, 20)
        assert sorted(values(again)) == sorted(values(first))  # type: ignore[type-var]
        commit(consumer, again)

    publish(bus, Outgoing(topic, b"key-1", b"later"))
    with member(bus, group, topic) as consumer:
        assert values(read(consumer, 1)) == [b"later"]


def test_only_what_was_committed_is_not_delivered_again(bus: Bus, topic: str, group: str) -> None:
    publish(bus, *[Outgoing(topic, b"k", b"%d" % n) for n in range(10)])
    with member(bus, group, topic) as consumer:
        commit(consumer, read(consumer, 10)[:4])
    assert values(read_all(bus, topic, 6, group)) == [b"4", b"5", b"6", b"7", b"8", b"9"]


def test_a_consumer_reads_several_topics(bus: Bus, topic: str, group: str) -> None:
    other = new_topic(bus)
    publish(bus, Outgoing(topic, b"k", b"1"), Outgoing(other, b"k", b"2"))
    with member(bus, group, topic, other) as consumer:
        assert {(record.topic, record.value) for record in read(consumer, 2)} == {(topic, b"1"), (other, b"2")}


def test_a_poll_returns_no_more_than_asked_for_and_loses_nothing(bus: Bus, topic: str, group: str) -> None:
    publish(bus, *[Outgoing(topic, b"k", b"%d" % n) for n in range(30)])
    with member(bus, group, topic) as consumer:
        found = read(consumer, 1)
        batch = list(consumer.poll(7, 10))
        assert len(batch) <= 7
        found += batch
        assert values(found + read(consumer, 30 - len(found), max_records=5)) == [b"%d" % n for n in range(30)]


def test_rewinding_delivers_again_what_was_not_committed(bus: Bus, topic: str, group: str) -> None:
    publish(bus, *[Outgoing(topic, b"k", b"%d" % n) for n in range(10)])
    with member(bus, group, topic) as consumer:
        first = read(consumer, 10)
        consumer.rewind()
        assert values(read(consumer, 10)) == values(first)
        commit(consumer, first[:6])
        consumer.rewind()
        assert values(read(consumer, 4)) == [b"6", b"7", b"8", b"9"]


def test_rewinding_at_the_start_is_harmless(bus: Bus, topic: str, group: str) -> None:
    publish(bus, Outgoing(topic, b"k", b"1"))
    with member(bus, group, topic) as consumer:
        consumer.rewind()
        assert values(read(consumer, 1)) == [b"1"]


def test_a_waiting_poll_returns_as_soon_as_a_record_comes(bus: Bus, topic: str, group: str) -> None:
    producer = bus.producer(client_id="p")
    publish(bus, Outgoing(topic, b"k", b"first"))
    with member(bus, group, topic) as consumer:
        read(consumer, 1)
        waiting = Event()

        def later() -> None:
            waiting.wait(10)
            producer.publish([Outgoing(topic, b"k", b"second")], 10)

        with meanwhile(later):
            waiting.set()
            began = time.monotonic()
            (record,) = consumer.poll(10, 60)
            assert record.value == b"second"
            assert time.monotonic() - began < 20
    producer.close(5)


def test_a_poll_that_finds_nothing_returns_at_its_timeout(bus: Bus, topic: str, group: str) -> None:
    with member(bus, group, topic) as consumer:
        publish(bus, Outgoing(topic, b"k", b"1"))
        read(consumer, 1)
        began = time.monotonic()
        assert not list(consumer.poll(10, 0.5))
        assert 0.3 < time.monotonic() - began < 1.5
        began = time.monotonic()
        assert not list(consumer.poll(10, 0))
        assert time.monotonic() - began < 0.5


def test_a_waiting_poll_can_be_woken(bus: Bus, topic: str, group: str) -> None:
    with member(bus, group, topic) as consumer:
        publish(bus, Outgoing(topic, b"k", b"1"))
        read(consumer, 1)
        began = time.monotonic()
        with meanwhile(consumer.wake):
            assert not list(consumer.poll(10, 60))
        assert time.monotonic() - began < 20


def test_lag_counts_what_was_not_delivered(bus: Bus, topic: str, group: str) -> None:
    publish(bus, *[Outgoing(topic, b"k", b"%d" % n) for n in range(5)])
    with member(bus, group, topic) as consumer:
        read(consumer, 2)
        assert sum(consumer.lag().values()) == 3
        read(consumer, 3)
        assert sum(consumer.lag().values()) == 0


def test_lag_tells_what_is_known_since_a_moment(bus: Bus, topic: str, group: str) -> None:
    publish(bus, *numbered(topic, 60, keys=60))
    with member(bus, group, topic) as consumer:
        read(consumer, 60)
        now = time.monotonic()
        eventually(lambda: consumer.lag(now).keys() == set(consumer.assigned()), "every partition's end is known anew")
        assert sum(consumer.lag(now).values()) == 0


def test_lag_counts_what_waits_in_partitions_whose_turn_has_not_come(bus: Bus, topic: str, group: str) -> None:
    """The client has them already, and says nothing of them: of a line of 4,500 answers it told of 300."""
    count = 600
    with member(bus, group, topic) as consumer:
        publish(bus, *numbered(topic, 60, keys=60))
        read(consumer, 60)  # from here on it knows where each partition ends
        publish(bus, *numbered(topic, count, keys=60))
        delivered = 0
        until = time.monotonic() + PATIENCE_SECONDS
        while sum(consumer.lag().values()) != count - delivered:
            assert delivered < count / 2 and time.monotonic() < until, consumer.lag()
            delivered += len(read(consumer, 1))


def test_lag_counts_what_came_while_nothing_was_asked_for(bus: Bus, topic: str, group: str) -> None:
    """A client that has much in hand asks for no more, and knew of no more."""
    with member(bus, group, topic) as consumer:
        publish(bus, *numbered(topic, 60, keys=60))
        read(consumer, 60)  # from here on it knows where each partition ends
        publish(bus, *numbered(topic, 60, keys=60))
        read(consumer, 1)
        publish(bus, *numbered(topic, 300, keys=60))
        eventually(lambda: sum(consumer.lag().values()) == 359, "the lag is that of all that is there")


def test_closing_ends_a_waiting_poll_and_twice_is_once(bus: Bus, topic: str, group: str) -> None:
    publish(bus, Outgoing(topic, b"k", b"1"))
    consumer = bus.consumer(group=group, topics=[topic], client_id="c")
    read(consumer, 1)
    began = time.monotonic()
    # Where closing is quicker than the poll's beginning, the poll says that the consumer is closed.
    with meanwhile(lambda: consumer.close(5)), suppress(BusError):
        assert not list(consumer.poll(10, 60))
    assert time.monotonic() - began < 20
    consumer.close(5)
    with pytest.raises(BusError, match="closed"):
        consumer.poll(1, 0.1)


def test_closing_what_never_read_is_quick(bus: Bus, topic: str, group: str) -> None:
    consumer = bus.consumer(group=group, topics=[topic], client_id="c")
    began = time.monotonic()
    consumer.close(60)
    assert time.monotonic() - began < 20


def test_a_consumer_waits_for_a_topic_that_does_not_exist_yet(bus: Bus, group: str) -> None:
    name = unique("late-topic")
    with member(bus, group, name) as consumer:
        with pytest.raises(BusUnavailable, match=name):
            consumer.poll(1, 0.5)
        assert name not in bus.partitions()
        bus.create_topics([TopicSpec(name=name, partitions=1, config={})])
        publish(bus, Outgoing(name, b"k", b"1"))
        assert values(read(consumer, 1)) == [b"1"]


def test_topics_that_exist_are_left_as_they_are(bus: Bus, topic: str) -> None:
    other = unique("topic")
    specs = [TopicSpec(name=name, partitions=2, config={"retention.ms": "600000"}) for name in (topic, other)]
    assert list(bus.create_topics(specs)) == [other]
    assert list(bus.create_topics(specs)) == []
    found = bus.partitions()
    assert (found[topic], found[other]) == (PARTITIONS, 2)


def test_a_topic_without_partitions_is_refused(bus: Bus) -> None:
    with pytest.raises(BusRefused):
        bus.create_topics([TopicSpec(name=unique("topic"), partitions=0, config={})])


def test_what_is_in_the_log_can_be_found(bus: Bus, topic: str) -> None:
    since_ms = time.time_ns() // 1_000_000 - 1_000
    record = Outgoing(topic, b"k", b"1", (("ce_id", b"7"),))
    keyless = Outgoing(topic, b"", b"2")
    publish(bus, record, keyless, *numbered(topic, 20))

    asked = [
        record,
        keyless,
        record,  # a second one like the first is not there
        Outgoing(topic, b"other", b"1", (("ce_id", b"7"),)),
        Outgoing(topic, b"k", b"1"),
        Outgoing("no-such-topic", b"k", b"1"),
    ]
    assert list(bus.written_since(asked, since_ms, 10)) == [True, True, False, False, False, False]
    assert list(bus.written_since([record], since_ms + 3_600_000, 10)) == [False]
    assert list(bus.written_since([], since_ms, 10)) == []


def test_what_was_written_before_a_topic_grew_can_be_found(bus: Bus) -> None:
    """Its key belongs to another partition by now; and a producer may not have heard of that."""
    topic = new_topic(bus, partitions=1)
    key = next(key for key in (b"%d" % n for n in range(20)) if partition_of(key, 2) == 1)
    record = Outgoing(topic, key, b"1")
    publish(bus, record)
    grow(bus, topic, 2)
    assert list(bus.written_since([record], 0, 10)) == [True]


def test_the_log_can_be_searched_span_by_span(bus: Bus, topic: str, group: str) -> None:
    batches = [
        numbered(topic, 10),
        [Outgoing(topic, b"k", b"a")],
        [Outgoing(topic, b"k", b"b"), Outgoing(topic, b"", b"c")],
    ]
    for batch in batches:
        publish(bus, *batch)
        Event().wait(0.005)  # so that the next is younger
    found = read_all(bus, topic, 13, group)
    stamps = {record.value: record.timestamp_ms for record in found}
    borders = [stamps[b"0"] - 1_000, stamps[b"a"], stamps[b"b"], None]
    records = [record for batch in batches for record in batch]
    for number, batch in enumerate(batches):
        answers = bus.written_since(records, borders[number] or 0, 10, borders[number + 1])
        assert [record for record, is_written in zip(records, answers, strict=True) if is_written] == batch


def test_the_log_is_read_from_a_moment_on_without_a_group(bus: Bus, topic: str, group: str) -> None:
    publish(bus, *numbered(topic, 10))
    Event().wait(0.005)  # so that the next are younger
    publish(bus, *(Outgoing(topic, b"k", b"%d" % number) for number in range(100, 110)))
    stamps = {record.value: record.timestamp_ms for record in read_all(bus, topic, 20, group)}
    taken: list[Record] = []
    bus.read_log([topic, "no-such-topic"], taken.append, stamps[b"100"], 10)
    assert [record.value for record in taken] == [b"%d" % number for number in range(100, 110)]
    taken.clear()
    bus.read_log([topic], taken.append, stamps[b"0"] - 1_000, 10)
    assert len(taken) == 20
    bus.read_log([topic], taken.append, stamps[b"100"] + 3_600_000, 10)
    bus.read_log([], taken.append, 0, 10)
    assert len(taken) == 20


def test_a_bus_that_answers_says_so(bus: Bus) -> None:
    bus.check(5)
