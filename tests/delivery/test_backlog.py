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
        self.backlog = Backlog(self, self.look)  # type: ignore[arg-type]

    def monotonic(self) -> float:
        return self.now

    def look(self) -> int:
        self.looks += 1
        return self.unread

    def handles(self, batches: int, *, number: int = 500, seconds: float = 0.25, crowded: bool = True) -> None:
        for _ in range(batches):
            self.now += seconds
            self.backlog.handled(number, crowded=crowded)


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
    worker.handles(20, number=3, crowded=False)
    assert worker.backlog.seconds == 0.0 and worker.looks == 0
    worker.handles(5)
    assert worker.backlog.seconds > 0.0
    worker.handles(1, number=3, crowded=False)
    assert worker.backlog.seconds == 0.0


def test_it_looks_a_few_times_a_second_however_quick_the_batches_are() -> None:
    worker = Worker(unread=100)
    worker.handles(100, number=100, seconds=0.02)
    assert worker.looks <= 100 * 0.02 / LOOK_EVERY_SECONDS
