"""What becomes of records that come in: handled, tried again, or parked, and only then committed."""

from collections.abc import Callable, Iterator, Sequence
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.bus.protocol import BusRefused, BusUnavailable, FencedMember, Record
from ordersaga.delivery import consume, failpoints
from ordersaga.delivery.consume import ConsumeLoop

from .stage import ListConsumer, SeededRandom, Stage


class DatabaseAway(Exception):
    retriable = True


class CannotUse(Exception):
    """No attribute `retriable`: as good as False."""


class Desk:
    """Handles values into a list; some of them cannot be handled. Batches are all or nothing, as transactions are."""

    def __init__(
        self,
        stage: Stage,
        values: Sequence[bytes],
        bad: Sequence[bytes] = (),
        batch_max: int = 500,
        gather_seconds: float = 0.0,
    ) -> None:
        self.stage = stage
        self.consumer = ListConsumer(stage, values)
        self.bad = bad
        self.handled: list[bytes] = []
        self.parked: list[bytes] = []
        self.calls: list[int] = []
        self.before_handle: Callable[[], None] = lambda: None
        self.before_park: Callable[[], None] = lambda: None
        self.full = False
        self.loop = ConsumeLoop(
            self.consumer,
            self.handle,
            self.park,
            hold_back=lambda: self.full,
            batch_max=batch_max,
            poll_timeout_seconds=0.02,
            retry_first_seconds=0.005,
            retry_most_seconds=0.01,
            gather_seconds=gather_seconds,
            randomness=SeededRandom(1),
        )

    def handle(self, records: Sequence[Record]) -> None:
        self.calls.append(len(records))
        self.stage.tell()
        self.before_handle()
        for record in records:
            if record.value in self.bad:
                raise CannotUse(f"offset {record.offset}")
        self.handled += [record.value or b"" for record in records]
        self.stage.tell()

    def park(self, record: Record, error: Exception) -> None:
        self.before_park()
        assert isinstance(error, Exception)
        self.parked.append(record.value or b"")
        self.stage.tell()

    def until(self, holds: Callable[[], bool], what: str = "what the test waits for") -> None:
        self.stage.until(holds, what)

    def until_committed(self, offset: int) -> None:
        self.until(lambda: self.consumer.committed == offset, f"offset {offset} is committed")


def raising(error: Exception, times: int) -> Callable[[], None]:
    left = [times]

    def action() -> None:
        if left[0]:
            left[0] -= 1
            raise error

    return action


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


@pytest.fixture
def desks() -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(*args: object, **options: object) -> Desk:
        desk = Desk(Stage(), *args, **options)  # type: ignore[arg-type]
        made.append(desk)
        return desk

    yield make
    for desk in made:
        desk.loop.stop(5.0)


Desks = Callable[..., Desk]


def test_records_are_handled_in_batches_and_then_committed(desks: Desks) -> None:
    desk = desks(numbers(10), batch_max=4)
    desk.loop.start()
    desk.until_committed(10)
    assert desk.handled == numbers(10)
    assert desk.calls == [4, 4, 2]
    assert desk.loop.health().healthy


def test_it_has_caught_up_once_what_waited_is_handled_and_not_while_anything_is_in_the_way(
    desks: Callable[..., Desk],
) -> None:
    desk = desks([b"%d" % number for number in range(10)], batch_max=2)
    seen: list[bool] = []
    desk.before_handle = lambda: seen.append(desk.loop.caught_up)
    assert not desk.loop.caught_up
    desk.loop.start()
    desk.stage.until(lambda: desk.consumer.committed == 10)
    desk.stage.until(lambda: desk.loop.caught_up)
    assert seen[:4] == [False, False, False, False]
    desk.consumer.trouble += [BusUnavailable("away")] * 50
    desk.stage.until(lambda: not desk.loop.caught_up)
    desk.stage.until(lambda: desk.loop.caught_up)
    assert desk.loop.stop(5)


