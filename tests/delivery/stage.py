"""What the tests of delivery put around the code under test: a clock that can be moved, a bus that follows a script,
and waiting with a bound.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from threading import Condition, RLock
from time import monotonic
from typing import Any
from uuid import UUID

from ordersaga.bus.partitioner import partition_of
from ordersaga.bus.protocol import BusError, Outcome, Outgoing, Published, Record
from ordersaga.delivery.clock import SystemClock
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.outbox_memory import MemoryOutbox
from ordersaga.delivery.outbox_protocol import OutboxUnavailable

ACKNOWLEDGED = Outcome(Published.ACKNOWLEDGED)
UNKNOWN = Outcome(Published.UNKNOWN, "no answer")
REFUSED = Outcome(Published.REFUSED, "too large")

ONE, TWO, THREE = UUID(int=1), UUID(int=2), UUID(int=3)
BOUND_SECONDS = 10.0
PARTITIONS = 6
"""Of each topic."""


class Stage:
    """Doubles tell the stage what they did; a test waits until something holds."""

    def __init__(self) -> None:
        self.changed = Condition(RLock())

    def tell(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def until(self, holds: Callable[[], bool], what: str = "what the test waits for") -> None:
        end = monotonic() + BOUND_SECONDS
        with self.changed:
            while not holds():
                assert monotonic() < end, f"{what} did not come about within {BOUND_SECONDS} s"
                # Not everything tells the stage, so it looks now and then.
                self.changed.wait(0.02)


class MovableClock(SystemClock):
    """Real time plus what the test adds. Whoever waits notices."""

    def __init__(self) -> None:
        self._ahead_seconds = 0.0
        self._waited_on: set[Condition] = set()

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead_seconds

    def wait(self, condition: Condition, seconds: float | None) -> bool:
        self._waited_on.add(condition)
        return super().wait(condition, seconds)

    def advance(self, seconds: float) -> None:
        self._ahead_seconds += seconds
        for condition in list(self._waited_on):
            with condition:
                condition.notify_all()


class StandingClock(MovableClock):
    """One that goes on by what the test adds and by nothing else."""

    def monotonic(self) -> float:
        return 1000.0 + self._ahead_seconds


class OtherClock(MovableClock):
    """One that goes like `clock`, and may be put forward by itself."""

    def __init__(self, clock: MovableClock) -> None:
        super().__init__()
        self._clock = clock

    def monotonic(self) -> float:
        return self._clock.monotonic() + self._ahead_seconds


class SeededRandom:
    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def bytes(self, n: int) -> bytes:
        return self._random.randbytes(n)

    def uniform(self, a: float, b: float) -> float:
        return self._random.uniform(a, b)


class ScriptedProducer:
    """Answers as `answer` says, one record at a time; acknowledges everything while there is none. `log` is what the
    broker has.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.calls: list[list[bytes]] = []
        self.timeouts: list[float] = []
        self.log: list[Outgoing] = []
        self.answer: Callable[[Outgoing], Outcome] = lambda record: ACKNOWLEDGED
        self.before: Callable[[], None] = lambda: None
        self.cuts = 0
        self.closed = False

    def publish(self, records: Sequence[Outgoing], timeout_seconds: float) -> Sequence[Outcome]:
        with self._stage.changed:
            self.calls.append([record.value for record in records])
            self.timeouts.append(timeout_seconds)
        self._stage.tell()
        self.before()
        with self._stage.changed:
            outcomes = [self.answer(record) for record in records]
            self.log += [r for r, o in zip(records, outcomes, strict=True) if o.published is Published.ACKNOWLEDGED]
        self._stage.tell()
        return outcomes

    @property
    def values(self) -> list[bytes]:
        return [record.value for record in self.log]

    def partition(self, topic: str, key: bytes) -> int | None:
        return partition_of(key, PARTITIONS)

    def cut_off(self) -> bool:
        self.cuts += 1
        self._stage.tell()
        return False

    def close(self, timeout_seconds: float) -> None:
        self.closed = True


class BufferingProducer(ScriptedProducer):
    """One whose client keeps what it cannot send, and sends it as soon as it can, be it when it is closed."""

    def __init__(self, stage: Stage, log: list[Outgoing]) -> None:
        super().__init__(stage)
        self.log = log
        self.away = False
        self.buffer: list[Outgoing] = []

    def publish(self, records: Sequence[Outgoing], timeout_seconds: float) -> Sequence[Outcome]:
        if not self.away:
            return super().publish(records, timeout_seconds)
        with self._stage.changed:
            self.buffer += [record for record in records if record not in self.buffer]
        self._stage.tell()
        return [UNKNOWN] * len(records)

    def heal(self) -> None:
        self.away = False
        self.log += self.buffer
        self.buffer = []

    def cut_off(self) -> bool:
        lost, self.buffer = self.buffer, []
        super().cut_off()
        return bool(lost)

    def close(self, timeout_seconds: float) -> None:
        self.heal()
        super().close(timeout_seconds)


