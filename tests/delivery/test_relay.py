"""What becomes of rows that are offered to a relay: published, tried again, and left in order at the end."""

from collections.abc import Callable, Sequence
from itertools import count as naturals
from itertools import islice
from random import Random
from threading import Event

import pytest

from ordersaga.bus.partitioner import partition_of
from ordersaga.bus.protocol import Outcome, Outgoing
from ordersaga.delivery import failpoints, relay, upkeep
from ordersaga.delivery.messages import OutboxRow

from .house import Gate, House, Process, answers
from .stage import ACKNOWLEDGED, ONE, PARTITIONS, REFUSED, TWO, UNKNOWN

# --- the ordinary way ----------------------------------------------------------------------------------------


def test_an_offered_row_is_published_and_leaves_the_outbox(house: House, one: Process) -> None:
    one.send(b"a")
    one.until_published(b"a")
    house.until_empty()
    assert one.relay.health().healthy


def test_what_is_offered_during_a_publication_goes_out_as_one_batch(house: House, one: Process) -> None:
    gate = Gate(one.producer)
    one.send(b"a")
    assert gate.entered.wait(10.0)
    one.send(b"b")
    one.send(b"c", b"d")
    gate.opened.set()
    house.until_empty()
    assert one.producer.calls == [[b"a"], [b"b", b"c", b"d"]]


def test_a_batch_has_a_greatest_size(house: House) -> None:
    one = house.process(ONE, batch_max=2).start()
    one.send(b"a", b"b", b"c", b"d", b"e")
    house.until_empty()
    assert [len(call) for call in one.producer.calls] == [2, 2, 1]


def test_rows_of_one_lane_go_out_in_order(house: House, one: Process) -> None:
    one.send(b"1", b"2", key=b"k")
    one.send(b"3", key=b"k")
    house.until_empty()
    assert one.producer.values == [b"1", b"2", b"3"]


def test_a_publication_does_not_wait_for_the_delete_of_the_one_before(house: House, one: Process) -> None:
    one.outbox.away = {"acknowledged"}
    one.send(b"1", key=b"k")
    one.until_published(b"1")
    one.send(b"2", key=b"k")
    one.until_published(b"1", b"2")
    assert len(house.table.rows) == 2


# --- when acknowledged rows are deleted ------------------------------------------------------------------------


def test_a_row_that_is_acknowledged_alone_is_deleted_at_once(standing: House) -> None:
    one = standing.process(ONE).start()
    for value in (b"1", b"2", b"3"):
        one.send(value)
        standing.until_empty()


def test_where_many_are_acknowledged_they_wait_a_moment_and_are_deleted_together(standing: House) -> None:
    one = standing.process(ONE).start()
    one.send(*(f"{number}".encode() for number in range(100)))
    standing.until_empty()
    deleted = one.outbox.deletes
    one.send(b"x")
    one.until(lambda: one.relay.figures().undeleted == 1, "a row waits to be deleted")
    one.send(b"y")
    one.until(lambda: one.relay.figures().undeleted == 2, "another waits with it")
    assert one.outbox.deletes == deleted
    standing.clock.advance(0.1)
    standing.until_empty()
    assert one.outbox.deletes == deleted + 1


# --- the bus says no, or nothing -----------------------------------------------------------------------------


def test_a_row_whose_fate_is_unknown_goes_again_and_its_lane_waits_for_it(house: House, one: Process) -> None:
    one.producer.answer = answers(**{"1": UNKNOWN})
    one.send(b"1", b"2", key=b"k")
    one.send(b"x")
    one.until(lambda: one.producer.calls.count([b"1"]) >= 3, "the row is tried again")
    assert one.producer.values == [b"x"]

    one.producer.answer = answers()
    house.until_empty()
    assert one.producer.values == [b"x", b"1", b"2"]


