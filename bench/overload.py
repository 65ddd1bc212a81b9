"""Ten times more than it can do: what is refused, what becomes slower, and how soon it is over.

    python -m bench.overload [--times 10] [--seconds 60] [--together] [--svg PATH]

First what the system can do is measured, 512 in flight. Then orders come at half of that for a while, at ten times of
it for a minute, and at half of it again, whatever becomes of them: see `bench.flood`. Meanwhile the memory of the
orchestrator, the sagas under way and the outbox are looked at, each second.

It behaves (`ok`) when whoever is not served is told so with 429 or 503 and `Retry-After`; when what was taken ends, all
of it; when memory ends where it was; when the orders that come after are as quick as those before within ten seconds.
Its figures: a table to standard error, then one line of JSON to standard output.

The orchestrator is two processes, one that takes orders and one that does the rest; `--together`: one. Who asks is on
the same two cores, so what the system can do meanwhile is less than without.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psycopg

from bench.curves import Curve, drawn
from bench.figures import quantiles_ms
from bench.responders import COMMANDS, TOPICS
from bench.stage import Stage, rss_mib
from ordersaga.bus.kafka import KafkaBus

IN_FLIGHT, ORDERS = 512, 6000
CALM_SECONDS, AFTER_SECONDS = 20, 40
RECOVERED_WITHIN_SECONDS = 10.0
NORMAL_TIMES = 2.0
"""A second is as before when the median of its sagas is at most so many times that of the calm."""
GAINED_MIB_MAX = 25.0
GROUP, RESPONDERS = "create-order-saga-orchestrator", "bench-responders"
"""Of the consumers: who reads answers, who reads commands."""
ANSWERS = frozenset({"came", "posts_ms", "sagas_ms", "saga_p50_ms", "taken", "refused"})
"""What is told of a second when all is well; anything else is a failure."""


class Watch:
    """Looks each second, on a thread: at memory, at what is under way, and at whose door it waits."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stop = threading.Event()
        self.samples: list[dict[str, float]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        bus = KafkaBus(self._stage.environment["KAFKA_BOOTSTRAP_SERVERS"])
        with psycopg.connect(self._stage.database_url, autocommit=True) as connection:
            while not self._stop.wait(1.0):
                found = connection.execute(
                    "SELECT (SELECT count(*) FROM ordersaga.sagas WHERE status = 'STARTED'),"
                    " (SELECT count(*) FROM ordersaga.outbox)"
                ).fetchone()
                assert found, "a query without tables has a row"
                self.samples.append(
                    {
                        "second": round(time.monotonic() - self._begun, 1),
                        "rss_mib": max(rss_mib(one.pid) for one in self._stage.orchestrators),
                        "under_way": found[0],
                        "outbox_rows": found[1],
                        "answers_unread": sum(bus.group_lag(GROUP, TOPICS.answers()).values()),
                        "commands_unread": sum(bus.group_lag(RESPONDERS, COMMANDS).values()),
                    }
                )


def measure(times: float, seconds: int, *, together: bool = False) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="ordersaga-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with Stage(directory, participants="light", apart=not together) as stage:
            stage.saga(2000, IN_FLIGHT, warm_up=False)
            can = stage.saga(ORDERS, IN_FLIGHT, warm_up=False).sagas_per_second
            _say(f"it can {can:.0f} a second; now {times:g} times that for {seconds} s ...")
            phases = f"{can / 2}:{CALM_SECONDS},{can * times}:{seconds},{can / 2}:{AFTER_SECONDS}"
            argv = [sys.executable, "-m", "bench.flood", phases, stage.urls[0]]
            with Watch(stage) as watch:
                done = subprocess.run(
                    argv, env=dict(stage.environment), stdout=subprocess.PIPE, text=True, timeout=600, check=True
                )
            told = json.loads(done.stdout.splitlines()[-1])
            machine = stage.machine()
    return _report(told, watch.samples, can, times, seconds) | {"machine": machine}


def _report(
    told: dict[str, Any], samples: Sequence[Mapping[str, float]], can: float, times: float, seconds: int
) -> dict[str, Any]:
    each: list[dict[str, Any]] = told.pop("seconds")
    end = CALM_SECONDS + seconds
    phases = {"calm": each[5:CALM_SECONDS], "storm": each[CALM_SECONDS:end], "after": each[end:]}
    recovered = recovered_after(each, CALM_SECONDS, end)
    rss = {
        "before": max(one["rss_mib"] for one in samples if one["second"] <= CALM_SECONDS),
        "most": max(one["rss_mib"] for one in samples),
        "at the end": samples[-1]["rss_mib"],
    }
    found = {name: _told(some) for name, some in phases.items()}
    failures = sorted({name for some in found.values() for name in some["answers"]} - ANSWERS)
    return {
        "ok": not failures
        and told["not_ended"] == 0
        and recovered is not None
        and recovered <= RECOVERED_WITHIN_SECONDS
        and rss["most"] - rss["before"] <= GAINED_MIB_MAX,
        "could_a_second": can,
        "times": times,
        "seconds": seconds,
        "phases": found,
        "recovered_after_seconds": recovered,
        "failures": failures,
        "rss_mib": rss,
        "under_way_most": max(one["under_way"] for one in samples),
        "outbox_rows_most": max(one["outbox_rows"] for one in samples),
        "answers_unread_most": max(one["answers_unread"] for one in samples),
        "commands_unread_most": max(one["commands_unread"] for one in samples),
        **told,
        "samples": list(samples),
        "each_second": [{name: value for name, value in one.items() if not name.endswith("s_ms")} for one in each],
    }


def _told(some: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    answers: Counter[str] = Counter()
    for one in some:
        answers.update({name: value for name, value in one.items() if not name.endswith("_ms") and name != "came"})
    seconds = max(1, len(some))
    return {
        "came_a_second": round(sum(one["came"] for one in some) / seconds, 1),
        "answers": dict(answers),
        "taken_a_second": round(answers["taken"] / seconds, 1),
        "posts": quantiles_ms([ms / 1e3 for one in some for ms in one["posts_ms"]]),
        "sagas": quantiles_ms([ms / 1e3 for one in some for ms in one["sagas_ms"]]),
    }


def recovered_after(each: Sequence[Mapping[str, Any]], calm: int, end: int) -> float | None:
    """Seconds after `end` from which on the sagas of every second are as quick as in the calm; None: never. `calm`: how
    many seconds were; the first five do not count.
    """
    before = statistics.median(one["saga_p50_ms"] for one in each[5:calm] if one["saga_p50_ms"])
    normal = [
        bool(one["saga_p50_ms"]) and one["saga_p50_ms"] <= NORMAL_TIMES * before and one["taken"] == one["came"]
        for one in ({"taken": 0} | dict(each_one) for each_one in each[end:])
    ]
    if not normal or not normal[-1]:
        return None
    return float(len(normal) - next((n for n, is_so in enumerate(reversed(normal)) if not is_so), len(normal)))


def table(report: Mapping[str, Any]) -> list[str]:
    lines = ["| | came | taken | refused | POST p50, p99 | saga p50, p99 |", "|---|---|---|---|---|---|"]
    for name, one in report["phases"].items():
        refused = one["answers"].get("refused", 0)
        posts, sagas = one["posts"], one["sagas"]
        rates = f"{one['came_a_second']:,.0f}/s | {one['taken_a_second']:,.0f}/s | {refused:,}"
        times = f"{posts['p50_ms']}, {posts['p99_ms']} ms | {sagas['p50_ms']}, {sagas['p99_ms']} ms"
        lines.append(f"| {name} | {rates} | {times} |")
    return lines


def curves(report: Mapping[str, Any]) -> list[Curve]:
    def each(name: str) -> list[tuple[float, float]]:
        return [(n / 60, one.get(name) or 0) for n, one in enumerate(report["each_second"])]

    def seen(name: str) -> list[tuple[float, float]]:
        return [(one["second"] / 60, one[name]) for one in report["samples"]]

    return [
        Curve(name="orders that came", unit="a second", points=each("came")),
        Curve(name="taken", unit="a second", points=each("taken")),
        Curve(name="refused", unit="a second", points=each("refused")),
        Curve(name="median of a saga", unit="ms", points=each("saga_p50_ms")),
        Curve(name="sagas under way", unit="", points=seen("under_way")),
        Curve(name="outbox", unit="rows", points=seen("outbox_rows")),
        Curve(name="answers unread", unit="", points=seen("answers_unread")),
        Curve(name="commands unread", unit="", points=seen("commands_unread")),
        Curve(name="orchestrator memory", unit="MiB", points=seen("rss_mib")),
    ]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench.overload", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--times", type=float, default=10.0, help="of what it can do")
    parser.add_argument("--seconds", type=int, default=60, help="how long")
    parser.add_argument("--together", action="store_true", help="one process takes orders and does the rest")
    parser.add_argument("--svg", type=Path, help="where to draw it")
    asked = parser.parse_args()
    report = measure(asked.times, asked.seconds, together=asked.together)
    if asked.svg:
        shaded = (CALM_SECONDS / 60, (CALM_SECONDS + asked.seconds) / 60)
        asked.svg.write_text(drawn(f"{asked.times:g} times what it can do, shaded", curves(report), shaded=shaded))
    _say("\n".join(table(report)))
    _say(f"as before after {report['recovered_after_seconds']} s; memory {report['rss_mib']}; {report['failures']}")
    print(json.dumps(report), flush=True)
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
