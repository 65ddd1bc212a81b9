"""Up to which moment what the services said has been handled, by whichever process reads it.

A process knows of its own partitions only how far it has come. What another one has not read, or one that has just
died, the brokers tell: a moment counts as heard once the group has committed all that was in the topics then. They are
asked on a thread of their own, since an answer may take seconds.

A partition that nobody reads on for minutes, though something is unread, does not hold up the others for ever: a
transaction was left open there, or what is next cannot be read. Only time counts in which it was looked at, and could
have been read: what was not read during an outage or a pause is waited for, however long that was. While brokers do not
answer, nothing that was taken back could be told to anybody either.
"""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import structlog

from ordersaga.bus.protocol import BusError, BusUnavailable, Read
from ordersaga.delivery.background import Health, Loop, Looped
from ordersaga.delivery.clock import Clock, Randomness, SystemClock

_log = structlog.get_logger(__name__)
LOOK_EVERY_SECONDS = 1.0
LOOK_SELDOM_SECONDS = 10.0
"""While nobody asks: what stands still is known when somebody does."""
ASKED_LATELY_SECONDS = 30.0
UP_TO_DATE_SECONDS = 5.0
"""A moment is heard two looks later where answers come all the time, and a look takes its time."""
OBSERVED_SECONDS = 30.0
"""Between two looks so far apart anything may have happened."""
HOPELESS_SECONDS = 900.0
"""What waits must not wait for ever for brokers that refuse to say how much is unread, or for what nobody reads. Far
longer than a member may hang before the group gives its partitions to others (`max.poll.interval.ms`).
"""
FORGOTTEN_SECONDS = 900.0
"""Of a partition that nobody tells of any more."""
FOREVER_SECONDS = 3e8
"""No window is as old, and a database can count so far."""
TOLD_AFTER_SECONDS = 60.0
"""From when on health says that something waits."""

Place = tuple[str, int]
Reads = Mapping[Place, Read]


@dataclass(frozen=True, slots=True)
class _Seen:
    read: Read
    hoped_at: float
    """When it was seen to be read further last, or to its end."""
    at: float
    """When it was seen last."""


@dataclass(frozen=True, slots=True)
class _Mark:
    at: float
    ends: Mapping[Place, int]

    def fits(self, found: Reads) -> bool:
        """Not where partitions came or went, or a topic was made anew."""
        return self.ends.keys() == found.keys() and all(end <= found[place].end for place, end in self.ends.items())


class Hearing(Looped):
    def __init__(
        self, reads: Callable[[], Reads], *, clock: Clock | None = None, randomness: Randomness | None = None
    ) -> None:
        """`reads`: `Bus.group_reads` of the group and the topics of answers. May raise `BusError`."""
        self._reads = reads
        self._clock = clock or SystemClock()
        self._seen: dict[Place, _Seen] = {}
        self._mark: _Mark | None = None
        self._heard_at = self._asked_at = float("-inf")
        self._refused_since: float | None = None
        """Since when brokers answer, and refuse to say."""
        self._given_up: AbstractSet[Place] = frozenset()
        self._trouble = ""
        self._nobody_could_read = False
        self._loop = Loop("hearing", self.turn, clock=self._clock, randomness=randomness)

    def heard_at(self) -> float:
        """The last moment, on the monotonic clock, of which it is known that all that was said before has been handled.
        Does not wait: as of the last look, which is about a second ago while this is asked.
        """
        was_asked, self._asked_at = self._is_asked(), self._clock.monotonic()
        if not was_asked:
            self._loop.wake()
        return self._heard_at

    def unheard_seconds(self) -> float:
        """How long ago that was. 0 where brokers have refused to say for 15 minutes."""
        heard_at, now, refused_since = self.heard_at(), self._clock.monotonic(), self._refused_since
        if refused_since is not None and now - refused_since >= HOPELESS_SECONDS:
            return 0.0
        return min(FOREVER_SECONDS, now - heard_at)

    def nobody_could_read(self) -> None:
        """A pause, or a database that is away: what stands still now says nothing."""
        self._nobody_could_read, self._refused_since = True, None

    def is_up_to_date(self) -> bool:
        """But for what was said in the last seconds."""
        return self._clock.monotonic() - self.heard_at() < UP_TO_DATE_SECONDS

    def health(self) -> Health:
        """Says what windows wait for, where they do for long, and what they no longer wait for."""
        health = self._loop.health()
        if not (health.healthy and self._is_asked()):
            return health
        told = []
        if self._clock.monotonic() - self._heard_at > TOLD_AFTER_SECONDS:
            waited_for = self._trouble or "partitions are not read to where they ended then"
            told.append(f"windows wait for what may be unread: {waited_for}")
        if self._given_up:
            told.append(f"windows no longer wait for what nobody reads: {_names(self._given_up)}")
        return Health(name=health.name, healthy=True, detail="; ".join(told))

    def turn(self) -> None:
        try:
            self._look(self._clock.monotonic(), self._reads())
            self._trouble, self._refused_since = "", None
        except BusError as error:
            if not self._trouble:
                _log.warning("hearing.brokers_do_not_say", error=str(error))
            self._trouble = str(error)
            if isinstance(error, BusUnavailable):
                self._refused_since = None
            elif self._refused_since is None:
                self._refused_since = self._clock.monotonic()
        self._loop.pause(LOOK_EVERY_SECONDS if self._is_asked() else LOOK_SELDOM_SECONDS)

    def _is_asked(self) -> bool:
        return self._clock.monotonic() - self._asked_at < ASKED_LATELY_SECONDS

    def _look(self, now: float, found: Reads) -> None:
        if self._nobody_could_read:
            self._nobody_could_read, self._seen = False, {}
        seen = self._seen | {place: self._saw(place, read, now) for place, read in found.items()}
        self._seen = {place: one for place, one in seen.items() if now - one.at < FORGOTTEN_SECONDS}
        self._give_up(now)
        if self._mark is not None and not self._mark.fits(found):
            self._mark = None
        for mark in (self._mark, _Mark(now, {place: one.end for place, one in found.items()})):
            if mark is not None and self._is_heard(mark, found, now):
                self._heard_at, self._mark = mark.at, None
            else:
                self._mark = self._mark or mark

    def _saw(self, place: Place, read: Read, now: float) -> _Seen:
        before = self._seen.get(place)
        if before is None or now - before.at > OBSERVED_SECONDS:
            return _Seen(read, now, now)
        is_read_on = read.read_to != before.read.read_to or read.read_to >= read.end
        return _Seen(read, now if is_read_on else before.hoped_at, now)

    def _give_up(self, now: float) -> None:
        """Of each partition that nobody reads on, it is said once."""
        given_up = {place for place, one in self._seen.items() if now - one.hoped_at >= HOPELESS_SECONDS}
        if new := given_up - self._given_up:
            _log.error("hearing.given_up", partitions=_names(new), unread_for_seconds=HOPELESS_SECONDS)
        self._given_up = given_up

    def _is_heard(self, mark: _Mark, found: Reads, now: float) -> bool:
        """What is told of no more, for a while, may be unread."""
        if self._seen.keys() > found.keys():
            return False
        return all(read.read_to >= mark.ends[place] or place in self._given_up for place, read in found.items())


def _names(places: Iterable[Place]) -> str:
    return ", ".join(f"{topic}/{partition}" for topic, partition in sorted(places))
