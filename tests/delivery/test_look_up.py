"""How the log is read back for rows of a dead process: from its end, a span at a time, each once."""

from collections.abc import Iterator, Sequence

import pytest

from ordersaga.bus.protocol import BusUnavailable, Outgoing
from ordersaga.delivery.look_up import LookUp
from ordersaga.delivery.messages import OutboxRow

from .stage import MovableClock, SeededRandom, Stage

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


class Log:
    """What a topic has, and how much of it can be read at a time."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.clock = MovableClock()
        self.now_ms = int(self.clock.now().timestamp() * 1000)
        self.written: dict[bytes, int] = {}
        self.readable_ms = DAY_MS
        self.missing_topics: set[str] = set()
        self.spans: list[tuple[str, int, int | None]] = []
        self.answers: dict[int, bool] = {}
        self.look_up = LookUp(
            self.was_written,
            written=lambda rows: self._told(rows, True),
            missing=lambda rows: self._told(rows, False),
            clock=self.clock,
            randomness=SeededRandom(1),
        )

    def was_written(
        self, records: Sequence[Outgoing], since_ms: int, timeout_seconds: float, before_ms: int | None
    ) -> list[bool]:
        (topic,) = {record.topic for record in records}
        until_ms = before_ms or self.now_ms
        if topic not in self.missing_topics:
            if until_ms - since_ms > self.readable_ms:
                raise BusUnavailable("reading took too long")
            self.spans.append((topic, since_ms, before_ms))
        return [since_ms <= self.written.get(record.value, 0) < until_ms for record in records]

    def row(self, number: int, *, age_ms: int, topic: str = "t") -> OutboxRow:
        return OutboxRow(row_id=number, record=Outgoing(topic, b"k", b"%d" % number), created_ms=self.now_ms - age_ms)

    def until_answered(self, *numbers: int) -> None:
        self.stage.until(lambda: set(numbers) <= self.answers.keys(), f"{numbers} are answered")

    def _told(self, rows: Sequence[OutboxRow], is_written: bool) -> None:
        self.answers |= dict.fromkeys([row.row_id for row in rows], is_written)
        self.stage.tell()


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log(Stage())
    yield log
    assert log.look_up.stop(10.0)


def test_spans_meet_and_none_is_read_twice(log: Log) -> None:
    log.look_up.add([log.row(1, age_ms=2_000), log.row(2, age_ms=3 * DAY_MS), log.row(3, age_ms=2 * DAY_MS)])
    log.written = {b"3": log.now_ms - 2 * DAY_MS + 1}
    log.look_up.start()
    log.until_answered(1, 2, 3)
    assert log.answers == {1: False, 2: False, 3: True}
    assert log.spans[0][2] is None, "the first goes to the end that the log has"
    assert [since_ms for _, since_ms, _ in log.spans[:-1]] == [before_ms for _, _, before_ms in log.spans[1:]]
    assert log.spans[-1][1] <= log.now_ms - 3 * DAY_MS
    assert not log.look_up.held()


def test_what_was_read_is_not_read_again_after_a_span_that_was_too_long(log: Log) -> None:
    log.readable_ms = 30 * MINUTE_MS
    log.look_up.add([log.row(1, age_ms=90 * MINUTE_MS)])
    log.look_up.start()
    log.until_answered(1)
    assert [since_ms for _, since_ms, _ in log.spans[:-1]] == [before_ms for _, _, before_ms in log.spans[1:]]


def test_a_row_whose_topic_does_not_exist_waits_for_no_other(log: Log) -> None:
    log.missing_topics, log.readable_ms = {"gone"}, MINUTE_MS // 60
    log.look_up.add([log.row(1, age_ms=3 * DAY_MS, topic="gone"), log.row(2, age_ms=3 * DAY_MS)])
    log.look_up.start()
    log.until_answered(1)
    assert log.look_up.held() == [2]


def test_a_row_that_is_taken_over_once_more_is_looked_up_once(log: Log) -> None:
    first, again = log.row(1, age_ms=1_000), log.row(1, age_ms=1_000)
    log.look_up.add([first])
    log.look_up.add([again])
    assert log.look_up.held() == [1]
    log.look_up.start()
    log.until_answered(1)
    log.stage.until(lambda: not log.look_up.held(), "nothing waits")
    assert len(log.spans) == 1


@pytest.mark.parametrize("ahead_ms", [5 * MINUTE_MS, 3 * 60 * MINUTE_MS])
def test_a_row_is_found_though_the_clock_of_the_database_is_ahead_of_the_one_that_stamped_its_record(
    log: Log, ahead_ms: int
) -> None:
    log.look_up.add([log.row(1, age_ms=-ahead_ms), log.row(2, age_ms=-ahead_ms)])
    log.written = {b"1": log.now_ms - 1_000}
    log.look_up.start()
    log.until_answered(1, 2)
    assert log.answers == {1: True, 2: False}
