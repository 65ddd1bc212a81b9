"""Two processes read for one group: what one cannot read, or cannot handle, the other is to have."""

from collections.abc import Iterator, Sequence

import pytest

from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import Outgoing, Record
from ordersaga.delivery.absence import ASK_EVERY_SECONDS, LEAVE_AFTER_SECONDS
from ordersaga.delivery.consume import ConsumeLoop
from ordersaga.delivery.keeping_up import LOOK_EVERY_SECONDS

from .stage import MovableClock, SeededRandom, Stage

TOPIC, GROUP = "answers", "group"
BATCH = 10


class DatabaseAway(Exception):
    retriable = True


class Process:
    """Reads for the group. `away`: its own way to the database is broken."""

    def __init__(self, stage: Stage, bus: MemoryBus, clock: MovableClock, name: str) -> None:
        self._stage = stage
        self.away = self.writes_fail = False
        self.tries = self.asked = 0
        self.handled: list[bytes] = []
        self.full = False
        self.consumer = bus.consumer(group=GROUP, topics=[TOPIC], client_id=name)
        self.loop = ConsumeLoop(
            self.consumer,
            self._handle,
            lambda record, error: None,
            name=name,
            hold_back=lambda: self.full,
            reachable=self._ask,
            batch_max=BATCH,
            poll_timeout_seconds=0.01,
            retry_first_seconds=0.005,
            retry_most_seconds=0.01,
            clock=clock,
            randomness=SeededRandom(1),
        )

    def _handle(self, records: Sequence[Record]) -> None:
        self.tries += 1
        self._stage.tell()
        if self.away or self.writes_fail:
            raise DatabaseAway("gone")
        self.handled += [record.value or b"" for record in records]
        self._stage.tell()

    def _ask(self) -> None:
        self.asked += 1
        self._stage.tell()
        if self.away:
            raise DatabaseAway("still gone")


class Group:
    def __init__(self) -> None:
        self.stage, self.clock = Stage(), MovableClock()
        self.bus = MemoryBus(topics=[TOPIC], partitions=6)
        self.one, self.other = (Process(self.stage, self.bus, self.clock, name) for name in ("one", "other"))

    def start(self) -> None:
        for process in (self.one, self.other):
            process.loop.start()
        self.stage.until(lambda: self.shares() == (3, 3), "they share the partitions")

    def shares(self) -> tuple[int, int]:
        return len(self.one.consumer.assigned()), len(self.other.consumer.assigned())

    def publish(self, first: int, count: int) -> set[bytes]:
        values = [b"%d" % number for number in range(first, first + count)]
        self.bus.producer(client_id="p").publish([Outgoing(TOPIC, b"", value) for value in values], 1)
        return set(values)

    def unread(self) -> int:
        return sum(self.bus.group_lag(GROUP, [TOPIC]).values())


@pytest.fixture
def group() -> Iterator[Group]:
    group = Group()
    yield group
    for process in (group.one, group.other):
        process.full = False
        process.loop.stop(5.0)


def test_what_comes_with_anothers_partitions_is_read_before_it_has_caught_up(group: Group) -> None:
    group.start()
    group.stage.until(lambda: group.other.loop.caught_up, "it has caught up")
    group.stage.until(lambda: group.one.loop.caught_up, "so has the other")
    group.one.full = True
    group.stage.until(lambda: not group.one.loop.caught_up, "the other reads nothing")
    group.publish(0, 42 * BATCH)
    seen: list[bool] = []
    group.stage.until(lambda: len(group.other.handled) == 21 * BATCH, "its own are read")
    group.stage.until(lambda: group.other.loop.caught_up, "it has caught up with its own")
    handle = group.other._handle

    def handle_and_look(records: Sequence[Record]) -> None:
        seen.append(group.other.loop.caught_up)
        handle(records)

    group.other.loop._handle = handle_and_look
    group.one.consumer.close(1)
    group.stage.until(lambda: group.unread() == 0, "it reads what was the other's")
    group.stage.until(lambda: group.other.loop.caught_up, "it has caught up with all")
    assert len(seen) == 21 and not any(seen[:-1]), "but for a batch"


