"""The archive of the store without a database; the same promises. See `store.archive`."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from ordersaga.orchestrator.core.instance import TAKEN_BACK, Status
from ordersaga.orchestrator.store.archive_protocol import Archived, Moved
from ordersaga.orchestrator.store.codec_protocol import InstanceCodec
from ordersaga.orchestrator.store.memory_tables import MemoryTables, SagaRow, decoded
from ordersaga.orchestrator.store.protocol import AnyInstance, Lookup

PAGE_MAX = 100


class MemoryArchive:
    """See `store.archive_protocol.Archive`."""

    def __init__(self, tables: MemoryTables, codec: InstanceCodec, *, now: Callable[[], datetime]) -> None:
        self._tables = tables
        self._codec = codec
        self._now = now

    def move(self, *, older_than: timedelta, limit: int, after: UUID | None = None) -> Moved:
        cutoff, tables = self._now() - older_than, self._tables
        with tables.changed:
            rows = sorted(tables.sagas.values(), key=lambda row: row.saga_id)
            old = [row for row in rows if (after is None or row.saga_id > after) and self._has_ended(row, cutoff)]
            for row in old[:limit]:
                del tables.sagas[row.saga_id]
                tables.archive[row.saga_id] = (self._now(), row, tables.history.pop(row.saga_id, []))
        moved = old[:limit]
        return Moved(count=len(moved), last=moved[-1].saga_id if len(moved) == limit else None)

    def drop_history(self, *, older_than: timedelta) -> Sequence[str]:
        """Here history goes with its saga."""
        return []

    def page(self, *, limit: int = 100, before: UUID | None = None) -> Sequence[Archived]:
        with self._tables.changed:
            kept = [(at, row) for at, row, _ in self._tables.archive.values() if before is None or row.saga_id < before]
        kept.sort(key=lambda one: one[1].saga_id, reverse=True)
        return [
            Archived(
                saga_id=row.saga_id,
                saga=row.saga,
                version=row.version,
                status=row.status.value,
                order_id=row.order_id,
                payment_id=row.payment_id,
                at=at,
            )
            for at, row in kept[: max(1, min(limit, PAGE_MAX))]
        ]

    def knows(self, order_id: str | None, payment_id: str | None) -> bool:
        with self._tables.changed:
            rows = [row for _, row, _ in self._tables.archive.values()]
        return any(
            (order_id and row.order_id == order_id) or (payment_id and row.payment_id == payment_id) for row in rows
        )

    def restore(self, saga_id: UUID) -> Sequence[UUID]:
        with self._tables.changed:
            _, row, _ = self._tables.archive.get(saga_id, (None, None, None))
            if row is None:
                return []
            return self._tables.bring_back(Lookup(saga_ids=[saga_id], order_ids=[row.order_id] if row.order_id else ()))

    def forget(self, *, older_than: timedelta, limit: int) -> int:
        cutoff = self._now() - older_than
        with self._tables.changed:
            old = sorted(saga_id for saga_id, (at, _, _) in self._tables.archive.items() if at < cutoff)[:limit]
            for saga_id in old:
                del self._tables.archive[saga_id]
        return len(old)

    def _has_ended(self, row: SagaRow, cutoff: datetime) -> bool:
        instance = decoded(self._codec, row)
        held = row.saga_id in self._tables.held_by
        due = any(saga_id == row.saga_id for saga_id, _ in self._tables.deadlines)
        return instance is not None and not held and not due and _is_old(instance, cutoff) and _has_ended(instance)


def _is_old(instance: AnyInstance, cutoff: datetime) -> bool:
    return instance.created_at < cutoff and (instance.updated_at or instance.created_at) < cutoff


def _has_ended(instance: AnyInstance) -> bool:
    resolved = instance.resolved is not None
    ended = instance.status in TAKEN_BACK or instance.closed or (instance.status is Status.FAILED and resolved)
    return ended and (resolved or not instance.attention)
