"""What was said before a moment has been handled once the whole group has committed it; and nothing waits for ever."""

from ordersaga.bus.protocol import BusError, BusRefused, BusUnavailable, Read
from ordersaga.delivery.clock import SystemClock
from ordersaga.orchestrator.runtime.hearing import (
    FOREVER_SECONDS,
    FORGOTTEN_SECONDS,
    HOPELESS_SECONDS,
    LOOK_EVERY_SECONDS,
    LOOK_SELDOM_SECONDS,
    TOLD_AFTER_SECONDS,
    Hearing,
    Place,
)
from tests.waiting import until

AWAY, REFUSED = BusUnavailable("no answer"), BusRefused("you may not see this group")


class Topics(SystemClock):
    """Two partitions, as the brokers tell of them, and a clock that goes as the test says."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.read: dict[Place, Read] = {("t", 0): Read(5, 5), ("t", 1): Read(7, 7)}
        self.fails: BusError | None = None
        self.hearing = Hearing(self.reads, clock=self)

    def monotonic(self) -> float:
        return self.seconds

    def reads(self) -> dict[Place, Read]:
        if self.fails:
            raise self.fails
        return dict(self.read)

    def look(self, seconds: float = 0.0) -> float:
        """So much later. Returns when all has been heard that was said before."""
        self.seconds += seconds
        self.hearing._loop.wake()
        self.hearing.turn()
        return self.hearing.heard_at()

    def watched(self, seconds: float) -> float:
        """Looked at all that time."""
        for _ in range(int(seconds / LOOK_SELDOM_SECONDS)):
            self.look(LOOK_SELDOM_SECONDS)
        return self.hearing.heard_at()


def test_where_nothing_is_unread_all_has_been_heard() -> None:
    topics = Topics()
    assert topics.hearing.unheard_seconds() == FOREVER_SECONDS, "nobody has looked yet"
    assert topics.look() == topics.seconds and topics.hearing.is_up_to_date()
    topics.seconds += 7.0
    assert topics.hearing.unheard_seconds() == 7.0 and not topics.hearing.is_up_to_date()


def test_a_moment_is_heard_once_each_partition_was_read_as_far_as_it_went_then() -> None:
    topics = Topics()
    topics.look()
    topics.read |= {("t", 0): Read(5, 8), ("t", 1): Read(7, 9)}
    topics.look(1)
    then = topics.seconds
    topics.read[("t", 0)] = Read(8, 8)
    assert topics.look(1) < then, "the other one is not read"
    topics.read |= {("t", 0): Read(8, 100), ("t", 1): Read(9, 100)}
    assert topics.look(1) == then, "what came since does not count"
    assert topics.look(1) == then


def test_while_brokers_do_not_answer_nothing_more_is_heard() -> None:
    topics = Topics()
    before = topics.look()
    topics.fails = AWAY
    assert topics.look(TOLD_AFTER_SECONDS) == before
    assert topics.look(1) == before
    topics.fails = None
    assert topics.look(1) == topics.seconds


def test_what_was_unread_before_an_outage_or_a_pause_is_waited_for_however_long_that_was() -> None:
    topics = Topics()
    topics.read[("t", 1)] = Read(7, 8)
    before = topics.look()
    assert topics.look(HOPELESS_SECONDS * 2) == before
    topics.fails = AWAY
    topics.watched(HOPELESS_SECONDS * 2)
    topics.fails = None
    assert topics.look(1) == before
    for _ in range(100):
        topics.hearing.nobody_could_read()
        assert topics.look(LOOK_SELDOM_SECONDS) == before, "it is looked at, and nobody may read"
    assert topics.watched(HOPELESS_SECONDS - 2 * LOOK_SELDOM_SECONDS) == before
    topics.read[("t", 1)] = Read(8, 8)
    assert topics.look(1) == topics.seconds


def test_while_brokers_are_away_windows_wait_however_long_that_is() -> None:
    """What they would send could not be sent, and would go out before the acceptance is read."""
    topics = Topics()
    before = topics.look()
    topics.fails = AWAY
    topics.watched(HOPELESS_SECONDS * 2)
    assert topics.hearing.unheard_seconds() == topics.seconds - before > HOPELESS_SECONDS
    topics.fails, topics.read[("t", 1)] = None, Read(7, 8)
    topics.look(1)
    assert topics.hearing.unheard_seconds() == topics.seconds - before, "an acceptance has come, and is not read"
    topics.read[("t", 1)] = Read(8, 8)
    topics.look(1)
    assert topics.hearing.unheard_seconds() == 0.0


def test_brokers_that_refuse_to_say_are_not_waited_for_without_end_and_no_time_counts_in_which_nobody_could_read() -> (
    None
):
    topics = Topics()
    topics.look()
    topics.fails = REFUSED
    for _ in range(200):
        topics.hearing.nobody_could_read()
        topics.look(LOOK_SELDOM_SECONDS)
    assert topics.hearing.unheard_seconds() == 200 * LOOK_SELDOM_SECONDS, "the database is back"
    topics.watched(HOPELESS_SECONDS - LOOK_SELDOM_SECONDS)
    assert topics.hearing.unheard_seconds() > HOPELESS_SECONDS
    topics.look(LOOK_SELDOM_SECONDS)
    assert topics.hearing.unheard_seconds() == 0.0
    assert not topics.hearing.is_up_to_date(), "nobody knows"
    topics.fails = AWAY
    topics.look(1)
    assert topics.hearing.unheard_seconds() > HOPELESS_SECONDS
    topics.fails = None
    topics.look(1)
    topics.look(1)
    assert topics.hearing.heard_at() == topics.seconds and topics.hearing.unheard_seconds() == 0.0
    topics.seconds += 1
    assert topics.hearing.unheard_seconds() == 1.0


def test_a_partition_that_is_written_to_and_read_no_further_is_given_up_and_the_others_are_not() -> None:
    topics = Topics()
    before = topics.look()
    for end in range(6, 5 + int(HOPELESS_SECONDS / LOOK_SELDOM_SECONDS)):
        topics.read[("t", 0)] = Read(5, end)
        assert topics.look(LOOK_SELDOM_SECONDS) == before
    topics.read[("t", 0)] = Read(5, 1000)
    assert topics.look(LOOK_SELDOM_SECONDS) == topics.seconds
    topics.hearing.start()
    until(lambda: topics.hearing.health().detail == "windows no longer wait for what nobody reads: t/0", "it says so")
    assert topics.hearing.stop(5)
    then, topics.read[("t", 1)] = topics.seconds, Read(7, 8)
    assert topics.look(1) == topics.look(1) == then, "of the other one something is unread"
    topics.read[("t", 1)] = Read(8, 8)
    assert topics.look(1) == topics.seconds
    topics.read[("t", 0)] = Read(6, 1000)
    assert topics.look(1) < topics.seconds, "somebody has mended it"


def test_what_is_read_on_is_waited_for_however_long_it_takes() -> None:
    topics = Topics()
    before = topics.look()
    for read in range(0, 2 * int(HOPELESS_SECONDS), int(LOOK_SELDOM_SECONDS)):
        topics.read[("t", 0)] = Read(read, 100_000)
        assert topics.look(LOOK_SELDOM_SECONDS) == before


def test_a_partition_in_which_nothing_moves_any_more_holds_up_the_others_for_a_while_only() -> None:
    """A transaction was left open, say."""
    topics = Topics()
    topics.read[("t", 1)] = Read(7, 8)
    before = topics.look()
    assert topics.watched(HOPELESS_SECONDS - LOOK_SELDOM_SECONDS) == before
    assert topics.watched(LOOK_SELDOM_SECONDS) == topics.seconds


def test_a_partition_that_no_broker_tells_of_any_more_is_not_taken_for_read_though_it_stood_still_for_long() -> None:
    topics = Topics()
    topics.look()
    before = topics.watched(HOPELESS_SECONDS * 2)
    gone = topics.read.pop(("t", 0))
    assert topics.look(1) == before
    assert topics.look(1) == before
    topics.read[("t", 0)] = gone
    assert topics.look(1) == topics.seconds
    topics.read.pop(("t", 0))
    topics.look(FORGOTTEN_SECONDS)
    assert topics.look(1) == topics.seconds, "it was taken away for good"


def test_a_partition_that_comes_while_another_is_waited_for_keeps_nothing_waiting() -> None:
    topics = Topics()
    topics.read[("t", 0)] = Read(5, 6)
    topics.look()
    topics.read[("t", 2)] = Read(0, 2)
    topics.look(1)
    then = topics.seconds
    topics.read |= {("t", 0): Read(6, 7), ("t", 2): Read(2, 4)}
    assert topics.look(1) == then


def test_a_topic_that_was_made_anew_keeps_nothing_waiting() -> None:
    topics = Topics()
    topics.read[("t", 0)] = Read(5, 6)
    topics.look()
    topics.read[("t", 0)] = Read(0, 0)
    assert topics.look(1) == topics.seconds


def test_without_topics_nothing_was_said() -> None:
    topics = Topics()
    topics.read = {}
    assert topics.look() == topics.seconds


def test_it_looks_each_second_while_somebody_asks_and_says_what_windows_wait_for() -> None:
    """In a thread of its own: an answer may take its time."""
    topics = Topics()
    topics.fails = AWAY
    topics.hearing.start()
    assert topics.hearing.health().detail == ""
    topics.hearing.heard_at()
    until(lambda: "no answer" in topics.hearing.health().detail, "it says so")
    assert topics.hearing.health().healthy
    topics.fails = None
    topics.seconds += LOOK_EVERY_SECONDS
    topics.hearing._loop.wake()
    until(lambda: topics.hearing.heard_at() == topics.seconds, "it has looked again")
    assert topics.hearing.health().detail == ""
    assert topics.hearing.stop(5)