def test_more_than_a_batch_that_comes_at_once_is_no_silence(group: Group) -> None:
    group.start()
    group.stage.until(lambda: group.other.loop.caught_up, "it has caught up")
    seen: list[bool] = []
    handle = group.other._handle

    def handle_and_look(records: Sequence[Record]) -> None:
        seen.append(group.other.loop.caught_up)
        group.clock.advance(LOOK_EVERY_SECONDS)
        handle(records)

    group.other.loop._handle = handle_and_look
    group.publish(0, 42 * BATCH)
    group.stage.until(lambda: len(group.other.handled) == 21 * BATCH, "its own are read")
    assert not any(seen[1:-1]), "but for a batch"
    group.stage.until(lambda: group.other.loop.caught_up, "it has caught up again")


def test_who_alone_has_lost_the_database_leaves_the_others_what_it_cannot_handle(group: Group) -> None:
    group.start()
    group.one.away = True
    values = group.publish(0, 60)
    group.stage.until(lambda: group.one.tries >= 3, "it tries again")
    assert group.shares() == (3, 3), "as it does for a while"
    assert group.unread() > 0
    group.clock.advance(LEAVE_AFTER_SECONDS)
    group.stage.until(lambda: group.unread() == 0, "the other reads everything")
    assert set(group.other.handled) == values and not group.one.handled
    assert group.shares() == (0, 6) and not group.one.loop.caught_up
    group.stage.until(lambda: group.other.loop.caught_up, "the other has caught up")


def test_who_has_left_says_so_and_asks_for_the_database_until_it_is_back(group: Group) -> None:
    group.start()
    group.one.away = True
    group.publish(0, 60)
    group.stage.until(lambda: group.one.tries >= 1, "it tries")
    group.clock.advance(LEAVE_AFTER_SECONDS)
    for _ in range(3):
        asked = group.one.asked
        group.stage.until(lambda: group.one.asked > asked, "it asks")  # noqa: B023
        group.clock.advance(ASK_EVERY_SECONDS)
    group.stage.until(lambda: "still gone" in group.one.loop.health().detail, "health says why")
    health = group.one.loop.health()
    assert not health.healthy
    assert health.detail == "out of its group, so that others read on: DatabaseAway: still gone"
    tries = group.one.tries

    group.one.away = False
    group.clock.advance(ASK_EVERY_SECONDS)
    group.stage.until(lambda: group.shares() == (3, 3), "it is in its group again")
    assert group.one.tries == tries, "nothing was tried before"
    group.publish(60, 60)
    group.stage.until(lambda: group.unread() == 0, "both read")
    assert group.one.handled
    group.stage.until(lambda: group.one.loop.caught_up and group.one.loop.health().healthy, "all is well")


def test_nobody_leaves_what_answers_and_takes_nothing(group: Group) -> None:
    """A disk is full: another would fare alike, and whoever stays goes on with the first that is taken in."""
    group.start()
    group.one.writes_fail = True
    group.publish(0, 60)
    for _ in range(4):
        tries, asked = group.one.tries, group.one.asked
        group.stage.until(lambda: group.one.tries > tries, "it tries again")  # noqa: B023
        group.clock.advance(LEAVE_AFTER_SECONDS)
        group.stage.until(lambda: group.one.asked > asked, "it asks")  # noqa: B023
        assert group.shares() == (3, 3)
    group.one.writes_fail = False
    group.stage.until(lambda: group.unread() == 0, "all is read")
    assert group.one.handled and group.shares() == (3, 3)


def test_who_is_held_back_by_a_database_that_is_away_leaves_too(group: Group) -> None:
    """What is published stays in its memory then, and that is full."""
    group.start()
    group.stage.until(lambda: group.one.loop.caught_up, "it has caught up")
    group.one.full = True
    group.stage.until(lambda: not group.one.loop.caught_up, "it is held back")
    values = group.publish(0, 60)
    group.clock.advance(2 * LEAVE_AFTER_SECONDS)
    group.stage.until(lambda: group.one.asked > 0, "it asks")
    assert group.shares() == (3, 3), "the database is there"
    group.one.away = True
    group.clock.advance(ASK_EVERY_SECONDS)
    group.stage.until(lambda: group.unread() == 0, "the other reads everything")
    assert set(group.other.handled) == values


def test_who_is_stopped_while_it_is_away_ends_at_once(group: Group) -> None:
    group.start()
    group.one.away = True
    group.publish(0, 60)
    group.stage.until(lambda: group.one.tries >= 1, "it tries")
    group.clock.advance(LEAVE_AFTER_SECONDS)
    group.stage.until(lambda: group.shares() == (0, 6), "it has left")
    assert group.one.loop.stop(5.0)