def test_of_a_batch_that_was_acknowledged_in_half_exactly_the_other_half_goes_again(house: House, one: Process) -> None:
    given = [b"%d" % number for number in range(10)]
    missed = {value.decode(): UNKNOWN for value in given[1::2]}
    one.producer.answer = answers(**missed)
    one.send(*given)
    one.until(lambda: len(one.producer.calls) >= 2, "there is a second attempt")
    one.producer.answer = answers()
    house.until_empty()
    assert sorted(one.producer.calls[0]) == given
    assert one.producer.values[:5] == given[0::2]
    assert sorted(one.producer.values[5:]) == given[1::2]
    assert {value for call in one.producer.calls[1:] for value in call} == set(given[1::2])


def test_a_refused_row_stays_and_blocks_its_lane_only_until_the_cause_is_mended(house: House, one: Process) -> None:
    one.producer.answer = answers(**{"1": REFUSED})
    one.send(b"1", b"2", key=b"k")
    one.send(b"x")
    one.until_published(b"x")
    one.until(lambda: one.relay.figures().blocked_lanes == 1, "the lane is blocked")
    one.until(lambda: len(house.table.rows) == 2, "the good row has left")
    one.pass_scans()
    assert one.producer.calls.count([b"1"]) + one.producer.calls.count([b"1", b"x"]) == 1
    assert (one.relay.figures().refused_total, one.relay.figures().last_error) == (1, "too large")

    one.producer.answer = answers()
    house.clock.advance(61.0)
    house.until_empty()
    assert one.producer.values == [b"x", b"1", b"2"]
    assert one.relay.figures().blocked_lanes == 0


def test_a_producer_that_raises_has_told_nothing(house: House, one: Process) -> None:
    def stumble() -> None:
        one.producer.before = lambda: None
        raise RuntimeError("a bug")

    one.producer.before = stumble
    one.send(b"a")
    house.until_empty()
    assert one.producer.values == [b"a"]
    assert one.relay.figures().unknown_total == 1


def test_when_nothing_is_acknowledged_the_relay_is_unhealthy_until_something_is(house: House, one: Process) -> None:
    one.producer.answer = lambda record: UNKNOWN
    one.send(b"a")
    one.until(lambda: not one.relay.health().healthy, "the outage shows")
    assert "no answer" in one.relay.health().detail
    one.producer.answer = answers()
    house.until_empty()
    one.until(lambda: one.relay.health().healthy, "the relay is well again")


def test_once_the_bus_is_back_nothing_waits_out_its_pause(house: House) -> None:
    one = house.process(ONE, batch_max=1, retry_first_seconds=3600.0, retry_most_seconds=3600.0)
    one.start()
    one.producer.answer = lambda record: UNKNOWN
    one.send(b"a", b"b")
    one.until(lambda: len(one.producer.calls) == 2, "both were tried")
    one.producer.answer = answers()
    one.send(b"c")
    house.until_empty()
    assert one.producer.values == [b"c", b"a", b"b"]


# --- more than memory may hold -------------------------------------------------------------------------------


def test_more_rows_than_memory_may_hold_are_published_in_order_all_the_same(house: House) -> None:
    one = house.process(ONE, held_max=10, batch_max=4, left_behind_after_seconds=3600.0).start()
    gate = Gate(one.producer)
    given = [b"%03d" % number for number in range(100)]
    for number, value in enumerate(given):
        one.send(value, key=b"%d" % (number % 5))
    assert gate.entered.wait(10.0)
    assert one.relay.full
    assert one.relay.figures().held <= 10
    gate.opened.set()
    house.until_empty()
    assert sorted(one.producer.values) == given
    for lane in range(5):
        assert [v for v in one.producer.values if int(v) % 5 == lane] == given[lane::5]
    one.until(lambda: not one.relay.full, "there is room again")


