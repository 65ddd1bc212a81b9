"""The orchestrator dies between acknowledgement and delete, again and again, and bare participants must not notice.

    python -m tests.faults.bare_crashes [--crashes N]

What they are told twice they do twice: two orders, two holds. After each crash the next process finds rows that may
have been sent, and has to look them up in the log before it sends them. The bare services' own ledger is counted.
Progress goes to standard error; standard output ends with one line of JSON.
"""

import argparse
import json
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from random import Random
from uuid import uuid4

import psycopg

from ordersaga.bus.kafka import KafkaBus
from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.testing.bare import BareServices
from ordersaga.testing.bare_host import BareHost
from ordersaga.wire.topics import Topics
from tests.faults import topics
from tests.faults.deployment import Deployment, temporary_directory
from tests.faults.traffic import Traffic
from tests.waiting import until

POINTS = ("relay.before_delete", "relay.after_publish")
ORDERS_EACH = 2
DIES_WITHIN_SECONDS = 60.0
DRAINED_WITHIN_SECONDS = 300.0
MADE = ("CreateOrder", "AuthorizePayment", "UpdateOrderStatus")
"""What a bare participant would do twice."""


def main() -> int:
    arguments = _arguments()
    begun, random = time.monotonic(), Random(arguments.seed)
    with temporary_directory() as directory:
        deployment = Deployment(directory, participants_each=0, kinds="bare", settings={"ORDERSAGA_START_TIMER": "off"})
        with deployment:
            services = BareServices(new_id=lambda: uuid4().hex[:12])
            bus = KafkaBus(deployment.kafka.bootstrap_servers)
            host = BareHost(services, bus, topics=Topics(), clock=SystemClock(), randomness=SystemRandom())
            host.start()
            traffic = Traffic(deployment.urls, None, 1.0, random)
            crashes = 0
            for number in range(2 * arguments.crashes):
                crashes += _crash(deployment, traffic, random, number)
                if crashes == arguments.crashes:
                    break
            deployment.armed(deployment.orchestrators[0], "")
            deployment.orchestrators[0].restart()
            ended = _drained(deployment)
            host.stop(5.0)
            bus.close(5.0)
            said = topics.compare(topics.read_all(deployment.kafka.bootstrap_servers), deployment.database_url)
    orders = Counter(one.saga_id for one in services.orders.values())
    holds = Counter(one.saga_id for one in services.holds)
    report = {
        "crashes": crashes,
        "sagas": sum(ended.values()),
        "ended_by_outcome": ended,
        "orders_made_twice": sum(count > 1 for count in orders.values()),
        "holds_made_twice": sum(count > 1 for count in holds.values()),
        "holds": len(services.holds),
        "records_doubled": said.doubled,
        "never_published": len(said.missing),
        "seconds": round(time.monotonic() - begun, 1),
    }
    doubled = report["orders_made_twice"] or report["holds_made_twice"] or any(said.doubled.get(one) for one in MADE)
    report["ok"] = not doubled and not said.missing and crashes == arguments.crashes and "STARTED" not in ended
    print(json.dumps(report), flush=True)
    return 0 if report["ok"] else 1


def _crash(deployment: Deployment, traffic: Traffic, random: Random, number: int) -> bool:
    """Whether it died there."""
    process = deployment.orchestrators[0]
    process.kill()
    deployment.armed(process, f"{POINTS[number % len(POINTS)]}=kill@{random.randint(1, 6)}")
    process.start()
    ready = "it takes orders or has died"
    until(lambda: deployment.takes_orders(0) or not process.is_running, ready, within_seconds=DIES_WITHIN_SECONDS)
    for _ in range(ORDERS_EACH):
        traffic.place("happy", f"bare-{number}")
    with suppress(AssertionError):
        until(lambda: not process.is_running, "it has died", within_seconds=DIES_WITHIN_SECONDS)
    died = not process.is_running and process.exit_code == -signal.SIGKILL
    if number % 10 == 9 or not died:
        _say(f"  crash {number + 1}: {'died there' if died else 'it did not die'}")
    return died


def _drained(deployment: Deployment) -> dict[str, int]:
    found: dict[str, int] = {}

    def ended() -> bool:
        with psycopg.connect(deployment.database_url) as connection:
            rows = connection.execute("select status, count(*) from ordersaga.sagas group by status").fetchall()
            waiting = connection.execute("select count(*) from ordersaga.outbox").fetchone()
        found.clear()
        found.update(rows)
        return not {"STARTED", "COMPENSATING", "CANCELLING"} & found.keys() and waiting == (0,)

    with suppress(AssertionError):
        until(ended, "all have ended", within_seconds=DRAINED_WITHIN_SECONDS, every_seconds=0.5)
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bare_crashes", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--crashes", type=int, default=200, help="how often it dies")
    parser.add_argument("--seed", type=int, default=1, help="draws at which hit")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
