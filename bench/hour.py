"""An hour of load: does anything grow that should not?

    python -m bench.hour [--minutes 60] [--rate 60] [--svg PATH] [--report PATH]

Orders come at a steady rate, every fifth is taken back, and no runner accepts one: five minutes after its completion
each is cancelled by its deadline. So from then on as many deadlines go as come. Every minute is written down what each
process holds in memory, and of each table whose rows come and go its rows, its dead rows, and the size of it and its
indexes.

A quarter of an hour is to warm up. After it, *levels* (memory, what a saga costs) must not rise: a straight line
through them gains less than 5 % of their mean in an hour. *Tides* (tables, which fill and are vacuumed) must not swell:
the highest of the second half is at most a tenth above the highest of the first. Small change is let pass, since what
is nearly nothing doubles easily: see `ALLOWED`.

Progress and a table go to standard error; standard output ends with one line of JSON, `ok` says the verdict. What is
kept of each saga grows of course; it is told as kB a saga.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg

from bench.curves import Curve, drawn
from bench.stage import Stage

WINDOW_SECONDS = 300
DECLINED_SHARE = 0.2
WARM_UP_MINUTES = 15.0
END_SECONDS = 600.0
"""How long the last orders may take."""
TABLES = ("outbox", "deadlines", "statistics_added")
RISE_SHARE, SWELL_SHARE = 0.05, 0.10
ALLOWED = {"MiB": 2.0, "rows": 2000.0, "kB": 512.0, "ms": 0.3}
"""By unit: below it a rise or a swelling is not one."""
SETTINGS = {"ORDERSAGA_ACCEPTANCE_WINDOW_SECONDS": str(WINDOW_SECONDS)}
Sample = dict[str, float]
"""What was measured at one moment, by name. `minute` is when."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    name: str
    unit: str
    kind: str
    """A level or a tide."""
    mean: float
    highest: float
    growth: float
    """Of a level: in an hour, by a straight line; of a tide: the highest of the second half above that of the first."""
    flat: bool


class Hour:
    def __init__(self, stage: Stage, rate: float) -> None:
        self.stage, self.rate = stage, rate
        self._used: dict[str, float] = {}

    def run(self, minutes: float, every_seconds: float) -> tuple[list[Sample], dict[str, Any]]:
        orders = int(minutes * 60 * self.rate)
        load = self.stage.load(orders, 1_000_000, rate=self.rate, declined=DECLINED_SHARE, every_seconds=every_seconds)
        self._used, begun = self.stage.cpu_seconds(), time.monotonic()
        samples: list[Sample] = []
        while load.poll() is None and len(samples) * every_seconds < minutes * 60:
            _until(begun + (len(samples) + 1) * every_seconds, load)
            samples.append(self.sample((time.monotonic() - begun) / 60, load.pid, every_seconds))
            _say(json.dumps(samples[-1]))
        told = _ended(load, orders)
        for sample, period in zip(samples, told.pop("periods"), strict=False):
            sample |= {f"{name}": period[name] for name in ("p50_ms", "p99_ms") if period[name] is not None}
        return samples, told

    def sample(self, minute: float, load: int, seconds: float) -> Sample:
        used = self.stage.cpu_seconds()
        sagas = self.rate * seconds
        cost = {f"{name} CPU": round((now - self._used[name]) * 1e3 / sagas, 3) for name, now in used.items()}
        self._used = used
        pids = {
            "orchestrator": self.stage.orchestrators[0].pid,
            "participants": self.stage.participants[0].pid,
            "who orders": load,
            "Kafka": self.stage.kafka.nodes[0].pid,
        }
        memory = {
            f"{name} memory": round(psutil.Process(pid).memory_info().rss / 2**20, 1) for name, pid in pids.items()
        }
        memory["PostgreSQL memory"] = _shared_mib(self.stage.postgres.pid)
        return {"minute": round(minute, 2), **memory, **cost, **self.tables()}

    def tables(self) -> Sample:
        """As the server counts them. Rows are counted one by one, but for the dead."""
        found: Sample = {}
        with psycopg.connect(self.stage.database_url, autocommit=True) as connection:
            for table in TABLES:
                heap, indexes, dead = _row(
                    connection,
                    "SELECT pg_table_size(relid), pg_indexes_size(relid), n_dead_tup FROM pg_stat_user_tables"
                    " WHERE schemaname = 'ordersaga' AND relname = %s",
                    table,
                )
                (rows,) = _row(connection, f"SELECT count(*) FROM ordersaga.{table}")
                found |= {
                    f"{table} rows": rows,
                    f"{table} dead rows": dead,
                    f"{table} size": heap / 1e3,
                    f"{table} indexes": indexes / 1e3,
                }
            hot, updated = _row(
                connection,
                "SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables"
                " WHERE schemaname = 'ordersaga' AND relname = 'sagas'",
            )
        return found | {"updates in place share": round(hot / max(1, updated), 4)}


SERIES: Mapping[str, tuple[str, str]] = {
    "orchestrator memory": ("level", "MiB"),
    "participants memory": ("level", "MiB"),
    "PostgreSQL memory": ("tide", "MiB"),
    "orchestrator CPU": ("level", "ms"),
    "postgresql CPU": ("level", "ms"),
    **{
        f"{table} {what}": ("tide", unit)
        for table in TABLES
        for what, unit in (("rows", "rows"), ("dead rows", "rows"), ("size", "kB"), ("indexes", "kB"))
    },
}
"""What must be flat. Not who orders, who keeps a list of all; not Kafka, whose heap is Java's to fill to its limit."""