def test_after_an_outage_it_has_not_caught_up_before_what_came_meanwhile_is_handled(desks: Desks) -> None:
    desk = desks(numbers(2), batch_max=2)
    desk.loop.start()
    desk.until(lambda: desk.loop.caught_up)
    desk.before_handle = raising(DatabaseAway("gone"), 1_000_000)
    tries = len(desk.calls)
    desk.consumer.add(numbers(2))
    desk.until(lambda: len(desk.calls) >= tries + 3, "it is tried again")
    assert not desk.loop.caught_up
    desk.consumer.add(numbers(6))
    seen: list[bool] = []
    desk.before_handle = lambda: seen.append(desk.loop.caught_up)
    desk.until_committed(10)
    desk.until(lambda: desk.loop.caught_up)
    assert seen[:3] == [False, False, False], "but for a batch"


def test_after_an_outage_a_poll_that_returns_nothing_does_not_tell_that_there_is_nothing(desks: Desks) -> None:
    desk = desks(numbers(2))
    desk.loop.start()
    desk.until_committed(2)
    desk.until(lambda: desk.loop.caught_up)
    desk.consumer.deaf = True
    desk.consumer.trouble += [BusUnavailable("away")]
    desk.until(lambda: not desk.loop.caught_up)
    desk.consumer.add(numbers(1))
    polls = desk.consumer.polls
    desk.until(lambda: desk.consumer.polls > polls + 2, "it polls, and hears nothing")
    assert not desk.loop.caught_up
    desk.consumer.deaf = False
    desk.until(lambda: desk.loop.caught_up)
    assert desk.consumer.committed == 3


def test_while_the_brokers_refuse_to_be_read_it_has_not_caught_up(desks: Desks) -> None:
    desk = desks(numbers(2))
    desk.loop.start()
    desk.until(lambda: desk.loop.caught_up)
    desk.consumer.trouble += [BusRefused("not authorized")] * 50
    desk.until(lambda: not desk.loop.caught_up)


def test_while_a_partition_cannot_be_read_it_is_well_and_has_not_caught_up(desks: Desks) -> None:
    """Others are read meanwhile; whoever asks how it is, is told."""
    desk = desks(numbers(2))
    desk.loop.start()
    desk.until(lambda: desk.loop.caught_up)
    desk.consumer.cannot_read = {("out", 3): "at offset 5: no package", ("in", 1): "at offset 0: not allowed"}
    desk.until(lambda: not desk.loop.caught_up)
    desk.consumer.add(numbers(1))
    desk.until_committed(3)
    health = desk.loop.health()
    told = "cannot be read, others are: in-1 at offset 0: not allowed; out-3 at offset 5: no package"
    assert (health.healthy, health.detail) == (True, told)
    assert not desk.loop.caught_up
    desk.consumer.cannot_read = {}
    desk.until(lambda: desk.loop.caught_up)
    assert not desk.loop.health().detail


def test_while_it_is_held_back_it_has_not_caught_up(desks: Desks) -> None:
    desk = desks(numbers(2))
    desk.loop.start()
    desk.until(lambda: desk.loop.caught_up)
    desk.full = True
    desk.until(lambda: not desk.loop.caught_up)
    desk.full = False
    desk.until(lambda: desk.loop.caught_up)


def test_it_is_crowded_while_a_large_batch_is_in_hand(desks: Desks) -> None:
    desk = desks(numbers(11), batch_max=10)
    seen: list[bool] = []
    desk.before_handle = lambda: seen.append(desk.loop.crowded)
    assert not desk.loop.crowded
    desk.loop.start()
    desk.until_committed(11)
    assert seen == [True, False] and desk.calls == [10, 1]
    assert not desk.loop.crowded


def test_one_bad_record_among_a_hundred_is_parked_and_all_others_are_handled(desks: Desks) -> None:
    desk = desks(numbers(100), bad=[b"37"])
    desk.loop.start()
    desk.until_committed(100)
    assert desk.handled == [value for value in numbers(100) if value != b"37"]
    assert desk.parked == [b"37"]
    assert len(desk.calls) <= 2 * 7 + 1, "halving finds it"
    assert (desk.loop.figures().handled_total, desk.loop.figures().parked_total) == (99, 1)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 50))
