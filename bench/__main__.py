"""The whole system on real parts, beside a plain loop without an engine.

    python -m bench [--quick] [--participants light|reference] [--levels 1,32,128,512,2000] [--orders N] [--together]

The orchestrator is two processes, as is recommended for much load (docs/growing.md): one that takes orders and one
that does the rest; both count. `--together`: it is one.

For each number of orders in flight the whole runs between two runs of the loop, and these between two of the loop that
announces nothing, on the same broker and the same database server, so that the *ratio* to the mean of the loop's two
runs can be trusted where the figures of a shared machine cannot:

    of 13    a saga's ten messages and three that nobody answers, as ours sends them (`ratio_to_limit`)
    of 10    the ten messages alone: the stricter one, by which the run is ok or not (at 128 in flight, 0.6 or more)

The loop is no bound: a ratio may be above 1. Before each measurement 200 orders of the same kind run uncounted (or as
many as are counted, if that is less), on the same topics and tables, of the loop as of ours; and before all of it
everything runs once: a broker that has just been started compiles itself for a while. A time is from the first POST of
an order to the announcement of its end; being refused meanwhile is part of it, and `retried` says how often that was.

Then, at 128 once more: orders of which every fifth is taken back, orders each of which a runner accepts right after
its completion (an event more: in all other runs none is accepted, and no figure has it), and orders that come at half
the rate, whatever becomes of those before.

Progress and a table go to standard error; standard output ends with one line of JSON. What stands for the whole in it
is of 128 in flight, its processor time of 2,000: where these are not among `--levels` it is null, and `missing` says
why; `ok` is null then too.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from bench.stage import LIMIT_ANNOUNCED, Measured, Stage

QUICK = {1: 60, 32: 600, 128: 1500, 512: 2500, 2000: 8000}
FULL = {1: 300, 32: 3000, 128: 8000, 512: 12000, 2000: 20000}
WARM_UP, WARM_UP_IN_FLIGHT = 500, 64
COMMON, MOST = 128, 2000
"""In flight, where one figure stands for the whole, and where its processor time does."""
DECLINED_SHARE = 0.2
OPEN_SECONDS = {True: 10, False: 60}
"""How long orders come at a rate: in a quick run, and else."""
RATIO_LEAST = 0.6
"""At 128 in flight, beside the loop with ten messages. What this version has to reach; below it the run is not ok."""
MESSAGES = 10 + LIMIT_ANNOUNCED
"""Of a saga of ours, as of the loop that is `limit` in what is told."""
Row = dict[str, Any]


def main() -> int:
    arguments = _arguments()
    orders = QUICK if arguments.quick else FULL
    levels = [int(level) for level in arguments.levels.split(",")]

    def number_at(level: int) -> int:
        return int(arguments.orders or orders[min(orders, key=lambda known: abs(known - level))])

    with tempfile.TemporaryDirectory(prefix="ordersaga-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with Stage(directory, participants=arguments.participants, apart=not arguments.together) as stage:
            _say(f"warming up: {WARM_UP} sagas each ...")
            stage.limit(WARM_UP, WARM_UP_IN_FLIGHT)
            stage.saga(WARM_UP, WARM_UP_IN_FLIGHT)
            rows = [level_row(stage, level, number_at(level)) for level in levels]
            more = _more(stage, number_at(COMMON), arguments.quick) if COMMON in levels else {}
            machine = stage.machine()
    told = report(rows, more, arguments.participants)
    told |= {"processes": 1 if arguments.together else 2, "machine": machine}
    _say("\n".join(["", *table(rows)]))
    print(json.dumps(told), flush=True)
    return 0 if told["ok"] else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer orders: a few minutes in all")
    parser.add_argument("--participants", choices=("light", "reference"), default="light", help="who answers")
    parser.add_argument("--together", action="store_true", help="one process takes orders and does the rest")
    parser.add_argument("--levels", default="1,32,128,512,2000", help="orders in flight")
    parser.add_argument("--orders", type=int, default=0, help="orders at each level")
    return parser.parse_args()


def level_row(stage: Stage, level: int, number: int) -> Row:
    """Ours in the middle, each of the loops before and after it."""
    _say(f"loop: {number} sagas, {level} in flight ...")
    ten_before, before = stage.limit(number, level, announced=0), stage.limit(number, level)
    _say(f"saga: {number} sagas, {level} in flight ...")
    saga = stage.saga(number, level)
    _say(f"loop: {number} sagas, {level} in flight, again ...")
    limit = _mean(before, stage.limit(number, level))
    of_ten = _mean(ten_before, stage.limit(number, level, announced=0))
    row = {"in_flight": level, "ratio_to_limit": _ratio(saga, limit), "saga": asdict(saga), "limit": asdict(limit)}
    row |= {"ratio_to_limit_of_ten_messages": _ratio(saga, of_ten), "limit_of_ten_messages": asdict(of_ten)}
    _say(_line(row))
    return row


def _more(stage: Stage, number: int, is_quick: bool) -> dict[str, Any]:
    """Other orders at 128 in flight, beside some of which none is taken back or accepted, right before them."""
    _say(f"again: {number} sagas, {COMMON} in flight ...")
    happy = stage.saga(number, COMMON)
    _say(f"mix:   {number} sagas, {COMMON} in flight, every fifth taken back ...")
    mix = beside(happy, stage.saga(number, COMMON, declined=DECLINED_SHARE))
    _say(_line_beside(mix))
    _say(f"accepted: {number} sagas, {COMMON} in flight, each taken by a runner ...")
    accepted = beside(happy, stage.saga(number, COMMON, accepted=True))
    _say(_line_beside(accepted))
    rate, seconds = round(happy.sagas_per_second / 2, 1), OPEN_SECONDS[is_quick]
    _say(f"open:  {rate} orders a second for {seconds} s ...")
    steady = stage.saga(int(rate * seconds), 100_000, rate=rate)
    _say(f"  p50 {steady.p50_ms:.0f} ms, p99 {steady.p99_ms:.0f} ms from when each order was to start")
    return {"mix": mix, "accepted": accepted, "open": asdict(steady) | {"orders_per_second": rate}}


def beside(happy: Measured, other: Measured) -> Row:
    """`other`, and its share of what the happy ones needed and did."""
    return asdict(other) | {
        "rate_beside_happy": round(other.sagas_per_second / happy.sagas_per_second, 3),
        "messages_beside_happy": round(other.messages / happy.messages, 3),
        "orchestrator_cpu_beside_happy": round(other.cpu_ms["orchestrator"] / happy.cpu_ms["orchestrator"], 3),
    }


def _mean(one: Measured, other: Measured) -> Measured:
    """Of the loop's two runs: what the machine does to one of them it does to that which runs between them."""

    def mean(name: str) -> float:
        return round((float(getattr(one, name)) + float(getattr(other, name))) / 2, 1)

    return Measured(
        sagas_per_second=mean("sagas_per_second"),
        p50_ms=mean("p50_ms"),
        p99_ms=mean("p99_ms"),
        cpu_ms={name: round((one.cpu_ms[name] + other.cpu_ms[name]) / 2, 3) for name in one.cpu_ms},
    )


