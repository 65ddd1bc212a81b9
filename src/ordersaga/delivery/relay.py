"""Publishes what was committed: the one way from the outbox to the bus.

Whoever has committed rows offers them; they go out from memory at once, without a look at the database, and are deleted
from it on their own acknowledgement. The promise: every committed row is published at least once, records of one lane
(a key on a topic) in order, also when processes die, answers get lost or the bus is away. The non-promise: that it is
published once only. A crash between acknowledgement and delete, of this process or of the database's server, an
acknowledgement that was lost, or a process that was frozen past its lease publish a row twice. One that runs on without
a network does not: what its client has not sent by the end of the lease is never sent.

A row that the bus refuses stays in the outbox, blocks its lane only, and is tried again every `refused_retry_seconds`:
a missing topic or a right may be mended. Rows that memory does not hold (more than `held_max`, a COMMIT whose answer
was lost, a dead process) are found by a scan. Where rows that cannot go out take more than half of memory, the
partition that has most of them is set aside: a few are tried, and scans go past the others until one of those is
acknowledged.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

import structlog

from ordersaga.bus.protocol import Outcome, Producer, Published
from ordersaga.delivery import failpoints
from ordersaga.delivery.background import Health, Loop
from ordersaga.delivery.clock import Clock, Randomness, SystemClock, SystemRandom
from ordersaga.delivery.intake import Intake
from ordersaga.delivery.lanes import Lanes, Place, names_of
from ordersaga.delivery.lease import Lease, LeaseEnd
from ordersaga.delivery.look_up import WasWritten
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.outbox_protocol import Outbox
from ordersaga.delivery.relay_failures import RelayFailures
from ordersaga.delivery.relay_pace import RelayFigures, RelayPace
from ordersaga.delivery.upkeep import Upkeep

_log = structlog.get_logger(__name__)

BEFORE_PUBLISH = failpoints.declare("relay.before_publish", "Rows are committed and held, nothing of them is sent.")
AFTER_PUBLISH = failpoints.declare("relay.after_publish", "The bus has answered, no row is deleted yet.")

_IDLE_MOST_SECONDS = 60.0


class Relay:
    def __init__(
        self,
        producer: Producer,
        outbox: Outbox,
        pace: RelayPace | None = None,
        *,
        was_written: WasWritten | None = None,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        """`was_written` is `Bus.written_since`, if rows of a dead process are to be looked for in the log before they
        are published, so that a crash between acknowledgement and delete repeats nothing. It costs reading the log.
        """
        self._producer = producer
        self._pace = pace or RelayPace()
        self._clock = clock or SystemClock()
        self._randomness = randomness or SystemRandom()

        self._intake = Intake(self._pace.held_max, self._clock)
        self._lanes = Lanes(producer.partition, remembered_max=2 * self._pace.held_max)
        """Belongs to the loop's thread; others only look at its lengths."""
        self._held_as: UUID | None = None
        self._scan_at = float("inf")
        self._outage = False
        self._oldest_at: float | None = None
        self._published_total = 0
        self._failures = RelayFailures(self._pace, self._randomness)

        self._loop = Loop("relay", self._turn, clock=self._clock, randomness=self._randomness, on_end=self._end)
        self._lease_end = LeaseEnd(self._cut_off, clock=self._clock, randomness=self._randomness)
        self._upkeep = Upkeep(
            outbox,
            leased=self._on_lease,
            lost=self._on_lost,
            found=self._on_found,
            page=self._on_page,
            gone=self._intake.gone,
            was_written=was_written,
            clock=self._clock,
            randomness=self._randomness,
        )

    # --- for those who commit --------------------------------------------------------------------------------

    def offer(self, rows: Sequence[OutboxRow]) -> None:
        """Hand over rows of one transaction, right after its COMMIT. Never waits; rows that are not kept are found by a
        scan.
        """
        if rows:
            self._intake.offer(rows)

    @property
    def full(self) -> bool:
        """Memory holds as much as it may: take in less work."""
        return self._intake.full

    def start(self) -> None:
        self._lease_end.start()
        self._upkeep.start()
        self._loop.start()

    def wait_until_leased(self, timeout_seconds: float) -> bool:
        """Rows offered before there is a lease are not kept but found by a scan, which is slower: so begin work after
        this.
        """
        return self._intake.wait_until_leased(timeout_seconds)

    def stop(self, timeout_seconds: float) -> bool:
        """Publish what is held, as far as the time goes; then delete what was acknowledged and leave the rest to
        others: at once, or when the lease has run out where something may still be on its way.
        """
        end = self._clock.monotonic() + timeout_seconds
        self._intake.drain(end)
        if not self._loop.started:
            self._loop.request_stop()
        ended = self._loop.join(end - self._clock.monotonic())
        self._loop.request_stop()
        # What hangs, or is on its way without an answer, may still succeed: then the lease must run out by itself
        # before others publish the same rows. What the client has not sent it must not send when it is closed.
        in_doubt = self._cut_off()
        self._lease_end.stop(0.0)
        release = ended and not in_doubt
        return self._upkeep.stop(max(0.5, end - self._clock.monotonic()), release=release) and ended

    def health(self) -> Health:
        for part in (self._loop.health(), upkeep := self._upkeep.health()):
            if not part.healthy:
                return Health(name="relay", healthy=False, detail=f"{part.name}: {part.detail}")
        if not self._intake.has_lease(self._clock.monotonic()):
            return Health(name="relay", healthy=False, detail="no lease on the outbox")
        if self._outage:
            return Health(name="relay", healthy=False, detail=f"nothing is acknowledged: {self._failures.last_error}")
        blocked, aside = self._lanes.blocked, names_of(self._lanes.aside)
        left = f", all of {', '.join(aside)} waits" if aside else ""
        odd = (f"{blocked} lanes blocked{left}: {self._failures.last_error}" if blocked else "", upkeep.detail)
        return Health(name="relay", healthy=True, detail="; ".join(filter(None, odd)))

    def figures(self) -> RelayFigures:
        oldest_at, now = self._oldest_at, self._clock.monotonic()
        return RelayFigures(
            held=self._intake.held,
            oldest_seconds=0.0 if oldest_at is None else now - oldest_at,
            blocked_lanes=self._lanes.blocked,
            waiting_lanes=self._lanes.waiting,
            leased=self._intake.has_lease(now),
            full=self.full,
            undeleted=self._upkeep.undeleted,
            published_total=self._published_total,
            unknown_total=self._failures.unknown_total,
            refused_total=self._failures.refused_total,
            found_total=self._intake.found_total,
            last_error=self._failures.last_error or self._upkeep.last_error,
        )

    # --- from the upkeep's thread ----------------------------------------------------------------------------

    def _on_lease(self, owner: UUID, until: float) -> None:
        self._intake.leased(Lease(owner, until))
        self._lease_end.move_to(until)

    def _on_lost(self, ids_anew: bool) -> None:
        self._intake.lost(ids_anew=ids_anew)
        self._cut_off()

    def _on_found(self, rows: Sequence[OutboxRow], more: bool) -> None:
        if self._on_page(rows, more) < len(rows):
            self._intake.fetch_everything()

    def _on_page(self, rows: Sequence[OutboxRow], more: bool = False) -> int:
        return self._intake.found(rows, room_for=self._room(), more=more)

    # --- the loop --------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        try:
            self._work()
        except Exception:
            # A bug of ours. Memory only mirrors the table: begin again from there.
            self._begin_as(self._held_as)
            raise

    def _work(self) -> None:
        self._take_in()
        now = self._clock.monotonic()
        self._lanes.retry(now)
        if self._lanes.ready and self._intake.has_lease(now):
            self._publish(self._lanes.take(self._pace.batch_max))
            if not self._intake.has_lease(self._clock.monotonic()):
                # It took longer than it was to: what it began after the end is cut off too.
                self._cut_off()
        self._oldest_at = self._lanes.oldest_at
        self._ask_upkeep()
        if self._drained():
            self._loop.request_stop()

    def _take_in(self) -> None:
        """Wait until there is something to do, then fetch what others have handed in."""
        offered, gone, lease, ids_anew = self._intake.take(self._idle_seconds)
        owner = None if lease is None else lease.owner
        if ids_anew or owner != self._held_as:
            self._begin_as(owner, ids_anew=ids_anew)
            gone = []
        now = self._clock.monotonic()
        for rows in offered:
            if rows[0].owner in (None, owner):
                self._lanes.add(rows, now)
            elif owner is not None:
                self._scan_at = now
        self._lanes.gone(gone)
        self._intake.in_lanes = len(self._lanes)

    def _begin_as(self, owner: UUID | None, *, ids_anew: bool = False) -> None:
        """The lease is new or lost: what was held may be another's by now; what there is of ours is found by a scan."""
        self._lanes.clear(done=ids_anew)
        self._intake.in_lanes = 0
        self._held_as = owner
        self._scan_at = float("inf") if owner is None else self._clock.monotonic()
        self._intake.fetch_everything()

    def _idle_seconds(self) -> float:
        """How long nothing is to be done, unless somebody tells us."""
        now = self._clock.monotonic()
        if self._lanes.ready and self._intake.has_lease(now):
            return 0.0
        due = (self._lanes.next_retry_at, self._scan_at, self._intake.drain_until)
        return min(_IDLE_MOST_SECONDS, *(at - now for at in due if at is not None))

    def _drained(self) -> bool:
        """While stopping: nothing is left that could go out in time."""
        until, now = self._intake.drain_until, self._clock.monotonic()
        if until is None:
            return False
        retry_at = self._lanes.next_retry_at
        busy = self._lanes.ready or not self._intake.is_empty() or (retry_at is not None and retry_at < until)
        return now >= until or not busy or not self._intake.has_lease(now)

    def _publish(self, rows: list[OutboxRow]) -> None:
        outcomes = self._send(rows)
        if all(outcome.published is Published.ACKNOWLEDGED for outcome in outcomes):
            acknowledged = rows
        else:
            pairs = list(zip(rows, outcomes, strict=True))
            acknowledged = [row for row, outcome in pairs if outcome.published is Published.ACKNOWLEDGED]
            self._delay([(row, outcome) for row, outcome in pairs if outcome.published is not Published.ACKNOWLEDGED])
        if acknowledged:
            self._upkeep.acknowledged(acknowledged)
            if opened := self._lanes.acknowledged(acknowledged):
                self._fetch_all_of(opened)
            self._published_total += len(acknowledged)
            if self._outage:
                # The bus is back: do not wait out the pauses that grew while it was away.
                self._lanes.retry(self._clock.monotonic() + self._pace.retry_most_seconds)
        if acknowledged or not self._lanes.are_kept(rows):
            self._outage = not acknowledged

    def _send(self, rows: list[OutboxRow]) -> Sequence[Outcome]:
        """One outcome per row. Whatever goes wrong on our side, the outcome is unknown and no row gets lost in here."""
        try:
            failpoints.hit(BEFORE_PUBLISH)
            outcomes = self._producer.publish([row.record for row in rows], self._seconds_to_publish())
            failpoints.hit(AFTER_PUBLISH)
            assert len(outcomes) == len(rows), "a producer answers for each record"
            return outcomes
        except Exception as error:  # noqa: BLE001 - an exception tells nothing about the rows
            _log.exception("relay.publish_failed", rows=len(rows))
            return [Outcome(Published.UNKNOWN, f"{type(error).__name__}: {error}")] * len(rows)

    def _seconds_to_publish(self) -> float:
        """Not beyond the lease: others may publish these rows then."""
        now, lease, until = self._clock.monotonic(), self._intake.lease, self._intake.drain_until
        most = self._pace.publish_timeout_seconds if until is None else max(0.1, until - now)
        return min(self._pace.publish_timeout_seconds, most, 0.0 if lease is None else lease.seconds_left(now))

    def _cut_off(self) -> bool:
        """Whatever the client has not sent stays unsent. Whether that may be something."""
        in_doubt = self._producer.cut_off()
        if in_doubt:
            _log.warning("relay.cut_off", error="what was not acknowledged is not sent any more")
        return in_doubt

    def _delay(self, failed: Sequence[tuple[OutboxRow, Outcome]]) -> None:
        now = self._clock.monotonic()
        for row, refused, seconds in self._failures.tell(failed, self._lanes.attempts):
            self._lanes.failed(row, now + seconds, refused=refused)

    def _ask_upkeep(self) -> None:
        if new_waits := self._lanes.new_waits():
            self._upkeep.ask(new_waits)
        self._intake.in_lanes = len(self._lanes)
        if self.full and self._lanes.blocked:
            self._make_room()
        now = self._clock.monotonic()
        if self._intake.overflowed and self._held_as is not None and self._lanes.others <= self._half():
            self._scan_at = now
        if now >= self._scan_at:
            self._scan(now)

    def _make_room(self) -> None:
        """What cannot go out keeps out what can. Of each place that is set aside less is kept than of the one before,
        so that all together leave about half of memory.
        """
        while (half := self._half()) < self._lanes.others:
            kept = (self._pace.held_max // 2 - self._lanes.kept) // 50
            place = self._lanes.set_aside(half, kept=max(1, kept))
            if place is None:
                return
            _log.error("relay.partition_set_aside", topic=place[0], partition=place[1], error=self._failures.last_error)

    def _half(self) -> int:
        """Of the memory that is not kept for what is set aside."""
        return (self._pace.held_max - self._lanes.kept) // 2

    def _fetch_all_of(self, opened: Collection[Place]) -> None:
        _log.warning("relay.partition_open_again", partitions=names_of(opened))
        self._intake.fetch_everything(offers_wait=True)

    def _room(self) -> int:
        """For how many rows a scan may look. Rows that wait for rows of others must not keep those out, so for them
        there is room twice.
        """
        return (2 if self._lanes.waiting else 1) * self._pace.held_max

    def _scan(self, now: float) -> None:
        self._scan_at = now + self._pace.scan_interval_seconds
        room = self._room() - len(self._lanes)
        if room <= 0:
            return
        anew, everything = self._intake.begin_scan()
        self._upkeep.scan(
            list(self._lanes.held),
            older_than_seconds=0.0 if everything else self._pace.left_behind_after_seconds,
            limit=min(room, max(self._pace.batch_max, self._pace.held_max // 2)),
            paged=bool(self._lanes.aside) and not anew,
        )

    def _end(self) -> None:
        self._intake.close()
