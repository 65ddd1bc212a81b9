"""The whole system on real parts, beside a loop with no engine.

    python -m bench [--quick] [--participants light|reference] [--levels 1,32,128,512,2000] [--orders N] [--together]

The orchestrator is two processes, as is recommended for much load (docs/growing.md): one that takes orders and one
that does the rest; both count. `--together`: it is one.

For each number of orders in flight the loop, the whole, and the loop again, on the same broker and the same database
server, so that the *ratio* to the mean of the loop's two runs can be trusted where the figures of a shared machine
cannot. Then, at 128 once more: orders of which every fifth is taken back, and orders that come at half the rate,
whatever becomes of those before. Before it counts, everything runs once: a broker that has just been started compiles
itself for a while.

Progress and a table go to standard error; standard output ends with one line of JSON.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.stage import Measured, Stage

QUICK = {1: 60, 32: 600, 128: 1500, 512: 2500, 2000: 4000}
FULL = {1: 300, 32: 3000, 128: 8000, 512: 12000, 2000: 20000}
WARM_UP, WARM_UP_IN_FLIGHT = 500, 64
COMMON = 128
"""In flight, where one figure stands for the whole."""
DECLINED_SHARE = 0.2
OPEN_SECONDS = {True: 10, False: 60}
"""How long orders come at a rate: in a quick run, and else."""
RATIO_LEAST = 0.6
"""At 128 in flight, beside the loop with ten messages. What this version has to reach; below it the run is not ok."""


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
            rows = [_level(stage, level, number_at(level)) for level in levels]
            more = _mix_and_open(stage, number_at(COMMON), arguments.quick) if COMMON in levels else {}
            machine = stage.machine()
    report = _report(rows, more, arguments.participants)
    report |= {"processes": 1 if arguments.together else 2, "machine": machine}
    _table(rows)
    print(json.dumps(report), flush=True)
    return 0 if report["ok"] else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer orders: a few minutes in all")
    parser.add_argument("--participants", choices=("light", "reference"), default="light", help="who answers")
    parser.add_argument("--together", action="store_true", help="one process takes orders and does the rest")
    parser.add_argument("--levels", default="1,32,128,512,2000", help="orders in flight")
    parser.add_argument("--orders", type=int, default=0, help="orders at each level")
    return parser.parse_args()


def _level(stage: Stage, level: int, number: int) -> dict[str, Any]:
    _say(f"limit: {number} sagas, {level} in flight ...")
    of_ten, before = stage.limit(number, level, announced=0), stage.limit(number, level)
    _say(f"saga:  {number} sagas, {level} in flight ...")
    saga = stage.saga(number, level)
    _say(f"limit: {number} sagas, {level} in flight, again ...")
    limit = _mean(before, stage.limit(number, level))
    row = {"in_flight": level, "ratio_to_limit": _ratio(saga, limit), "saga": asdict(saga), "limit": asdict(limit)}
    row |= {"ratio_to_limit_of_ten_messages": _ratio(saga, of_ten), "limit_of_ten_messages": asdict(of_ten)}
    _say(_line(row))
    return row


def _mix_and_open(stage: Stage, number: int, is_quick: bool) -> dict[str, Any]:
    """Beside orders of which none is taken back, right before them."""
    _say(f"again: {number} sagas, {COMMON} in flight ...")
    happy = stage.saga(number, COMMON)
    _say(f"mix:   {number} sagas, {COMMON} in flight, every fifth taken back ...")
    mix = stage.saga(number, COMMON, declined=DECLINED_SHARE)
    beside = {
        "rate_beside_happy": round(mix.sagas_per_second / happy.sagas_per_second, 3),
        "messages_beside_happy": round(mix.messages / happy.messages, 3),
    }
    _say(f"  {mix.sagas_per_second:.0f}/s, {beside['rate_beside_happy']} of the rate with none taken back")
    rate, seconds = round(happy.sagas_per_second / 2, 1), OPEN_SECONDS[is_quick]
    _say(f"open:  {rate} orders a second for {seconds} s ...")
    steady = stage.saga(int(rate * seconds), 100_000, rate=rate)
    _say(f"  p50 {steady.p50_ms:.0f} ms, p99 {steady.p99_ms:.0f} ms from when each order was to start")
    return {"mix": asdict(mix) | beside, "open": asdict(steady) | {"orders_per_second": rate}}


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


def _report(rows: list[dict[str, Any]], more: dict[str, Any], participants: str) -> dict[str, Any]:
    at_128 = next((row for row in rows if row["in_flight"] == COMMON), rows[-1])
    most = max(rows, key=lambda row: int(row["in_flight"]))
    all_ended = all(_ended_as(row["saga"], "COMPLETED") for row in rows)
    if more:
        all_ended &= _ended_as(more["mix"], "COMPLETED", "COMPENSATED") and _ended_as(more["open"], "COMPLETED")
    of_ten = at_128["ratio_to_limit_of_ten_messages"] or 0.0
    return {
        "ok": all_ended and of_ten >= RATIO_LEAST,
        "sagas_per_second": at_128["saga"]["sagas_per_second"],
        "limit_sagas_per_second": at_128["limit"]["sagas_per_second"],
        "ratio_to_limit": at_128["ratio_to_limit"] or 0.0,
        "ratio_to_limit_of_ten_messages": of_ten,
        "orchestrator_cpu_ms_per_saga": most["saga"]["cpu_ms"]["orchestrator"],
        "limit_cpu_ms_per_saga": most["limit"]["cpu_ms"]["loop"],
        "all_cpu_ms_per_saga": round(sum(most["saga"]["cpu_ms"].values()), 3),
        "participants": participants,
        "rows": rows,
        **more,
    }


def _ended_as(run: dict[str, Any], *outcomes: str) -> bool:
    return run["not_ended"] == 0 and set(run["ended"]) == set(outcomes)


def _line(row: dict[str, Any]) -> str:
    saga, limit = row["saga"], row["limit"]
    cpu = ", ".join(f"{name} {milliseconds:.2f}" for name, milliseconds in saga["cpu_ms"].items())
    speed = f"{saga['sagas_per_second']:.0f}/s, p50 {saga['p50_ms']:.0f} ms, p99 {saga['p99_ms']:.0f} ms"
    beside = f"limit {limit['sagas_per_second']:.0f}/s, ratio {row['ratio_to_limit']}"
    beside += f" (with ten messages {row['ratio_to_limit_of_ten_messages']})"
    its = f"limit's loop {limit['cpu_ms']['loop']:.2f}"
    return f"  {row['in_flight']:>4} in flight: {speed}; {beside}; CPU ms a saga: {cpu} ({its})"


def _table(rows: list[dict[str, Any]]) -> None:
    _say("\nin flight   sagas/s   limit/s   ratio  of ten   p50 ms   p99 ms   limit p50")
    for row in rows:
        saga, limit = row["saga"], row["limit"]
        rates = f"{row['in_flight']:>9} {saga['sagas_per_second']:>9.0f} {limit['sagas_per_second']:>9.0f}"
        times = f"{saga['p50_ms']:>8.1f} {saga['p99_ms']:>8.1f} {limit['p50_ms']:>11.1f}"
        _say(f"{rates} {row['ratio_to_limit']:>7.2f} {row['ratio_to_limit_of_ten_messages']:>7.2f} {times}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
