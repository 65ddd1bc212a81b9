"""Looks rows of a dead process up in the log before they are published again.

A process that died between an acknowledgement and the delete has left a row that is in the log already. Who reads it
twice may do it twice, so where the bus can say what was written since a moment, rows that were taken over wait here for
its answer. Reading a log takes its time, so this has a thread of its own. The promise: nothing is handed out that the
log had when it was read. The non-promise: a broker may still append what the dead process sent last.
"""

from collections.abc import Callable, Sequence
from threading import Lock

import structlog

from ordersaga.bus.protocol import BusUnavailable, Outgoing
from ordersaga.delivery.background import Health, Loop, Looped
from ordersaga.delivery.clock import Clock, Randomness, backoff_seconds
from ordersaga.delivery.messages import OutboxRow

_log = structlog.get_logger(__name__)

WasWritten = Callable[[Sequence[Outgoing], int, float], Sequence[bool]]
"""`Bus.written_since`: for each record, whether it is in the log since then (Unix time in ms), within so many seconds.
"""

_LOOK_UP_SECONDS = 30.0
_CLOCKS_DIFFER_MS = 60_000
"""How far the clock that stamps records may be behind the database's."""


class LookUp(Looped):
    def __init__(
        self,
        was_written: WasWritten,
        *,
        written: Callable[[Sequence[int]], None],
        missing: Callable[[Sequence[OutboxRow]], None],
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        """Each row that is added goes to one of the callbacks: its id to `written`, or itself to `missing`."""
        self._was_written = was_written
        self._written, self._missing = written, missing
        self._randomness = randomness
        self._lock = Lock()
        self._rows: dict[int, OutboxRow] = {}
        self._failures = 0
        self._last_error = ""
        self._loop = Loop("relay-look-up", self._turn, clock=clock, randomness=randomness)

    def health(self) -> Health:
        if self._failures:
            return Health(name=self._loop.name, healthy=False, detail=self._last_error)
        return self._loop.health()

    def add(self, rows: Sequence[OutboxRow]) -> None:
        with self._lock:
            self._rows.update((row.row_id, row) for row in rows)
        self._loop.wake()

    def held(self) -> Sequence[int]:
        """The rows that wait here: nobody may publish them yet."""
        with self._lock:
            return list(self._rows)

    def _turn(self) -> None:
        with self._lock:
            rows = list(self._rows.values())
        if not rows:
            self._loop.pause(None)
            return
        since_ms = min(row.created_ms or 0 for row in rows) - _CLOCKS_DIFFER_MS
        try:
            answers = self._was_written([row.record() for row in rows], since_ms, _LOOK_UP_SECONDS)
        except BusUnavailable as error:
            self._failed(error)
            return
        self._failures = 0
        pairs = list(zip(rows, answers, strict=True))
        self._written([row.row_id for row, is_written in pairs if is_written])
        self._missing([row for row, is_written in pairs if not is_written])
        with self._lock:
            for row in rows:
                # A row that was taken over once more meanwhile, under another owner, stays.
                if self._rows.get(row.row_id) is row:
                    del self._rows[row.row_id]

    def _failed(self, error: BusUnavailable) -> None:
        self._failures += 1
        self._last_error = str(error)[:500]
        _log.warning("relay.look_up_failed", error=self._last_error, in_a_row=self._failures)
        self._loop.pause(backoff_seconds(self._failures, first=0.1, most=5.0, randomness=self._randomness))
