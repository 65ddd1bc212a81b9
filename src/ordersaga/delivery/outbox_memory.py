"""The outbox of a process without a database: for tests, the simulation and the demo. Lost with the process.

`MemoryTable` stands for the tables that all share, `MemoryOutbox` for one owner's view of them. A transaction is simply
a call.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from itertools import islice
from threading import Lock
from uuid import UUID

from ordersaga.bus.protocol import Outgoing
from ordersaga.delivery.clock import Clock, Randomness, SystemClock, SystemRandom
from ordersaga.delivery.lease import DatabaseClock, too_long_seconds
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.outbox_protocol import AnotherServer, LeaseLost, Pending

NOBODY = UUID(int=0)


class MemoryTable:
    """Rows and living owners. Its clock is the one that leases are measured on."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.lock = Lock()
        self.rows: dict[int, OutboxRow] = {}
        self.owner_of: dict[int, UUID] = {}
        self.created_at: dict[int, float] = {}
        self.created_ms: dict[int, int] = {}
        self.lease_until: dict[UUID, float] = {}
        self.lanes: dict[tuple[str, bytes], dict[int, None]] = {}
        """The rows of each lane, in order."""
        self.server = datetime(2026, 1, 1, tzinfo=UTC)
        """When it was started: another moment, if it is started again or a standby takes over."""
        self.server_of: dict[UUID, datetime] = {}
        """The one that each owner's lease began on."""
        self._last_id = 0

    def write(self, records: Sequence[Outgoing], owner: UUID) -> list[OutboxRow]:
        """Insert and commit. A store that commits several things at once calls this last, as it cannot fail."""
        with self.lock:
            if self.server_of.get(owner, self.server) != self.server:
                owner = NOBODY
            return [self._insert(record, owner) for record in records]

    def _insert(self, record: Outgoing, owner: UUID) -> OutboxRow:
        self._last_id += 1
        lane = self.lanes.setdefault((record.topic, record.key), {})
        row = OutboxRow(row_id=self._last_id, record=record, after=next(reversed(lane), None), owner=owner)
        self.rows[row.row_id] = row
        self.owner_of[row.row_id] = owner
        self.created_at[row.row_id] = self.clock.monotonic()
        self.created_ms[row.row_id] = int(self.clock.now().timestamp() * 1000)
        lane[row.row_id] = None
        return row

    def delete(self, row_id: int) -> None:
        row = self.rows.pop(row_id, None)
        if row is not None:
            del self.owner_of[row_id], self.created_at[row_id], self.created_ms[row_id]
            lane = self.lanes[row.record.topic, row.record.key]
            del lane[row_id]
            if not lane:
                del self.lanes[row.record.topic, row.record.key]

    def bury(self, too_long_seconds: float) -> None:
        now = self.clock.monotonic()
        for owner, until in list(self.lease_until.items()):
            if not now < until <= now + too_long_seconds:
                del self.lease_until[owner]


class MemoryOutbox:
    def __init__(
        self,
        table: MemoryTable,
        owner: UUID,
        *,
        lease_seconds: float = 15.0,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        self._table = table
        self._owner = owner
        self._former: UUID | None = None
        self._server: datetime | None = None
        self._lease_seconds = lease_seconds
        self._database_clock = DatabaseClock(clock or table.clock, lease_seconds)
        self._randomness = randomness or SystemRandom()

    @property
    def owner(self) -> UUID:
        return self._owner

    @property
    def server(self) -> datetime | None:
        return self._server

    @property
    def lease_seconds(self) -> float:
        return self._lease_seconds

    def register(self, *, anew: bool = False) -> None:
        with self._table.lock:
            if anew:
                self._former, self._owner = self._owner, UUID(bytes=self._randomness.bytes(16), version=4)
            self._server = self._table.server_of[self._owner] = self._table.server
            self._table.lease_until[self._owner] = self._lease_end()

    def beat(self) -> None:
        with self._table.lock:
            self._check()
            if self._owner not in self._table.lease_until:
                raise LeaseLost(f"the lease of {self._owner} ran out and was ended by another process")
            self._table.lease_until[self._owner] = self._lease_end()

    def release(self) -> None:
        with self._table.lock:
            self._table.lease_until.pop(self._owner, None)

    def acknowledged(self, row_ids: Sequence[int]) -> None:
        with self._table.lock:
            for row_id in row_ids if self._is_same() else ():
                self._table.delete(row_id)

    def still_there(self, row_ids: Collection[int]) -> set[int]:
        with self._table.lock:
            self._check()
            return {row_id for row_id in row_ids if row_id in self._table.rows}

    def take_over(self, limit: int, *, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        with self._table.lock:
            self._check()
            if self._database_clock.is_believed(self._table.clock.monotonic):
                self._table.bury(too_long_seconds(self._lease_seconds))
            living, rows = self._table.lease_until, self._table.rows
            orphans = (i for i, owner in self._table.owner_of.items() if owner not in living or owner == self._former)
            found = list(islice((i for i in orphans if rows[i].record.topic not in without), limit))
            for row_id in found:
                self._table.owner_of[row_id] = self._owner
            return self._as_found(found)

    def left_behind(
        self,
        known: Collection[int],
        *,
        older_than_seconds: float,
        limit: int,
        without: Collection[str] = (),
        after: int = 0,
    ) -> Sequence[OutboxRow]:
        with self._table.lock:
            self._check()
            now, rows, remembered = self._table.clock.monotonic(), self._table.rows, set(known)
            mine = (i for i, owner in self._table.owner_of.items() if owner == self._owner and i not in remembered)
            wanted = (i for i in mine if i > after and rows[i].record.topic not in without)
            age = {i: now - self._table.created_at[i] for i in wanted}
            return self._as_found([i for i in age if age[i] >= older_than_seconds or age[i] < 0][:limit])

    def pending(self) -> Pending:
        with self._table.lock:
            oldest = min(self._table.created_at.values(), default=None)
            age_seconds = 0.0 if oldest is None else self._table.clock.monotonic() - oldest
            return Pending(len(self._table.rows), age_seconds)

    def _is_same(self) -> bool:
        return self._server in (None, self._table.server)

    def _check(self) -> None:
        if not self._is_same():
            raise AnotherServer(f"the lease began on a server that was started at {self._server}")

    def _lease_end(self) -> float:
        return self._table.clock.monotonic() + self._lease_seconds

    def _as_found(self, row_ids: Sequence[int]) -> list[OutboxRow]:
        """With the owner and the row to wait for as they are now, not as they were when the row was written."""
        return [self._now(row_id) for row_id in row_ids]

    def _now(self, row_id: int) -> OutboxRow:
        record = self._table.rows[row_id].record
        earlier = [other for other in self._table.lanes[record.topic, record.key] if other < row_id]
        return OutboxRow(
            row_id=row_id,
            record=record,
            after=max(earlier, default=None),
            owner=self._owner,
            created_ms=self._table.created_ms[row_id],
        )
