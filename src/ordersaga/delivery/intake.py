"""What other threads hand to a relay, until its loop takes it: rows, news of rows that are gone, the lease, the end.

Memory has room for `held_max` rows, whoever brings them. Rows for which there is none stay in the outbox, and until a
scan has fetched them no others are kept, lest one wait for those.
"""

from collections.abc import Callable, Collection, Sequence
from threading import Condition
from typing import NamedTuple

from ordersaga.delivery.clock import Clock
from ordersaga.delivery.lease import Lease
from ordersaga.delivery.messages import OutboxRow


class Taken(NamedTuple):
    offered: Sequence[Sequence[OutboxRow]]
    gone: Sequence[int]
    lease: Lease | None
    ids_anew: bool
    """The ids of rows may come again."""


class Intake:
    def __init__(self, held_max: int, clock: Clock) -> None:
        self._held_max = held_max
        self._clock = clock
        self._changed = Condition()
        """Guards all of this; single values are read without it."""
        self._offered: list[Sequence[OutboxRow]] = []
        self._offered_rows = 0
        self.in_lanes = 0
        """Rows that the loop holds, told by it. What it takes counts as held until it tells."""
        self._overflowed = self._everything = False
        self._gone: list[int] = []
        self._ids_anew = False
        self._news = self._idle = self._closed = False
        self.lease: Lease | None = None
        self.drain_until: float | None = None
        self.found_total = 0

    # --- for other threads -----------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """Rows in memory."""
        return self.in_lanes + self._offered_rows

    @property
    def full(self) -> bool:
        return self._overflowed or self.held >= self._held_max

    @property
    def overflowed(self) -> bool:
        """Rows were brought and not kept."""
        return self._overflowed

    def offer(self, rows: Sequence[OutboxRow]) -> None:
        """Never waits. Rows of one transaction, kept all or none."""
        with self._changed:
            if self._closed or self.lease is None:
                return
            if self._overflowed or self.held + len(rows) > self._held_max:
                self._overflowed = True
                return
            self._keep(rows)
            self._tell()

    def found(self, rows: Sequence[OutboxRow], *, room_for: int, more: bool) -> int:
        """Rows of a scan, the oldest first, and whether there may be more. As many are kept as there is room for among
        `room_for`: others may have come since it began. Returns how many.
        """
        with self._changed:
            kept = rows[: max(0, room_for - self.held)]
            if kept:
                self._keep(kept)
                self.found_total += len(kept)
            self._overflowed = self._overflowed or more or len(kept) < len(rows)
            self._tell()
            return len(kept)

    def gone(self, row_ids: Collection[int]) -> None:
        with self._changed:
            self._gone.extend(row_ids)
            self._tell()

    def leased(self, lease: Lease) -> None:
        with self._changed:
            self.lease = lease
            self._tell()
            self._changed.notify_all()

    def lost(self, *, ids_anew: bool) -> None:
        with self._changed:
            self.lease = None
            self._ids_anew = self._ids_anew or ids_anew
            self._tell()

    def has_lease(self, now: float) -> bool:
        lease = self.lease
        return lease is not None and lease.seconds_left(now) > 0

    def wait_until_leased(self, timeout_seconds: float) -> bool:
        end = self._clock.monotonic() + timeout_seconds
        with self._changed:
            while not self.has_lease(now := self._clock.monotonic()) and now < end:
                self._clock.wait(self._changed, end - now)
            return self.has_lease(now)

    def drain(self, until: float) -> None:
        """Stop at that moment, or when nothing is left. The first that says so counts."""
        with self._changed:
            if self.drain_until is None:
                self.drain_until = until
            self._tell()

    def close(self) -> None:
        with self._changed:
            self._closed = True

    # --- for the loop ----------------------------------------------------------------------------------------

    def take(self, idle_seconds: Callable[[], float]) -> Taken:
        """Wait until there is something to do, for `idle_seconds` at most, then fetch what was handed in."""
        with self._changed:
            while not self._news and (seconds := idle_seconds()) > 0:
                self._idle = True
                self._clock.wait(self._changed, seconds)
                self._idle = False
            self._news = False
            taken = Taken(self._offered, self._gone, self.lease, self._ids_anew)
            self.in_lanes += self._offered_rows
            self._offered, self._offered_rows, self._gone, self._ids_anew = [], 0, [], False
            return taken

    def is_empty(self) -> bool:
        with self._changed:
            return not self._offered

    def fetch_everything(self, *, offers_wait: bool = False) -> None:
        """The next scan is to look for all that memory does not hold, from the beginning. `offers_wait`: none is kept
        before it.
        """
        with self._changed:
            self._everything = True
            self._overflowed = self._overflowed or offers_wait

    def begin_scan(self) -> tuple[bool, bool]:
        """Whether it is to begin at the beginning, and whether it is to find rows of any age.

        From here on offers are kept again: what was not kept before is in the database by now, so the scan sees it.
        """
        with self._changed:
            anew, overflowed = self._everything, self._overflowed
            self._everything = self._overflowed = False
            return anew, anew or overflowed

    def _keep(self, rows: Sequence[OutboxRow]) -> None:
        self._offered.append(rows)
        self._offered_rows += len(rows)

    def _tell(self) -> None:
        self._news = True
        if self._idle:
            self._changed.notify_all()
