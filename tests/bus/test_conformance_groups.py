"""What every bus promises to the members of a group, over both implementations."""

import time
from collections.abc import Callable

import pytest

from ordersaga.bus.protocol import (
    Bus,
    BusRefused,
    Consumer,
    FencedMember,
    Outgoing,
)
from tests.bus.conftest import PARTITIONS, unique
from tests.bus.reading import (
    commit,
    eventually,
    member,
    nothing_comes,
    numbered,
    poll_for,
    poll_until,
    publish,
    read,
    values,
)


def test_each_group_reads_everything(bus: Bus, topic: str) -> None:
    publish(bus, *numbered(topic, 10))
    with member(bus, unique("group"), topic) as one, member(bus, unique("group"), topic) as other:
        commit(one, read(one, 10))
        assert len(read(other, 10)) == 10


def test_a_paused_consumer_reads_nothing_and_goes_on_where_it_was(bus: Bus, topic: str, group: str) -> None:
    publish(bus, Outgoing(topic, b"k", b"1"), Outgoing(topic, b"k", b"2"))
    with member(bus, group, topic) as consumer:
        read(consumer, 1)
        consumer.pause()
        publish(bus, Outgoing(topic, b"k", b"3"))
        assert nothing_comes(consumer)
        consumer.resume()
        assert values(read(consumer, 2)) == [b"2", b"3"]


def test_a_consumer_may_be_paused_before_its_first_poll(bus: Bus, topic: str, group: str) -> None:
    publish(bus, Outgoing(topic, b"k", b"1"))
    with member(bus, group, topic) as consumer:
        consumer.pause()
        assert nothing_comes(consumer, 1.5)
        consumer.resume()
        assert values(read(consumer, 1)) == [b"1"]


def shared(one: Consumer, other: Consumer) -> Callable[[], bool]:
    return lambda: len(one.assigned()) == len(other.assigned()) == PARTITIONS // 2


def test_two_members_share_the_partitions(bus: Bus, topic: str, group: str) -> None:
    with member(bus, group, topic) as one, member(bus, group, topic) as other:
        poll_until(shared(one, other), "not shared", one, other)
        assert not set(one.assigned()) & set(other.assigned())
        publish(bus, *numbered(topic, 40, keys=40))
        seen: set[bytes | None] = set()
        for records in poll_for(1.5, one, other):
            assert records, "one of them reads nothing"
            assert not seen & set(values(records)), "both read the same"
            seen |= set(values(records))
        assert len(seen) == 40


def test_what_a_leaving_member_did_not_commit_goes_to_the_other(bus: Bus, topic: str, group: str) -> None:
    with member(bus, group, topic) as staying, member(bus, group, topic) as leaving:
        poll_until(shared(staying, leaving), "not shared", staying, leaving)
        publish(bus, *numbered(topic, 40, keys=40))
        his, hers = poll_for(1.5, staying, leaving)
        assert hers
        commit(staying, his)
        leaving.close(5)
        missing = set(values(hers))

        def all_came() -> bool:
            missing.difference_update(values(staying.poll(100, 0.5)))
            return not missing

        eventually(all_came, f"records are missing: {missing}")


def test_who_leaves_for_a_while_lets_others_read_and_comes_back_with_the_next_poll(
    bus: Bus, topic: str, group: str
) -> None:
    with member(bus, group, topic) as staying, member(bus, group, topic) as leaving:
        poll_until(shared(staying, leaving), "not shared", staying, leaving)
        publish(bus, *numbered(topic, 40, keys=40))
        his, hers = poll_for(1.5, staying, leaving)
        assert len(hers) > 1
        commit(staying, his)
        leaving.leave(5)
        leaving.leave(5)
        assert not leaving.assigned()
        commit(leaving, hers)
        missing = set(values(hers))

        def all_came() -> bool:
            found = staying.poll(100, 0.5)
            commit(staying, found)
            missing.difference_update(values(found))
            return not missing

        eventually(all_came, f"records are missing: {missing}")
        poll_until(shared(staying, leaving), "not shared again", staying, leaving)


def test_what_was_committed_before_it_left_is_read_by_nobody_again(bus: Bus, topic: str, group: str) -> None:
    publish(bus, *[Outgoing(topic, b"k", b"%d" % n) for n in range(4)])
    with member(bus, group, topic) as consumer:
        commit(consumer, read(consumer, 2))
        consumer.leave(5)
        assert values(read(consumer, 2)) == [b"2", b"3"]


def test_partitions_that_come_while_paused_are_paused_too(bus: Bus, topic: str, group: str) -> None:
    with member(bus, group, topic) as paused, member(bus, group, topic) as leaving:
        poll_until(shared(paused, leaving), "not shared", paused, leaving)
        paused.pause()
        leaving.close(5)
        publish(bus, *numbered(topic, 20))
        (found,) = poll_until(lambda: len(paused.assigned()) == PARTITIONS, "not all assigned", paused)
        assert not found and nothing_comes(paused)
        paused.resume()
        assert len(read(paused, 20)) == 20


