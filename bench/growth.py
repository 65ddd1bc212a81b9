"""What a platform of a given size needs, from the costs of one saga that `make bench` measures.

    python -m bench.growth [--report REPORT.json] [--rates 100,1000,10000,100000]

`REPORT.json` holds the line that `make bench` ended with; without it the costs are those of docs/growing.md. Prints two
tables in Markdown: machines and traffic for each rate, and how long a saga stays with one orchestrator process at each
share of what that can do at most, from a simulation of its batches. Arithmetic, not a measurement: nobody has run
100,000 sagas a second. What is not known (other regions, slow disks, a service that answers late) is not in it.
"""

import argparse
import heapq
import json
import math
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

BUSY_SHARE = 0.6
"""Of a core, in the mean: what is above it is for bursts, restarts and the loss of one machine."""
COPIES = 3
"""Of each record in Kafka."""
SERVER_CORES = 16
"""Of one database server, or of one broker."""
WAL_MB_A_SECOND = 100.0
"""Of one database server with a good disk and a standby that follows."""
BROKER_MB_A_SECOND = 150.0
"""In, of one broker, copies included."""
PASSES = 5
"""Answers that a saga waits for."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Of one saga on its happy path, in full batches."""

    orchestrator_ms: float = 1.24
    postgresql_ms: float = 0.46
    kafka_ms: float = 0.2
    wal_kb: float = 26.1
    kafka_kb: float = 7.5
    stored_kb: float = 16.5


@dataclass(frozen=True, kw_only=True)
class Need:
    rate: float
    orchestrators: int
    """Processes, a core each; as many partitions of each answer topic at least."""
    database_servers: int
    brokers: int
    wal_mb_a_second: float
    kafka_mb_a_second: float
    stored_gb_a_day: float


def need(rate: float, costs: Costs) -> Need:
    """For so many sagas a second, all day."""
    cores = {name: rate * ms / 1000 / BUSY_SHARE for name, ms in _cpu(costs)}
    wal, kafka = rate * costs.wal_kb / 1000, rate * costs.kafka_kb / 1000
    return Need(
        rate=rate,
        orchestrators=math.ceil(cores["orchestrator"]),
        database_servers=math.ceil(max(cores["postgresql"] / SERVER_CORES, wal / WAL_MB_A_SECOND)),
        brokers=max(COPIES, math.ceil(max(cores["kafka"] / SERVER_CORES, kafka * COPIES / BROKER_MB_A_SECOND))),
        wal_mb_a_second=round(wal, 1),
        kafka_mb_a_second=round(kafka, 1),
        stored_gb_a_day=round(rate * costs.stored_kb * 86_400 / 1e6, 1),
    )


def _cpu(costs: Costs) -> Iterable[tuple[str, float]]:
    yield from (
        ("orchestrator", costs.orchestrator_ms),
        ("postgresql", costs.postgresql_ms),
        ("kafka", costs.kafka_ms),
    )


@dataclass(frozen=True, kw_only=True)
class Worker:
    """How long a process takes for a batch: for the batch, and for each record in it."""

    batch_ms: float = 0.9
    record_ms: float = 0.14
    batch_max: int = 500
    answer_ms: float = 20.0
    """From a command that is committed to its answer, there and back through Kafka."""

    @property
    def most_sagas_a_second(self) -> float:
        return 1000 / PASSES / (self.record_ms + self.batch_ms / self.batch_max)


def seconds_in(worker: Worker, rate: float, *, sagas: int, seed: int) -> Sequence[float]:
    """How long each of so many sagas takes from its first answer to its last pass, in seconds, sorted. They come at
    random, `rate` a second; all that have come meanwhile are one batch.
    """
    chance, order = Random(seed), count()
    coming: list[tuple[float, int, int, float]] = []
    """Records: when they come, a number to tell them apart, passes to go, when their saga began."""
    begins = 0.0
    for _ in range(sagas):
        begins += chance.expovariate(rate)
        heapq.heappush(coming, (begins, next(order), PASSES, begins))
    now, took = 0.0, []
    while coming:
        now = max(now, coming[0][0])
        batch: list[tuple[float, int, int, float]] = []
        while coming and coming[0][0] <= now and len(batch) < worker.batch_max:
            batch.append(heapq.heappop(coming))
        now += (worker.batch_ms + worker.record_ms * len(batch)) / 1000
        for _, _, passes, begun in batch:
            if passes == 1:
                took.append(now - begun)
            else:
                heapq.heappush(coming, (now + worker.answer_ms / 1000, next(order), passes - 1, begun))
    return sorted(took)


def line_through(points: Mapping[int, float]) -> tuple[float, float]:
    """What a batch costs, and each record in it."""
    fitted = statistics.linear_regression(list(points), list(points.values()))
    return round(fitted.intercept, 3), round(fitted.slope, 4)


def costs_of(report: dict[str, Any]) -> Costs:
    """Of the row with the most in flight. Raises `KeyError` for what is no report of `make bench`."""
    saga = max(report["rows"], key=lambda row: int(row["in_flight"]))["saga"]
    return Costs(
        orchestrator_ms=saga["cpu_ms"]["orchestrator"],
        postgresql_ms=saga["cpu_ms"]["postgresql"],
        kafka_ms=saga["cpu_ms"]["kafka"],
        wal_kb=saga["wal_kb"],
        kafka_kb=saga["kafka_kb"],
        stored_kb=saga["stored_kb"],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--report", type=Path, help="what make bench ended with")
    parser.add_argument("--rates", default="100,1000,10000,100000", help="sagas a second")
    asked = parser.parse_args(arguments)
    try:
        costs = costs_of(json.loads(asked.report.read_text())) if asked.report else Costs()
        rates = [float(rate) for rate in asked.rates.split(",")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"bench.growth: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print("\n".join([*_needs([need(rate, costs) for rate in rates]), "", *_stays(Worker())]))
    return 0


def _needs(needs: Sequence[Need]) -> list[str]:
    head = ["| sagas a second | orchestrators | database servers | brokers | WAL | into Kafka | stored a day |"]
    rows = []
    for one in needs:
        parts = f"{one.orchestrators:,} | {one.database_servers} | {one.brokers}"
        traffic = f"{one.wal_mb_a_second:,} MB/s | {one.kafka_mb_a_second:,} MB/s | {one.stored_gb_a_day:,} GB"
        rows.append(f"| {one.rate:,.0f} | {parts} | {traffic} |")
    return [*head, "|---|---|---|---|---|---|---|", *rows]


def _stays(worker: Worker) -> list[str]:
    rows = ["| share of the most | sagas a second | median | 99 % below |", "|---|---|---|---|"]
    for share in (0.05, 0.25, 0.5, 0.75, 0.9, 0.95):
        rate = share * worker.most_sagas_a_second
        took = seconds_in(worker, rate, sagas=int(20 * rate), seed=1)
        median, high = took[len(took) // 2] * 1000, took[int(len(took) * 0.99)] * 1000
        rows.append(f"| {share:.0%} | {rate:.0f} | {median:.0f} ms | {high:.0f} ms |")
    return rows


if __name__ == "__main__":
    sys.exit(main())