def test_memory_stays_bounded_while_the_bus_is_away(house: House) -> None:
    one = house.process(ONE, held_max=10).start()
    one.producer.answer = lambda record: UNKNOWN
    for number in range(50):
        one.send(b"%d" % number)
    attempts = len(one.producer.calls)
    house.clock.advance(6.0)
    one.until(lambda: len(one.producer.calls) >= attempts + 10, "the bus is tried again and again")
    assert one.relay.figures().held <= 10
    one.producer.answer = answers()
    house.until_empty()


def test_memory_stays_bounded_when_a_scan_finds_rows_and_others_are_offered_meanwhile(house: House) -> None:
    one = house.process(ONE, held_max=10, left_behind_after_seconds=0.0).start()
    scan = Gate(one.outbox)
    assert scan.entered.wait(10.0)
    publication = Gate(one.producer)
    one.send(b"first")
    assert publication.entered.wait(10.0)
    lost = [b"lost %d" % number for number in range(10)]
    offered = [b"offered %d" % number for number in range(8)]
    one.commit(*lost)
    one.send(*offered)
    looked = one.outbox.looks
    scan.opened.set()
    one.until(lambda: one.outbox.looks > looked and one.relay.figures().held > 9, "the scan has found some")
    assert one.relay.figures().held == 10
    publication.opened.set()
    house.until_empty()
    assert sorted(one.producer.values) == sorted([b"first", *lost, *offered])


# --- a topic that takes nothing ------------------------------------------------------------------------------


def takes_nothing(topic: str, outcome: Outcome) -> Callable[[Outgoing], Outcome]:
    return lambda record: outcome if record.topic == topic else ACKNOWLEDGED


@pytest.mark.parametrize("outcome", [REFUSED, UNKNOWN], ids=["refused", "not answered"])
def test_a_topic_that_takes_nothing_holds_up_no_other_however_much_waits_for_it(house: House, outcome: Outcome) -> None:
    one = house.process(ONE, held_max=10, left_behind_after_seconds=3600.0).start()
    one.producer.answer = takes_nothing("a", outcome)
    waiting = [b"%02d" % number for number in range(30)]
    for value in waiting[:12]:
        one.send(value, topic="a")
    one.send(b"x", topic="b")
    one.until_published(b"x")
    one.until(lambda: not one.relay.full, "there is room")
    for value in waiting[12:]:
        one.send(value, topic="a")
        one.send(b"x" + value, topic="b")
        one.until(lambda value=value: b"x" + value in one.producer.values, "the other goes on")  # type: ignore[misc]
        assert one.relay.figures().held <= 10
    assert "a" in one.relay.health().detail and outcome.error in one.relay.health().detail

    one.producer.answer = answers()
    house.clock.advance(61.0)
    house.until_empty()
    assert sorted(record.value for record in one.producer.log if record.topic == "a") == waiting
    one.until(lambda: not one.relay.health().detail, "nothing is odd any more")


def test_several_topics_that_take_nothing_hold_up_no_other(house: House) -> None:
    one = house.process(ONE, held_max=20, left_behind_after_seconds=3600.0).start()
    one.producer.answer = lambda record: REFUSED if record.topic in "ac" else ACKNOWLEDGED
    for number in range(30):
        one.send(b"a%d" % number, topic="a")
        one.send(b"c%d" % number, topic="c")
    one.send(b"x", topic="b")
    one.until_published(b"x")
    one.producer.answer = takes_nothing("c", REFUSED)
    house.clock.advance(61.0)
    one.until(lambda: len(house.table.rows) == 30, "one of them is open again")
    assert {row.record.topic for row in house.table.rows.values()} == {"c"}


def test_what_waits_for_a_topic_goes_out_in_order_once_it_takes_something(house: House) -> None:
    one = house.process(ONE, held_max=10, left_behind_after_seconds=3600.0).start()
    one.producer.answer = takes_nothing("a", UNKNOWN)
    given = [b"%03d" % number for number in range(60)]
    for number, value in enumerate(given):
        one.send(value, key=b"%d" % (number % 4), topic="a")
    one.send(b"x", topic="b")
    one.until_published(b"x")
    one.producer.answer = answers()
    house.until_empty()
    published = [record.value for record in one.producer.log if record.topic == "a"]
    assert sorted(published) == given
    for lane in range(4):
        assert [value for value in published if int(value) % 4 == lane] == given[lane::4]