def test_offsets_of_partitions_that_moved_are_not_committed(bus: Bus, topic: str, group: str) -> None:
    publish(bus, *numbered(topic, 20, keys=20))
    with member(bus, group, topic) as one:
        found = read(one, 20)
        with member(bus, group, topic) as other:
            poll_until(shared(one, other), "not shared", one, other)
            kept = set(one.assigned())
            for _ in range(2):  # what is committed before both have settled is not accepted
                commit(one, found)
                poll_for(1.0, one, other)
    moved = {record.value for record in found if (record.topic, record.partition) not in kept}
    assert moved
    with member(bus, group, topic) as next_one:

        def all_moved_came() -> bool:
            moved.difference_update(values(next_one.poll(100, 0.5)))
            return not moved

        eventually(all_moved_came, f"committed though they had moved: {moved}")


def test_of_two_members_with_one_instance_id_the_older_is_told_to_stop(bus: Bus, topic: str, group: str) -> None:
    publish(bus, *[Outgoing(topic, b"k", b"%d" % n) for n in range(4)])
    with member(bus, group, topic, instance_id="same") as older:
        found = read(older, 1)
        with member(bus, group, topic, instance_id="same") as newer:
            read(newer, 1)

            def older_is_fenced() -> bool:
                try:
                    commit(older, found)
                    older.poll(1, 0.1)
                except FencedMember:
                    return True
                return False

            eventually(older_is_fenced, "the older member was not told")
            with pytest.raises(FencedMember):
                older.poll(1, 0.1)
            with pytest.raises(FencedMember):
                commit(older, found)


def test_how_far_a_group_is_behind_is_known_to_others(bus: Bus, topic: str, group: str) -> None:
    publish(bus, *[Outgoing(topic, b"k", b"%d" % n) for n in range(10)])
    with member(bus, group, topic) as consumer:
        commit(consumer, read(consumer, 10)[:4])
    lag = bus.group_lag(group, [topic])
    assert sum(lag.values()) == 6 and lag.keys() == {(topic, number) for number in range(PARTITIONS)}
    reads = bus.group_reads(group, [topic])
    assert {place: one.unread for place, one in reads.items()} == lag
    assert (sum(one.read_to for one in reads.values()), sum(one.end for one in reads.values())) == (4, 10)
    assert bus.group_lag(group, []) == bus.group_lag(group, [unique("nowhere")]) == {}


def test_what_a_new_group_has_not_read_counts_before_it_has_committed_anything(
    bus: Bus, topic: str, group: str
) -> None:
    """A first deployment whose worker handles nothing, and a pause right after it, looked as if all were read."""
    publish(bus, *numbered(topic, 20))
    assert sum(bus.group_lag(group, [topic]).values()) == 20, "nobody was ever in it"
    with member(bus, group, topic) as consumer:
        first = read(consumer, 20)[0]
        assert sum(bus.group_lag(group, [topic]).values()) == 20, "it has read and committed nothing"
        commit(consumer, [first])
    lag = bus.group_lag(group, [topic])
    assert sum(lag.values()) == 19 and min(lag.values()) >= 0, "one partition has an offset, the others have not"


def test_a_group_that_nobody_reads_for_is_set_back_to_a_moment(bus: Bus, topic: str, group: str) -> None:
    assert bus.read_again(group, 0) == {}
    publish(bus, *[Outgoing(topic, b"k", b"%d" % n) for n in range(4)])
    with member(bus, group, topic) as consumer:
        first = read(consumer, 4)
        commit(consumer, first)
        with pytest.raises(BusRefused, match="while somebody reads for it"):
            bus.read_again(group, 0)
    publish(bus, *[Outgoing(topic, b"k", b"%d" % n) for n in range(4, 6)])
    eventually(lambda: bus.members(group) == [], "the member has left")
    moment = first[2].timestamp_ms
    expected = sum(record.timestamp_ms >= moment for record in first)
    assert sum(bus.read_again(group, moment).values()) == expected
    assert bus.read_again(group, int(time.time() * 1000) + 60_000) == {}, "never forward"
    with member(bus, group, topic) as consumer:
        found = read(consumer, expected + 2)
        assert [record.value for record in found] == [b"%d" % n for n in range(4 - expected, 6)]


def test_who_reads_for_a_group_is_known_to_others(bus: Bus, topic: str, group: str) -> None:
    assert bus.members(group) == []
    publish(bus, Outgoing(topic, b"k", b"1"))
    with member(bus, group, topic) as consumer:
        read(consumer, 1)
        (found,) = bus.members(group)
        assert found.client_id == "test-consumer"
        assert sorted(found.partitions) == [(topic, number) for number in range(PARTITIONS)]
    eventually(lambda: bus.members(group) == [], "the member has left")
