"""What each setting of the consumer and its group does: to the rate, to latency, to what is delivered again.

    python -m bench.consumer [--only default,session] [--orders N]

Our defaults first, in the middle and last, so that the machine's own changes can be seen; between them the same with
one thing changed. Each gets a broker and a database of its own. Of all: orders a second at 128 in flight, p50 and p99,
p50 of one order at a time. Of those that matter to the group: two processes and steady orders, and the longest that an
order took while one process is killed, while it comes back, and while it leaves in order; how many records were handled
twice and noticed. Prints a table in Markdown and one line of JSON.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from bench.stage import Stage

VARIABLE = "BENCH_CONSUMER"
RATE = 40.0
SECONDS = 24
BEFORE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Variant:
    name: str
    says: str
    client: Mapping[str, Any] = field(default_factory=dict)
    """Of the library's consumer."""
    assignor: str = ""
    is_static: bool = False
    commit_seconds: float | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    of_group: bool = False
    """Whether it matters when members come and go."""


DEFAULT = Variant(name="default", says="as shipped", of_group=True)
VARIANTS = (
    Variant(
        name="range",
        says="assignment by range, all stop at each change",
        assignor="RangePartitionAssignor",
        of_group=True,
    ),
    Variant(
        name="roundrobin",
        says="assignment in turn, all stop at each change",
        assignor="RoundRobinPartitionAssignor",
        of_group=True,
    ),
    Variant(
        name="sticky",
        says="sticky assignment, all stop at each change",
        assignor="StickyPartitionAssignor",
        of_group=True,
    ),
    Variant(name="static", says="static membership", is_static=True, of_group=True),
    Variant(
        name="session 6 s",
        says="session timeout 6 s, heartbeat 2 s",
        client={"session_timeout_ms": 6000, "heartbeat_interval_ms": 2000},
        of_group=True,
    ),
    Variant(
        name="session 45 s",
        says="session timeout 45 s (the library's)",
        client={"session_timeout_ms": 45_000},
        of_group=True,
    ),
    Variant(
        name="heartbeat 3 s",
        says="heartbeat every 3 s (the library's)",
        client={"heartbeat_interval_ms": 3000},
        of_group=True,
    ),
    Variant(name="commit at once", says="offsets committed after each batch", commit_seconds=0.0, of_group=True),
    Variant(name="commit 5 s", says="offsets committed every 5 s (the library's)", commit_seconds=5.0, of_group=True),
    Variant(name="batch 50", says="50 records in a batch at most", settings={"ORDERSAGA_WORKER_BATCH_MAX": "50"}),
    Variant(
        name="batch 2000", says="2,000 records in a batch at most", settings={"ORDERSAGA_WORKER_BATCH_MAX": "2000"}
    ),
    Variant(name="no gathering", says="batches wait for nothing", settings={"ORDERSAGA_WORKER_GATHER_SECONDS": "0"}),
    Variant(
        name="gather 50 ms", says="batches wait 50 ms for company", settings={"ORDERSAGA_WORKER_GATHER_SECONDS": "0.05"}
    ),
    Variant(
        name="fetch wait 50 ms",
        says="the broker holds an empty fetch for 50 ms, not 500",
        client={"fetch_max_wait_ms": 50},
    ),
    Variant(
        name="fetch 10 kB",
        says="the broker waits for 10 kB, 20 ms at most",
        client={"fetch_min_bytes": 10_000, "fetch_max_wait_ms": 20},
    ),
    Variant(name="small fetches", says="16 kB of a partition at most", client={"max_partition_fetch_bytes": 16_384}),
    Variant(name="no checksums", says="checksums of records not verified", client={"check_crcs": False}),
)


def serve_changed() -> None:
    """`ordersaga serve` with the variant of the environment."""
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
    from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

    from ordersaga import cli
    from ordersaga.bus import kafka_client, kafka_consumer
    from ordersaga.bus.kafka_settings import KafkaTimings, consumer_settings

    asked = json.loads(os.environ[VARIABLE])
    assignors = {
        one.__name__: one for one in (RangePartitionAssignor, RoundRobinPartitionAssignor, StickyPartitionAssignor)
    }

    def changed(group: str, instance_id: str | None, timings: KafkaTimings) -> dict[str, Any]:
        static = {"group_instance_id": os.environ["BENCH_MEMBER"]} if asked["is_static"] else {}
        return {**consumer_settings(group, instance_id, timings), **asked["client"], **static}

    replaced: dict[str, Any] = {"consumer_settings": changed}
    if asked["assignor"]:
        replaced["CooperativeStickyAssignor"] = assignors[asked["assignor"]]
    vars(kafka_client).update(replaced)
    if asked["commit_seconds"] is not None:
        kafka_consumer.COMMIT_TOGETHER_SECONDS = asked["commit_seconds"]
    sys.argv = ["ordersaga", "serve"]
    cli.main()


