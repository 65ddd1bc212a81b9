"""The whole system on real parts, beside a loop with no engine, at 1, 32, 128 and 512 orders in flight.

    python -m bench [--quick] [--participants light|reference] [--levels 1,32,128,512] [--orders N]

Progress and a table go to standard error; standard output ends with one line of JSON. Both sides run on the same
broker and the same database server, one after the other, level by level, so that the *ratio* can be trusted where the
figures of a shared machine cannot. Before it counts, everything runs once: a broker that has just been started compiles
itself for a while.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.stage import Measured, Stage

QUICK = {1: 60, 32: 600, 128: 1500, 512: 2500}
FULL = {1: 300, 32: 3000, 128: 8000, 512: 12000}
WARM_UP, WARM_UP_IN_FLIGHT = 500, 64
RATIO_LEAST = 0.4
"""At 128 in flight. What this version has to reach; below it the run is not ok."""


def main() -> int:
    arguments = _arguments()
    orders = QUICK if arguments.quick else FULL
    levels = [int(level) for level in arguments.levels.split(",")]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="ordersaga-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with Stage(directory, participants=arguments.participants) as stage:
            _say(f"warming up: {WARM_UP} sagas each ...")
            stage.limit(WARM_UP, WARM_UP_IN_FLIGHT)
            stage.saga(WARM_UP, WARM_UP_IN_FLIGHT)
            for level in levels:
                number = arguments.orders or orders[min(orders, key=lambda known: abs(known - level))]
                _say(f"limit: {number} sagas, {level} in flight ...")
                limit = stage.limit(number, level)
                _say(f"saga:  {number} sagas, {level} in flight ...")
                saga = stage.saga(number, level)
                rows.append(_row(level, saga, limit))
                _say(_line(rows[-1]))
    report = _report(rows, arguments.participants)
    _table(rows)
    print(json.dumps(report), flush=True)
    return 0 if report["ok"] else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer orders: a few minutes in all")
    parser.add_argument("--participants", choices=("light", "reference"), default="light", help="who answers")
    parser.add_argument("--levels", default="1,32,128,512", help="orders in flight")
    parser.add_argument("--orders", type=int, default=0, help="orders at each level")
    return parser.parse_args()


def _row(level: int, saga: Measured, limit: Measured) -> dict[str, Any]:
    ratio = round(saga.sagas_per_second / limit.sagas_per_second, 3) if limit.sagas_per_second else None
    return {"in_flight": level, "ratio_to_limit": ratio, "saga": asdict(saga), "limit": asdict(limit)}


def _report(rows: list[dict[str, Any]], participants: str) -> dict[str, Any]:
    at_128 = next((row for row in rows if row["in_flight"] == 128), rows[-1])
    all_ended = all(row["saga"]["not_ended"] == 0 and set(row["saga"]["ended"]) == {"COMPLETED"} for row in rows)
    ratio = at_128["ratio_to_limit"] or 0.0
    return {
        "ok": all_ended and ratio >= RATIO_LEAST,
        "sagas_per_second": at_128["saga"]["sagas_per_second"],
        "limit_sagas_per_second": at_128["limit"]["sagas_per_second"],
        "ratio_to_limit": ratio,
        "participants": participants,
        "rows": rows,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
    }


def _line(row: dict[str, Any]) -> str:
    saga, limit = row["saga"], row["limit"]
    cpu = ", ".join(f"{name} {milliseconds:.2f}" for name, milliseconds in saga["cpu_ms"].items())
    speed = f"{saga['sagas_per_second']:.0f}/s, p50 {saga['p50_ms']:.0f} ms, p99 {saga['p99_ms']:.0f} ms"
    beside = f"limit {limit['sagas_per_second']:.0f}/s, ratio {row['ratio_to_limit']}"
    return f"  {row['in_flight']:>4} in flight: {speed}; {beside}; CPU ms a saga: {cpu}"


def _table(rows: list[dict[str, Any]]) -> None:
    _say("\nin flight   sagas/s   limit/s   ratio   p50 ms   p99 ms   limit p50")
    for row in rows:
        saga, limit = row["saga"], row["limit"]
        rates = f"{row['in_flight']:>9} {saga['sagas_per_second']:>9.0f} {limit['sagas_per_second']:>9.0f}"
        times = f"{saga['p50_ms']:>8.1f} {saga['p99_ms']:>8.1f} {limit['p50_ms']:>11.1f}"
        _say(f"{rates} {row['ratio_to_limit']:>7.2f} {times}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