def test_every_record_is_either_handled_or_parked_whichever_are_bad(bad: list[bool], batch_max: int) -> None:
    values = numbers(len(bad))
    desk = Desk(
        Stage(), values, bad=[value for value, is_bad in zip(values, bad, strict=True) if is_bad], batch_max=batch_max
    )
    desk.loop.start()
    desk.until_committed(len(values))
    assert desk.loop.stop(5.0)
    assert desk.parked == list(desk.bad)
    assert desk.handled == [value for value in values if value not in desk.bad]


def test_while_a_dependency_is_away_the_batch_is_kept_and_nothing_is_parked(desks: Desks) -> None:
    desk = desks(numbers(5))
    desk.before_handle = raising(DatabaseAway("gone"), 1_000_000)
    desk.loop.start()
    desk.until(lambda: len(desk.calls) >= 4, "it is tried again")
    assert not desk.loop.health().healthy
    assert desk.loop.health().detail == "DatabaseAway: gone"
    assert (desk.consumer.paused, desk.consumer.committed) == (True, 0)
    assert desk.consumer.polls_while_paused > 0, "the group must hold"

    desk.before_handle = lambda: None
    desk.until_committed(5)
    assert (desk.handled, desk.parked) == (numbers(5), [])
    desk.until(lambda: not desk.consumer.paused, "the consumer goes on")
    desk.until(lambda: desk.loop.health().healthy, "the loop is well again")


def test_a_dependency_that_goes_away_while_a_bad_record_is_sought_parks_no_other(desks: Desks) -> None:
    desk = desks(numbers(8), bad=[b"5"])
    desk.before_handle = lambda: None if len(desk.calls) % 3 else _raise(DatabaseAway("gone"))
    desk.loop.start()
    desk.until_committed(8)
    assert (desk.parked, len(desk.handled)) == ([b"5"], 7)


@pytest.mark.parametrize("error", [DatabaseAway("gone"), CannotUse("a bug in parking")])
def test_a_record_that_cannot_be_parked_is_not_passed_over(desks: Desks, error: Exception) -> None:
    desk = desks(numbers(3), bad=[b"1"])
    desk.before_park = raising(error, 1_000_000)
    desk.loop.start()
    desk.until(lambda: desk.loop.figures().retries_total >= 3, "parking is tried again")
    assert desk.consumer.committed == 0
    assert not desk.loop.health().healthy
    desk.before_park = lambda: None
    desk.until_committed(3)
    assert (desk.parked, desk.handled) == ([b"1"], [b"0", b"2"])


def test_a_bus_that_is_away_is_asked_again(desks: Desks) -> None:
    desk = desks(numbers(2))
    desk.consumer.trouble = [BusUnavailable("refused")] * 3
    desk.loop.start()
    desk.until_committed(2)
    assert desk.loop.figures().last_error == "BusUnavailable: refused"
    desk.until(lambda: desk.loop.health().healthy, "the loop is well again")


def test_while_no_broker_answers_it_is_cut_off(desks: Desks) -> None:
    desk = desks(numbers(2))
    desk.loop.start()
    desk.until(lambda: desk.loop.caught_up)
    assert not desk.loop.cut_off
    desk.consumer.trouble += [BusUnavailable("refused")] * 50
    desk.until(lambda: desk.loop.cut_off)
    desk.until(lambda: desk.loop.caught_up)
    assert not desk.loop.cut_off


def test_a_fenced_member_stops_at_once_and_says_so(desks: Desks) -> None:
    desk = desks(numbers(2))
    desk.consumer.trouble = [FencedMember("orchestrator-0")]
    desk.loop.start()
    desk.until(lambda: desk.consumer.closed > 0, "the consumer is closed")
    assert desk.handled == []
    assert not desk.loop.health().healthy
    assert "orchestrator-0" in desk.loop.health().detail
    assert desk.loop.stop(5.0)


