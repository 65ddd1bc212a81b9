"""The rows that a relay holds in memory, and which of them may go out now. Pure: no threads, no clock, no I/O.

A lane is all records with one key on one topic. The rules:

* Of each lane at most one row is out at a time, and its next row goes only after that one was acknowledged.
* A row that was not acknowledged stays first in its lane and goes again later; the lane waits, others do not.
* A row whose `after` is not known here waits until that row turns up here, or is known to be gone from the outbox.
* A row is held once, and never again after it was acknowledged (as far back as `remembered_max` rows).
* Of a place that is set aside only the first rows of a few lanes are held, to see whether it takes one: then it is
  open again. One that is refused there once more makes room for another.
"""

from bisect import insort
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, nsmallest

from ordersaga.delivery.messages import OutboxRow

Lane = tuple[str, bytes]
Place = tuple[str, int | None]
"""A topic, and a partition of it as far as that is known."""

_REFUSALS_MAX = 2
"""Of a row on which a place that is set aside depends: what may have been mended meanwhile was tried once more."""


@dataclass(slots=True, eq=False)
class _Aside:
    """A place whose rows are left in the outbox."""

    lanes_max: int
    lanes: set[Lane] = field(default_factory=set)
    """Those of which the first row is held."""
    refused: dict[Lane, None] = field(default_factory=dict)
    """Those of them that may make room, while they wait for their next try."""


