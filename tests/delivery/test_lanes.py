"""Which row may go out when. Rows of one lane never overtake each other, however they arrive and whatever becomes of
them.
"""

from hypothesis import given
from hypothesis import strategies as st

from ordersaga.bus.protocol import Outgoing
from ordersaga.delivery.lanes import Lanes, names_of
from ordersaga.delivery.messages import OutboxRow


def row(row_id: int, key: bytes = b"a", after: int | None = None) -> OutboxRow:
    return OutboxRow(row_id=row_id, record=Outgoing("t", key, str(row_id).encode()), after=after)


def test_rows_of_different_lanes_go_out_together_and_rows_of_one_lane_one_at_a_time() -> None:
    lanes = Lanes()
    first, second, other = row(1), row(2, after=1), row(3, b"b")
    lanes.add([first, second, other], 0.0)

    assert lanes.take(10) == [first, other]
    assert lanes.take(10) == []
    lanes.acknowledged([first])
    assert lanes.take(10) == [second]


def test_a_row_that_failed_holds_up_its_lane_until_its_time_has_come() -> None:
    lanes = Lanes()
    first, second = row(1), row(2, after=1)
    lanes.add([first, second], 0.0)
    lanes.failed(lanes.take(1)[0], retry_at=5.0)

    lanes.retry(4.9)
    assert lanes.take(10) == []
    assert (lanes.next_retry_at, lanes.blocked) == (5.0, 1)
    lanes.retry(5.0)
    assert lanes.take(10) == [first]
    lanes.acknowledged([first])
    assert (lanes.blocked, lanes.take(10)) == (0, [second])


def test_a_row_that_follows_an_unknown_row_waits_until_that_one_is_gone() -> None:
    lanes = Lanes()
    later = row(7, after=3)
    lanes.add([later], 0.0)

    assert lanes.take(10) == []
    assert (lanes.new_waits(), lanes.new_waits()) == ([3], [])
    lanes.gone([3])
    assert lanes.take(10) == [later]


def test_a_row_that_follows_an_unknown_row_waits_until_that_one_has_come_and_gone_out() -> None:
    lanes = Lanes()
    first, second, third = row(1), row(3, after=1), row(7, after=3)
    lanes.add([third], 0.0)
    lanes.add([second], 0.0)
    lanes.add([first], 0.0)

    assert lanes.take(10) == [first]
    lanes.acknowledged([first])
    assert lanes.take(10) == [second]
    lanes.acknowledged([second])
    assert lanes.take(10) == [third]


def test_a_row_that_follows_one_acknowledged_before_goes_at_once() -> None:
    lanes = Lanes()
    lanes.add([row(1)], 0.0)
    lanes.acknowledged(lanes.take(1))
    lanes.add([row(2, after=1)], 0.0)
    assert [r.row_id for r in lanes.take(1)] == [2]


def test_a_row_that_comes_again_is_not_held_again() -> None:
    lanes = Lanes()
    lanes.add([row(1), row(1)], 0.0)
    lanes.acknowledged(lanes.take(10))
    lanes.add([row(1)], 0.0)
    assert (len(lanes), lanes.take(10)) == (0, [])


def test_what_was_acknowledged_is_remembered_for_so_many_rows_at_least() -> None:
    lanes = Lanes(remembered_max=10)
    for row_id in range(1, 31):
        lanes.add([row(row_id)], 0.0)
        lanes.acknowledged(lanes.take(1))
    lanes.add([row(row_id) for row_id in range(21, 31)], 0.0)
    assert len(lanes) == 0


def test_after_clearing_nothing_is_held_and_what_was_acknowledged_is_still_known() -> None:
    lanes = Lanes()
    lanes.add([row(1), row(2, b"b"), row(9, b"c", after=8)], 0.0)
    lanes.acknowledged(lanes.take(1))
    lanes.clear()
    lanes.add([row(1)], 0.0)
    lanes.gone([8])
    assert (len(lanes), lanes.waiting, lanes.take(10)) == (0, 0, [])


def test_a_place_that_takes_too_much_room_is_set_aside_until_it_takes_a_row() -> None:
    lanes = Lanes()
    lanes.add([row(1), row(2, b"b"), row(3, b"b", after=2), row(4, b"c", after=0)], 0.0)
    for taken in lanes.take(10):
        lanes.failed(taken, retry_at=1.0)
    assert lanes.set_aside(4, kept=1) is None, "there is room"
    assert (lanes.set_aside(3, kept=1), set(lanes.held), lanes.aside) == (("t", None), {1}, {("t", None)})
    lanes.add([row(5, b"d"), OutboxRow(row_id=6, record=Outgoing("u", b"a", b"6"))], 0.0)
    assert (lanes.set_aside(0, kept=1), set(lanes.held), lanes.kept, lanes.others) == (None, {1, 6}, 1, 1)

    lanes.retry(1.0)
    other, tried = lanes.take(10)
    assert (other.row_id, tried.row_id) == (6, 1)
    assert (lanes.acknowledged([other]), lanes.acknowledged([tried])) == (set(), {("t", None)})
    assert (lanes.aside, lanes.kept) == (set(), 0)
    lanes.add([row(3, b"b", after=2), row(2, b"b")], 0.0)
    assert [taken.row_id for taken in lanes.take(10)] == [2]


def test_of_a_topic_only_the_partition_is_set_aside_that_takes_nothing() -> None:
    lanes = Lanes(lambda topic, key: key[0] % 2)
    even, odd = [row(n, bytes([2 * n])) for n in range(4)], [row(10 + n, bytes([2 * n + 1])) for n in range(4)]
    lanes.add([*even, *odd], 0.0)
    for taken in lanes.take(10):
        if taken in even:
            lanes.failed(taken, retry_at=1.0)
        else:
            lanes.acknowledged([taken])
    assert lanes.set_aside(3, kept=1) == ("t", 0)
    lanes.add([row(20, b"\x10"), row(21, b"\x11")], 0.0)
    assert [taken.row_id for taken in lanes.take(10)] == [21]
    assert names_of(lanes.aside) == ["t/0"]