def test_an_error_that_nobody_foresaw_has_the_records_delivered_again(desks: Desks) -> None:
    desk = desks(numbers(3))
    with failpoints.armed(consume.AFTER_POLL, "raise@1"):
        desk.loop.start()
        desk.until_committed(3)
    assert desk.handled == numbers(3)


def test_a_failure_between_the_database_and_the_offsets_has_the_batch_handled_twice_not_lost(desks: Desks) -> None:
    desk = desks(numbers(3))
    with failpoints.armed(consume.AFTER_HANDLE, "raise@1"):
        desk.loop.start()
        desk.until_committed(3)
    assert desk.handled == numbers(3) * 2


def test_what_comes_as_it_begins_to_be_held_back_waits_in_its_order(desks: Desks) -> None:
    desk = desks(numbers(10), batch_max=4)
    poll = desk.consumer.poll

    def full_since(max_records: int, timeout_seconds: float) -> Sequence[Record]:
        desk.full = True
        return poll(max_records, timeout_seconds)

    desk.consumer.poll = full_since  # type: ignore[method-assign]
    desk.loop.start()
    desk.until(lambda: desk.consumer.paused, "it is held back")
    assert desk.handled == [] and desk.consumer.committed == 0
    desk.consumer.poll = poll  # type: ignore[method-assign]
    desk.full = False
    desk.until_committed(10)
    assert desk.handled == numbers(10)


def test_nothing_is_polled_while_others_are_full(desks: Desks) -> None:
    desk = desks(numbers(3))
    desk.full = True
    desk.loop.start()
    desk.until(lambda: desk.consumer.polls_while_paused >= 2, "the group holds")
    assert desk.handled == []
    desk.full = False
    desk.until_committed(3)


# --- the end -------------------------------------------------------------------------------------------------


def test_a_stop_in_mid_batch_finishes_the_batch_and_commits_it(desks: Desks) -> None:
    desk = desks(numbers(10), batch_max=4)
    entered, go_on = Event(), Event()

    def dawdle() -> None:
        entered.set()
        assert go_on.wait(10.0)

    desk.before_handle = dawdle
    desk.loop.start()
    assert entered.wait(10.0)
    assert not desk.loop.stop(0.05), "the batch is still in hand"
    go_on.set()
    assert desk.loop.stop(5.0)
    assert (desk.handled, desk.consumer.committed) == (numbers(4), 4)
    assert desk.consumer.closed > 0


def test_a_stop_while_a_dependency_is_away_gives_the_rest_of_the_batch_up(desks: Desks) -> None:
    """The half that was handled is committed, the other is delivered again to whoever comes next."""
    desk = desks(numbers(8), bad=[b"1"])
    desk.before_handle = lambda: _raise(DatabaseAway("gone")) if len(desk.handled) >= 3 else None
    desk.loop.start()
    desk.until(lambda: desk.loop.figures().retries_total >= 2, "the dependency is away")
    assert desk.loop.stop(5.0)
    assert (desk.handled, desk.parked) == ([b"0", b"2", b"3"], [b"1"])
    assert desk.consumer.committed == 4


def test_stop_before_start_and_stop_twice_are_no_trouble(desks: Desks) -> None:
    idle = desks(numbers(1))
    assert idle.loop.stop(1.0)
    assert idle.consumer.closed == 1
    idle.loop.start()
    assert idle.loop.stop(1.0)
    assert idle.handled == []

    busy = desks(numbers(1))
    busy.loop.start()
    busy.until_committed(1)
    assert busy.loop.stop(5.0)
    assert busy.loop.stop(5.0)
    assert busy.loop.health().detail == "not running"


def _raise(error: Exception) -> None:
    raise error


def test_records_that_come_one_after_the_other_are_waited_for_unless_it_is_to_stop(desks: Desks) -> None:
    """How long is told by the clock alone (test_gathering): here too long to be waited for."""
    desk = desks(numbers(40), batch_max=20, gather_seconds=30)
    desk.loop.start()
    desk.until_committed(20)
    assert desk.loop.stop(5.0)
    assert desk.calls == [20] and desk.consumer.committed == 20
