"""How long a record that comes now will wait until it is handled.

What is not read yet, divided by what is handled in a second: no clock of another machine is in it. It is measured from
a large batch on, since else nothing waits, and until little is unread. A small batch says nothing: a client hands out
what its last answer held, and the end of that is small however much waits at the broker.
"""

from collections.abc import Callable

from ordersaga.delivery.clock import Clock

LOOK_EVERY_SECONDS = 0.25
_WEIGHT = 0.5
"""Of the newest rate beside those before it: one slow commit is no trend."""


class Backlog:
    def __init__(self, clock: Clock, unread: Callable[[], int], *, large: float) -> None:
        """`unread` is asked a few times a second at most, by whoever calls `handled`. `large`: a batch of so many, or
        more, is a large one.
        """
        self._clock = clock
        self._unread = unread
        self._large = large
        self._since: float | None = None
        """When large batches began, or the last look; None: nothing waits."""
        self._handled = 0
        self._rate = 0.0
        self.seconds = 0.0

    def handled(self, number: int) -> None:
        """A batch of so many is done; none where nothing came for a while."""
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now if number >= self._large else None
            return
        self._handled += number
        if now - self._since >= LOOK_EVERY_SECONDS:
            self._look(now, now - self._since)

    def _look(self, now: float, seconds: float) -> None:
        unread, rate = self._unread(), self._handled / seconds
        if unread < self._large and self._handled < self._large:
            self._since, self._handled, self._rate, self.seconds = None, 0, 0.0, 0.0
            return
        self._rate = rate if self._rate == 0 else _WEIGHT * rate + (1 - _WEIGHT) * self._rate
        self.seconds = unread / self._rate if self._rate else 0.0
        self._since, self._handled = now, 0
