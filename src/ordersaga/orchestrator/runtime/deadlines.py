"""Deadlines are rows, on the database's clock: what is due is found by a query and handed to the sagas in bounded
batches.

No timer is kept in memory, so a restart loses none and two processes fire none twice: the saga's own row says whether
a deadline has passed, and the second to ask finds that it has not. A row may be acted upon late (all processes were
down), never early.

While the answers that came meanwhile are not read (a start, brokers or a database that were away), silence says
nothing: deadlines wait for them, though not for long. A window closes only once all that was said before it ended has
been handled, by whichever process: an acceptance that lies unread is one (see `hearing`). And where many are due at
once, the next batch waits until the answers to those before are worked off, so that an order that comes meanwhile is
not behind all of them.

One that fails by a fault of ours, or of its row, is said in the log and put off for minutes, in the database, so that
no process comes upon it in each of its batches. It is then never late, so the database counts it while it fails. What
depends on something that is away is tried again as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from ordersaga.delivery.background import Loop, Looped
from ordersaga.delivery.clock import Clock, Randomness, SystemClock
from ordersaga.delivery.failpoints import declare, hit
from ordersaga.orchestrator.runtime.concerning import concerning
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.store.protocol import DeadlineKind, Due, Store

_log = structlog.get_logger(__name__)
MOMENT_SECONDS = 0.05
CLOSE_SECONDS = 0.5
"""So close together do we ask what was heard, and the database what has passed since."""
FOUND = declare("deadlines.found", "Deadlines that are due were read, none was acted upon.")


@dataclass(frozen=True, kw_only=True)
class DeadlineSettings:
    every_seconds: float = 0.5
    """How often to look: an answer's timeout is at least seconds, so half a second is early enough."""
    deaf_seconds_max: float = 15.0
    """How long to wait for answers that are not read yet: longer than a group takes to divide its partitions anew."""
    cut_off_seconds_max: float = 900.0
    """How long no answer is expected since no broker answers either. Not for ever: it may be this process alone."""
    batch_max: int = 200
    """Sagas in one transaction: ten thousand due at once are worked off in fifty, and other work gets between."""
    crowded_seconds_max: float = 5.0
    """How long the next batch waits for a worker that does not keep up: deadlines must not be late for ever."""
    failed_pause_seconds: float = 300.0
    """When one that failed by a fault of its own is tried again: a person or an update has to come first."""


class Hears(Protocol):
    """See `Hearing`."""

    def unheard_seconds(self) -> float:
        """How long what was said may have been unread; asked only where windows have ended."""

    def nobody_could_read(self) -> None: ...


class _AllIsHeard:
    def unheard_seconds(self) -> float:
        return 0.0

    def nobody_could_read(self) -> None:
        pass


class Deadlines(Looped):
    """Looks for deadlines that have passed and hands them to the handler."""

    def __init__(
        self,
        store: Store,
        handler: Handler,
        settings: DeadlineSettings = DeadlineSettings(),
        *,
        has_heard: Callable[[], bool] = lambda: True,
        is_cut_off: Callable[[], bool] = lambda: False,
        is_crowded: Callable[[], bool] = lambda: False,
        is_held: Callable[[], bool] = lambda: False,
        hearing: Hears | None = None,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        """`has_heard`: whether the answers that there are were read; `is_cut_off`: whether nobody answers who has them;
        `is_crowded`: whether there are more than a worker takes at once; `is_held`: whether nobody is to read any now,
        so that no deadline may pass; `hearing`: how far the others have read, for windows.
        """
        self._store = store
        self._handler = handler
        self._settings = settings
        self._has_heard = has_heard
        self._is_cut_off = is_cut_off
        self._is_crowded = is_crowded
        self._is_held = is_held
        self._hearing = hearing or _AllIsHeard()
        self._clock = clock or SystemClock()
        self._deaf_at: float | None = None
        """When it was deaf last; None where it is not."""
        self._deaf_seconds = self._cut_off_seconds = 0.0
        """How long it was since something was heard: while brokers answered, and while they did not."""
        self._loop = Loop("deadlines", self.turn, clock=self._clock, randomness=randomness)

    def turn(self) -> None:
        try:
            self._look()
        except Exception:
            self._nobody_could_read()
            raise

    def _look(self) -> None:
        if self._is_held():
            self._nobody_could_read()
            self._loop.pause(self._settings.every_seconds)
            return
        due = self._due()
        if self._is_deaf():
            self._loop.pause(self._settings.every_seconds)
            return
        if due:
            hit(FOUND)
        taken = self._act(due) if due else 0
        if taken == 0 or len(due) < self._settings.batch_max:
            self._loop.pause(self._settings.every_seconds)
        else:
            self._let_others_pass()

    def _nobody_could_read(self) -> None:
        """While the database is away, or in a pause: the wait for what came meanwhile begins afterwards."""
        self._deaf_at, self._deaf_seconds = None, 0.0
        self._hearing.nobody_could_read()

    def _due(self) -> Sequence[Due]:
        due = self._store.due(self._settings.batch_max)
        if all(one.kind is DeadlineKind.COMMAND for one in due):
            return due
        asked_at = self._clock.monotonic()
        past_seconds = self._hearing.unheard_seconds() + CLOSE_SECONDS
        due = self._store.due(self._settings.batch_max, windows_past_seconds=past_seconds)
        if self._clock.monotonic() - asked_at < CLOSE_SECONDS:
            return due
        # It took its time, so its moment is not the one that we meant: windows have another turn.
        return [one for one in due if one.kind is DeadlineKind.COMMAND]

    def _let_others_pass(self) -> None:
        """Until no answers wait; those to the batch that was just taken have had a moment to come."""
        end = self._clock.monotonic() + self._settings.crowded_seconds_max
        self._loop.pause(MOMENT_SECONDS)
        while self._is_crowded() and self._clock.monotonic() < end and not self._loop.stopping:
            self._loop.pause(MOMENT_SECONDS)

    def _is_deaf(self) -> bool:
        if self._has_heard():
            self._deaf_at, self._deaf_seconds, self._cut_off_seconds = None, 0.0, 0.0
            return False
        now = self._clock.monotonic()
        elapsed = 0.0 if self._deaf_at is None else now - self._deaf_at
        self._deaf_at = now
        if self._is_cut_off() and self._cut_off_seconds < self._settings.cut_off_seconds_max:
            self._cut_off_seconds += elapsed
            return True
        self._deaf_seconds += elapsed
        return self._deaf_seconds < self._settings.deaf_seconds_max

    def _act(self, due: Sequence[Due]) -> int:
        """How many sagas were moved. One that cannot be read, decided on or written does not hold up the others."""
        try:
            return self._handler.deadlines(due)
        except Exception as error:
            if getattr(error, "retriable", False):
                raise
            if len(due) > 1:
                return sum(self._act([one]) for one in due)
            pause = self._settings.failed_pause_seconds
            about = concerning(due[0].saga_id)
            _log.exception("deadlines.failed", kind=due[0].kind.value, again_in_seconds=pause, **about)
            self._store.put_off(due[0], pause)
            return 0
