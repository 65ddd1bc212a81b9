"""The statistics in PostgreSQL."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from psycopg_pool import ConnectionPool

from ordersaga.delivery.pool import Lender
from ordersaga.orchestrator.store import in_flight
from ordersaga.orchestrator.store.connections import AnyConnection, Connections, statements
from ordersaga.orchestrator.store.parts import Parts
from ordersaga.orchestrator.store.statistics_protocol import By, Failure, InFlight, Period, Sum, Unfolded

_SQL = statements("statistics.sql")


class PostgresStatistics:
    """See `store.statistics_protocol.Statistics`."""

    def __init__(
        self,
        pool: ConnectionPool[AnyConnection],
        *,
        timeout_seconds: float = 10.0,
        schema: str | None = None,
        readers: Lender | None = None,
    ) -> None:
        """`pool`, `schema` and `readers` as for `PostgresStore`; the pool is the store's to close."""
        connections = Connections(pool, timeout_seconds, schema)
        self._ask = Connections(readers or pool, timeout_seconds, schema).ask
        self._sums, self._in_flight = Parts(connections, _SQL["fold"]), in_flight.folding(connections)

    def periods(self, since: datetime, until: datetime, by: By, details: Collection[str]) -> Sequence[Period]:
        wanted = {"since": since, "until": until, "details": list(details)}
        if by is By.DAY:
            first_day = min(_midnight(since + timedelta(days=1, microseconds=-1)), until)
            last_day = max(_midnight(until), first_day)
            found = self._ask(_SQL["days"], wanted | {"first_day": first_day, "last_day": last_day})
        else:
            found = self._ask(_SQL["hours"], wanted)
        return [
            Period(at=at.astimezone(UTC), sum=Sum(saga=saga, kind=kind, label=label, count=count, microseconds=took))
            for at, saga, kind, label, count, took in found
        ]

    def in_flight(self) -> Sequence[InFlight]:
        return [
            InFlight(status=status, step=step, count=count, oldest_seconds=max(0.0, oldest))
            for status, step, count, oldest in in_flight.counts(self._ask)
        ]

    def failures(self) -> Sequence[Failure]:
        return [
            Failure(reason=reason, step=step, problem=problem, count=count, examples=examples)
            for reason, step, problem, count, examples in self._ask(_SQL["failures"], {})
        ]

    def fold(self) -> int:
        folded = self._sums.take_turn()
        self._in_flight.take_turn()
        return folded

    def unfolded(self) -> Unfolded:
        ((sums, oldest_seconds),) = self._ask(_SQL["unfolded"], {})
        return Unfolded(sums, max(0.0, oldest_seconds))


def _midnight(moment: datetime) -> datetime:
    """Of its day in UTC."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
