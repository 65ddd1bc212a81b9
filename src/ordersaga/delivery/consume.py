"""Records in: poll a batch, have it handled, commit its offsets.

`handle` commits to the database; offsets follow. The promise: an offset is committed only when its record was handled
or parked, both durably. A record may be handled more than once (a crash in between, a rebalance), so `handle` must
recognise what it has seen.

Two kinds of failure, told apart by the attribute `retriable` of the exception. *Retriable*: something we depend on is
away. The batch is kept and tried again; the consumer is paused but polled meanwhile, so that it stays in its group;
nothing is parked. After a while the batch is given up and the group left, until what is away answers: others may have
it still (`delivery.absence`). *Not retriable*: the batch holds a record that cannot be handled. It is split in halves
until that record is alone, `park` puts it aside, and the rest goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from ordersaga.bus.protocol import BusUnavailable, Consumer, FencedMember, Record
from ordersaga.delivery import failpoints
from ordersaga.delivery.absence import ASK_EVERY_SECONDS, Absence
from ordersaga.delivery.background import GiveUpError, Health, Loop
from ordersaga.delivery.backlog import Backlog
from ordersaga.delivery.clock import Clock, Randomness, SystemClock, SystemRandom, backoff_seconds
from ordersaga.delivery.gathering import Gathering
from ordersaga.delivery.keeping_up import KeepingUp
from ordersaga.delivery.message_names import about

_log = structlog.get_logger(__name__)

AFTER_POLL = failpoints.declare("consume.after_poll", "Records are in hand, nothing is done with them.")
AFTER_HANDLE = failpoints.declare("consume.after_handle", "The database has committed, the offsets are not committed.")
AFTER_COMMIT = failpoints.declare("consume.after_commit", "The bus was given the offsets of the batch to commit.")
BEFORE_PARK = failpoints.declare("consume.before_park", "A record was found unusable and is not put aside yet.")
AFTER_PARK = failpoints.declare("consume.after_park", "An unusable record is put aside, its offset is not committed.")

GATHER_LEAST = 4.0
"""For fewer records no time is given."""
CROWDED_SHARE = 0.2
"""A batch of this part of the largest one, or more, is a large one."""
_POLL_WHILE_PAUSED_SECONDS = 1.0
_HOLD_BACK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumeFigures:
    """Since the start of the process."""

    handled_total: int
    parked_total: int
    retries_total: int
    last_error: str


class ConsumeLoop:
    """Owns its consumer: nobody else polls it, and it is closed when the loop ends."""

    def __init__(
        self,
        consumer: Consumer,
        handle: Callable[[Sequence[Record]], None],
        park: Callable[[Record, Exception], None],
        *,
        name: str = "consume",
        hold_back: Callable[[], bool] = lambda: False,
        reachable: Callable[[], object] | None = None,
        batch_max: int = 500,
        poll_timeout_seconds: float = 0.5,
        retry_first_seconds: float = 0.1,
        retry_most_seconds: float = 5.0,
        close_timeout_seconds: float = 3.0,
        gather_seconds: float = 0.0,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        """`park` must have put the record away durably when it returns; it is tried until it does, whatever it raises.

        While `hold_back` says yes (a relay is full, a pause), nothing is handled. `reachable`: see `delivery.absence`;
        `gather_seconds`: see `delivery.gathering`.
        """
        self._consumer = consumer
        self._handle = handle
        self._park = park
        self._hold_back = hold_back
        self._batch_max = batch_max
        self._poll_timeout_seconds = poll_timeout_seconds
        self._retry_first_seconds, self._retry_most_seconds = retry_first_seconds, retry_most_seconds
        self._close_timeout_seconds = close_timeout_seconds
        self._clock = clock or SystemClock()
        self._randomness = randomness or SystemRandom()
        self._gathering = Gathering(self._clock, seconds=gather_seconds, least=GATHER_LEAST)
        self._paused = self._leaves = False
        self._carried: list[Record] = []
        """What a paused consumer delivered all the same: next in turn."""
        self._settled = 0
        """How many records of the batch in hand are handled or parked: always the first ones."""
        self._trouble = ""
        self._keeping_up = KeepingUp(consumer, self._clock, batch_max=batch_max)
        self._crowded = False
        self._large = batch_max * CROWDED_SHARE
        self._backlog = Backlog(self._clock, lambda: sum(consumer.lag().values()), large=self._large)
        self._outages_in_row = 0
        self._handled_total = self._parked_total = self._retries_total = 0
        self._last_error = ""
        self._loop = Loop(name, self._turn, clock=self._clock, randomness=self._randomness, on_end=self._close)
        self._absence = Absence(self._loop, reachable, clock=self._clock)

    def start(self) -> None:
        self._loop.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Finish the batch in hand, commit, leave the group. A batch that waits for a dependency is given up: it is
        delivered again.
        """
        self._loop.request_stop()
        self._consumer.wake()
        ended = self._loop.join(timeout_seconds)
        if not ended or not self._loop.started:
            self._consumer.close(self._close_timeout_seconds if ended else 0.1)
        return ended

    def health(self) -> Health:
        health = self._loop.health()
        if health.healthy and (trouble := self._trouble or self._keeping_up.bad_news()):
            return Health(name=health.name, healthy=False, detail=trouble)
        if health.healthy and (unreadable := self._consumer.unreadable()):
            left_alone = "; ".join(f"{topic}-{number} {why}" for (topic, number), why in sorted(unreadable.items()))
            return Health(name=health.name, healthy=True, detail=f"cannot be read, others are: {left_alone}")
        return health

    @property
    def caught_up(self) -> bool:
        """Whether what was said before this moment was handled, but for a batch; not while anything is in the way."""
        return self._keeping_up.caught_up

    @property
    def cut_off(self) -> bool:
        """Whether no broker answers, as far as is known: what was said cannot be heard."""
        return self._outages_in_row > 0 or self._keeping_up.is_cut_off

    @property
    def crowded(self) -> bool:
        """Whether the batch in hand is a large one: what comes now waits for it and for those that follow."""
        return self._crowded

    @property
    def behind_seconds(self) -> float:
        """How long what comes now will wait, as far as is known: 0 while little is unread."""
        return self._backlog.seconds

    def figures(self) -> ConsumeFigures:
        return ConsumeFigures(
            handled_total=self._handled_total,
            parked_total=self._parked_total,
            retries_total=self._retries_total,
            last_error=self._last_error,
        )

    def _turn(self) -> None:
        try:
            self._wait_while_held_back()
            records = self._poll()
            self._keeping_up.note_what_became_ours()
            if records and self._hold_back():  # since a moment ago, while we waited for them
                self._carried[:0] = records
                return
            self._crowded = len(records) >= self._large
            if records:
                self._work(records)
            if self._leaves:
                self._stay_away(self._last_error)
                return
            self._backlog.handled(len(records))
            self._keeping_up.look()
        except FencedMember as error:
            self._keeping_up.lose_track()
            raise GiveUpError(f"another live process is this member of the group: {error}") from error
        except Exception:
            # Unforeseen: the records in hand are neither handled nor known to the next turn, so they must be delivered
            # again.
            self._keeping_up.lose_track()
            self._carried.clear()
            self._consumer.rewind()
            raise

    def _work(self, records: Sequence[Record]) -> None:
        self._settled = 0
        try:
            failpoints.hit(AFTER_POLL)
            self._settle(records)
        except _Interrupted:
            records = records[: self._settled]
        finally:
            self._resume()
        if records:
            failpoints.hit(AFTER_HANDLE)
            self._consumer.commit({(record.topic, record.partition): record.offset + 1 for record in records})
            failpoints.hit(AFTER_COMMIT)

    def _settle(self, records: Sequence[Record]) -> None:
        """Handle all, or park those that cannot be handled. Raises `_Interrupted` when the loop is stopped, or is to
        leave its group, while a dependency is away.
        """
        error = self._until_not_retriable(lambda: self._handle(records))
        if error is None:
            self._settled += len(records)
            self._handled_total += len(records)
        elif len(records) == 1:
            self._put_aside(records[0], error)
            self._settled += 1
        else:
            middle = len(records) // 2
            self._settle(records[:middle])
            self._settle(records[middle:])

    def _put_aside(self, record: Record, error: Exception) -> None:
        place = {"topic": record.topic, "partition": record.partition, "offset": record.offset, **about(record.headers)}
        _log.error("consume.parked", error=_one_line(error), **place)
        failpoints.hit(BEFORE_PARK)
        attempt = 0
        while (problem := self._until_not_retriable(lambda: self._park(record, error))) is not None:
            # Going on would lose the record; so it stays in hand, and the health says so.
            attempt += 1
            _log.error("consume.not_parked", error=_one_line(problem), **place)
            self._pause_before_retry(attempt, problem)
        self._trouble = ""
        self._parked_total += 1
        failpoints.hit(AFTER_PARK)

    def _until_not_retriable(self, action: Callable[[], None]) -> Exception | None:
        """Run `action` until it succeeds (None) or fails for good (the error)."""
        attempt, began = 0, self._clock.monotonic()
        while True:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - what has no `retriable` counts as not retriable
                if not getattr(error, "retriable", False):
                    return error
                attempt += 1
                _log.warning("consume.retrying", error=_one_line(error), attempt=attempt)
                self._pause_before_retry(attempt, error)
                if self._absence.is_due(began) and self._absence.what_is_away() is not None:
                    self._leaves = True
                    raise _Interrupted from None
            else:
                self._trouble = ""
                return None

    def _pause_before_retry(self, attempt: int, error: Exception) -> None:
        self._retries_total += 1
        self._keeping_up.lose_track()
        self._last_error = self._trouble = _one_line(error)
        seconds = self._backoff(attempt)
        if not self._paused:
            self._consumer.pause()
            self._paused = True
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0 and not self._loop.stopping:
            self._loop.pause(min(left, _POLL_WHILE_PAUSED_SECONDS))
            self._keep_membership()
        if self._loop.stopping:
            raise _Interrupted

    def _stay_away(self, error: str) -> None:
        """What is in hand is delivered to whoever reads on."""
        _log.warning("consume.left_group", error=error)
        began, self._leaves = self._clock.monotonic(), False
        self._say_that_it_is_away(error)
        self._carried.clear()
        self._consumer.leave(self._close_timeout_seconds)
        self._absence.wait(lambda error: self._say_that_it_is_away(_one_line(error)))
        self._trouble = ""
        _log.info("consume.joins_group_again", after_seconds=round(self._clock.monotonic() - began, 1))

    def _say_that_it_is_away(self, error: str) -> None:
        self._trouble = f"out of its group, so that others read on: {error}"

    def _keep_membership(self) -> None:
        try:
            self._carried.extend(self._consumer.poll(self._batch_max, 0.0))
        except BusUnavailable as error:
            _log.warning("consume.bus_unavailable", error=_one_line(error))

    def _resume(self) -> None:
        if self._paused:
            self._consumer.resume()
            self._paused = False

    def _wait_while_held_back(self) -> None:
        if not self._hold_back():
            return
        since = self._clock.monotonic()
        self._keeping_up.lose_track()
        self._consumer.pause()
        self._paused = True
        while self._hold_back() and not self._loop.stopping:
            self._loop.pause(_HOLD_BACK_SECONDS)
            self._keep_membership()
            if self._absence.is_due(since):
                since += ASK_EVERY_SECONDS
                if (error := self._absence.what_is_away()) is not None:
                    self._stay_away(_one_line(error))
        self._resume()

    def _poll(self) -> Sequence[Record]:
        if self._loop.stopping:
            return ()
        if self._carried:
            carried, self._carried = self._carried, []
            return carried
        if (seconds := self._gathering.wait_seconds()) > 0:
            self._loop.pause(seconds)
            if self._loop.stopping:
                return ()
        try:
            records = self._consumer.poll(self._batch_max, self._poll_timeout_seconds)
        except BusUnavailable as error:
            self._outages_in_row += 1
            self._keeping_up.lose_track()
            self._last_error = self._trouble = _one_line(error)
            _log.warning("consume.bus_unavailable", error=self._trouble, in_a_row=self._outages_in_row)
            self._loop.pause(self._backoff(self._outages_in_row))
            return ()
        self._outages_in_row = 0
        self._keeping_up.polled()
        self._trouble = ""
        self._gathering.took(len(records))
        return records

    def _backoff(self, attempt: int) -> float:
        return backoff_seconds(
            attempt, first=self._retry_first_seconds, most=self._retry_most_seconds, randomness=self._randomness
        )

    def _close(self) -> None:
        self._consumer.close(self._close_timeout_seconds)


class _Interrupted(Exception):
    """The loop is to stop, and what is in hand cannot be finished now."""


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:500]
