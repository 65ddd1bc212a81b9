"""`ordersaga stats`: what sagas did, at a terminal. Works on the database directly."""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ordersaga.cli_errors import read_settings, told_in_one_line
from ordersaga.cli_options import EnvFile

if TYPE_CHECKING:
    from ordersaga.orchestrator.api.stats import StatsView, StepView, TotalsView

BARS = "▁▂▃▄▅▆▇█"


def stats(
    *,
    hours: Annotated[
        int, typer.Option(help="How far to look back, in whole hours; by the hour 744 at most.", min=1, max=9_600)
    ] = 24,
    by: Annotated[str, typer.Option(help="Of what length the periods are: hour or day.")] = "hour",
    saga: Annotated[str | None, typer.Option(help="Of this kind only, such as create_order.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole, as `GET /stats` answers it.")] = False,
    env_file: EnvFile = None,
) -> None:
    """What sagas did: how many, how they ended, how long they took, what failed and why.

    Example: ordersaga stats --hours 168 --by day
    """
    import msgspec

    from ordersaga import bootstrap_commands
    from ordersaga.as_set import sagas_of
    from ordersaga.orchestrator.api.stats import DAYS_MAX, stats_view
    from ordersaga.orchestrator.store.statistics_protocol import By

    with told_in_one_line():
        if by not in [one.value for one in By]:
            raise typer.BadParameter(f"{by} is none of {', '.join(By)}", param_hint="--by")
        if hours > (most := 24 * DAYS_MAX[By(by)]):
            raise typer.BadParameter(f"at most {most} by the {by}", param_hint="--hours")
        settings = read_settings(env_file, needs=("database_url",))
        if saga is not None and saga not in (names := sagas_of(settings).names()):
            raise typer.BadParameter(f"{saga} is none of {', '.join(names)}", param_hint="--saga")
        until = (datetime.now(UTC) + timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
        statistics = bootstrap_commands.statistics(settings)
        view = stats_view(statistics, until - timedelta(hours=hours), until, By(by), saga)
        if as_json:
            sys.stdout.write(msgspec.json.encode(view).decode() + "\n")
            return
        for line in _lines(view):
            typer.echo(line)


def _lines(view: "StatsView") -> Iterator[str]:
    total = view.total
    yield f"{view.since:%Y-%m-%d %H:%M} to {view.until:%Y-%m-%d %H:%M} UTC"
    yield ""
    yield f"started      {total.started:>9}  {sparkline([one.started for one in view.periods])}"
    for name, count in _outcomes(total):
        yield f"{name:<12} {count:>9}  {sparkline([dict(_outcomes(one))[name] for one in view.periods])}"
    rate = "-" if total.completion_rate is None else f"{total.completion_rate:.1%}"
    yield f"completed of those begun: {rate}; commands sent again: {total.repeated}"
    yield ""
    yield f"{'':<28} {'count':>9} {'mean':>9} {'p50':>9} {'p95':>9} {'p99':>9}"
    yield _durations("order to outcome", total)
    for step in view.steps:
        yield _durations(f"{step.step} {'undone' if step.direction == 'undo' else ''}".rstrip(), step)
    if any(one.reason for one in view.reasons):
        yield ""
        yield from (f"{one.outcome:<12} {one.reason:<24} {one.count:>9}" for one in view.reasons if one.reason)
    if view.in_flight:
        yield ""
        yield from (
            f"{one.status:<12} {one.step or '-':<24} {one.count:>9}  oldest {_seconds(one.oldest_seconds)}"
            for one in view.in_flight
        )
    for failure in view.failures:
        yield ""
        yield f"FAILED at {failure.step or '?'} ({failure.problem or 'silent'}), {failure.reason}: {failure.count}"
        yield from (f"  ordersaga sagas show {saga_id}" for saga_id in failure.examples)


def _outcomes(totals: "TotalsView") -> Sequence[tuple[str, int]]:
    return [
        ("completed", totals.completed),
        ("compensated", totals.compensated),
        ("cancelled", totals.cancelled),
        ("failed", totals.failed),
    ]


def _durations(name: str, one: "TotalsView | StepView") -> str:
    took = one.duration
    figures = " ".join(f"{_seconds(value):>9}" for value in (took.mean, took.p50, took.p95, took.p99))
    return f"{name:<28} {took.count:>9} {figures}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def sparkline(values: Sequence[int]) -> str:
    """The last sixty, each as high as its part of the highest."""
    shown = values[-60:]
    most = max(shown, default=0)
    return "".join(BARS[round(value / most * (len(BARS) - 1))] for value in shown) if most else ""
