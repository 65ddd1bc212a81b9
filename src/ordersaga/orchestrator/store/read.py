"""What people ask of the sagas: one, a page, a history, how many. Without locks, each in one round trip. What looks at
many rows is asked by connections of its own, so that those who look never hold up those who work.

A row shows what was committed a moment ago; whoever wants to act on it loads it in a transaction and looks again.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from ordersaga.delivery.arrays import Texts
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.store import in_flight
from ordersaga.orchestrator.store.archive import ArchiveReads, history_in, saga_in
from ordersaga.orchestrator.store.archive_files import Directory, Line
from ordersaga.orchestrator.store.codec_protocol import InstanceCodec
from ordersaga.orchestrator.store.connections import Connections, Row, statements
from ordersaga.orchestrator.store.decoded import Decoded, decoded
from ordersaga.orchestrator.store.parts import Parts
from ordersaga.orchestrator.store.protocol import (
    AnyInstance,
    DamagedRow,
    DeadLetter,
    DeadlineKind,
    Due,
    Orphan,
    RequestKey,
    SagaCount,
    SagaPage,
    Settled,
    SettledAs,
    StoredDeadLetter,
    StoredHistory,
    StoredOrphan,
    UnknownVersion,
)
from ordersaga.orchestrator.store.search import Search, meets
from ordersaga.orchestrator.store.searching import (
    COUNTED_MAX,
    LOOKED_MAX,
    count_statement,
    page_statement,
    parameters,
)
from ordersaga.orchestrator.store.standing import Standing, StoreCounts
from ordersaga.wire.headers import unpacked

_SQL = statements("read.sql")
_LETTERS = statements("dead_letters.sql")
_FORGETTING = ("forget_keys", "forget_early", "forget_letters", "forget_orphans")
PAGE_MAX = 100
ARCHIVED_LOOKED_MAX, ARCHIVED_PAGES_COUNTED_MAX = 500, 10
"""Archived sagas that one page looks at (they are decompressed one by one), and pages that a count looks at."""


class Reads:
    def __init__(
        self, connections: Connections, looking: Connections, codec: InstanceCodec, directory: Directory | None = None
    ) -> None:
        """`looking`: for what may take its time."""
        self._ask, self._look = connections.ask, looking.ask
        self._archive, self._archive_looking = ArchiveReads(connections, directory), ArchiveReads(looking, directory)
        self._codec = codec
        self._forgetting = [Parts(connections, _SQL[name]) for name in _FORGETTING]

    def due(self, limit: int, windows_past_seconds: float) -> Sequence[Due]:
        known = Texts([f"{saga} {version}" for saga, version in self._codec.known])
        asked = {"known": known, "limit": limit, "windows_past_seconds": windows_past_seconds}
        found = self._ask(_SQL["due"], asked)
        return [Due(saga_id, DeadlineKind(kind), due_at.astimezone(UTC)) for saga_id, kind, due_at in found]

    def get(self, saga_id: UUID) -> AnyInstance | None:
        rows = self._ask(_SQL["get"], {"id": saga_id})
        if not rows and (archived := self._archive.one(saga_id)) is not None:
            rows = [saga_in(archived)]
        if not rows:
            return None
        found = decoded(self._codec, rows[0])
        if found is None:
            raise UnknownVersion(saga_id)
        return found

    def of_order(self, order_id: str) -> Sequence[UUID]:
        return [saga_id for (saga_id,) in self._ask(_SQL["of_order"], {"order_id": order_id})]

    def page(self, search: Search, limit: int, after: UUID | None) -> SagaPage:
        limit = _page_of(limit)
        if search.archived:
            return self._archived_page(search, limit, after)
        looked_max = LOOKED_MAX if search.narrows else limit + 1
        values = parameters(search, limit=limit + 1, looked_max=looked_max, after=after)
        rows = self._look(page_statement(search), values)
        looked, last, *_ = rows[0]
        found = [row[2:] for row in rows if row[2] is not None]
        if len(found) > limit:
            next_after = found[limit - 1][0]
        else:
            next_after = last if search.narrows and looked == looked_max else None
        page = Decoded()
        for row in found[:limit]:
            page.add(self._codec, row)
        return _page(page, page.known, next_after)

    def _archived_page(self, search: Search, limit: int, after: UUID | None) -> SagaPage:
        page, looked_up_to = self._archived(search, after)
        found = page.known
        if len(found) > limit:
            found, looked_up_to = found[:limit], found[limit - 1].saga_id
        return _page(page, found, looked_up_to)

    def _archived_count(self, search: Search) -> SagaCount:
        count, after = 0, None
        for _ in range(ARCHIVED_PAGES_COUNTED_MAX):
            page, after = self._archived(search, after)
            count += len(page.known)
            if after is None:
                break
        return SagaCount(count=count, is_least=after is not None)

    def _archived(self, search: Search, after: UUID | None) -> tuple[Decoded, UUID | None]:
        """Of the next so many those that are searched for, those that may be, and where to go on."""
        page, last = Decoded(), None
        lines = self._archive_looking.search(search, looked_max=ARCHIVED_LOOKED_MAX, after=after)
        for line in lines:
            last = line if isinstance(line, UUID) else line.id
            if isinstance(line, UUID):
                page.damaged.append(line)
            elif not search.statuses or line.status in search.statuses:
                self._add(page, line)
        page.known = [one for one in page.known if meets(search, one)]
        return page, None if len(lines) < ARCHIVED_LOOKED_MAX else last

    def _add(self, page: Decoded, line: Line) -> None:
        try:
            page.add(self._codec, saga_in(line))
        except DamagedRow:
            page.damaged.append(line.id)

    def count(self, search: Search) -> SagaCount:
        if search.archived:
            return self._archived_count(search)
        values = parameters(search, limit=0, looked_max=COUNTED_MAX, after=None)
        ((looked, found),) = self._look(count_statement(search), values)
        return SagaCount(count=found, is_least=looked == COUNTED_MAX)

    def history(self, saga_id: UUID) -> Sequence[StoredHistory]:
        found = [
            StoredHistory(revision=revision, at=at.astimezone(UTC), cause=cause, body=msgspec.json.decode(body))
            for revision, at, cause, body in self._ask(_SQL["history"], {"id": saga_id})
        ]
        if not found and (archived := self._archive.one(saga_id)) is not None:
            return history_in(archived)
        return found

    def dead_letters(
        self, reason: str | None, settled: bool, limit: int, before: int | None
    ) -> Sequence[StoredDeadLetter]:
        wanted = {
            "reason": reason,
            "settled": settled,
            "before": before or 2**62,
            "limit": max(1, min(limit, PAGE_MAX)),
        }
        return [_dead_letter(row) for row in self._look(_LETTERS["page"], wanted)]

    def parked(self, reason: str, after: int, limit: int) -> Sequence[StoredDeadLetter]:
        found = self._ask(_LETTERS["parked"], {"reason": reason, "after": after, "limit": _page_of(limit)})
        return [_dead_letter(row) for row in found]

    def dead_letter(self, letter_id: int) -> StoredDeadLetter | None:
        found = self._ask(_LETTERS["get"], {"id": letter_id}) if letter_id < 2**63 else []
        return _dead_letter(found[0]) if found else None

    def orphans(self, saga_id: UUID | None, settled: bool, limit: int, before: int | None) -> Sequence[StoredOrphan]:
        wanted = {"saga_id": saga_id, "settled": settled, "before": before or 2**62, "limit": _page_of(limit)}
        return [_orphan(row) for row in self._look(_LETTERS["orphans"], wanted)]

    def orphan(self, orphan_id: int) -> StoredOrphan | None:
        found = self._ask(_LETTERS["orphan"], {"id": orphan_id}) if orphan_id < 2**63 else []
        return _orphan(found[0]) if found else None

    def request(self, principal: str, key: str) -> RequestKey | None:
        found = self._ask(_SQL["request"], {"principal": principal, "key": key})
        return RequestKey(principal=principal, key=key, fingerprint=found[0][0], saga_id=found[0][1]) if found else None

    def counts(self) -> StoreCounts:
        by_status = self._ask(_SQL["count_statuses"], {})
        ((outbox_rows, deadlines_due, dead_letters, orphans),) = self._ask(_SQL["count_others"], {})
        return StoreCounts(
            by_status={Status(status): count for status, count in by_status},
            outbox_rows=outbox_rows,
            deadlines_due=deadlines_due,
            dead_letters=dead_letters,
            orphans=orphans,
        )

    def standing(self) -> Standing:
        active = in_flight.counts(self._ask)
        (found,) = self._ask(_SQL["troubles"], {})
        failed, failed_seconds, attention, dead_letters, orphans, due, late_seconds, failing = found
        return Standing(
            active={(status, step): count for status, step, count, _ in active},
            oldest_active_seconds=max((age for *_, age in active), default=0.0),
            failed=failed,
            oldest_failed_seconds=failed_seconds or 0.0,
            attention=attention,
            dead_letters=dead_letters,
            orphans=orphans,
            deadlines_due=due,
            deadlines_late_seconds=late_seconds or 0.0,
            deadlines_failing=failing,
        )

    def condition(self, timeout_seconds: float) -> tuple[int, bool]:
        """The schema's version, and whether it can only be read."""
        ((version, is_read_only),) = self._ask(_SQL["condition"], {}, timeout_seconds=timeout_seconds)
        return int(version), bool(is_read_only)

    def make_partitions(self, weeks_ahead: int) -> None:
        self._ask(_SQL["make_partitions"], {"weeks_ahead": weeks_ahead})

    def forget(self) -> bool:
        """What nobody will ask for again; whether more of it is left than a turn could do."""
        for parts in self._forgetting:
            parts.take_turn()
        return any(parts.left for parts in self._forgetting)