def test_a_topic_that_takes_nothing_keeps_no_rows_of_a_dead_process_waiting(house: House) -> None:
    one = house.process(ONE, held_max=10).start()
    one.producer.answer = takes_nothing("a", REFUSED)
    for number in range(12):
        one.send(b"%d" % number, topic="a")
    dead = house.process(TWO)
    dead.commit(b"12", topic="a")
    dead.commit(b"x", topic="b")
    one.until_published(b"x")


def test_a_process_that_has_enough_to_do_lets_go_of_no_topic_for_a_row_that_was_refused(house: House) -> None:
    one = house.process(ONE, held_max=10, left_behind_after_seconds=3600.0).start()
    one.producer.answer = answers(bad=REFUSED)
    one.send(b"bad")
    one.until(lambda: one.relay.figures().blocked_lanes == 1, "it was refused")
    gate = Gate(one.producer)
    given = [b"%02d" % number for number in range(30)]
    for value in given:
        one.send(value)
    assert gate.entered.wait(10.0)
    assert one.relay.full
    gate.opened.set()
    one.until_published(*given)


# --- a partition that takes nothing --------------------------------------------------------------------------


def keys_of(partition: int, count: int) -> list[bytes]:
    """Of lanes that go there."""
    of_it = (key for key in map(b"%d".__mod__, naturals()) if partition_of(key, PARTITIONS) == partition)
    return list(islice(of_it, count))


def takes_all_but(partition: int, outcome: Outcome) -> Callable[[Outgoing], Outcome]:
    return lambda record: outcome if partition_of(record.key, PARTITIONS) == partition else ACKNOWLEDGED


@pytest.mark.parametrize("outcome", [REFUSED, UNKNOWN], ids=["refused", "not answered"])
def test_a_partition_that_takes_nothing_holds_up_no_other_of_its_topic(house: House, outcome: Outcome) -> None:
    one = house.process(ONE, held_max=10, left_behind_after_seconds=3600.0).start()
    one.producer.answer = takes_all_but(0, outcome)
    dead, others = keys_of(0, 60), keys_of(1, 30)
    for value in dead[:30]:
        one.send(value)
    for value, also_dead in zip(others, dead[30:], strict=True):
        one.send(value, also_dead)
        one.until(lambda value=value: value in one.producer.values, "the other goes on")  # type: ignore[misc]
        assert one.relay.figures().held <= 10
    assert "all of t/0 waits" in one.relay.health().detail

    one.producer.answer = answers()
    house.clock.advance(61.0)
    house.until_empty()
    assert sorted(one.producer.values) == sorted(dead + others)
    one.until(lambda: not one.relay.health().detail, "nothing is odd any more")


def test_what_is_left_of_a_partition_that_takes_nothing_hides_nothing_that_comes_after_it(house: House) -> None:
    """A COMMIT whose answer was lost, behind more rows than are fetched at a time."""
    one = house.process(ONE, held_max=10, batch_max=4).start()
    one.producer.answer = takes_all_but(0, UNKNOWN)
    for value in keys_of(0, 40):
        one.send(value)
    one.until(lambda: one.relay._lanes.aside == {("t", 0)}, "it is set aside")
    (found,) = keys_of(1, 1)
    one.commit(found)
    house.clock.advance(6.0)
    one.until_published(found)


def with_a_topic_set_aside(house: House, *, batch_max: int) -> Process:
    one = house.process(ONE, held_max=10, batch_max=batch_max).start()
    one.producer.answer = takes_nothing("a", REFUSED)
    for number in range(40):
        one.send(b"%d" % number, topic="a")
    one.until(lambda: bool(one.relay._lanes.aside) and not one.relay.full, "all of it is set aside")
    return one