class WatchedOutbox(MemoryOutbox):
    """Tells the stage what it was asked, and is unreachable while `away`: altogether, or for the named questions."""

    stage: Stage
    away: Collection[str] = ()
    looks = 0
    """Scans that ended."""
    beats = 0
    """Renewals that were tried."""
    deletes = 0
    """Statements that were to delete acknowledged rows."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.before: Callable[[], None] = lambda: None
        """What happens while a statement is on its way."""

    def _ask(self, question: str) -> None:
        self.stage.tell()
        self.before()
        if question in self.away:
            raise OutboxUnavailable("the database is away")

    def register(self, *, anew: bool = False) -> None:
        self._ask("register")
        super().register(anew=anew)
        self.stage.tell()

    def beat(self) -> None:
        self.beats += 1
        self._ask("beat")
        super().beat()

    def release(self) -> None:
        self._ask("release")
        super().release()

    def acknowledged(self, row_ids: Sequence[int]) -> None:
        self._ask("acknowledged")
        self.deletes += 1
        super().acknowledged(row_ids)
        self.stage.tell()

    def still_there(self, row_ids: Collection[int]) -> set[int]:
        self._ask("still_there")
        return super().still_there(row_ids)

    def take_over(self, limit: int, *, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        self._ask("take_over")
        return super().take_over(limit, without=without)

    def left_behind(
        self,
        known: Collection[int],
        *,
        older_than_seconds: float,
        limit: int,
        without: Collection[str] = (),
        after: int = 0,
    ) -> Sequence[OutboxRow]:
        self._ask("left_behind")
        found = super().left_behind(
            known, older_than_seconds=older_than_seconds, limit=limit, without=without, after=after
        )
        self.looks += 1
        self.stage.tell()
        return found


class ListConsumer:
    """A consumer over a list of records in one topic with one partition; delivers again from the committed offset after
    `rewind`.
    """

    def __init__(self, stage: Stage, values: Sequence[bytes]) -> None:
        self._stage = stage
        self._records = [Record("in", 0, offset, b"k", value, (), 0) for offset, value in enumerate(values)]
        self._position = 0
        self._known_end: int | None = None
        self.committed = 0
        self.paused = False
        self._woken = False
        self.polls = self.polls_while_paused = 0
        self.closed = 0
        self.trouble: list[BusError] = []
        """Raised by the next polls, one each."""
        self.deaf = False
        """Polls return nothing though there is something: what was asked for is still on its way."""
        self._known_at = 0.0
        self.cannot_read: dict[tuple[str, int], str] = {}

    def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        with self._stage.changed:
            self.polls += 1
            if self.trouble:
                raise self.trouble.pop(0)
            if self.paused:
                self.polls_while_paused += 1
                self._stage.tell()
                return []
            if (self.deaf or self._position == len(self._records)) and not self._woken:
                self._stage.changed.wait(min(timeout_seconds, 0.02))
            self._woken = False
            if self.deaf:
                self._stage.tell()
                return []
            self._known_end, self._known_at = len(self._records), monotonic()
            found = self._records[self._position : self._position + max_records]
            self._position += len(found)
            return found

    def add(self, values: Sequence[bytes]) -> None:
        """They come while it runs."""
        with self._stage.changed:
            for value in values:
                self._records.append(Record("in", 0, len(self._records), b"k", value, (), 0))
            self._stage.changed.notify_all()

    def wake(self) -> None:
        with self._stage.changed:
            self._woken = True
            self._stage.changed.notify_all()

    def commit(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        with self._stage.changed:
            self.committed = next_offsets[("in", 0)]
        self._stage.tell()

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def rewind(self) -> None:
        self._position = self.committed

    def assigned(self) -> frozenset[tuple[str, int]]:
        return frozenset({("in", 0)})

    def lag(self, since: float | None = None) -> Mapping[tuple[str, int], int]:
        """As the client does, it learns the end of the log with what it reads, and nothing while it is paused."""
        if self._known_end is None or (since is not None and self._known_at <= since):
            return {}
        return {("in", 0): self._known_end - self._position}

    def unreadable(self) -> Mapping[tuple[str, int], str]:
        return self.cannot_read

    def leave(self, timeout_seconds: float) -> None:
        self.rewind()

    def close(self, timeout_seconds: float) -> None:
        self.closed += 1
        self._stage.tell()