def _ratio(saga: Measured, limit: Measured) -> float | None:
    return round(saga.sagas_per_second / limit.sagas_per_second, 3) if limit.sagas_per_second else None


def report(rows: Sequence[Row], more: Mapping[str, Any], participants: str) -> dict[str, Any]:
    """The line of JSON, but for what it was measured on. What no row measured is null: see `missing`."""
    at = {row["in_flight"]: row for row in rows}
    common, most = at.get(COMMON), at.get(MOST)
    all_ended = all(_ended_as(row["saga"], "COMPLETED") for row in rows)
    if more:
        all_ended &= _ended_as(more["mix"], "COMPLETED", "COMPENSATED")
        all_ended &= all(_ended_as(more[name], "COMPLETED") for name in ("accepted", "open"))
    of_ten = _told(common, "ratio_to_limit_of_ten_messages")
    return {
        "ok": all_ended and (None if of_ten is None else of_ten >= RATIO_LEAST),
        "missing": [f"{one:,} in flight is not among --levels" for one in (COMMON, MOST) if one not in at],
        "sagas_per_second": _told(common, "saga", "sagas_per_second"),
        "limit_sagas_per_second": _told(common, "limit", "sagas_per_second"),
        "ratio_to_limit": _told(common, "ratio_to_limit"),
        "ratio_to_limit_of_ten_messages": of_ten,
        "orchestrator_cpu_ms_per_saga": _told(most, "saga", "cpu_ms", "orchestrator"),
        "limit_cpu_ms_per_saga": _told(most, "limit", "cpu_ms", "loop"),
        "all_cpu_ms_per_saga": round(sum(most["saga"]["cpu_ms"].values()), 3) if most else None,
        "participants": participants,
        "rows": list(rows),
        **more,
    }


