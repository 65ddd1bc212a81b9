"""Statistics: what sagas did in a time, what is under way, what failed and why."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from litestar import get
from litestar.params import QueryParameter
from msgspec import Struct

from ordersaga.orchestrator.api.asking import TheApi
from ordersaga.orchestrator.api.documents import documented
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.runtime.statistics import DETAILS, Durations, StepTotals, Totals, tell
from ordersaga.orchestrator.store.statistics_protocol import By, Statistics
from ordersaga.web.access import FOR_READERS
from ordersaga.wire.errors import WireError
from ordersaga.wire.times import parse_time

DAYS_MAX = {By.HOUR: 31, By.DAY: 400}
"""How long a time may be, by the length of its periods: 750 periods are enough for a picture."""
_BY = {"enum": [by.value for by in By]}


class DurationView(Struct, frozen=True, kw_only=True):
    """Seconds, to within a tenth; the mean is exact. None where nothing was measured."""

    count: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None


class TotalsView(Struct, frozen=True, kw_only=True):
    """An order that was completed and cancelled later counts in both."""

    started: int
    completed: int
    compensated: int
    cancelled: int
    failed: int
    completion_rate: float | None
    """Completed of those begun."""
    repeated: int
    """Commands that were sent again."""
    duration: DurationView


class PeriodView(TotalsView, frozen=True, kw_only=True):
    at: datetime


class ReasonView(Struct, frozen=True, kw_only=True):
    outcome: str
    reason: str | None
    count: int


class StepView(Struct, frozen=True, kw_only=True):
    step: str
    direction: str
    became: dict[str, int]
    repeated: int
    duration: DurationView


class InFlightView(Struct, frozen=True, kw_only=True):
    status: str
    step: str | None
    count: int
    oldest_seconds: float


class FailureView(Struct, frozen=True, kw_only=True):
    """FAILED and not resolved, by cause."""

    reason: str | None
    step: str | None
    problem: str | None
    count: int
    examples: list[str]


class StatsView(Struct, frozen=True, kw_only=True):
    since: datetime
    until: datetime
    total: TotalsView
    periods: list[PeriodView]
    reasons: list[ReasonView]
    steps: list[StepView]
    in_flight: list[InFlightView]
    failures: list[FailureView]


@get(
    "/stats",
    opt=FOR_READERS,
    sync_to_thread=True,
    responses=documented(400, 500, 503),
    summary="What sagas did, hour by hour or day by day",
    description="Whole hours: of `since` and `until` the hour counts. The last 24 hours, unless asked for others; by"
    " the hour 31 days at most, by the day 400.",
    tags=["sagas"],
)
def get_stats(
    api: TheApi,
    since: Annotated[str | None, QueryParameter(description="The first hour, such as 2026-01-31T09:00:00Z")] = None,
    until: Annotated[str | None, QueryParameter(description="The hour after the last")] = None,
    by: Annotated[str, QueryParameter(description="Of what length the periods are", schema_extra=_BY)] = By.HOUR.value,
    saga: Annotated[str | None, QueryParameter(description="Of this kind only, such as create_order")] = None,
) -> StatsView:
    if by not in By.__members__.values():
        raise WireError("by", f"must be one of {', '.join(By)}")
    if saga is not None and not api.sagas.knows(saga):
        raise WireError("saga", f"must be one of {', '.join(sorted({one.name for one in api.sagas}))}")
    end = _hour(parse_time(until, "until") if until is not None else datetime.now(UTC) + timedelta(hours=1))
    begin = _hour(parse_time(since, "since")) if since is not None else end - timedelta(hours=24)
    return stats_view(api.statistics, begin, end, By(by), saga)


def stats_view(statistics: Statistics, since: datetime, until: datetime, by: By, saga: str | None = None) -> StatsView:
    """Asks for it; how things stand now is of all kinds of sagas. Raises `WireError` for a time that is none or too
    long, `StoreUnavailable`.
    """
    most = DAYS_MAX[by]
    if not timedelta(0) < until - since <= timedelta(days=most):
        raise WireError("since", f"must be before until, by an hour at least and {most} days at most (by {by})")
    told = tell(statistics.periods(since, until, by, DETAILS), saga)
    in_flight, failures = statistics.in_flight(), statistics.failures()
    return StatsView(
        since=since,
        until=until,
        total=TotalsView(**_totals(told.total)),
        periods=[PeriodView(at=at, **_totals(totals)) for at, totals in sorted(told.periods.items())],
        reasons=[
            ReasonView(outcome=outcome, reason=reason or None, count=count)
            for (outcome, reason), count in told.reasons.most_common()
        ],
        steps=[_step(step, direction, totals) for (step, direction), totals in sorted(told.steps.items())],
        in_flight=[
            InFlightView(status=one.status, step=one.step, count=one.count, oldest_seconds=one.oldest_seconds)
            for one in in_flight
        ],
        failures=[
            FailureView(
                reason=one.reason,
                step=one.step,
                problem=one.problem,
                count=one.count,
                examples=[str(saga_id) for saga_id in one.examples],
            )
            for one in failures
        ],
    )


def _totals(totals: Totals) -> dict[str, Any]:
    return {
        "started": totals.started,
        "completed": totals.ended[Status.COMPLETED.value],
        "compensated": totals.ended[Status.COMPENSATED.value],
        "cancelled": totals.ended[Status.CANCELLED.value],
        "failed": totals.ended[Status.FAILED.value],
        "completion_rate": totals.completion_rate,
        "repeated": totals.repeated,
        "duration": _duration(totals.durations),
    }


def _step(step: str, direction: str, totals: StepTotals) -> StepView:
    return StepView(
        step=step,
        direction=direction,
        became=dict(sorted(totals.became.items())),
        repeated=totals.repeated,
        duration=_duration(totals.durations),
    )


def _duration(durations: Durations) -> DurationView:
    p50, p95, p99 = (durations.quantile(share) for share in (0.5, 0.95, 0.99))
    return DurationView(count=durations.bins.total(), mean=durations.mean, p50=p50, p95=p95, p99=p99)


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


ROUTES = [get_stats]
