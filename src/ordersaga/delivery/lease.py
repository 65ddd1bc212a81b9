"""How long this process may publish, by its own clock.

A lease is renewed on the database's clock; here it ends early, by a fifth. The promise: at that end something is done,
at once, whatever the rest of this process waits for, the database or the bus. The non-promise: a process that is frozen
does it when it wakes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from ordersaga.delivery.background import Loop, Looped
from ordersaga.delivery.clock import Clock, Randomness


@dataclass(frozen=True, slots=True)
class Lease:
    owner: UUID
    until: float

    def seconds_left(self, now: float) -> float:
        return max(0.0, self.until - now)


class LeaseEnd(Looped):
    """Does `over` once for each lease that ended."""

    def __init__(self, over: Callable[[], object], *, clock: Clock, randomness: Randomness) -> None:
        self._over = over
        self._clock = clock
        self._until: float | None = None
        self._done_at: float | None = None
        """The end at which it was done."""
        self._loop = Loop("relay-lease", self._turn, clock=clock, randomness=randomness)

    def move_to(self, until: float) -> None:
        self._until = until
        self._loop.wake()

    def _turn(self) -> None:
        until = self._until
        if until is None or until == self._done_at:
            self._loop.pause(None)
        elif (seconds_left := until - self._clock.monotonic()) > 0:
            self._loop.pause(seconds_left)
        else:
            self._over()
            self._done_at = until
