"""How long a record that comes now will wait until it is handled.

What is not read yet, divided by what is handled in a second: no clock of another machine is in it. Asked only while
batches are large, since else nothing waits.
"""

from collections.abc import Callable

from ordersaga.delivery.clock import Clock

LOOK_EVERY_SECONDS = 0.25
_WEIGHT = 0.5
"""Of the newest rate beside those before it: one slow commit is no trend."""


class Backlog:
    def __init__(self, clock: Clock, unread: Callable[[], int]) -> None:
        """`unread` is asked a few times a second at most, by whoever calls `handled`."""
        self._clock = clock
        self._unread = unread
        self._since: float | None = None
        """When large batches began, or the last look; None: they are small."""
        self._handled = 0
        self._rate = 0.0
        self.seconds = 0.0

    def handled(self, number: int, *, crowded: bool) -> None:
        """A batch of so many is done; `crowded`: it was a large one."""
        if not crowded:
            self._since, self._handled, self._rate, self.seconds = None, 0, 0.0, 0.0
            return
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
            return
        self._handled += number
        if now - self._since >= LOOK_EVERY_SECONDS:
            self._look(now, now - self._since)

    def _look(self, now: float, seconds: float) -> None:
        rate = self._handled / seconds
        self._rate = rate if self._rate == 0 else _WEIGHT * rate + (1 - _WEIGHT) * self._rate
        self.seconds = self._unread() / self._rate
        self._since, self._handled = now, 0
