"""What people ask of the sagas: one, a page, a history, how many. Without locks, each in one round trip.

A row shows what was committed a moment ago; whoever wants to act on it loads it in a transaction and looks again.
"""

from collections.abc import Sequence
from datetime import UTC
from uuid import UUID

import msgspec

from ordersaga.delivery.arrays import Texts
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.store import in_flight
from ordersaga.orchestrator.store.archive import ArchiveReads, history_in, saga_in
from ordersaga.orchestrator.store.archive_files import Directory
from ordersaga.orchestrator.store.codec_protocol import InstanceCodec
from ordersaga.orchestrator.store.connections import Connections, Row, statements
from ordersaga.orchestrator.store.protocol import (
    AnyInstance,
    DeadLetter,
    DeadlineKind,
    Due,
    Orphan,
    RequestKey,
    SagaCount,
    SagaPage,
    Settled,
    SettledAs,
    Standing,
    StoreCounts,
    StoredDeadLetter,
    StoredHistory,
    StoredOrphan,
)
from ordersaga.orchestrator.store.search import Search, meets
from ordersaga.orchestrator.store.searching import (
    COUNTED_MAX,
    LOOKED_MAX,
    count_statement,
    page_statement,
    parameters,
)
from ordersaga.wire.headers import unpacked

_SQL = statements("read.sql")
_LETTERS = statements("dead_letters.sql")
PAGE_MAX = 100
ARCHIVED_LOOKED_MAX, ARCHIVED_PAGES_COUNTED_MAX = 500, 10
"""Archived sagas that one page looks at (they are decompressed one by one), and pages that a count looks at."""


class Reads:
    def __init__(self, connections: Connections, codec: InstanceCodec, directory: Directory | None = None) -> None:
        self._ask = connections.ask
        self._archive = ArchiveReads(connections, directory)
        self._codec = codec

    def due(self, limit: int) -> Sequence[Due]:
        known = Texts([f"{saga} {version}" for saga, version in self._codec.known])
        found = self._ask(_SQL["due"], {"known": known, "limit": limit})
        return [Due(saga_id, DeadlineKind(kind), due_at.astimezone(UTC)) for saga_id, kind, due_at in found]

    def get(self, saga_id: UUID) -> AnyInstance | None:
        rows = self._ask(_SQL["get"], {"id": saga_id})
        if not rows and (archived := self._archive.one(saga_id)) is not None:
            rows = [saga_in(archived)]
        return next(iter(self._known(rows)), None)

    def page(self, search: Search, limit: int, after: UUID | None) -> SagaPage:
        limit = _page_of(limit)
        if search.archived:
            return self._archived_page(search, limit, after)
        looked_max = LOOKED_MAX if search.narrows else limit + 1
        values = parameters(search, limit=limit + 1, looked_max=looked_max, after=after)
        rows = self._ask(page_statement(search), values)
        looked, last, *_ = rows[0]
        found = [row[2:] for row in rows if row[2] is not None]
        if len(found) > limit:
            next_after = found[limit - 1][0]
        else:
            next_after = last if search.narrows and looked == looked_max else None
        return SagaPage(instances=self._known(found[:limit]), next_after=next_after)

    def _archived_page(self, search: Search, limit: int, after: UUID | None) -> SagaPage:
        found, looked_up_to = self._archived(search, after)
        if len(found) > limit:
            return SagaPage(instances=found[:limit], next_after=found[limit - 1].saga_id)
        return SagaPage(instances=found, next_after=looked_up_to)

    def _archived_count(self, search: Search) -> SagaCount:
        count, after = 0, None
        for _ in range(ARCHIVED_PAGES_COUNTED_MAX):
            found, after = self._archived(search, after)
            count += len(found)
            if after is None:
                break
        return SagaCount(count=count, is_least=after is not None)

    def _archived(self, search: Search, after: UUID | None) -> tuple[list[AnyInstance], UUID | None]:
        """Of the next so many those that are searched for, and where to go on."""
        lines = self._archive.search(search, looked_max=ARCHIVED_LOOKED_MAX, after=after)
        known = self._known([saga_in(line) for line in lines if not search.statuses or line.status in search.statuses])
        is_last = len(lines) < ARCHIVED_LOOKED_MAX
        return [one for one in known if meets(search, one)], None if is_last else lines[-1].id

    def count(self, search: Search) -> SagaCount:
        if search.archived:
            return self._archived_count(search)
        values = parameters(search, limit=0, looked_max=COUNTED_MAX, after=None)
        ((looked, found),) = self._ask(count_statement(search), values)
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
        return [_dead_letter(row) for row in self._ask(_LETTERS["page"], wanted)]

    def parked(self, reason: str, after: int, limit: int) -> Sequence[StoredDeadLetter]:
        found = self._ask(_LETTERS["parked"], {"reason": reason, "after": after, "limit": _page_of(limit)})
        return [_dead_letter(row) for row in found]

    def dead_letter(self, letter_id: int) -> StoredDeadLetter | None:
        found = self._ask(_LETTERS["get"], {"id": letter_id}) if letter_id < 2**63 else []
        return _dead_letter(found[0]) if found else None

    def orphans(self, saga_id: UUID | None, limit: int) -> Sequence[StoredOrphan]:
        wanted = {"saga_id": saga_id, "limit": _page_of(limit)}
        return [
            StoredOrphan(
                at=at.astimezone(UTC),
                orphan=Orphan(saga_id=whose, type=kind, topic=topic, partition=partition, offset=offset, value=value),
            )
            for whose, kind, topic, partition, offset, value, at in self._ask(_LETTERS["orphans"], wanted)
        ]

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
        ((failed, failed_seconds, attention, dead_letters, due, late_seconds),) = self._ask(_SQL["troubles"], {})
        return Standing(
            active={(status, step): count for status, step, count, _ in active},
            oldest_active_seconds=max((age for *_, age in active), default=0.0),
            failed=failed,
            oldest_failed_seconds=failed_seconds or 0.0,
            attention=attention,
            dead_letters=dead_letters,
            deadlines_due=due,
            deadlines_late_seconds=late_seconds or 0.0,
        )

    def schema_version(self, timeout_seconds: float) -> int:
        ((version,),) = self._ask(_SQL["schema_version"], {}, timeout_seconds=timeout_seconds)
        return int(version)

    def upkeep(self, weeks_ahead: int) -> None:
        self._ask(_SQL["upkeep"], {"weeks_ahead": weeks_ahead})

    def _known(self, found: Sequence[Row]) -> list[AnyInstance]:
        """Decoded, without those of a saga or version that this process does not know."""
        return [
            self._codec.decode(saga, version, state, personal)
            for _, saga, version, state, personal in found
            if self._codec.knows(saga, version)
        ]


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
    settled_at, how, by, why = settled
    done = Settled(at=settled_at.astimezone(UTC), how=SettledAs(how), by=by, why=why) if settled_at else None
    return StoredDeadLetter(id=letter_id, at=at.astimezone(UTC), letter=letter, settled=done)


def _page_of(limit: int) -> int:
    return max(1, min(limit, PAGE_MAX))