class Lanes:
    def __init__(
        self, partition: Callable[[str, bytes], int | None] = lambda topic, key: None, *, remembered_max: int = 20_000
    ) -> None:
        """`partition`: see `Producer.partition`."""
        self._partition = partition
        self._remembered_max = remembered_max
        self._held: dict[int, float] = {}
        """Each row held, with the time it came: in the order of coming."""
        self._lanes: dict[Lane, list[OutboxRow]] = {}
        """Lanes that are not empty. The first row is ready, out, waiting or delayed; the others follow it by `row_id`.
        """
        self._ready: deque[OutboxRow] = deque()
        self._waiting: dict[int, OutboxRow] = {}
        """First rows that wait for a row that is not here, by the id of that row."""
        self._new_waits: list[int] = []
        self._delayed: list[tuple[float, int, OutboxRow]] = []
        self._attempts: dict[int, int] = {}
        self._refusals: Counter[int] = Counter()
        self._aside: dict[Place, _Aside] = {}
        self._kept: dict[Lane, Place] = {}
        """The lanes that are held of these places. A key may belong elsewhere by now."""
        self._given_up: set[int] = set()
        """Rows that made room: they come again where there are no others."""
        self._done: set[int] = set()
        self._done_before: set[int] = set()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def held(self) -> Collection[int]:
        return self._held.keys()

    @property
    def ready(self) -> bool:
        return bool(self._ready)

    @property
    def waiting(self) -> int:
        """Lanes whose first row waits for a row that is not here."""
        return len(self._waiting)

    def new_waits(self) -> Sequence[int]:
        """Rows that are not here and that rows here began to wait for since the last call."""
        new, self._new_waits = self._new_waits, []
        return new

    @property
    def blocked(self) -> int:
        """Lanes whose first row was tried and not acknowledged."""
        return len(self._attempts)

    @property
    def aside(self) -> AbstractSet[Place]:
        """Places whose rows are left in the outbox."""
        return set(self._aside)

    @property
    def kept(self) -> int:
        """Lanes that are held of those."""
        return len(self._kept)

    @property
    def others(self) -> int:
        """Rows that are held of what is not set aside."""
        return len(self._held) - len(self._kept)

    def are_kept(self, rows: Iterable[OutboxRow]) -> bool:
        """Whether all of them are of places that are set aside."""
        return all((row.record.topic, row.record.key) in self._kept for row in rows)

    @property
    def next_retry_at(self) -> float | None:
        return self._delayed[0][0] if self._delayed else None

    @property
    def oldest_at(self) -> float | None:
        return next(iter(self._held.values()), None)

    def add(self, rows: Iterable[OutboxRow], now: float) -> None:
        held, done, done_before, lanes = self._held, self._done, self._done_before, self._lanes
        if self._given_up:
            rows = sorted(rows, key=lambda row: row.row_id in self._given_up)
        for row in rows:
            row_id = row.row_id
            if row_id in held or row_id in done or row_id in done_before:
                continue
            if self._aside and not self._may_come(row):
                continue
            held[row_id] = now
            lane = (row.record.topic, row.record.key)
            queue = lanes.get(lane)
            if queue is None:
                lanes[lane] = [row]
                self._come_first(row)
            else:
                self._queue(queue, row)

    def take(self, limit: int) -> list[OutboxRow]:
        """Rows to publish now, of as many lanes. Each must come back through `acknowledged` or `failed`."""
        ready = self._ready
        if len(ready) <= limit:
            taken = list(ready)
            ready.clear()
            return taken
        return [ready.popleft() for _ in range(limit)]

    def acknowledged(self, rows: Sequence[OutboxRow]) -> AbstractSet[Place]:
        """The places that were set aside and are open again: their rows are to be fetched."""
        opened: set[Place] = set()
        for row in rows:
            row_id = row.row_id
            del self._held[row_id]
            self._done.add(row_id)
            if self._attempts:
                self._attempts.pop(row_id, None)
                self._refusals.pop(row_id, None)
            lane = (row.record.topic, row.record.key)
            if self._kept and (place := self._kept.get(lane)) is not None:
                opened.add(place)
            queue = self._lanes[lane]
            if len(queue) == 1:
                del self._lanes[lane]
            else:
                del queue[0]
                self._come_first(queue[0])
        if len(self._done) >= self._remembered_max:
            self._done_before, self._done = self._done, set()
        for place in opened:
            self._open(place)
        return opened

    def attempts(self, row: OutboxRow) -> int:
        """How often `row` was tried without an acknowledgement."""
        return self._attempts.get(row.row_id, 0)

    def failed(self, row: OutboxRow, retry_at: float, *, refused: bool = False) -> None:
        self._attempts[row.row_id] = self._attempts.get(row.row_id, 0) + 1
        heappush(self._delayed, (retry_at, row.row_id, row))
        if refused:
            self._refusals[row.row_id] += 1
            lane = (row.record.topic, row.record.key)
            if self._refusals[row.row_id] >= _REFUSALS_MAX and (place := self._kept.get(lane)) is not None:
                self._aside[place].refused[lane] = None

    def retry(self, until: float) -> None:
        """Make ready what was delayed to a moment not after `until`."""
        while self._delayed and self._delayed[0][0] <= until:
            row = heappop(self._delayed)[2]
            self._ready.append(row)
            if self._kept and (place := self._kept.get((row.record.topic, row.record.key))) is not None:
                self._aside[place].refused.pop((row.record.topic, row.record.key), None)

    def gone(self, row_ids: Iterable[int]) -> None:
        """These rows, which rows here wait for, are no longer in the outbox."""
        for row_id in row_ids:
            row = self._waiting.pop(row_id, None)
            if row is not None:
                self._ready.append(row)

    def set_aside(self, stuck_most: int, *, kept: int) -> Place | None:
        """If more than `stuck_most` rows are in lanes that are stuck: set the place aside that has most of them, and
        forget all its rows but the first ones of `kept` lanes. Not while rows are out.

        Stuck are lanes that are blocked, and those of the same place that wait for a row that is not here.
        """
        stuck = self._stuck()
        if sum(stuck.values()) <= stuck_most:
            return None
        place = max(stuck, key=stuck.__getitem__)
        lanes = [lane for lane in self._lanes if self._place(lane) == place]
        staying = nsmallest(kept, lanes, key=self._tried)
        self._aside[place] = _Aside(kept, set(staying))
        self._kept |= dict.fromkeys(staying, place)
        for lane in lanes:
            self._forget(lane, but_first=lane in self._kept)
        self._sort_out()
        return place

    def _stuck(self) -> dict[Place, int]:
        """How many rows, by their places."""
        stuck: Counter[Place] = Counter()
        blocked: set[Place] = set()
        for lane, queue in self._lanes.items():
            is_blocked = queue[0].row_id in self._attempts
            if is_blocked or self._waits_for(queue[0]) is not None:
                place = self._place(lane)
                stuck[place] += len(queue)
                if is_blocked:
                    blocked.add(place)
        return {place: stuck[place] for place in blocked - self._aside.keys()}

    def _tried(self, lane: Lane) -> tuple[bool, int, int]:
        """The less, the sooner a row of this lane may tell whether its place takes anything."""
        first = self._lanes[lane][0]
        return self._waits_for(first) is not None, self._refusals[first.row_id], self.attempts(first)

    def _may_come(self, row: OutboxRow) -> bool:
        """Of a place that is set aside only what can go at once, in one of a few lanes; or what goes before a row that
        waits in one of those.
        """
        lane = (row.record.topic, row.record.key)
        place = self._place(lane)
        aside = self._aside.get(place)
        if aside is None:
            return True
        if (queue := self._lanes.get(lane)) is not None:
            return row.row_id < queue[0].row_id and self._waits_for(queue[0]) is not None
        if row.after is not None and not self._is_done(row.after):
            return False
        if len(aside.lanes) >= aside.lanes_max and not self._make_room(aside):
            return False
        aside.lanes.add(lane)
        self._kept[lane] = place
        return True

    def _make_room(self, aside: _Aside) -> bool:
        """By a lane whose row was refused often enough, if there is one."""
        if not aside.refused:
            return False
        lane, _ = aside.refused.popitem()
        aside.lanes.discard(lane)
        del self._kept[lane]
        if len(self._given_up) >= self._remembered_max:
            self._given_up.clear()
        self._given_up.add(self._lanes[lane][0].row_id)
        self._forget(lane)
        self._sort_out()
        return True

    def _open(self, place: Place) -> None:
        for lane in self._aside.pop(place).lanes:
            del self._kept[lane]
        if not self._aside:
            self._given_up.clear()

    def _forget(self, lane: Lane, *, but_first: bool = False) -> None:
        queue = self._lanes[lane]
        for row in queue[1:] if but_first else queue:
            del self._held[row.row_id]
            self._attempts.pop(row.row_id, None)
            self._refusals.pop(row.row_id, None)
            if (after := self._waits_for(row)) is not None:
                del self._waiting[after]
        if but_first:
            del queue[1:]
        else:
            del self._lanes[lane]

    def _sort_out(self) -> None:
        """After some were forgotten."""
        self._ready = deque(row for row in self._ready if row.row_id in self._held)
        self._delayed = [delayed for delayed in self._delayed if delayed[1] in self._held]
        heapify(self._delayed)

    def clear(self, *, done: bool = False) -> None:
        """Forget all rows that are not acknowledged: they are not ours any more. With `done`, the others too: their ids
        come again.
        """
        self._held.clear()
        self._lanes.clear()
        self._ready.clear()
        self._waiting.clear()
        self._new_waits.clear()
        self._delayed.clear()
        self._attempts.clear()
        self._refusals.clear()
        self._aside.clear()
        self._kept.clear()
        self._given_up.clear()
        if done:
            self._done, self._done_before = set(), set()

    def _place(self, lane: Lane) -> Place:
        return lane[0], self._partition(*lane)

    def _is_done(self, row_id: int) -> bool:
        return row_id in self._done or row_id in self._done_before

    def _waits_for(self, row: OutboxRow) -> int | None:
        """The row that it waits for, if it is the first of its lane and that one is not here."""
        after = row.after
        return after if after is not None and self._waiting.get(after) is row else None

    def _come_first(self, row: OutboxRow) -> None:
        after = row.after
        if after is None or self._is_done(after):
            self._ready.append(row)
        else:
            self._waiting[after] = row
            self._new_waits.append(after)

    def _queue(self, queue: list[OutboxRow], row: OutboxRow) -> None:
        first = queue[0]
        if row.row_id > queue[-1].row_id:
            queue.append(row)
        elif row.row_id < first.row_id and (after := self._waits_for(first)) is not None:
            # The earlier row that the first one waits for, or one before that: it goes before.
            del self._waiting[after]
            queue.insert(0, row)
            self._come_first(row)
        else:
            insort(queue, row, lo=1, key=lambda queued: queued.row_id)


def names_of(places: Iterable[Place]) -> Sequence[str]:
    """For people, in order."""
    return sorted(topic if partition is None else f"{topic}/{partition}" for topic, partition in places)