def takes_its_time() -> None:
    Event().wait(0.01)


def test_scans_that_are_asked_for_while_one_is_under_way_keep_none_from_what_comes_behind(house: House) -> None:
    one = with_a_topic_set_aside(house, batch_max=4)
    scan = Gate(one.outbox)
    assert scan.entered.wait(10.0)
    for _ in range(2):
        one.relay._intake.fetch_everything(offers_wait=True)
        one.until(lambda: not one.relay._intake.overflowed, "a scan is asked for")
    one.commit(b"behind", topic="b")
    # From here on the database takes its time, and the relay asks again before it has answered.
    one.outbox.before = takes_its_time
    scan.opened.set()
    one.until_published(b"behind")


def test_scans_that_are_cut_short_by_what_is_offered_meanwhile_come_to_the_end_all_the_same(house: House) -> None:
    one = with_a_topic_set_aside(house, batch_max=20)
    numbers = naturals()

    def offered_meanwhile() -> None:
        one.send(b"b%d" % next(numbers), topic="b")

    one.outbox.before = offered_meanwhile
    one.commit(b"behind", topic="b")
    one.until(lambda: b"behind" in one.producer.values, "it is found")
    one.outbox.before = lambda: None


def test_rows_behind_those_of_another_process_in_such_a_partition_hold_up_nothing_else(house: House) -> None:
    two = house.process(TWO).start()
    one = house.process(ONE, held_max=10, left_behind_after_seconds=3600.0).start()
    one.producer.answer = two.producer.answer = takes_all_but(0, UNKNOWN)
    dead, (other,) = keys_of(0, 31), keys_of(1, 1)
    for key in dead[:30]:
        two.send(b"1", key=key)
    two.until(lambda: two.relay.figures().blocked_lanes == 30, "they were tried")
    one.send(dead[30])
    for key in dead[:30]:
        one.send(b"2", key=key)
    one.send(other)
    one.until_published(other)

    one.producer.answer = two.producer.answer = answers()
    house.until_empty()
    assert sorted(two.producer.values) == [b"1"] * 30


def test_rows_that_are_refused_for_good_keep_no_partition_set_aside_once_it_was_mended(house: House) -> None:
    one = house.process(ONE, held_max=10, refused_retry_seconds=0.02, left_behind_after_seconds=0.0).start()
    one.producer.answer = lambda record: REFUSED
    rows = keys_of(0, 20)
    for value in rows:
        one.send(value)
    one.until(lambda: one.relay._lanes.aside == {("t", 0)}, "it is set aside")
    bad = {value.decode(): REFUSED for value in rows[:5]}
    one.producer.answer = answers(**bad)
    one.until(lambda: len(house.table.rows) == len(bad), "the others have gone out")
    assert sorted(one.producer.values) == sorted(rows[5:])


# --- the end -------------------------------------------------------------------------------------------------


def test_stopping_publishes_what_is_held_and_ends_the_lease(house: House, one: Process) -> None:
    gate = Gate(one.producer)
    one.send(b"a")
    assert gate.entered.wait(10.0)
    one.send(b"1", b"2", b"3", key=b"k")
    gate.opened.set()
    assert one.relay.stop(10.0)
    assert one.producer.values == [b"a", b"1", b"2", b"3"]
    assert not house.table.rows
    assert not house.table.lease_until


def test_what_cannot_be_published_before_the_end_is_taken_over_at_once(house: House, one: Process) -> None:
    one.producer.answer = answers(**{"1": REFUSED, "x": UNKNOWN})
    one.send(b"1", b"2", key=b"k")
    one.send(b"x")
    assert one.relay.stop(0.3)
    two = house.process(TWO).start()
    two.until_published(b"1", b"2", b"x")