def _page(page: Decoded, instances: Sequence[AnyInstance], next_after: UUID | None) -> SagaPage:
    return SagaPage(instances=instances, next_after=next_after, unknown_versions=page.unknown, damaged=page.damaged)


def _dead_letter(row: Row) -> StoredDeadLetter:
    letter_id, at, topic, partition, offset, timestamp_ms, key, value, headers, reason, detail, *settled = row
    letter = DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        key=key,
        value=value,
        headers=unpacked(headers),
        timestamp_ms=timestamp_ms,
        reason=reason,
        detail=detail,
    )
    return StoredDeadLetter(id=letter_id, at=at.astimezone(UTC), letter=letter, settled=_settled(*settled))


def _orphan(row: Row) -> StoredOrphan:
    orphan_id, at, saga_id, kind, topic, partition, offset, value, settled_at, *by_and_why = row
    orphan = Orphan(saga_id=saga_id, type=kind, topic=topic, partition=partition, offset=offset, value=value)
    settled = _settled(settled_at, SettledAs.DISCARDED, *by_and_why)
    return StoredOrphan(id=orphan_id, at=at.astimezone(UTC), orphan=orphan, settled=settled)


def _settled(at: datetime | None, how: str, by: str, why: str) -> Settled | None:
    return Settled(at=at.astimezone(UTC), how=SettledAs(how), by=by, why=why) if at else None


def _page_of(limit: int) -> int:
    return max(1, min(limit, PAGE_MAX))
