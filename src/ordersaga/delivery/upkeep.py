"""What the relay needs of the database, on a thread of its own, so that neither waits for the other.

It renews the lease, deletes acknowledged rows, finds rows that nobody publishes, and asks whether rows of other owners
are gone. Each delete costs a transaction, so where many are acknowledged deletes wait a moment for company; where few
are they do not, since another process may hold the next row of the lane and wait for it. They go in the order of the
acknowledgements: rows whose delete failed are in the next statement too, so a later row of a lane never leaves the
outbox before an earlier one. A row that was acknowledged is never handed out again by this process, however often its
delete fails. Where the server is another, or was started again, ids may be given out once more: then all of this is
forgotten, and rows are taken over anew.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from threading import Lock
from typing import NamedTuple
from uuid import UUID

import structlog

from ordersaga.delivery import failpoints
from ordersaga.delivery.background import Health, Loop
from ordersaga.delivery.clock import Clock, Randomness, backoff_seconds
from ordersaga.delivery.gathering import Gathering
from ordersaga.delivery.look_up import LookUp, WasWritten
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.outbox_protocol import AnotherServer, LeaseLost, Outbox, OutboxError, OutboxUnavailable

_log = structlog.get_logger(__name__)

BEFORE_DELETE = failpoints.declare(
    "relay.before_delete", "Records are acknowledged, their rows are still in the outbox."
)
AFTER_DELETE = failpoints.declare("relay.after_delete", "The rows of acknowledged records are deleted.")
AFTER_TAKE_OVER = failpoints.declare("relay.after_take_over", "Rows of a dead owner are ours and not published yet.")

_DELETE_MAX = 5_000
_DELETE_AT_ONCE = 500
_DELETE_WAIT_SECONDS = 0.05
_DELETE_LEAST = 4.0
"""For fewer rows no time is given."""
_ASK_FIRST_SECONDS = 0.005
_ASK_MOST_SECONDS = 0.5


class _Scan(NamedTuple):
    known: Collection[int]
    older_than_seconds: float
    limit: int
    paged: bool

    def together_with(self, before: "_Scan") -> "_Scan":
        """Of what either would find, all."""
        age_seconds = min(self.older_than_seconds, before.older_than_seconds)
        return self._replace(older_than_seconds=age_seconds, paged=self.paged and before.paged)

    @property
    def many(self) -> int:
        """Rows of one topic that may wait to be looked up before no more of it are taken: none may take all room."""
        return max(1, self.limit // 10)


class Upkeep:
    """Started, fed and stopped by the relay. The callbacks run on this thread and must be quick."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        leased: Callable[[UUID, float], None],
        lost: Callable[[bool], None],
        found: Callable[[Sequence[OutboxRow], bool], None],
        page: Callable[[Sequence[OutboxRow]], int],
        gone: Callable[[Collection[int]], None],
        was_written: WasWritten | None = None,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        """`leased` gets the owner and the moment, on our clock, until which it may publish; `lost`, whether ids of rows
        may come again.

        `found` gets rows to publish, and whether there may be more; `page` those that follow each other, and says how
        many of them it has taken: the next page begins with the others.
        """
        self._outbox = outbox
        self._leased, self._lost, self._found, self._page, self._gone = leased, lost, found, page, gone
        self._clock = clock
        self._randomness = randomness
        self._lock = Lock()
        self._undeleted: list[int] = []
        self._owners: set[UUID] = set()
        """Those that were ours on this server."""
        self._bygone: set[UUID] = set()
        """Those on servers that are gone: the ids of their rows say nothing now."""
        self._delete_at = 0.0
        self._gathering = Gathering(clock, seconds=_DELETE_WAIT_SECONDS, least=_DELETE_LEAST)
        self._asked: set[int] = set()
        self._ask_at = 0.0
        self._ask_pause_seconds = _ASK_FIRST_SECONDS
        self._scan: _Scan | None = None
        self._begun: _Scan | None = None
        """The same while it is under way: it has seen nothing of what another is asked for meanwhile."""
        self._after = 0
        """Where the next page begins."""
        self._unsure = False
        """The answer to a taking over was lost: rows that seem left behind may have been a dead process's."""
        self._registered = False
        self._anew = False
        self._beat_at = 0.0
        self._failures = 0
        self._not_before = 0.0
        self._release = False
        self.last_error = ""
        self._look_up = None if was_written is None else self._looking_up(was_written)
        self._loop = Loop("relay-upkeep", self._turn, clock=clock, randomness=randomness, on_end=self._end)

    def _looking_up(self, was_written: WasWritten) -> LookUp:
        return LookUp(
            was_written,
            written=self.acknowledged,
            missing=self._hand_out,
            clock=self._clock,
            randomness=self._randomness,
        )

    def start(self) -> None:
        if self._look_up is not None:
            self._look_up.start()
        self._loop.start()

    def stop(self, timeout_seconds: float, *, release: bool) -> bool:
        """Delete what was acknowledged; with `release`, end the lease. Without it, the lease runs out by itself."""
        if self._look_up is not None:
            self._look_up.stop(0.0)
        self._release = release
        return self._loop.stop(timeout_seconds)

    def health(self) -> Health:
        if self._failures:
            return Health(name=self._loop.name, healthy=False, detail=self.last_error)
        mine = self._loop.health()
        if self._look_up is None or not mine.healthy:
            return mine
        looking = self._look_up.health()
        return mine if looking.healthy and not looking.detail else looking

    @property
    def undeleted(self) -> int:
        return len(self._undeleted)

    def acknowledged(self, rows: Sequence[OutboxRow]) -> None:
        """All of one owner."""
        with self._lock:
            if not rows or rows[0].owner in self._bygone:
                return
            before = len(self._undeleted)
            self._undeleted.extend([row.row_id for row in rows])
            sooner = not before or before < _DELETE_AT_ONCE <= len(self._undeleted)
            if sooner:
                self._delete_at = self._when_to_delete()
        if sooner:
            self._loop.wake()

    def ask(self, row_ids: Sequence[int]) -> None:
        """Say through `gone` when these rows have left the outbox."""
        with self._lock:
            self._asked.update(row_ids)
            self._ask_at = 0.0
            self._ask_pause_seconds = _ASK_FIRST_SECONDS
        self._loop.wake()

    def scan(self, known: Collection[int], *, older_than_seconds: float, limit: int, paged: bool = False) -> None:
        """Look once for rows of dead owners, and for ours that are not among `known`. A look that is still to come
        becomes part of this one.

        With `paged` the look for ours goes on where the last one ended, since some of what it finds is not taken: at
        once where it is for rows of any age, else with the next call.
        """
        with self._lock:
            scan = _Scan(known, older_than_seconds, limit, paged)
            is_to_come = self._scan is not None and self._scan is not self._begun
            self._scan = scan.together_with(self._scan) if self._scan and is_to_come else scan
        self._loop.wake()

    def _turn(self) -> None:
        self._loop.pause(max(0.0, self._next_at() - self._clock.monotonic()))
        if self._loop.stopping or self._clock.monotonic() < self._not_before:
            return
        try:
            for work in (self._delete_in_time, self._ask, self._look_around):
                self._keep_lease()
                work()
            self._failures = 0
        except LeaseLost as error:
            self._let_go(error)
        except OutboxUnavailable as error:
            self._failed(error)

    def _next_at(self) -> float:
        """When something is to be done, on our clock."""
        due = self._beat_at
        if self._asked:
            due = min(due, self._ask_at)
        if self._undeleted:
            due = min(due, self._delete_at)
        if self._scan is not None and self._registered:
            due = 0.0
        return max(due, self._not_before)

    def _keep_lease(self) -> None:
        asked_at = self._clock.monotonic()
        if asked_at < self._beat_at:
            return
        if self._registered:
            self._outbox.beat()
        else:
            self._register()
        lease_seconds = self._outbox.lease_seconds
        self._beat_at = asked_at + lease_seconds / 3
        # The database began to count after `asked_at`; a fifth is left for clocks that run differently and for a send
        # that begins at the last moment.
        self._leased(self._outbox.owner, asked_at + lease_seconds * 0.8)

    def _register(self) -> None:
        """Where the lease was lost before it was noticed that the server is another, it is noticed here."""
        server = self._outbox.server
        self._outbox.register(anew=self._anew)
        if self._owners and server not in (None, self._outbox.server):
            _log.warning("relay.another_server", owner=str(self._outbox.owner))
            self._forget(ids_anew=True)
        self._owners.add(self._outbox.owner)
        self._registered = True

    def _let_go(self, error: LeaseLost) -> None:
        is_another = isinstance(error, AnotherServer)
        log = _log.warning if is_another else _log.error
        log("relay.lease_lost", owner=str(self._outbox.owner), error=str(error))
        self._forget(ids_anew=is_another)
        self._registered, self._anew, self._beat_at = False, True, 0.0

    def _forget(self, *, ids_anew: bool) -> None:
        with self._lock:
            self._scan = None
            if ids_anew:
                self._bygone |= self._owners
                self._owners.clear()
                self._undeleted, self._asked = [], set()
        self._lost(ids_anew)

    def _delete_in_time(self) -> None:
        if self._clock.monotonic() >= self._delete_at:
            self._delete()

    def _delete(self) -> None:
        with self._lock:
            row_ids = self._undeleted[:_DELETE_MAX]
        if row_ids:
            failpoints.hit(BEFORE_DELETE)
            self._gathering.took(len(row_ids))
            self._outbox.acknowledged(row_ids)
            failpoints.hit(AFTER_DELETE)
            with self._lock:
                del self._undeleted[: len(row_ids)]
                self._delete_at = self._when_to_delete()

    def _when_to_delete(self) -> float:
        wait = self._gathering.wait_seconds() if len(self._undeleted) < _DELETE_AT_ONCE else 0.0
        return self._clock.monotonic() + wait

    def _ask(self) -> None:
        with self._lock:
            asked = set(self._asked) if self._clock.monotonic() >= self._ask_at else set()
        if not asked:
            return
        gone = asked - self._outbox.still_there(asked)
        with self._lock:
            self._asked -= gone
            self._ask_pause_seconds = min(_ASK_MOST_SECONDS, self._ask_pause_seconds * 2)
            self._ask_at = self._clock.monotonic() + self._ask_pause_seconds
        if gone:
            self._gone(gone)

    def _look_around(self) -> None:
        with self._lock:
            scan = self._begun = self._scan if self._registered else None
        if scan is None:
            return
        try:
            self._look(scan)
        except OutboxError:
            with self._lock:
                if self._scan is not None and self._scan is not scan:
                    self._scan = self._scan.together_with(scan)
            raise
        finally:
            self._begun = None

    def _look(self, scan: _Scan) -> None:
        unsure, self._unsure = self._unsure, True
        looked_up, waiting = (self._look_up.held(), self._look_up.waiting()) if self._look_up else ((), Counter())
        crowded = {topic for topic, rows in waiting.items() if rows >= scan.many}
        limit = max(0, scan.limit - sum(rows for topic, rows in waiting.items() if topic not in crowded))
        taken = self._outbox.take_over(limit, without=crowded)
        if taken:
            failpoints.hit(AFTER_TAKE_OVER)
            _log.info("relay.took_over", rows=len(taken))
            self._publish_again(taken)
        self._keep_lease()
        known = [*scan.known, *(row.row_id for row in taken), *looked_up]
        if unsure:
            is_all = self._look_for_ours(scan, known, self._publish_again, limit=limit, without=crowded)
        else:
            is_all = self._look_for_ours(scan, known, self._hand_out_page, limit=scan.limit)
        self._unsure = unsure and not (is_all and not crowded)
        if len(taken) >= limit > 0:
            self._found((), True)

    def _look_for_ours(
        self,
        scan: _Scan,
        known: Collection[int],
        hand_on: Callable[[Sequence[OutboxRow]], int | None],
        *,
        limit: int,
        without: Collection[str] = (),
    ) -> bool:
        """Whether there are no more. `hand_on` returns the id of the first row that was not taken."""
        left = self._outbox.left_behind(
            known,
            older_than_seconds=scan.older_than_seconds,
            limit=limit,
            without=without,
            after=self._after if scan.paged else 0,
        )
        is_all = len(left) < limit
        self._after = left[-1].row_id if left and not is_all else 0
        with self._lock:
            if self._scan is scan:
                self._scan = None
        if (not_taken := hand_on(left)) is not None:
            is_all, self._after = False, not_taken - 1
        if left and not is_all and not (scan.paged and scan.older_than_seconds):
            self._found((), True)
        return is_all

    def _publish_again(self, rows: Sequence[OutboxRow]) -> None:
        """Rows that a dead process may have published."""
        if self._look_up is None:
            self._hand_out(rows)
        else:
            self._look_up.add(rows)

    def _hand_out(self, rows: Sequence[OutboxRow]) -> None:
        self._found(self._unpublished(rows), False)

    def _hand_out_page(self, rows: Sequence[OutboxRow]) -> int | None:
        left = self._unpublished(rows)
        taken = self._page(left)
        return left[taken].row_id if taken < len(left) else None

    def _unpublished(self, rows: Sequence[OutboxRow]) -> Sequence[OutboxRow]:
        with self._lock:
            undeleted = set(self._undeleted)
        return [row for row in rows if row.row_id not in undeleted]

    def _failed(self, error: OutboxUnavailable) -> None:
        self._failures += 1
        self._after = 0
        self.last_error = str(error)[:500]
        seconds = backoff_seconds(self._failures, first=0.05, most=1.0, randomness=self._randomness)
        self._not_before = self._clock.monotonic() + seconds
        _log.warning("relay.outbox_unavailable", error=self.last_error, in_a_row=self._failures)

    def _end(self) -> None:
        """The relay publishes no more. What cannot be deleted now will be published again by whoever takes over."""
        try:
            while self._undeleted:
                self._delete()
            if self._release and self._registered:
                self._outbox.release()
        except OutboxError as error:
            _log.warning("relay.not_released", error=str(error)[:500], undeleted=len(self._undeleted))
