"""One, two and four orchestrators that share the work of one consumer group: what more of them bring on this machine.

    python -m bench.processes [--counts 1,2,4] [--levels 128,512,2000] [--orders 8000] [--rounds 1]

Each number of them gets a broker and a database of its own, and twelve partitions a topic, so that they divide evenly;
the orders come to all of them in turn. Told are orders a second, latency, processor time of a saga by group of
processes, how many cores were busy, and how many transactions the database did for a saga: with more processes batches
are smaller.
Prints a table in Markdown and one line of JSON.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg

from bench.machine import cores
from bench.stage import Stage

PARTITIONS = 12
WARM_UP, WARM_UP_IN_FLIGHT = 1500, 128
Row = dict[str, Any]


def measure(count: int, levels: Sequence[int], orders: int) -> tuple[list[Row], dict[str, Any]]:
    """The rows, and what they were measured on."""
    with tempfile.TemporaryDirectory(prefix="ordersaga-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        settings = {"ORDERSAGA_KAFKA_PARTITIONS": str(PARTITIONS)}
        with Stage(directory, participants="light", orchestrators=count, settings=settings) as stage:
            stage.saga(WARM_UP, WARM_UP_IN_FLIGHT, warm_up=False)
            rows = [_row(stage, count, level, orders) for level in levels]
            return rows, stage.machine()


def _row(stage: Stage, count: int, level: int, orders: int) -> Row:
    stage.saga(min(500, orders), level, warm_up=False)
    before = _transactions(stage)
    found = asdict(stage.saga(orders, level, warm_up=False))
    transactions = (_transactions(stage) - before) / orders
    seconds = orders / found["sagas_per_second"]
    busy = {name: round(ms * orders / 1e3 / seconds, 2) for name, ms in found["cpu_ms"].items()}
    row = {"processes": count, "in_flight": level, "transactions": round(transactions, 2), "cores_busy": busy, **found}
    _say(json.dumps(row))
    return row


def _transactions(stage: Stage) -> int:
    with psycopg.connect(stage.database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        found = connection.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert found, "the database that we are connected to is there"
    return int(found[0])


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    head = "| processes | in flight | sagas/s | p50 | p99 | CPU of a saga: orchestrators, database, broker, all "
    lines = [head + "| cores busy | transactions a saga |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        cpu = row["cpu_ms"]
        each = f"{cpu['orchestrator']:.2f}, {cpu['postgresql']:.2f}, {cpu['kafka']:.2f}, {sum(cpu.values()):.2f} ms"
        times = f"{row['p50_ms']:.0f} ms | {row['p99_ms']:.0f} ms"
        figures = f"{row['sagas_per_second']:.0f} | {times} | {each}"
        busy = f"{sum(row['cores_busy'].values()):.2f} of {cores()}"
        lines.append(f"| {row['processes']} | {row['in_flight']} | {figures} | {busy} | {row['transactions']:.2f} |")
    return lines


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench.processes", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--counts", default="1,2,4", help="orchestrators")
    parser.add_argument("--levels", default="128,512,2000", help="orders in flight")
    parser.add_argument("--orders", type=int, default=8000, help="orders of each measurement")
    parser.add_argument("--rounds", type=int, default=1, help="how often all of it is measured, in turn")
    asked = parser.parse_args()
    levels = [int(one) for one in asked.levels.split(",")]
    rows: list[Row] = []
    machine: dict[str, Any] = {}
    for _ in range(asked.rounds):
        for count in map(int, asked.counts.split(",")):
            found, machine = measure(count, levels, asked.orders)
            rows += found
    print("\n".join(table(rows)))
    print(json.dumps({"rows": rows, "machine": machine}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
