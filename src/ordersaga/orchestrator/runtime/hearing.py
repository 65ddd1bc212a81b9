"""Up to which moment what the services said has been handled, by whichever process reads it.

A process knows of its own partitions only how far it has come. What another one has not read, or one that has just
died, it learns from the brokers: a moment counts as heard once the group has committed all that was in the topics then.

A partition in which nothing moves any more, though something seems unread, does not hold up the others for ever: it has
no leader, or what is left of it is no record (a transaction's end is none).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ordersaga.bus.protocol import BusError, Read
from ordersaga.delivery.clock import Clock, SystemClock

LOOK_EVERY_SECONDS = 1.0
AWAY_SECONDS = 5.0
"""Until brokers that did not answer are asked again: each time may take as long as they are given to answer."""
UP_TO_DATE_SECONDS = 5.0
"""A moment is heard two looks later where answers come all the time, and a look takes its time."""
STALLED_SECONDS = 120.0
"""Longer than a group takes to notice that a member is gone and to give its partitions to others."""
UNHEARD_SECONDS_MAX = 900.0
"""What waits to be heard must not wait for ever for brokers that do not say how much is unread."""

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Seen:
    read: Read
    since: float
    """When it was seen to move last."""


@dataclass(frozen=True, slots=True)
class _Mark:
    at: float
    ends: Mapping[Place, int]


class Hearing:
    """Asked by one thread."""

    def __init__(self, reads: Callable[[], Mapping[Place, Read]], *, clock: Clock | None = None) -> None:
        """`reads`: `Bus.group_reads` of the group and the topics of answers. May raise `BusError`."""
        self._reads = reads
        self._clock = clock or SystemClock()
        self._seen: dict[Place, _Seen] = {}
        self._mark: _Mark | None = None
        self._heard_at = float("-inf")
        self._look_at = float("-inf")

    def heard_at(self) -> float:
        """The last moment, on the monotonic clock, of which it is known that all that was said before has been handled.
        May take as long as the brokers take to answer; asks them once a second at most.
        """
        now = self._clock.monotonic()
        if now >= self._look_at:
            pause = LOOK_EVERY_SECONDS if self._look(now) else AWAY_SECONDS
            self._look_at = self._clock.monotonic() + pause
        return self._heard_at

    def unheard_seconds(self) -> float:
        """How long ago that was, 900 at most."""
        heard_at = self.heard_at()
        return min(UNHEARD_SECONDS_MAX, self._clock.monotonic() - heard_at)

    def is_up_to_date(self) -> bool:
        """But for what was said in the last seconds."""
        return self.unheard_seconds() < UP_TO_DATE_SECONDS

    def _look(self, now: float) -> bool:
        """Whether the brokers answer."""
        try:
            found = self._reads()
        except BusError:
            return False
        self._seen = {place: self._moved(place, found.get(place), now) for place in {**self._seen, **found}}
        for mark in (self._mark, _Mark(now, {place: one.end for place, one in found.items()})):
            if mark is not None and self._is_heard(mark, found, now):
                self._heard_at, self._mark = mark.at, None
            else:
                self._mark = self._mark or mark
        return True

    def _moved(self, place: Place, found: Read | None, now: float) -> _Seen:
        """What nobody tells of has not moved."""
        before = self._seen.get(place)
        if before is None:
            assert found is not None, "it was seen before, or is found now"
            return _Seen(found, now)
        return before if found in (None, before.read) else replace(before, read=found, since=now)

    def _is_heard(self, mark: _Mark, found: Mapping[Place, Read], now: float) -> bool:
        return all(
            (place in found and place in mark.ends and seen.read.read_to >= mark.ends[place])
            or now - seen.since >= STALLED_SECONDS
            for place, seen in self._seen.items()
        )
