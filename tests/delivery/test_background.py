"""A loop takes turns until it is stopped, and outlives turns that fail."""

import os
from threading import Event

import pytest

from ordersaga.delivery.background import Chore, GiveUpError, Loop
from ordersaga.delivery.clock import SystemClock, SystemRandom, backoff_seconds

from .stage import SeededRandom, Stage


def test_a_turn_that_raises_is_followed_by_another_and_is_not_forgotten() -> None:
    stage = Stage()
    turns: list[int] = []

    def turn() -> None:
        turns.append(1)
        stage.tell()
        if len(turns) <= 3:
            raise RuntimeError(f"turn {len(turns)}\nsecond line")
        loop.pause(10.0)

    loop = Loop("test", turn, restart_first_seconds=0.001, restart_most_seconds=0.002)
    loop.start()
    stage.until(lambda: len(turns) == 4, "the loop goes on")
    assert (loop.failures, loop.last_error) == (3, "RuntimeError: turn 3")
    assert loop.stop(5.0)


def test_a_loop_that_fails_in_a_row_is_unhealthy_until_a_turn_succeeds() -> None:
    stage = Stage()
    mended = Event()

    def turn() -> None:
        stage.tell()
        if not mended.is_set():
            raise RuntimeError("broken")
        loop.pause(0.001)

    loop = Loop("test", turn, restart_first_seconds=0.001, restart_most_seconds=0.002)
    loop.start()
    stage.until(lambda: "broken" in loop.health().detail, "the failure shows")
    assert not loop.health().healthy
    mended.set()
    stage.until(lambda: loop.health().healthy, "the loop is well again")
    assert loop.stop(5.0)


def test_a_loop_is_well_again_as_soon_as_its_turn_has_done_its_work_however_long_it_rests() -> None:
    stage = Stage()
    turns: list[int] = []

    def turn() -> None:
        turns.append(1)
        if len(turns) == 1:
            raise RuntimeError("the database is away")
        stage.tell()
        loop.pause(86_400.0)

    loop = Loop("test", turn, restart_first_seconds=0.001, restart_most_seconds=0.002)
    loop.start()
    stage.until(lambda: loop.health().healthy, "it is well")
    assert len(turns) == 2
    assert loop.stop(5.0)


def test_a_chore_that_has_more_to_do_rests_only_for_a_moment() -> None:
    stage = Stage()
    said: list[object] = []

    def do() -> object:
        said.append([True, True, 7][len(said)])
        stage.tell()
        return said[-1]

    chore = Chore("test", do, every_seconds=86_400.0, again_seconds=0.001)
    chore.start()
    stage.until(lambda: len(said) == 3, "it is done again as long as there is more")
    assert chore.health().healthy
    assert chore.stop(5.0)


def test_giving_up_ends_the_loop_and_its_health_says_why() -> None:
    ended = Event()

    def turn() -> None:
        raise GiveUpError("fenced")

    loop = Loop("test", turn, on_end=ended.set)
    loop.start()
    assert ended.wait(10.0)
    assert loop.join(5.0)
    assert loop.health().detail == "gave up: GiveUpError: fenced"


def test_a_pause_ends_when_woken_also_by_a_wake_that_came_before_it() -> None:
    stage = Stage()
    turns: list[int] = []

    def turn() -> None:
        turns.append(1)
        stage.tell()
        loop.pause(None)

    loop = Loop("test", turn)
    loop.wake()
    loop.start()
    stage.until(lambda: len(turns) == 2, "the early wake ended the first pause")
    loop.wake()
    stage.until(lambda: len(turns) == 3, "the pause was ended")
    assert loop.stop(5.0)
    assert len(turns) == 3


def test_a_turn_that_does_not_end_is_reported_by_stop() -> None:
    entered, go_on = Event(), Event()

    def turn() -> None:
        entered.set()
        assert go_on.wait(10.0)

    loop = Loop("test", turn)
    loop.start()
    assert entered.wait(10.0)
    assert not loop.stop(0.01)
    go_on.set()
    assert loop.stop(5.0)


def test_stop_before_start_keeps_a_loop_from_running() -> None:
    turns: list[int] = []
    loop = Loop("test", lambda: turns.append(1))
    assert loop.stop(1.0)
    loop.start()
    assert loop.stop(1.0)
    assert turns == []


@pytest.mark.parametrize(("attempt", "most"), [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.5), (100_000, 0.5)])
def test_pauses_grow_to_a_limit_and_are_spread(attempt: int, most: float) -> None:
    drawn = [backoff_seconds(attempt, first=0.1, most=0.5, randomness=SeededRandom(seed)) for seed in range(50)]
    assert all(most / 2 <= seconds <= most for seconds in drawn)
    assert max(drawn) - min(drawn) > most / 4


def test_the_system_clock_is_aware_and_the_system_random_is_in_range() -> None:
    assert SystemClock().now().tzinfo is not None
    random = SystemRandom()
    drawn = [random.bytes(size) for size in [16] * 100 + [3, 5000]]
    assert [len(one) for one in drawn] == [16] * 100 + [3, 5000] and len(set(drawn)) == 102
    assert 1.0 <= SystemRandom().uniform(1.0, 2.0) <= 2.0


def test_a_fork_draws_other_bytes_than_its_parent() -> None:
    random = SystemRandom()
    random.bytes(16)
    near, far = os.pipe()
    if not (child := os.fork()):
        os.write(far, random.bytes(16))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(near, 16) != random.bytes(16)
    os.close(near)
    os.close(far)
