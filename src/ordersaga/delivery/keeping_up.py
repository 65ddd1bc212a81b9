"""Whether a consumer has heard what was said until now, as far as its own partitions go.

Known is only what brokers have told lately: of one that is frozen, or cut off without a word, nothing else is known,
since its connection stands. So they are asked again and again where partitions end, and without an answer nothing
counts as heard. Nor does it where anything is in the way, more than a batch is unread, or partitions have come in which
nobody has looked yet. Of partitions that are others' nothing is said here.
"""

from ordersaga.bus.protocol import Consumer
from ordersaga.delivery.clock import Clock

LOOK_EVERY_SECONDS = 1.0
TOLD_WITHIN_SECONDS = 3.0
UNTOLD_SECONDS = 5.0
"""From when on silence of brokers is bad news: after a change of the group it takes a moment."""


class KeepingUp:
    def __init__(self, consumer: Consumer, clock: Clock, *, batch_max: int) -> None:
        self._consumer = consumer
        self._clock = clock
        self._batch_max = batch_max
        self.caught_up = self.is_cut_off = False
        """`is_cut_off`: for a while no broker has told of any partition, though it was asked."""
        self._listens = False
        """It was polled since anything was in the way. Before that nobody knows what came meanwhile."""
        self._lost_at = self._looked_at = float("-inf")
        """When anything was in the way last. What the consumer knew then of how much there is may be old."""
        self._ours: set[tuple[str, int]] = set()
        self._untold_since: float | None = None
        """Of all that is ours."""
        self._silent_since: float | None = None
        """Of any of it."""

    def lose_track(self) -> None:
        """Nothing is read for a while, or nothing of it can be handled: answers may come meanwhile."""
        self.caught_up = self.is_cut_off = self._listens = False
        self._untold_since = self._silent_since = None
        self._lost_at = self._clock.monotonic()

    def polled(self) -> None:
        self._listens = True

    def note_what_became_ours(self) -> None:
        ours = set(self._consumer.assigned())
        if not ours <= self._ours:
            self.caught_up, self._lost_at = False, self._clock.monotonic()
        self._ours = ours

    def look(self) -> None:
        """Before it has partitions, and knows where each of them ends, it has heard nothing."""
        if self._consumer.unreadable():
            self.lose_track()
        now, looked_at = self._clock.monotonic(), self._looked_at
        if not self._listens or (self.caught_up and now - looked_at < LOOK_EVERY_SECONDS):
            return
        # What was asked for at the last look has been answered by now: that may be long ago, where a batch took long.
        lag = self._consumer.lag(max(self._lost_at, min(looked_at, now - TOLD_WITHIN_SECONDS)))
        self._looked_at = now
        is_told, is_silent = self._ours <= lag.keys(), bool(self._ours) and not lag
        # The first look after anything was in the way is told nothing: what is asked in it is answered by the next.
        self._silent_since = (self._silent_since or now) if is_silent else None
        self.is_cut_off = self._silent_since is not None and now - self._silent_since >= TOLD_WITHIN_SECONDS
        self.caught_up = bool(self._ours) and is_told and sum(lag.values()) <= self._batch_max
        self._untold_since = None if is_told else self._untold_since or now

    def bad_news(self) -> str:
        since = self._untold_since
        if since is None or self._clock.monotonic() - since <= UNTOLD_SECONDS:
            return ""
        return f"for {UNTOLD_SECONDS:g} s or more no broker has told how much there is to read"
