"""How long a record that comes now will wait, as the worker knows it."""

from dataclasses import dataclass

import pytest

from ordersaga.delivery.backlog import LOOK_EVERY_SECONDS, Backlog


@dataclass
class Worker:
    """One that handles what it is told to, on a clock of the test's."""

    now: float = 100.0
    unread: int = 0
    looks: int = 0

    def __post_init__(self) -> None:
        self.backlog = Backlog(self, self.look, large=100)  # type: ignore[arg-type]

    def monotonic(self) -> float:
        return self.now

    def look(self) -> int:
        self.looks += 1
        return self.unread

    def handles(self, batches: int, *, number: int = 500, seconds: float = 0.25) -> None:
        for _ in range(batches):
            self.now += seconds
            self.backlog.handled(number)


def test_what_waits_divided_by_what_is_handled_in_a_second() -> None:
    worker = Worker(unread=4_000)
    worker.handles(5)
    assert worker.backlog.seconds == pytest.approx(2.0)
    worker.unread = 1_000
    worker.handles(5)
    assert worker.backlog.seconds == pytest.approx(0.5)


def test_one_slow_batch_is_no_trend() -> None:
    worker = Worker(unread=1_000)
    worker.handles(5)
    worker.handles(1, seconds=1.0)
    assert worker.backlog.seconds < 1.0


def test_nothing_waits_while_batches_are_small_and_nobody_is_asked() -> None:
    worker = Worker(unread=4_000)
    worker.handles(20, number=3)
    assert worker.backlog.seconds == 0.0 and worker.looks == 0


def test_the_small_end_of_what_a_client_holds_is_not_the_end_of_what_waits() -> None:
    """New orders were taken whenever a batch was small, and 15,000 answers waited in a line of a minute."""
    worker = Worker(unread=15_000)
    worker.handles(3)
    for _ in range(20):
        worker.handles(1, number=37, seconds=0.03)
        assert worker.backlog.seconds > 5.0
        worker.handles(2)
        assert worker.backlog.seconds > 5.0


def test_it_is_over_when_little_is_unread_also_where_nothing_more_comes() -> None:
    worker = Worker(unread=4_000)
    worker.handles(5)
    worker.unread = 10
    worker.handles(1, number=3)
    assert worker.backlog.seconds == 0.0
    worker.unread = 4_000
    worker.handles(5)
    worker.handles(1, number=0)
    worker.unread = 0
    worker.handles(1, number=0)
    assert worker.backlog.seconds == 0.0


def test_where_nothing_at_all_is_handled_for_a_while_no_rate_is_made_up() -> None:
    worker = Worker(unread=4_000)
    worker.handles(1)
    worker.handles(3, number=0)
    assert worker.backlog.seconds == 0.0
    worker.handles(3)
    assert worker.backlog.seconds > 0.0


def test_it_looks_a_few_times_a_second_however_quick_the_batches_are() -> None:
    worker = Worker(unread=100)
    worker.handles(100, number=100, seconds=0.02)
    assert worker.looks <= 100 * 0.02 / LOOK_EVERY_SECONDS
