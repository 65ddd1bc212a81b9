"""Whether it pays to wait a moment for company.

What is done for a batch costs nearly the same for one as for ten: a transaction, a commit, a few round trips. Under a
steady load of middling weight, where each comes just too late for the batch before, nearly every batch would be of one,
and the machine be busy with little. So whoever takes batches looks how fast they come: where at least `least` more can
be expected within `seconds`, it waits for them. Who comes alone never waits, and a batch that took longer than that has
waited enough.
"""

import math

from ordersaga.delivery.clock import Clock

_MEMORY_SECONDS = 0.5
"""How far back the rate is looked at."""


class Gathering:
    def __init__(self, clock: Clock, *, seconds: float, least: float) -> None:
        """`seconds`: how long at most, counted from when the last batch was taken; 0: never. `least`: for how many."""
        self._clock = clock
        self._seconds = seconds
        self._least = least
        self._rate = 0.0
        """A second, as of `_taken_at`."""
        self._taken_at = -math.inf

    def took(self, number: int) -> None:
        """A batch of so many was taken."""
        now = self._clock.monotonic()
        self._rate = self._rate * math.exp((self._taken_at - now) / _MEMORY_SECONDS) + number / _MEMORY_SECONDS
        self._taken_at = now

    def wait_seconds(self) -> float:
        """How long to wait now before the next is taken."""
        if self._rate * self._seconds < self._least:
            return 0.0
        return max(0.0, self._taken_at + self._seconds - self._clock.monotonic())
