"""Looks rows of a dead process up in the log before they are published again.

A process that died between an acknowledgement and the delete has left a row that is in the log already. Who reads it
twice may do it twice, so where the bus can say what was written since a moment, rows that were taken over wait here for
its answer. Reading a log takes its time, so this has a thread of its own. The promise: nothing is handed out that the
log had when it was read. The non-promise: a broker may still append what the dead process sent last.

The log of each topic is read from its end backwards, a span at a time, and a row is handed out as soon as that has
come to its age. So a row that was refused for days holds up none that is younger, and what was read is not read again.
A span that takes too long is tried again as a shorter one.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

import structlog

from ordersaga.bus.protocol import BusUnavailable, Outgoing
from ordersaga.delivery.background import Health, Loop, Looped
from ordersaga.delivery.clock import Clock, Randomness, backoff_seconds
from ordersaga.delivery.messages import OutboxRow

_log = structlog.get_logger(__name__)

WasWritten = Callable[[Sequence[Outgoing], int, float, int | None], Sequence[bool]]
"""`Bus.written_since`: for each record, whether it is in the log since then (Unix time in ms), within so many seconds,
and before then.
"""

_LOOK_UP_SECONDS = 30.0
_LONG_SECONDS = 2.0
"""A span that was read in less is followed by one twice as long. Whoever comes meanwhile waits for its end."""
_SPAN_FIRST_MS = 720_000
_SPAN_LEAST_MS = 10_000
_CLOCKS_DIFFER_MS = 600_000
"""How far clocks may differ: the database's, ours, and that of the process that stamped a record."""


class LookUp(Looped):
    def __init__(
        self,
        was_written: WasWritten,
        *,
        written: Callable[[Sequence[OutboxRow]], None],
        missing: Callable[[Sequence[OutboxRow]], None],
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        """Each row that is added goes to one of the callbacks: to `written`, or to `missing`."""
        self._was_written = was_written
        self._written, self._missing = written, missing
        self._clock = clock
        self._randomness = randomness
        self._lock = Lock()
        self._searches: deque[_Search] = deque()
        """They take turns. What comes is first."""
        self._failures = 0
        self._loop = Loop("relay-look-up", self._turn, clock=clock, randomness=randomness)

    def health(self) -> Health:
        """Old rows may wait, and this is said; where a topic's log cannot be read at all, young ones do."""
        with self._lock:
            failing = [search for search in self._searches if search.error]
        if not failing:
            return self._loop.health()
        told = f"{sum(len(search.rows) for search in failing)} rows wait for a look at the log: {failing[0].error}"
        return Health(
            name=self._loop.name,
            healthy=self._loop.health().healthy and all(search.has_begun for search in failing),
            detail=told,
        )

    def add(self, rows: Sequence[OutboxRow]) -> None:
        by_topic: dict[str, dict[int, OutboxRow]] = {}
        for row in rows:
            by_topic.setdefault(row.record.topic, {})[row.row_id] = row
        added = {row.row_id for row in rows}
        now_ms = self._now_ms()
        with self._lock:
            for search in self._searches:
                # A row that was taken over once more, under another owner, is looked up for that one.
                search.let_go(added)
            self._searches.extendleft(_Search(of_topic, now_ms) for of_topic in by_topic.values())
        self._loop.wake()

    def held(self) -> Sequence[int]:
        """The rows that wait here: nobody may publish them yet."""
        with self._lock:
            return [row_id for search in self._searches for row_id in search.rows]

    def waiting(self) -> Counter[str]:
        """How many rows of each topic wait here."""
        with self._lock:
            return Counter(row.record.topic for search in self._searches for row in search.rows.values())

    def _turn(self) -> None:
        search, rows = self._next()
        if search is None:
            self._loop.pause(None)
            return
        since_ms = search.since_ms(rows, self._now_ms())
        began = self._clock.monotonic()
        try:
            answers = self._was_written(
                [row.record for row in rows], since_ms, _LOOK_UP_SECONDS, search.read_back_to_ms
            )
        except BusUnavailable as error:
            self._failed(search, error)
            return
        self._failures = 0
        pairs = list(zip(rows, answers, strict=True))
        written = [row for row, is_written in pairs if is_written]
        missing = [row for row, is_written in pairs if not is_written and search.written_after_ms(row) >= since_ms]
        self._written(written)
        self._missing(missing)
        took_seconds = self._clock.monotonic() - began
        with self._lock:
            search.let_go({row.row_id for row in [*written, *missing]})
            search.went_back(since_ms, took_seconds)
        if search.rows:
            # What is old has time: half of it belongs to everything else that this process does.
            self._loop.pause(took_seconds)

    def _next(self) -> "tuple[_Search | None, Sequence[OutboxRow]]":
        with self._lock:
            self._searches = deque(search for search in self._searches if search.rows)
            if not self._searches:
                return None, ()
            self._searches.rotate(-1)
            search = self._searches[-1]
            return search, list(search.rows.values())

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)

    def _failed(self, search: "_Search", error: BusUnavailable) -> None:
        self._failures += 1
        search.failed(str(error)[:500])
        _log.warning("relay.look_up_failed", rows=len(search.rows), error=search.error, in_a_row=self._failures)
        self._loop.pause(backoff_seconds(self._failures, first=0.1, most=5.0, randomness=self._randomness))


@dataclass(slots=True, eq=False)
class _Search:
    """Rows of one topic that were added together, and how far the log was read back for them."""

    rows: dict[int, OutboxRow]
    added_ms: int
    """When, by our clock."""
    read_back_to_ms: int | None = None
    span_ms: int = _SPAN_FIRST_MS
    error: str = ""

    @property
    def has_begun(self) -> bool:
        return self.read_back_to_ms is not None

    def since_ms(self, rows: Sequence[OutboxRow], now_ms: int) -> int:
        """Where the next span begins; it ends where the last one began. None begins before all rows were written."""
        end_ms = now_ms if self.read_back_to_ms is None else self.read_back_to_ms
        return max(min(map(self.written_after_ms, rows)), end_ms - self.span_ms)

    def written_after_ms(self, row: OutboxRow) -> int:
        """What no record of it can have been stamped before. The database's clock may be ahead of all: the row was
        there when it came here.
        """
        return min(row.created_ms or 0, self.added_ms) - _CLOCKS_DIFFER_MS

    def let_go(self, row_ids: set[int]) -> None:
        for row_id in row_ids & self.rows.keys():
            del self.rows[row_id]

    def went_back(self, to_ms: int, took_seconds: float) -> None:
        self.read_back_to_ms = to_ms
        self.error = ""
        if took_seconds < _LONG_SECONDS:
            self.span_ms *= 2

    def failed(self, error: str) -> None:
        self.error = error
        self.span_ms = max(_SPAN_LEAST_MS, self.span_ms // 2)