def judged(samples: Sequence[Sample], warm_up_minutes: float) -> list[Verdict]:
    after = [one for one in samples if one["minute"] > warm_up_minutes]
    return [_verdict(name, kind, unit, after) for name, (kind, unit) in SERIES.items() if len(after) >= 4]


def _verdict(name: str, kind: str, unit: str, samples: Sequence[Sample]) -> Verdict:
    minutes, values = [one["minute"] for one in samples], [one[name] for one in samples]
    mean, half = statistics.fmean(values), len(values) // 2
    if kind == "level":
        growth, bound = statistics.linear_regression(minutes, values).slope * 60, RISE_SHARE * mean
    else:
        before = max(values[:half])
        growth, bound = max(values[half:]) - before, SWELL_SHARE * before
    return Verdict(
        name=name,
        unit=unit,
        kind=kind,
        mean=round(mean, 3),
        highest=round(max(values), 3),
        growth=round(growth, 3),
        flat=growth <= max(bound, ALLOWED[unit]),
    )


def curves(samples: Sequence[Sample]) -> list[Curve]:
    shown = {
        "orchestrator memory": "MiB",
        "PostgreSQL memory": "MiB",
        "outbox rows": "",
        "outbox dead rows": "",
        "outbox size": "kB",
        "deadlines rows": "",
        "deadlines indexes": "kB",
        "statistics_added size": "kB",
        "orchestrator CPU": "ms a saga",
        "postgresql CPU": "ms a saga",
        "p50_ms": "ms",
        "p99_ms": "ms",
    }
    return [
        Curve(name=name, unit=unit, points=[(one["minute"], one[name]) for one in samples if name in one])
        for name, unit in shown.items()
    ]


def _row(connection: "psycopg.Connection[Any]", query: str, *parameters: object) -> tuple[Any, ...]:
    found = connection.execute(query.encode(), parameters or None).fetchone()
    assert found, "an aggregate, and a table that is there, have a row"
    return tuple(found)


def _shared_mib(root: int) -> float:
    """Of a server of several processes, what they share counted once."""
    total, parent = 0, psutil.Process(root)
    for process in [parent, *parent.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return round(total / 2**20, 1)


def _ended(load: "subprocess.Popen[str]", orders: int) -> dict[str, Any]:
    """What it tells when all have ended; who does not come to an end has all of it not ended."""
    try:
        found: dict[str, Any] = json.loads(load.communicate(timeout=END_SECONDS)[0].splitlines()[-1])
    except subprocess.TimeoutExpired:
        load.kill()
        load.wait(30)
        return {"orders": orders, "not_ended": orders, "periods": []}
    return found


def _until(moment: float, load: "subprocess.Popen[str]") -> None:
    while load.poll() is None and time.monotonic() < moment:
        time.sleep(min(0.5, max(0.0, moment - time.monotonic())))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(minutes: float, rate: float, every_seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="ordersaga-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with Stage(directory, participants="light", settings=SETTINGS) as stage:
            stage.saga(500, 64, warm_up=False)
            written = stage.written()
            samples, told = Hour(stage, rate).run(minutes, every_seconds)
            kept = {
                name: round((now - written[name]) / 1e3 / told["orders"], 2) for name, now in stage.written().items()
            }
            machine = stage.machine()
    warm_up = min(WARM_UP_MINUTES, minutes / 4)
    verdicts = judged(samples, warm_up)
    all_flat = bool(verdicts) and all(one.flat for one in verdicts)
    return {
        "ok": all_flat and told["not_ended"] == 0,
        "minutes": minutes,
        "rate": rate,
        "warm_up_minutes": warm_up,
        "load": told,
        "kept_kb_a_saga": kept,
        "verdicts": [vars(one) for one in verdicts],
        "samples": samples,
        "machine": machine,
    }


def table(report: Mapping[str, Any]) -> list[str]:
    lines = ["| | mean | highest | growth | |", "|---|---|---|---|---|"]
    for one in report["verdicts"]:
        figures = f"{one['mean']:,.4g} | {one['highest']:,.4g} {one['unit']} | {one['growth']:+,.3g}"
        how = "an hour" if one["kind"] == "level" else "second half"
        lines.append(f"| {one['name']} | {figures} {how} | {'flat' if one['flat'] else '**grows**'} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench.hour", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="of load")
    parser.add_argument("--rate", type=float, default=60.0, help="orders a second")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two looks")
    parser.add_argument("--svg", type=Path, help="where to draw it")
    parser.add_argument("--report", type=Path, help="where to write the line of JSON too")
    asked = parser.parse_args()
    report = measure(asked.minutes, asked.rate, asked.every)
    if asked.svg:
        title = f"{asked.minutes:g} minutes, {asked.rate:g} orders a second; shaded: what counts"
        asked.svg.write_text(
            drawn(title, curves(report["samples"]), shaded=(report["warm_up_minutes"], float(asked.minutes)))
        )
    if asked.report:
        asked.report.write_text(json.dumps(report) + "\n")
    _say("\n".join(table(report)))
    print(json.dumps(report), flush=True)
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
