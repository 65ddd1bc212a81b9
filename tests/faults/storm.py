"""The group never rests: every few seconds a member joins or leaves it; or, with --rolling, one process after the other
is stopped and started. Orders come in all the while.

    python -m tests.faults.storm [--minutes M] [--rolling]

What is looked at: how many records were delivered again, that none was used twice, and the longest time in which no
saga moved. Progress goes to standard error; standard output ends with one line of JSON.
"""

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random

import psycopg

from tests.faults.deployment import Deployment, temporary_directory
from tests.faults.judging import judge
from tests.faults.lasting import lasts
from tests.faults.ledgers import CHECKS
from tests.faults.traffic import Traffic

EVERY_SECONDS = 5.0


class Pauses:
    """The longest time in which no saga moved."""

    def __init__(self, database_url: str) -> None:
        self.longest = 0.0
        self._url = database_url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5.0)

    def _watch(self) -> None:
        last, since = -1, time.monotonic()
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._stop.wait(0.1):
                row = connection.execute("select coalesce(sum(revision), 0) from ordersaga.sagas").fetchone()
                assert row
                if row[0] != last:
                    last, since = row[0], time.monotonic()
                self.longest = max(self.longest, time.monotonic() - since)


def main() -> int:
    arguments = _arguments()
    begun, changes = time.monotonic(), 0
    with temporary_directory() as directory:
        deployment = Deployment(directory, orchestrators=2, participants_each=2)
        with deployment:
            traffic = Traffic(deployment.urls, deployment.orders_url, arguments.per_second, Random(1))
            traffic.start()
            lasts(EVERY_SECONDS)
            pauses = Pauses(deployment.database_url)
            end = time.monotonic() + arguments.minutes * 60
            while time.monotonic() < end:
                (_roll if arguments.rolling else _visit)(deployment, changes)
                changes += 1
                _say(f"  {end - time.monotonic():5.0f} s left, {changes} changes, longest pause {pauses.longest:.1f} s")
            pauses.stop()
            traffic.stop()
            verdict = judge(deployment, traffic, CHECKS, progress=_say)
            logs = [process.log_path for process in [*deployment.orchestrators, *deployment.visitors]]
        counted = _counted(logs)
    report = {
        "ok": not verdict.violations,
        "changes_of_the_group": changes,
        "longest_pause_seconds": round(pauses.longest, 1),
        "records_delivered_again": counted.get("repeated", 0),
        "counted": counted,
        "orders": dict(traffic.counts),
        "seconds": round(time.monotonic() - begun, 1),
        **verdict.report(),
    }
    print(json.dumps(report), flush=True)
    return 0 if report["ok"] else 1


def _visit(deployment: Deployment, number: int) -> None:
    """A member joins, and leaves as it likes: in order, or killed."""
    visitor = deployment.start_visitor(number)
    lasts(EVERY_SECONDS)
    if number % 2:
        visitor.kill()
    else:
        visitor.stop(10.0)
    lasts(EVERY_SECONDS)


def _roll(deployment: Deployment, number: int) -> None:
    processes = [*deployment.orchestrators, *deployment.participants]
    process = processes[number % len(processes)]
    process.restart(15.0)
    lasts(EVERY_SECONDS)


def _counted(logs: Iterable[Path]) -> dict[str, int]:
    """What the processes that ended in good order had counted."""
    found: Counter[str] = Counter()
    for log in logs:
        for line in log.read_text(errors="replace").splitlines():
            told = json.loads(line) if line.startswith("{") else {}
            if told.get("event") == "orchestrator.counted":
                found.update({name: count for name, count in told.items() if isinstance(count, int)})
    return dict(found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="storm", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long")
    parser.add_argument("--rolling", action="store_true", help="restart each process in turn instead")
    parser.add_argument("--per-second", type=float, default=6.0, help="orders")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
