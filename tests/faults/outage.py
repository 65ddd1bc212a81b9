"""Kafka, PostgreSQL or both are gone for minutes, or its disk is full, while orders come in; then they are back.

    python -m tests.faults.outage [--what kafka|database|both|disk] [--seconds S] [--times N]

What is looked at: that no process ends, that /readyz names what is missing, that memory stays bounded, what became of
the orders that came meanwhile, and how long it takes from healing until the last saga has ended. Then the participants'
ledgers and whole topics are read. Progress goes to standard error; standard output ends with one line of JSON.
"""

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection, HTTPException
from random import Random
from typing import Any
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import psycopg

from tests.faults.deployment import Deployment, temporary_directory
from tests.faults.disk import SmallDisk, small_disk
from tests.faults.judging import judge
from tests.faults.lasting import lasts
from tests.faults.ledgers import CHECKS
from tests.faults.traffic import Traffic
from tests.waiting import until

QUIET_SECONDS = 10.0
"""How long all is well before and between."""
ENDS_WITHIN_SECONDS = 300.0
READY_WITHIN_SECONDS = 60.0
MEBIBYTE = 2**20


@dataclass
class Outage:
    """One time of being gone."""

    what: str
    seconds: float
    orders: dict[str, int]
    """Of those that came meanwhile: placed, refused (503), no answer."""
    said: list[str]
    """What /readyz called unhealthy meanwhile."""
    ready_after_seconds: float = 0.0
    ended_after_seconds: float = 0.0
    """From healing until every saga has ended."""


@dataclass
class Memory:
    """Of one orchestrator, in MiB."""

    process: psutil.Process
    peak: float = 0.0
    before: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        self.before = self.now()
        threading.Thread(target=self._sample, daemon=True).start()

    def now(self) -> float:
        return float(self.process.memory_info().rss) / MEBIBYTE

    def _sample(self) -> None:
        while not self.stop.wait(0.5):
            try:
                self.peak = max(self.peak, self.now())
            except psutil.Error:
                return


def main() -> int:
    arguments = _arguments()
    begun, outages = time.monotonic(), []
    with temporary_directory() as directory:
        deployment = Deployment(directory, orchestrators=1, participants_each=1)
        with deployment, ExitStack() as stack:
            disk = stack.enter_context(small_disk(deployment.postgres)) if arguments.what == "disk" else None
            traffic = Traffic(deployment.urls, deployment.orders_url, arguments.per_second, Random(1))
            traffic.start()
            memory = Memory(psutil.Process(deployment.orchestrators[0].pid))
            lasts(QUIET_SECONDS)
            memory.watch()
            for number in range(arguments.times):
                _say(f"  {arguments.what} gone for {arguments.seconds:.0f} s, {number + 1} of {arguments.times}")
                outages.append(_outage(deployment, traffic, disk, arguments.what, arguments.seconds))
                _say(f"  {outages[-1]}; {memory.now():.0f} MiB, at most {memory.peak:.0f}")
                lasts(QUIET_SECONDS)
            traffic.stop()
            memory.stop.set()
            died = [one.name for one in [*deployment.orchestrators, *deployment.participants] if not one.is_running]
            verdict = judge(deployment, traffic, CHECKS, progress=_say)
    good = not died and not verdict.violations and all(one.said for one in outages)
    report: dict[str, Any] = {
        "ok": good,
        "outages": [asdict(one) for one in outages],
        "died": died,
        "memory_mib": {"before": round(memory.before, 1), "peak": round(memory.peak, 1)},
        "orders": dict(traffic.counts),
        "seconds": round(time.monotonic() - begun, 1),
        **verdict.report(),
    }
    print(json.dumps(report), flush=True)
    return 0 if good else 1


def _outage(deployment: Deployment, traffic: Traffic, disk: SmallDisk | None, what: str, seconds: float) -> Outage:
    before = Counter(traffic.counts)
    begun, said = time.monotonic(), set()
    parts = [(disk.fill, disk.empty)] if disk else _parts(deployment, what)
    for part in parts:
        part[0]()
    while (left := seconds - (time.monotonic() - begun)) > 0:
        lasts(min(5.0, left))
        said |= set(_unhealthy(deployment.urls[0]))
    meanwhile = {name: count - before[name] for name, count in traffic.counts.items() if count > before[name]}
    outage = Outage(what, seconds, meanwhile, sorted(said))
    for part in parts:
        part[1]()
    healed = time.monotonic()
    waiting = set(_unhealthy(deployment.urls[0]))
    while (left := READY_WITHIN_SECONDS - (time.monotonic() - healed)) > 0 and waiting:
        lasts(min(0.5, left))
        waiting = set(_unhealthy(deployment.urls[0]))
    assert not waiting, f"{READY_WITHIN_SECONDS:.0f} s after the healing these are not well: {sorted(waiting)}"
    outage.ready_after_seconds = round(time.monotonic() - healed, 1)
    old = _now(deployment)
    until(lambda: not _open(deployment, old), "all have ended", within_seconds=ENDS_WITHIN_SECONDS, every_seconds=0.5)
    outage.ended_after_seconds = round(time.monotonic() - healed, 1)
    return outage


def _parts(deployment: Deployment, what: str) -> list[tuple[Callable[[], None], Callable[[], None]]]:
    """How each part goes, and how it comes back."""

    def start_brokers() -> None:
        for node in deployment.kafka.nodes:
            node.start()
        for node in deployment.kafka.nodes:
            node.wait_ready()

    def start_database() -> None:
        deployment.postgres.process.start()
        deployment.postgres.wait_ready()

    def kill_brokers() -> None:
        for node in deployment.kafka.nodes:
            node.kill()

    parts = {"kafka": (kill_brokers, start_brokers), "database": (deployment.postgres.kill, start_database)}
    return list(parts.values()) if what == "both" else [parts[what]]


def _unhealthy(url: str) -> list[str]:
    """What /readyz names as not well; itself, where it does not answer."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("GET", "/readyz")
        report = json.loads(connection.getresponse().read())
        return [part["name"] for part in report["parts"] if not part["healthy"]]
    except (OSError, HTTPException, ValueError):
        return ["no answer"]
    finally:
        connection.close()


def _now(deployment: Deployment) -> Any:
    with psycopg.connect(deployment.database_url) as connection:
        row = connection.execute("select clock_timestamp()").fetchone()
    assert row
    return row[0]


def _open(deployment: Deployment, before: Any) -> int:
    """Sagas that were begun before then and have not ended."""
    query = """
        select count(*) from ordersaga.sagas
        where created_at < %s and status in ('STARTED', 'COMPENSATING', 'CANCELLING')
    """
    with psycopg.connect(deployment.database_url) as connection:
        row = connection.execute(query, [before]).fetchone()
    assert row
    return int(row[0])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="outage", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--what", choices=("kafka", "database", "both", "disk"), default="kafka", help="what is gone")
    parser.add_argument("--seconds", type=float, default=150.0, help="how long")
    parser.add_argument("--times", type=int, default=1, help="how often")
    parser.add_argument("--per-second", type=float, default=4.0, help="orders")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
