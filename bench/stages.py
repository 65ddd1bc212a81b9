"""Where the time of a saga goes in the orchestrator, stage by stage.

    python -m bench.stages [--in-flight 128] [--orders N] [--svg PATH]

Runs the whole as `python -m bench` does, with a clock around each stage of the orchestrator. Prints one line of JSON:
for each stage the milliseconds a saga on the clock and on the processor (of its thread; the difference is waiting, for
the database, the broker or the interpreter). What no stage names (HTTP, the threads of the Kafka client) is `the rest`,
by what the process used in all. `--svg` draws it.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from threading import Lock
from typing import Any
from xml.sax.saxutils import escape

from bench.stage import Stage

VARIABLE = "BENCH_STAGES_FILE"
REST = "the rest"
FLOW = ("decode", "load", "decide", "write", "commit", "publish", "acknowledge", "commit offsets")
"""The stages, in the order in which a record passes them."""
Times = dict[str, tuple[float, float]]
"""By stage: seconds on the clock, seconds on the processor."""


class Stopwatch:
    def __init__(self) -> None:
        self._lock = Lock()
        self._times: Times = {}

    def around(self, owner: Any, name: str, stage: str) -> None:
        """Time every call of `owner.name` as part of `stage`."""
        timed: Callable[..., Any] = getattr(owner, name)

        @wraps(timed)
        def run(*arguments: Any, **more: Any) -> Any:
            wall, processor = time.perf_counter(), time.thread_time()
            try:
                return timed(*arguments, **more)
            finally:
                self._add(stage, time.perf_counter() - wall, time.thread_time() - processor)

        setattr(owner, name, run)

    def _add(self, stage: str, wall: float, processor: float) -> None:
        with self._lock:
            before = self._times.get(stage, (0.0, 0.0))
            self._times[stage] = before[0] + wall, before[1] + processor

    def snapshot(self) -> Times:
        with self._lock:
            return dict(self._times)


def serve_watched() -> None:
    """`ordersaga serve`, which writes its times to a file whenever it gets SIGUSR1."""
    from ordersaga import cli
    from ordersaga.bus import kafka_consumer
    from ordersaga.delivery import relay, upkeep
    from ordersaga.orchestrator.runtime import handle, turn
    from ordersaga.orchestrator.store import connections, postgres

    watch, path = Stopwatch(), Path(os.environ[VARIABLE])
    for owner, name, stage in (
        (handle, "take_in", "decode"),
        (postgres.PostgresTransaction, "load", "load"),
        (postgres.PostgresTransaction, "claim", "load"),
        (turn.Turn, "read", "decide"),
        (turn.Turn, "begin", "decide"),
        (postgres.PostgresTransaction, "save", "write"),
        (connections, "_commit", "commit"),
        (relay.Relay, "_send", "publish"),
        (upkeep.Upkeep, "_delete", "acknowledge"),
        (kafka_consumer.KafkaConsumer, "commit", "commit offsets"),
    ):
        watch.around(owner, name, stage)

    def write(*_: object) -> None:
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(watch.snapshot()))
        scratch.rename(path)

    signal.signal(signal.SIGUSR1, write)
    sys.argv = ["ordersaga", "serve"]
    cli.main()


class WatchedStage(Stage):
    """With an orchestrator that keeps its times."""

    def start_orchestrator(self, number: int) -> None:
        self.times_path = self._directory / "times.json"
        own = {"ORDERSAGA_HTTP_PORT": str(self._ports[number]), VARIABLE: str(self.times_path)}
        self._start("orchestrator", "bench.stages", "--serve", environment=own)

    def times(self) -> Times:
        self.times_path.unlink(missing_ok=True)
        os.kill(self.orchestrators[0].pid, signal.SIGUSR1)
        end = time.monotonic() + 10
        while not self.times_path.exists():
            if time.monotonic() > end:
                raise TimeoutError("the orchestrator does not say its times")
            time.sleep(0.01)
        return {
            stage: (wall, processor) for stage, (wall, processor) in json.loads(self.times_path.read_text()).items()
        }


def measure(in_flight: int, orders: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="ordersaga-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with WatchedStage(directory, participants="light") as stage:
            stage.saga(500, 64)
            stage.saga(min(200, orders), in_flight)
            before = stage.times()
            found = stage.saga(orders, in_flight, warm_up=False)
            times = since(before, stage.times(), orders)
    times = {stage: times[stage] for stage in FLOW if stage in times}
    rest = found.cpu_ms["orchestrator"] - sum(processor for _, processor in times.values())
    stages = {stage: {"clock_ms": wall, "processor_ms": processor} for stage, (wall, processor) in times.items()}
    stages[REST] = {"clock_ms": round(max(0.0, rest), 3), "processor_ms": round(max(0.0, rest), 3)}
    return {"in_flight": in_flight, "sagas_per_second": found.sagas_per_second, "stages": stages}


def since(before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]], orders: int) -> Times:
    """Milliseconds a saga, between two snapshots."""

    def of(stage: str, which: int) -> float:
        return round((after[stage][which] - before.get(stage, (0.0, 0.0))[which]) * 1000 / orders, 3)

    return {stage: (of(stage, 0), of(stage, 1)) for stage in after}


def drawn(report: Mapping[str, Any]) -> str:
    """A bar for each stage: dark on the processor, light while waiting."""
    stages: Mapping[str, Mapping[str, float]] = report["stages"]
    most = max(one["clock_ms"] for one in stages.values()) or 1.0
    line, left, width = 26, 130, 520
    title = f"Milliseconds a saga in the orchestrator, {report['in_flight']} in flight"
    size = f'width="{left + width + 150}" height="{(len(stages) + 2) * line}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="18" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (stage, one) in enumerate(stages.items(), start=1):
        top = number * line + 4
        wide, dark = (max(1.0, one[name] / most * width) for name in ("clock_ms", "processor_ms"))
        said = f"{one['clock_ms']:.2f}, {one['processor_ms']:.2f} working"
        parts += [
            f'<text x="{left - 8}" y="{top + 14}" text-anchor="end">{escape(stage)}</text>',
            f'<rect x="{left}" y="{top}" width="{wide:.1f}" height="18" fill="#b9cfe4"/>',
            f'<rect x="{left}" y="{top}" width="{min(dark, wide):.1f}" height="18" fill="#2f5d8a"/>',
            f'<text x="{left + wide + 6:.1f}" y="{top + 14}">{said}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.stages", description=__doc__)
    parser.add_argument("--in-flight", type=int, default=128)
    parser.add_argument("--orders", type=int, default=2000)
    parser.add_argument("--svg", type=Path, help="where to draw it")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve_watched()
        return 0
    report = measure(asked.in_flight, asked.orders)
    if asked.svg:
        asked.svg.write_text(drawn(report))
    print(json.dumps(report), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
