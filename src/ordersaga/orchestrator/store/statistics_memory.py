"""The statistics of the store without a database. Nothing is folded there: what was added is what is read."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from uuid import UUID

from ordersaga.orchestrator.core.instance import UNDER_WAY, Status
from ordersaga.orchestrator.store.codec_protocol import InstanceCodec
from ordersaga.orchestrator.store.memory_tables import MemoryTables, readable
from ordersaga.orchestrator.store.protocol import AnyInstance
from ordersaga.orchestrator.store.statistics_protocol import By, Failure, InFlight, Period, Sum, Unfolded

CAUSES_MAX, EXAMPLES_MAX = 50, 3


class MemoryStatistics:
    """See `store.statistics_protocol.Statistics`."""

    def __init__(self, tables: MemoryTables, codec: InstanceCodec, *, now: Callable[[], datetime]) -> None:
        self._tables = tables
        self._codec = codec
        self._now = now

    def periods(self, since: datetime, until: datetime, by: By, details: Collection[str]) -> Sequence[Period]:
        counts: Counter[tuple[datetime, str, str, str]] = Counter()
        took: Counter[tuple[datetime, str, str, str]] = Counter()
        with self._tables.changed:
            added = list(self._tables.statistics)
        for at, one in added:
            hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
            if since <= hour < until:
                begun = hour.replace(hour=0) if by is By.DAY else hour
                key = (since if one.kind in details else begun, one.saga, one.kind, one.label)
                counts[key] += one.count
                took[key] += one.microseconds
        return [
            Period(at=key[0], sum=Sum(saga=key[1], kind=key[2], label=key[3], count=count, microseconds=took[key]))
            for key, count in sorted(counts.items())
        ]

    def in_flight(self) -> Sequence[InFlight]:
        groups: dict[tuple[str, str | None], list[datetime]] = {}
        for one in self._instances():
            if one.status in UNDER_WAY:
                groups.setdefault((one.status.value, one.step), []).append(one.created_at)
        found = [
            InFlight(status=status, step=step, count=len(begun), oldest_seconds=self._age(min(begun)))
            for (status, step), begun in groups.items()
        ]
        return sorted(found, key=lambda one: -one.oldest_seconds)

    def failures(self) -> Sequence[Failure]:
        groups: dict[tuple[str | None, str | None, str | None], list[UUID]] = {}
        for one in self._instances():
            if one.status is Status.FAILED and one.resolved is None:
                step, problem = (one.stuck.step, one.stuck.problem or None) if one.stuck else (None, None)
                groups.setdefault((one.reason.value if one.reason else None, step, problem), []).append(one.saga_id)
        found = [
            Failure(
                reason=reason,
                step=step,
                problem=problem,
                count=len(ids),
                examples=sorted(ids, reverse=True)[:EXAMPLES_MAX],
            )
            for (reason, step, problem), ids in groups.items()
        ]
        return sorted(found, key=lambda one: -one.count)[:CAUSES_MAX]

    def fold(self) -> int:
        return 0

    def unfolded(self) -> Unfolded:
        return Unfolded(0, 0.0)

    def _instances(self) -> Sequence[AnyInstance]:
        with self._tables.changed:
            rows = list(self._tables.sagas.values())
        return list(readable(self._codec, rows))

    def _age(self, moment: datetime) -> float:
        return max(0.0, (self._now() - moment).total_seconds())
