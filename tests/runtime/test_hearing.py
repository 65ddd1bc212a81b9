"""What was said before a moment has been handled once the whole group has committed it; and nothing waits for ever."""

from ordersaga.bus.protocol import BusUnavailable, Read
from ordersaga.delivery.clock import SystemClock
from ordersaga.orchestrator.runtime.hearing import (
    AWAY_SECONDS,
    LOOK_EVERY_SECONDS,
    STALLED_SECONDS,
    UNHEARD_SECONDS_MAX,
    Hearing,
    Place,
)


class Topics(SystemClock):
    """Two partitions, as the brokers tell of them, and a clock that goes as the test says."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.read: dict[Place, Read] = {("t", 0): Read(5, 5), ("t", 1): Read(7, 7)}
        self.asked = 0
        self.away = False

    def monotonic(self) -> float:
        return self.seconds

    def __call__(self) -> dict[Place, Read]:
        self.asked += 1
        if self.away:
            raise BusUnavailable("no answer")
        return dict(self.read)

    def later(self, seconds: float = LOOK_EVERY_SECONDS) -> float:
        self.seconds += seconds
        return self.seconds


def test_where_nothing_is_unread_all_has_been_heard() -> None:
    topics = Topics()
    hearing = Hearing(topics, clock=topics)
    assert hearing.heard_at() == topics.seconds and hearing.unheard_seconds() == 0.0
    topics.later(LOOK_EVERY_SECONDS / 2)
    assert hearing.unheard_seconds() == LOOK_EVERY_SECONDS / 2, "the brokers are not asked all the time"
    assert topics.asked == 1


def test_a_moment_is_heard_once_each_partition_was_read_as_far_as_it_went_then() -> None:
    topics = Topics()
    hearing = Hearing(topics, clock=topics)
    topics.read |= {("t", 0): Read(5, 8), ("t", 1): Read(7, 9)}
    then = topics.later()
    assert hearing.heard_at() == then - LOOK_EVERY_SECONDS or hearing.heard_at() < then
    topics.read[("t", 0)] = Read(8, 8)
    topics.later()
    assert hearing.heard_at() < then, "the other one is not read"
    topics.read |= {("t", 0): Read(8, 100), ("t", 1): Read(9, 100)}
    topics.later()
    assert hearing.heard_at() == then, "what came since does not count"
    topics.later()
    assert hearing.heard_at() == then


def test_while_brokers_do_not_answer_nothing_more_is_heard() -> None:
    topics = Topics()
    topics.away = True
    hearing = Hearing(topics, clock=topics)
    assert hearing.unheard_seconds() == UNHEARD_SECONDS_MAX and not hearing.is_up_to_date()
    topics.away = False
    topics.later(AWAY_SECONDS)
    assert hearing.is_up_to_date()


def test_a_partition_in_which_nothing_moves_any_more_holds_up_the_others_for_a_while_only() -> None:
    """The end of a transaction takes an offset, and is no record."""
    topics = Topics()
    topics.read[("t", 1)] = Read(7, 8)
    hearing = Hearing(topics, clock=topics)
    hearing.heard_at()
    topics.later(STALLED_SECONDS - 1)
    assert hearing.unheard_seconds() == UNHEARD_SECONDS_MAX
    topics.later(1)
    assert hearing.heard_at() == topics.seconds
    topics.read[("t", 1)] = Read(7, 9)
    assert topics.later() > hearing.heard_at(), "something came"


def test_a_partition_that_no_broker_tells_of_any_more_is_not_taken_for_read() -> None:
    topics = Topics()
    hearing = Hearing(topics, clock=topics)
    before = hearing.heard_at()
    gone = topics.read.pop(("t", 0))
    topics.later()
    assert hearing.heard_at() == before
    topics.read[("t", 0)] = gone
    topics.later()
    assert hearing.heard_at() == topics.seconds


def test_without_topics_nothing_was_said() -> None:
    topics = Topics()
    topics.read = {}
    assert Hearing(topics, clock=topics).is_up_to_date()
