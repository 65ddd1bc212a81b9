"""Waiting a moment for company: only where company comes."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.delivery.clock import SystemClock
from ordersaga.delivery.gathering import Gathering


class Watch(SystemClock):
    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


def after(batches: int, of: int, every_seconds: float, *, seconds: float = 0.01) -> tuple[Gathering, Watch]:
    watch = Watch()
    gathering = Gathering(watch, seconds=seconds, least=4)
    for _ in range(batches):
        watch.seconds += every_seconds
        gathering.took(of)
    return gathering, watch


def test_who_comes_alone_never_waits() -> None:
    gathering, watch = after(1, 1, 0)
    assert gathering.wait_seconds() == 0
    for _ in range(200):
        watch.seconds += 0.005
        gathering.took(1)
        assert gathering.wait_seconds() == 0


def test_where_many_come_one_by_one_they_are_waited_for_as_long_as_was_said() -> None:
    gathering, watch = after(2000, 1, 0.001)
    assert gathering.wait_seconds() == pytest.approx(0.01)
    watch.seconds += 0.004
    assert gathering.wait_seconds() == pytest.approx(0.006)


def test_a_batch_that_took_longer_has_waited_enough() -> None:
    gathering, watch = after(100, 50, 0.05)
    watch.seconds += 0.05
    assert gathering.wait_seconds() == 0


def test_after_a_rush_nobody_waits_any_more() -> None:
    gathering, watch = after(1000, 1, 0.001)
    assert gathering.wait_seconds() > 0
    watch.seconds += 3
    gathering.took(1)
    assert gathering.wait_seconds() == 0


def test_it_can_be_turned_off() -> None:
    gathering, _ = after(1000, 100, 0.001, seconds=0)
    assert gathering.wait_seconds() == 0


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 10_000)), max_size=50))
def test_however_they_come_none_waits_longer_than_was_said(batches: list[tuple[float, int]]) -> None:
    gathering, watch = after(0, 0, 0)
    for seconds, number in batches:
        watch.seconds += seconds
        gathering.took(number)
        assert 0 <= gathering.wait_seconds() <= 0.01 + 1e-9
