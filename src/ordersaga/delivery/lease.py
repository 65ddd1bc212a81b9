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


LEASE_LONGEST_SECONDS = 300.0
"""Or as long as one's own, if that is longer: processes that share an outbox have leases of about one length."""


def too_long_seconds(lease_seconds: float) -> float:
    """What no lease has left, for whoever has one of `lease_seconds`."""
    return 2 * max(LEASE_LONGEST_SECONDS, lease_seconds)


class DatabaseClock:
    """Whether the clock that all leases end by goes on like ours. Put forward it ends those of processes that live; put
    back it makes them longer than any lease is. They renew them within a third of a lease. The non-promise: who has not
    read it before cannot tell.
    """

    def __init__(self, clock: Clock, lease_seconds: float) -> None:
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._ahead: tuple[float, float] | None = None
        """By how much it was ahead of ours when it was read last, at least and at most."""
        self._believed_from = float("-inf")

    def is_believed(self, read: Callable[[], float]) -> bool:
        """Whether a lease that has ended on it, which `read` tells in seconds, has ended."""
        asked_at = self._clock.monotonic()
        seconds = read()
        now = self._clock.monotonic()
        least, most = seconds - now, seconds - asked_at
        if self._ahead is not None:
            least_before, most_before = self._ahead
            if max(least - most_before, least_before - most) > self._lease_seconds * 0.2:
                self._believed_from = now + self._lease_seconds
        self._ahead = least, most
        return now >= self._believed_from


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