def test_a_publication_that_hangs_does_not_hold_up_the_stop_and_keeps_its_lease(house: House, one: Process) -> None:
    gate = Gate(one.producer)
    one.send(b"a")
    assert gate.entered.wait(10.0)
    assert not one.relay.stop(0.1)
    assert house.table.lease_until.keys() == {ONE}, "the hanging send may succeed: others must not publish it as well"
    gate.opened.set()
    one.until_published(b"a")


def test_waiting_for_a_lease_that_is_not_to_be_had_ends(house: House) -> None:
    one = house.process(ONE)
    one.outbox.away = {"register"}
    one.relay.start()
    assert not one.relay.wait_until_leased(0.05)
    one.outbox.away = ()
    assert one.relay.wait_until_leased(10.0)


def test_stop_before_start_and_stop_twice_are_no_trouble(house: House) -> None:
    idle = house.process(TWO)
    assert idle.relay.stop(1.0)
    idle.relay.start()
    assert idle.relay.stop(1.0)
    assert idle.relay.stop(1.0)
    assert not house.table.lease_until

    busy = house.process(ONE).start()
    assert busy.relay.stop(5.0)
    assert busy.relay.stop(5.0)
    assert not busy.relay.health().healthy


def test_rows_offered_after_the_end_stay_in_the_outbox(house: House, one: Process) -> None:
    one.relay.stop(5.0)
    one.send(b"a")
    assert (one.relay.figures().held, len(house.table.rows)) == (0, 1)


# --- failures in between -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", [relay.BEFORE_PUBLISH, relay.AFTER_PUBLISH, upkeep.BEFORE_DELETE, upkeep.AFTER_DELETE]
)
def test_a_failure_in_between_loses_no_row(house: House, one: Process, place: str) -> None:
    with failpoints.armed(place, "raise@1"):
        one.send(b"1", b"2", key=b"k")
        house.until_empty()
    expected = [b"1", b"1", b"2"] if place == relay.AFTER_PUBLISH else [b"1", b"2"]
    assert one.producer.values == expected


def test_a_bug_in_the_relay_begins_again_from_the_table(
    house: House, one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = one.relay._lanes.take
    broken: list[int] = []

    def take(limit: int) -> list[OutboxRow]:
        taken = real(limit)
        if not broken:
            broken.append(len(taken))
            raise RuntimeError("a bug")
        return taken

    monkeypatch.setattr(one.relay._lanes, "take", take)
    one.send(b"a")
    one.until_published(b"a")
    assert broken == [1]


@pytest.mark.parametrize("seed", range(5))
def test_two_processes_over_a_flaky_bus_lose_nothing_and_keep_the_order_of_each_lane(house: House, seed: int) -> None:
    """One log for both; a third of the records get no answer, half of those are in the log all the same."""
    random = Random(seed)
    log: list[Outgoing] = []

    def flaky(record: Outgoing) -> Outcome:
        with house.stage.changed:
            drawn = random.random()
            if drawn < 0.85:
                log.append(record)
            return ACKNOWLEDGED if drawn < 0.7 else UNKNOWN

    both = [
        house.process(owner, held_max=20, batch_max=5, left_behind_after_seconds=3600.0).start() for owner in (ONE, TWO)
    ]
    for process in both:
        process.producer.answer = flaky
    given: dict[bytes, list[bytes]] = {b"%d" % lane: [] for lane in range(7)}
    for number in range(150):
        key = b"%d" % random.randrange(7)
        given[key].append(b"%d" % number)
        random.choice(both).send(given[key][-1], key=key)
    house.until_empty()
    assert first_appearances(log) == given


def first_appearances(log: Sequence[Outgoing]) -> dict[bytes, list[bytes]]:
    seen: dict[bytes, list[bytes]] = {}
    for record in log:
        lane = seen.setdefault(record.key, [])
        if record.value not in lane:
            lane.append(record.value)
    return dict(sorted(seen.items()))