def test_a_lane_that_waits_beside_blocked_ones_is_stuck_too() -> None:
    lanes = Lanes()
    lanes.add([row(1), row(11, b"b", after=2), row(12, b"c", after=3)], 0.0)
    assert lanes.set_aside(0, kept=1) is None, "what only waits is another's to publish"
    lanes.failed(lanes.take(1)[0], retry_at=1.0)
    assert lanes.set_aside(2, kept=1) == ("t", None)
    assert set(lanes.held) == {1}


def refused_twice(lanes: Lanes, at: float) -> None:
    for retry_at in (at, at + 1.0):
        lanes.retry(at)
        for taken in lanes.take(10):
            lanes.failed(taken, retry_at, refused=True)


def test_in_a_place_that_is_set_aside_the_least_tried_stay_and_who_is_refused_twice_makes_room() -> None:
    lanes = Lanes()
    lanes.add([row(1), row(2, b"b")], 0.0)
    for taken in lanes.take(10):
        lanes.failed(taken, 0.0, refused=True)
    lanes.add([row(3, b"c"), row(4, b"d"), row(5, b"e")], 0.0)
    assert lanes.set_aside(1, kept=1) == ("t", None)
    assert set(lanes.held) == {3}, "it was not tried yet"
    lanes.add([row(4, b"d")], 0.0)
    assert set(lanes.held) == {3}

    refused_twice(lanes, 1.0)
    lanes.add([row(6, b"f", after=5), row(4, b"d"), row(5, b"e")], 0.0)
    assert set(lanes.held) == {4}, "6 follows another, and there is no more room than that"
    refused_twice(lanes, 3.0)
    lanes.add([row(3, b"c"), row(5, b"e")], 0.0)
    assert set(lanes.held) == {5}, "3 has had its turn"
    refused_twice(lanes, 5.0)
    lanes.add([row(3, b"c"), row(4, b"d")], 0.0)
    assert set(lanes.held) == {3}, "there is no other left"
    lanes.acknowledged(lanes.take(10))
    assert (lanes.aside, lanes.kept) == (set(), 0)


def test_what_a_kept_row_waits_for_may_come_and_goes_before_it() -> None:
    lanes = Lanes()
    lanes.add([row(1), row(9, b"b", after=8)], 0.0)
    lanes.failed(lanes.take(1)[0], 1.0)
    assert lanes.set_aside(0, kept=2) == ("t", None)
    lanes.add([row(10, b"b", after=9), row(8, b"b")], 0.0)
    assert [taken.row_id for taken in lanes.take(10)] == [8]
    assert set(lanes.held) == {1, 8, 9}


@given(st.data())
def test_no_row_overtakes_another_of_its_lane(data: st.DataObject) -> None:
    """Rows arrive in any order and more than once, some are published by others, outcomes are drawn: the order of each
    lane stands.
    """
    lanes = Lanes()
    keys = data.draw(st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=12), label="keys")
    rows: dict[int, OutboxRow] = {}
    last: dict[bytes, int] = {}
    for row_id, key in enumerate(keys, start=1):
        rows[row_id] = row(row_id, key, last.get(key))
        last[key] = row_id
    foreign = data.draw(st.sets(st.sampled_from(sorted(rows))), label="published by others")
    arrivals = data.draw(st.permutations([i for i in rows if i not in foreign]), label="arrivals")
    settled: set[int] = set()
    out: list[OutboxRow] = []

    def publish(taken: list[OutboxRow]) -> None:
        for taken_row in taken:
            earlier = {i for i in rows if i < taken_row.row_id and rows[i].record.key == taken_row.record.key}
            assert earlier <= settled, f"{taken_row.row_id} went before {sorted(earlier - settled)}"
        assert len({r.record.key for r in taken}) == len(taken)
        out.extend(taken)

    def settle(taken_row: OutboxRow, good: bool) -> None:
        out.remove(taken_row)
        if good:
            settled.add(taken_row.row_id)
            lanes.acknowledged([taken_row])
        else:
            lanes.failed(taken_row, 1.0, refused=data.draw(st.booleans()))

    def others_publish() -> None:
        """Another process keeps the order too: only a row with nothing before it leaves."""
        for i in sorted(foreign - settled):
            if all(j in settled for j in rows if j < i and rows[j].record.key == rows[i].record.key):
                settled.add(i)
                lanes.gone([i])
                return

    pending = list(arrivals)
    for step in data.draw(st.lists(st.sampled_from("aatsfrgo"), max_size=60), label="steps"):
        if step == "a" and pending:
            arrived = rows[pending.pop(0)]
            lanes.add([arrived, arrived], 0.0)
        elif step == "t":
            publish(lanes.take(2))
        elif step in "sf" and out:
            settle(data.draw(st.sampled_from(out)), step == "s")
        elif step == "r":
            lanes.retry(1.0)
        elif step == "g":
            others_publish()
        elif step == "o" and not out:
            lanes.set_aside(1, kept=1)

    lanes.add([rows[i] for i in pending], 0.0)
    for _ in range(4 * len(rows)):
        lanes.add([rows[i] for i in arrivals if i not in settled], 0.0)
        others_publish()
        lanes.gone([i for i in foreign if i in settled])
        lanes.retry(1.0)
        publish(lanes.take(10))
        for taken_row in out[:]:
            settle(taken_row, True)
    assert settled == set(rows)
    assert len(lanes) == 0