def _told(row: Row | None, *path: str) -> float | None:
    """One figure of a row; none of no row."""
    found: Any = row
    for name in path if row else ():
        found = found[name]
    return cast(float | None, found)


def _ended_as(run: Mapping[str, Any], *outcomes: str) -> bool:
    return run["not_ended"] == 0 and set(run["ended"]) == set(outcomes)


def _line(row: Row) -> str:
    saga, limit = row["saga"], row["limit"]
    cpu = ", ".join(f"{name} {milliseconds:.2f}" for name, milliseconds in saga["cpu_ms"].items())
    speed = f"{saga['sagas_per_second']:.0f}/s, p50 {saga['p50_ms']:.0f} ms, p99 {saga['p99_ms']:.0f} ms"
    refused = f", asked again {saga['retried']} times" if saga["retried"] else ""
    ratios = f"{row['ratio_to_limit']} of the loop of {MESSAGES} messages ({limit['sagas_per_second']:.0f}/s), "
    ratios += f"{row['ratio_to_limit_of_ten_messages']} of that of 10"
    its = f"the loop {limit['cpu_ms']['loop']:.2f}"
    return f"  {row['in_flight']:>4} in flight: {speed}{refused}; {ratios}; CPU ms a saga: {cpu} ({its})"


def _line_beside(run: Row) -> str:
    speed = f"{run['sagas_per_second']:.0f}/s, {run['rate_beside_happy']} of the rate right before"
    cost = f"{run['cpu_ms']['orchestrator']:.2f} ms a saga, {run['orchestrator_cpu_beside_happy']} of it there"
    return f"  {speed}; orchestrator {cost}"


def table(rows: Sequence[Row]) -> list[str]:
    """For a terminal, with what each column is of."""
    titles = f"{'ours':>28}{f'loop of {MESSAGES} messages':>28}{'loop of 10 messages':>28}"
    ours, loop = f"{'sagas/s':>10}{'p50 ms':>9}{'p99 ms':>9}", f"{'sagas/s':>12}{'p50 ms':>9}{'ratio':>7}"
    return [
        f"{'':9}{titles}",
        f"in flight{ours}{loop}{loop}   asked again",
        *map(_table_line, rows),
        "",
        "ratio: ours to a plain loop without an engine.",
        f"Beside the one of {MESSAGES} messages, as many as a saga of ours has, it is `ratio_to_limit`.",
        "Beside the one of 10, without those that nobody answers, it is `ratio_to_limit_of_ten_messages`: the stricter",
        f"one, which at {COMMON} in flight has to be {RATIO_LEAST} or more.",
    ]


def _table_line(row: Row) -> str:
    saga, ratios = row["saga"], (row["ratio_to_limit"], row["ratio_to_limit_of_ten_messages"])
    ours = f"{saga['sagas_per_second']:>10.0f}{saga['p50_ms']:>9.1f}{saga['p99_ms']:>9.1f}"
    loops = (
        f"{loop['sagas_per_second']:>12.0f}{loop['p50_ms']:>9.1f}{ratio or 0.0:>7.2f}"
        for loop, ratio in zip((row["limit"], row["limit_of_ten_messages"]), ratios, strict=True)
    )
    return f"{row['in_flight']:>9}{ours}{''.join(loops)}{saga['retried']:>14}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
