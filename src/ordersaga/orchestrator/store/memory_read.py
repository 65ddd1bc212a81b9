"""What people ask of the sagas in the store without a database. See `store.read`."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from ordersaga.orchestrator.core.instance import UNDER_WAY, Status
from ordersaga.orchestrator.store.codec_protocol import InstanceCodec
from ordersaga.orchestrator.store.decoded import Decoded
from ordersaga.orchestrator.store.memory_tables import MemoryTables, SagaRow, decoded, readable
from ordersaga.orchestrator.store.protocol import (
    AnyInstance,
    DeadlineKind,
    Due,
    RequestKey,
    SagaCount,
    SagaPage,
    StoredDeadLetter,
    StoredHistory,
    StoredOrphan,
    StoreUnavailable,
    UnknownVersion,
)
from ordersaga.orchestrator.store.read import PAGE_MAX
from ordersaga.orchestrator.store.search import EVERYTHING, Search, meets
from ordersaga.orchestrator.store.standing import Standing, StoreCounts


class MemoryReads:
    def __init__(self, tables: MemoryTables, codec: InstanceCodec, now: Callable[[], datetime]) -> None:
        self._tables = tables
        self._codec = codec
        self._now = now
        self._closed = False

    def due(self, limit: int, *, windows_past_seconds: float = 0.0) -> Sequence[Due]:
        self._check_open()
        with self._tables.changed:
            known = {row.saga_id for row in self._tables.sagas.values() if self._codec.knows(row.saga, row.version)}
            window_due_at = self._now() - timedelta(seconds=windows_past_seconds)
            passed = [
                one
                for one in self._passed()
                if one.saga_id in known and (one.kind is DeadlineKind.COMMAND or one.due_at <= window_due_at)
            ]
        return sorted(passed, key=lambda one: one.due_at)[:limit]

    def _passed(self) -> list[Due]:
        now = self._now()
        return [Due(saga_id, kind, due) for (saga_id, kind), due in self._tables.deadlines.items() if due <= now]

    def get(self, saga_id: UUID) -> AnyInstance | None:
        self._check_open()
        with self._tables.changed:
            _, archived, _ = self._tables.archive.get(saga_id, (None, None, None))
            row = self._tables.sagas.get(saga_id) or archived
        if row is None:
            return None
        found = decoded(self._codec, row)
        if found is None:
            raise UnknownVersion(saga_id)
        return found

    def of_order(self, order_id: str) -> Sequence[UUID]:
        self._check_open()
        with self._tables.changed:
            rows = self._tables.everywhere()
        return sorted((row.saga_id for row in rows if row.order_id == order_id), reverse=True)

    def page(self, search: Search = EVERYTHING, *, limit: int = 100, after: UUID | None = None) -> SagaPage:
        limit = max(1, min(limit, PAGE_MAX))
        found = self._found(search, after)
        page, is_more = found[:limit], len(found) > limit
        shown = Decoded()
        for row in page:
            shown.add(self._codec, (row.saga_id, row.saga, row.version, row.state, row.personal))
        return SagaPage(
            instances=shown.known,
            next_after=page[-1].saga_id if is_more else None,
            unknown_versions=shown.unknown,
            damaged=shown.damaged,
        )

    def count(self, search: Search = EVERYTHING) -> SagaCount:
        return SagaCount(count=len(self._found(search, None)), is_least=False)

    def _found(self, search: Search, after: UUID | None) -> list[SagaRow]:
        """In their order."""
        self._check_open()
        with self._tables.changed:
            archived = [row for _, row, _ in self._tables.archive.values()]
            rows = archived if search.archived else list(self._tables.sagas.values())
        found = [row for row in rows if self._meets(search, row)]
        if after is not None:
            found = [row for row in found if (row.saga_id > after if search.oldest_first else row.saga_id < after)]
        return sorted(found, key=lambda row: row.saga_id, reverse=not search.oldest_first)

    def _meets(self, search: Search, row: SagaRow) -> bool:
        found = next(readable(self._codec, [row]), None)
        return meets(search, found) if found is not None else _may_meet(search, row)

    def history(self, saga_id: UUID) -> Sequence[StoredHistory]:
        self._check_open()
        with self._tables.changed:
            _, _, archived = self._tables.archive.get(saga_id, (None, None, []))
            found = self._tables.history.get(saga_id) or archived
            return sorted(found, key=lambda entry: entry.revision)

    def dead_letters(
        self, *, reason: str | None = None, settled: bool = False, limit: int = 100, before: int | None = None
    ) -> Sequence[StoredDeadLetter]:
        self._check_open()
        with self._tables.changed:
            found = [one for one in self._tables.dead_letters.values() if settled or one.settled is None]
        found = [one for one in found if reason in (None, one.letter.reason) and (before is None or one.id < before)]
        return sorted(found, key=lambda one: -one.id)[: max(1, min(limit, PAGE_MAX))]

    def parked(self, reason: str, *, after: int = 0, limit: int = 100) -> Sequence[StoredDeadLetter]:
        self._check_open()
        with self._tables.changed:
            found = [one for one in self._tables.dead_letters.values() if one.settled is None and one.id > after]
        ours = sorted((one for one in found if one.letter.reason == reason), key=lambda one: one.id)
        return ours[: max(1, min(limit, PAGE_MAX))]

    def dead_letter(self, letter_id: int) -> StoredDeadLetter | None:
        self._check_open()
        with self._tables.changed:
            return next((one for one in self._tables.dead_letters.values() if one.id == letter_id), None)

    def orphans(
        self, *, saga_id: UUID | None = None, settled: bool = False, limit: int = 100, before: int | None = None
    ) -> Sequence[StoredOrphan]:
        self._check_open()
        with self._tables.changed:
            found = [one for one in self._tables.orphans.values() if settled or one.settled is None]
        found = [one for one in found if saga_id in (None, one.orphan.saga_id) and (before is None or one.id < before)]
        return sorted(found, key=lambda one: -one.id)[: max(1, min(limit, PAGE_MAX))]

    def orphan(self, orphan_id: int) -> StoredOrphan | None:
        self._check_open()
        with self._tables.changed:
            return next((one for one in self._tables.orphans.values() if one.id == orphan_id), None)

    def request(self, principal: str, key: str) -> RequestKey | None:
        self._check_open()
        return self._tables.keys.get((principal, key))

    def counts(self) -> StoreCounts:
        self._check_open()
        with self._tables.changed:
            statuses = [row.status for row in self._tables.sagas.values()]
            return StoreCounts(
                by_status={status: statuses.count(status) for status in set(statuses)},
                outbox_rows=len(self._tables.outbox.rows),
                deadlines_due=len(self._passed()),
                dead_letters=sum(one.settled is None for one in self._tables.dead_letters.values()),
                orphans=sum(one.settled is None for one in self._tables.orphans.values()),
            )

    def standing(self) -> Standing:
        self._check_open()
        now, tables = self._now(), self._tables
        with tables.changed:
            instances = list(readable(self._codec, tables.sagas.values()))
            due = [one.due_at for one in self._passed()]
            open_letters = sum(one.settled is None for one in tables.dead_letters.values())
            failing = len(tables.failing)
            open_orphans = sum(one.settled is None for one in tables.orphans.values())
        moving = [one for one in instances if one.status in UNDER_WAY]
        unseen = [one for one in instances if one.resolved is None]
        failed = [one for one in unseen if one.status is Status.FAILED]
        return Standing(
            active=Counter((one.status.value, one.step) for one in moving),
            oldest_active_seconds=max(((now - one.created_at).total_seconds() for one in moving), default=0.0),
            failed=len(failed),
            oldest_failed_seconds=max(((now - one.created_at).total_seconds() for one in failed), default=0.0),
            attention=sum(bool(one.attention) for one in unseen),
            dead_letters=open_letters,
            orphans=open_orphans,
            deadlines_due=len(due),
            deadlines_late_seconds=max(((now - due_at).total_seconds() for due_at in due), default=0.0),
            deadlines_failing=failing,
        )

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")


def _may_meet(search: Search, row: SagaRow) -> bool:
    """By what its row shows."""
    wanted = [
        (search.statuses, row.status in search.statuses),
        (search.saga, row.saga == search.saga),
        (search.order_id, row.order_id == search.order_id),
    ]
    return all(holds for given, holds in wanted if given)
