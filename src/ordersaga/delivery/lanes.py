"""The rows that a relay holds in memory, and which of them may go out now. Pure: no threads, no clock, no I/O.

A lane is all records with one key on one topic. The rules:

* Of each lane at most one row is out at a time, and its next row goes only after that one was acknowledged.
* A row that was not acknowledged stays first in its lane and goes again later; the lane waits, others do not.
* A row whose `after` is not known here waits until that row turns up here, or is known to be gone from the outbox.
* A row is held once, and never again after it was acknowledged (as far back as `remembered_max` rows).
* Of a topic that is set aside only a few rows are held, to see whether it takes one: then it is open again.
"""

from bisect import insort
from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from heapq import heapify, heappop, heappush
from itertools import islice

from ordersaga.delivery.messages import OutboxRow

Lane = tuple[str, bytes]


class Lanes:
    def __init__(self, *, remembered_max: int = 20_000) -> None:
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
        self._aside: set[str] = set()
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
    def aside(self) -> AbstractSet[str]:
        """Topics whose rows are left in the outbox."""
        return self._aside

    @property
    def next_retry_at(self) -> float | None:
        return self._delayed[0][0] if self._delayed else None

    @property
    def oldest_at(self) -> float | None:
        return next(iter(self._held.values()), None)

    def add(self, rows: Iterable[OutboxRow], now: float) -> None:
        held, done, done_before, lanes = self._held, self._done, self._done_before, self._lanes
        if self._aside:
            rows = [row for row in rows if row.record.topic not in self._aside]
        for row in rows:
            row_id = row.row_id
            if row_id in held or row_id in done or row_id in done_before:
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

    def acknowledged(self, rows: Sequence[OutboxRow]) -> AbstractSet[str]:
        """The topics that were set aside and are open again: their rows are to be fetched."""
        for row in rows:
            row_id = row.row_id
            del self._held[row_id]
            self._done.add(row_id)
            if self._attempts:
                self._attempts.pop(row_id, None)
            lane = (row.record.topic, row.record.key)
            queue = self._lanes[lane]
            if len(queue) == 1:
                del self._lanes[lane]
            else:
                del queue[0]
                self._come_first(queue[0])
        if len(self._done) >= self._remembered_max:
            self._done_before, self._done = self._done, set()
        opened = self._aside & {row.record.topic for row in rows} if self._aside else self._aside
        self._aside -= opened
        return opened

    def attempts(self, row: OutboxRow) -> int:
        """How often `row` was tried without an acknowledgement."""
        return self._attempts.get(row.row_id, 0)

    def failed(self, row: OutboxRow, retry_at: float) -> None:
        self._attempts[row.row_id] = self._attempts.get(row.row_id, 0) + 1
        heappush(self._delayed, (retry_at, row.row_id, row))

    def retry(self, until: float) -> None:
        """Make ready what was delayed to a moment not after `until`."""
        while self._delayed and self._delayed[0][0] <= until:
            self._ready.append(heappop(self._delayed)[2])

    def gone(self, row_ids: Iterable[int]) -> None:
        """These rows, which rows here wait for, are no longer in the outbox."""
        for row_id in row_ids:
            row = self._waiting.pop(row_id, None)
            if row is not None:
                self._ready.append(row)

    def set_aside(self, stuck_most: int, *, kept: int) -> str | None:
        """If more than `stuck_most` rows are in lanes that are blocked: set the topic aside that has most of them, and
        forget all its rows but the first ones of `kept` lanes. Not while rows are out.
        """
        stuck: Counter[str] = Counter()
        for (topic, _), queue in self._lanes.items():
            if queue[0].row_id in self._attempts and topic not in self._aside:
                stuck[topic] += len(queue)
        if stuck.total() <= stuck_most:
            return None
        ((topic, _),) = stuck.most_common(1)
        self._aside.add(topic)
        lanes = {lane: queue for lane, queue in self._lanes.items() if lane[0] == topic}
        tried = [lane for lane, queue in lanes.items() if queue[0].row_id in self._attempts]
        staying = set(islice(tried, kept))
        for lane, queue in lanes.items():
            self._forget(queue[1:] if lane in staying else queue)
            if lane in staying:
                del queue[1:]
            else:
                del self._lanes[lane]
        self._ready = deque(row for row in self._ready if row.row_id in self._held)
        self._delayed = [delayed for delayed in self._delayed if delayed[1] in self._held]
        heapify(self._delayed)
        return topic

    def _forget(self, rows: Iterable[OutboxRow]) -> None:
        for row in rows:
            del self._held[row.row_id]
            self._attempts.pop(row.row_id, None)
            if row.after is not None and self._waiting.get(row.after) is row:
                del self._waiting[row.after]

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
        self._aside.clear()
        if done:
            self._done, self._done_before = set(), set()

    def _come_first(self, row: OutboxRow) -> None:
        after = row.after
        if after is None or after in self._done or after in self._done_before:
            self._ready.append(row)
        else:
            self._waiting[after] = row
            self._new_waits.append(after)

    def _queue(self, queue: list[OutboxRow], row: OutboxRow) -> None:
        first = queue[0]
        if row.row_id > queue[-1].row_id:
            queue.append(row)
        elif row.row_id < first.row_id and first.after is not None and self._waiting.get(first.after) is first:
            # The earlier row that the first one waits for, or one before that: it goes before.
            del self._waiting[first.after]
            queue.insert(0, row)
            self._come_first(row)
        else:
            insort(queue, row, lo=1, key=lambda queued: queued.row_id)