class ChangedStage(Stage):
    """Whose orchestrators are of a variant."""

    def __init__(self, directory: Path, variant: Variant) -> None:
        said = {
            "client": dict(variant.client),
            "assignor": variant.assignor,
            "is_static": variant.is_static,
            "commit_seconds": variant.commit_seconds,
        }
        settings = {VARIABLE: json.dumps(said), **variant.settings}
        super().__init__(directory, participants="light", orchestrators=2, settings=settings)

    def start_orchestrator(self, number: int) -> None:
        own = {"ORDERSAGA_HTTP_PORT": str(self._ports[number]), "BENCH_MEMBER": f"orchestrator-{number}"}
        self._start("orchestrator", "bench.consumer", "--serve", environment=own)


def measure(variant: Variant, orders: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="ordersaga-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with ChangedStage(directory, variant) as stage:
            _, second = stage.orchestrators
            second.stop()
            stage.saga(500, 64, only=0)
            many = stage.saga(orders, 128, only=0)
            alone = stage.saga(60, 1, only=0)
            found: dict[str, Any] = {
                "sagas_per_second": many.sagas_per_second,
                "p50_ms": many.p50_ms,
                "p99_ms": many.p99_ms,
                "one_at_a_time_p50_ms": alone.p50_ms,
                "orchestrator_cpu_ms": many.cpu_ms["orchestrator"],
            }
            if variant.of_group:
                second.start()
                stage.wait_ready(1)
                changes: Mapping[str, Callable[[], object]] = {
                    "killed": second.kill, "comes": second.start, "leaves": second.stop,
                }  # fmt: skip
                for name_of, change in changes.items():
                    found[name_of] = _meanwhile(stage, change)
    return found


def _meanwhile(stage: Stage, change: Callable[[], object]) -> dict[str, Any]:
    """The longest that an order took, and what was noticed to be handled again."""
    before = _repeated(stage.urls[0])
    load = stage.load(int(RATE * SECONDS), 100_000, rate=RATE, only=0)
    time.sleep(BEFORE_SECONDS)
    change()
    told = json.loads(load.communicate(timeout=300)[0].splitlines()[-1])
    return {
        "longest_ms": told["max_ms"],
        "p50_ms": told["p50_ms"],
        "handled_again": _repeated(stage.urls[0]) - before,
        "not_ended": told["not_ended"],
    }


def _repeated(url: str) -> int:
    """Events that were recognised as repeats by the process that stays."""
    with urlopen(f"{url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    counts = [line.rsplit(" ", 1)[1] for line in lines if line.startswith('saga_ignored_events_total{kind="repeated"')]
    return int(sum(map(float, counts)))


def table(rows: Sequence[tuple[Variant, Mapping[str, Any]]]) -> list[str]:
    """In Markdown, times in milliseconds; of the changes of the group the longest that an order took, and how many
    records were handled again.
    """
    head = "| | sagas/s | p50 | p99 | alone | CPU ms | killed | comes back | leaves |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for variant, row in rows:
        changes = [
            f"{row[name]['longest_ms']:.0f}, {row[name]['handled_again']} again" if name in row else ""
            for name in ("killed", "comes", "leaves")
        ]
        figures = f"{row['sagas_per_second']:.0f} | {row['p50_ms']:.0f} | {row['p99_ms']:.0f}"
        alone = f"{row['one_at_a_time_p50_ms']:.1f} | {row['orchestrator_cpu_ms']:.2f}"
        lines.append(f"| {variant.says} | {figures} | {alone} | {' | '.join(changes)} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.consumer", description=__doc__)
    parser.add_argument("--only", default="", help="names of variants, comma-separated: a beginning is enough")
    parser.add_argument("--orders", type=int, default=3000, help="orders of each measurement")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve_changed()
        return 0
    middle = len(VARIANTS) // 2
    chosen: Sequence[Variant] = (DEFAULT, *VARIANTS[:middle], DEFAULT, *VARIANTS[middle:], DEFAULT)
    if asked.only:
        chosen = [one for one in (DEFAULT, *VARIANTS) if one.name.startswith(tuple(asked.only.split(",")))]
    rows = []
    for number, variant in enumerate(chosen, 1):
        rows.append((variant, measure(variant, asked.orders)))
        print(f"{number} of {len(chosen)}: {variant.name}: {json.dumps(rows[-1][1])}", file=sys.stderr, flush=True)
    print("\n".join(table(rows)))
    print(json.dumps([{"name": variant.name, **row} for variant, row in rows]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
