"""Work begins when what it needs is there, however long that takes."""

from threading import Event

import pytest

from ordersaga import preparing
from ordersaga.bus.protocol import BusRefused, BusUnavailable
from ordersaga.preparing import Prepared, Step
from tests.waiting import until

WAIT_SECONDS = 20


class Work:
    def __init__(self) -> None:
        self.started = Event()
        self.stopped = False

    def start(self) -> None:
        self.started.set()

    def stop(self, timeout_seconds: float) -> bool:
        self.stopped = True
        return True


class Outside:
    """Something that is away at first."""

    def __init__(self, error: Exception, failures: int) -> None:
        self._error = error
        self._failures = failures
        self.asked = 0
        self.there = Event()
        self.missed = Event()

    def __call__(self) -> None:
        self.asked += 1
        if self.asked <= self._failures:
            self.missed.set()
            raise self._error
        self.there.set()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "PAUSE_SECONDS", 0.01)


def test_work_begins_at_once_where_nothing_is_to_be_prepared() -> None:
    work = Work()
    prepared = Prepared([], work)
    prepared.start()
    assert work.started.wait(WAIT_SECONDS)
    assert prepared.stop(1)
    assert work.stopped


def test_what_is_required_is_asked_for_until_it_is_there() -> None:
    work, database = Work(), Outside(BusUnavailable("away"), failures=3)
    prepared = Prepared([Step(name="migrate", do=database)], work)
    assert not prepared.health().healthy
    prepared.start()
    assert work.started.wait(WAIT_SECONDS)
    assert database.asked == 4
    assert prepared.stop(1)


def test_while_it_waits_it_says_for_what_and_why() -> None:
    work, database = Work(), Outside(BusUnavailable("no answer"), failures=10**9)
    prepared = Prepared([Step(name="migrate", do=database)], work)
    prepared.start()
    assert database.missed.wait(WAIT_SECONDS)
    end = Event()
    while prepared.health().detail != "migrate: no answer":
        assert not end.wait(0.001)
    assert not work.started.is_set()
    assert prepared.stop(1)
    assert not work.stopped, "what was never begun is not stopped"


def test_what_is_not_required_is_tried_once_before_and_then_beside_the_work() -> None:
    work, brokers = Work(), Outside(BusUnavailable("away"), failures=3)
    prepared = Prepared([Step(name="topics", do=brokers, required=False)], work)
    prepared.start()
    assert work.started.wait(WAIT_SECONDS)
    assert brokers.asked >= 1
    assert brokers.there.wait(WAIT_SECONDS)
    assert prepared.stop(1)
    assert prepared.health().healthy and prepared.besides().healthy


def test_what_can_never_be_there_is_given_up_and_said() -> None:
    work, brokers = Work(), Outside(BusRefused("not allowed"), failures=10**9)
    prepared = Prepared([Step(name="topics", do=brokers)], work)
    prepared.start()
    assert brokers.missed.wait(WAIT_SECONDS)
    end = Event()
    while "gave up" not in prepared.health().detail:
        assert not end.wait(0.001)
    assert prepared.health().detail == "gave up: topics: not allowed"
    assert brokers.asked == 1
    assert prepared.stop(1)


def test_work_begins_without_what_is_not_required_and_can_never_be_there() -> None:
    work, brokers = Work(), Outside(BusRefused("not allowed"), failures=10**9)
    prepared = Prepared([Step(name="topics", do=brokers, required=False)], work)
    prepared.start()
    assert work.started.wait(WAIT_SECONDS)
    until(lambda: prepared.health().healthy, "work has begun")
    besides = prepared.besides()
    assert (besides.healthy, besides.detail) == (False, "gave up: topics: not allowed")
    assert brokers.asked == 1
    assert prepared.stop(1)
    assert work.stopped


def test_what_is_required_is_asked_for_though_something_else_was_given_up() -> None:
    work, brokers = Work(), Outside(BusRefused("not allowed"), failures=10**9)
    database = Outside(BusUnavailable("away"), failures=3)
    steps = [Step(name="topics", do=brokers, required=False), Step(name="migrate", do=database)]
    prepared = Prepared(steps, work)
    prepared.start()
    assert work.started.wait(WAIT_SECONDS)
    assert (database.asked, brokers.asked) == (4, 1)
    assert prepared.stop(1)


def test_it_is_well_once_work_has_begun_and_says_apart_what_that_does_without() -> None:
    work, brokers = Work(), Outside(BusUnavailable("no broker answers"), failures=10**9)
    prepared = Prepared([Step(name="topics", do=brokers, required=False)], work)
    assert prepared.besides().healthy and not prepared.health().healthy, "it has not begun"
    prepared.start()
    assert work.started.wait(WAIT_SECONDS)
    until(lambda: prepared.health().healthy, "work has begun")
    besides = prepared.besides()
    assert (besides.healthy, besides.detail) == (False, "topics: no broker answers")
    assert prepared.stop(1)


def test_stop_may_come_first_and_twice() -> None:
    work = Work()
    prepared = Prepared([], work)
    assert prepared.stop(1)
    prepared.start()
    assert prepared.stop(1)
    assert not work.started.is_set()


class InTheWay(BusUnavailable):
    holds_up_others = True


def test_what_holds_up_others_is_tried_ever_more_seldom_and_the_rest_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    work, database, brokers = Work(), Outside(InTheWay("in use"), 10**9), Outside(BusUnavailable("away"), 20)
    monkeypatch.setattr(preparing, "LONGER_FIRST_SECONDS", 0.02)
    prepared = Prepared([Step(name="migrate", do=database), Step(name="topics", do=brokers)], work)
    prepared.start()
    assert brokers.there.wait(WAIT_SECONDS)
    assert prepared.stop(1)
    assert 1 < database.asked < 10 < brokers.asked
    assert not work.started.is_set()
