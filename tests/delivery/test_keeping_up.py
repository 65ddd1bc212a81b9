"""What a consumer knows of how far it has come is what brokers have told lately."""

from typing import Any

from ordersaga.delivery.clock import SystemClock
from ordersaga.delivery.keeping_up import TOLD_WITHIN_SECONDS, UNTOLD_SECONDS, KeepingUp

ONE, OTHER = ("t", 0), ("t", 1)


class Told(SystemClock):
    """A consumer as the brokers tell it of its partitions: what is asked in one look is answered by the next."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.answers: dict[tuple[str, int], int] = {ONE: 0, OTHER: 0}
        self.unread: dict[tuple[str, int], str] = {}
        self._asked_at = float("-inf")
        consumer: Any = self
        self.keeping_up = KeepingUp(consumer, self, batch_max=10)

    def monotonic(self) -> float:
        return self.seconds

    def assigned(self) -> set[tuple[str, int]]:
        return {ONE, OTHER}

    def unreadable(self) -> dict[tuple[str, int], str]:
        return self.unread

    def lag(self, since: float) -> dict[tuple[str, int], int]:
        told = self.answers if self._asked_at > since else {}
        self._asked_at = self.seconds + 0.001  # a moment after the look began
        return dict(told)

    def turn(self, seconds: float = 0.5) -> KeepingUp:
        self.seconds += seconds
        self.keeping_up.polled()
        self.keeping_up.note_what_became_ours()
        self.keeping_up.look()
        return self.keeping_up


def test_it_has_caught_up_once_brokers_have_told_that_little_is_unread() -> None:
    told = Told()
    assert not told.turn().caught_up, "it has asked"
    assert told.turn().caught_up
    told.answers[ONE] = 11
    assert not told.turn(1.0).caught_up
    told.answers[ONE] = 10
    assert told.turn().caught_up


def test_it_is_cut_off_when_nobody_has_told_anything_for_a_while_and_not_for_a_moment() -> None:
    """The first look after anything was in the way is told nothing."""
    told = Told()
    told.answers = {ONE: 5000, OTHER: 5000}
    for _ in range(20):
        told.keeping_up.lose_track()
        assert not told.turn().is_cut_off
        assert not told.turn().is_cut_off
    told.answers = {}
    assert not told.turn().is_cut_off
    assert told.turn(TOLD_WITHIN_SECONDS).is_cut_off
    told.answers = {ONE: 5000}
    assert not told.turn().is_cut_off, "one broker of several is away"


def test_bad_news_are_that_for_seconds_a_partition_was_not_told_of_and_of_nothing_else() -> None:
    told = Told()
    told.answers = {ONE: 0}
    told.turn()
    assert told.turn(UNTOLD_SECONDS - 0.1).bad_news() == ""
    assert "no broker has told" in told.turn(0.2).bad_news()
    told.unread = {OTHER: "damaged"}
    assert told.turn().bad_news() == "", "that it cannot be read is said elsewhere"
    for _ in range(20):
        told.unread = {}
        told.keeping_up.lose_track()
        assert told.turn().bad_news() == "", "it is held back for a moment, again and again"
