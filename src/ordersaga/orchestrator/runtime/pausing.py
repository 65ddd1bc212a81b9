"""Consumption that an operator has paused: no process reads what the services say, until somebody resumes.

While it lasts, and then until what was said meanwhile has been read, no deadline passes: an answer that lies unread is
no silence, and an acceptance that lies unread no closing window. Orders are still taken, and their first commands sent;
operators' wishes still count.
"""

from collections.abc import Callable
from datetime import datetime

from ordersaga.delivery.background import Health
from ordersaga.delivery.clock import Clock, SystemClock
from ordersaga.orchestrator.store.board_protocol import Pause, Posted

CATCH_UP_SECONDS_MAX = 900.0
"""Deadlines must not wait for ever for brokers that do not say how much is unread."""


class Pausing:
    """Written by the one who reads the board, read by those who consume and who look for deadlines."""

    def __init__(self, heard_at: Callable[[], float] = lambda: float("inf"), *, clock: Clock | None = None) -> None:
        """`heard_at`: see `Hearing`."""
        self._heard_at = heard_at
        self._clock = clock or SystemClock()
        self._pause: Pause | None = None
        self._known = False
        self._resumed_at: datetime | None = None
        self._learnt_at = self._catch_up_until = 0.0

    def learn(self, posted: Posted) -> None:
        pause = posted.pause
        if pause is not None and not pause.paused and pause.at != self._resumed_at:
            now, self._resumed_at = self._clock.monotonic(), pause.at
            # Before 0 where the database's clock went back since.
            self._catch_up_until = max(now, now + CATCH_UP_SECONDS_MAX - max(0.0, pause.seconds_ago))
            self._learnt_at = now
        self._pause, self._known = pause, True

    @property
    def paused(self) -> bool:
        """Until the board has been read once, nothing is: a restart does not end a pause."""
        return self.wanted is not False

    @property
    def wanted(self) -> bool | None:
        """What the board says; None until it has been read."""
        return (self._pause is not None and self._pause.paused) if self._known else None

    def holds_deadlines(self) -> bool:
        """Until it is known that what was said before the resuming has been handled, 15 minutes at most."""
        if self.paused:
            return True
        if self._clock.monotonic() < self._catch_up_until and self._heard_at() >= self._learnt_at:
            self._catch_up_until = 0.0
        return self._clock.monotonic() < self._catch_up_until

    def health(self) -> Health:
        """Healthy always: somebody wants it so."""
        pause, said = self._pause, ""
        if pause is not None and pause.paused:
            said = f"paused by {pause.by} at {pause.at:%Y-%m-%d %H:%M:%S} UTC: {pause.why}"
        elif self._clock.monotonic() < self._catch_up_until:
            said = "resumed: what came meanwhile is being read, and deadlines wait for it"
        return Health(name="consumption", healthy=True, detail=said)
