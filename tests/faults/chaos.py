"""Everything at random: two orchestrators, two of each participant, three brokers, PostgreSQL, proxies between.

    python -m tests.faults.chaos [--minutes M] [--seed N] [--per-second R]

Every 3 to 10 seconds one or two faults begin, each at a part that is well; each ends by itself. Kinds that came least
come first, so that all come about as often. Then everything is healed, drained and judged by the participants' ledgers
and by whole topics. What is drawn follows from the seed; what it meets does not. Progress goes to standard error;
standard output ends with one line of JSON.
"""

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import psycopg

from ordersaga.bus.protocol import Outgoing
from ordersaga.local.processes import Process
from ordersaga.wire.topics import Topics
from tests.faults.deployment import Deployment, temporary_directory
from tests.faults.judging import judge
from tests.faults.lasting import lasts
from tests.faults.ledgers import CHECKS
from tests.faults.proxy import Fault, FaultProxy
from tests.faults.topics import publish, read_since
from tests.faults.traffic import Traffic

EVERY_SECONDS = (3.0, 10.0)
ENDED_WITHIN_SECONDS = 60.0
ENDED_SHARE_LEAST = 0.95
LEAST_OF_EACH_KIND_A_MINUTE = 5 / 30
ECHOED_SECONDS = 15.0


@dataclass(frozen=True)
class Kind:
    """Something that breaks. `do` breaks a part, waits, and mends it."""

    name: str
    parts: Callable[["Chaos"], Sequence[str]]
    do: Callable[["Chaos", str], None]


@dataclass
class Chaos:
    deployment: Deployment
    random: Random
    counts: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)
    """Faults that could not be mended: a mistake of the run's own."""
    busy: set[str] = field(default_factory=set)
    """Parts at which something is broken."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[threading.Thread] = []
        self._visitors = 0

    def run(self, seconds: float, progress: Callable[[str], None]) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for _ in range(self.random.choice((1, 1, 2))):
                self._begin_one(progress, left)
            lasts(min(left, self.random.uniform(*EVERY_SECONDS)))
        for thread in self._running:
            thread.join(60.0)

    def between(self, least: float, most: float) -> float:
        with self._lock:
            return self.random.uniform(least, most)

    def _begin_one(self, progress: Callable[[str], None], left: float) -> None:
        kinds = sorted(KINDS, key=lambda kind: (self.counts[kind.name], self.random.random()))
        with self._lock:
            for kind in kinds[:6]:
                free = [part for part in kind.parts(self) if part not in self.busy]
                if free and self._may(kind):
                    part = self.random.choice(free)
                    self.busy.add(part)
                    break
            else:
                return
            self.counts[kind.name] += 1
        progress(f"  {left:5.0f} s left, fault {self.counts.total()}: {kind.name} at {part}")
        thread = threading.Thread(target=self._break, args=(kind, part), daemon=True)
        self._running = [one for one in self._running if one.is_alive()] + [thread]
        thread.start()

    def _may(self, kind: Kind) -> bool:
        """Of three brokers one at a time: two of them are what acknowledges."""
        at_broker = {part for part in self.busy if part.startswith("broker")}
        return not (kind.parts is _brokers and at_broker)

    def _break(self, kind: Kind, part: str) -> None:
        try:
            kind.do(self, part)
        except Exception as error:  # noqa: BLE001 (whatever it is, the run must not pass for one that had this fault)
            self.troubles.append(f"{kind.name} at {part}: {type(error).__name__}: {error}")
        finally:
            with self._lock:
                self.busy.discard(part)

    # --- parts by name ------------------------------------------------------------------------------

    def process(self, part: str) -> Process:
        group, _, number = part.partition(" ")
        found = self.deployment.orchestrators if group == "orchestrator" else self.deployment.participants
        return found[int(number)]

    def proxy(self, part: str) -> FaultProxy:
        return next(one for one in [*self.deployment.brokers, *self.deployment.databases.values()] if one.name == part)

    def visitor(self) -> Process:
        """One more member of the group, without a name of its own."""
        with self._lock:
            self._visitors += 1
            return self.deployment.start_visitor(self._visitors)


# --- what breaks ------------------------------------------------------------------------------------


def _processes(chaos: Chaos) -> Sequence[str]:
    return [
        *(f"orchestrator {number}" for number in range(len(chaos.deployment.orchestrators))),
        *(f"participants {number}" for number in range(len(chaos.deployment.participants))),
    ]


def _brokers(chaos: Chaos) -> Sequence[str]:
    return [one.name for one in chaos.deployment.brokers]


def _databases(chaos: Chaos) -> Sequence[str]:
    return [] if "database" in chaos.busy else [one.name for one in chaos.deployment.databases.values()]


def _database(chaos: Chaos) -> Sequence[str]:
    return ["database"]


def _group(chaos: Chaos) -> Sequence[str]:
    return ["group"]


def _kill(chaos: Chaos, part: str) -> None:
    process = chaos.process(part)
    process.kill()
    lasts(chaos.between(0.5, 4.0))
    process.start()


def _stop(chaos: Chaos, part: str) -> None:
    process = chaos.process(part)
    process.stop(15.0)
    process.start()


def _freeze(chaos: Chaos, part: str) -> None:
    process = chaos.process(part)
    process.freeze()
    lasts(chaos.between(1.0, 14.0))
    process.thaw()


def _break_network(fault: Fault) -> Callable[[Chaos, str], None]:
    def do(chaos: Chaos, part: str) -> None:
        proxy = chaos.proxy(part)
        proxy.break_(fault, delay_seconds=chaos.between(0.05, 1.0))
        lasts(chaos.between(2.0, 9.0))
        proxy.heal()

    return do


def _cut(chaos: Chaos, part: str) -> None:
    chaos.proxy(part).cut()


def _kill_broker(chaos: Chaos, part: str) -> None:
    node = chaos.deployment.kafka.nodes[int(part.removeprefix("broker ")) - 1]
    node.kill()
    lasts(chaos.between(0.5, 6.0))
    node.start()
    node.wait_ready()


def _freeze_broker(chaos: Chaos, part: str) -> None:
    node = chaos.deployment.kafka.nodes[int(part.removeprefix("broker ")) - 1]
    node.freeze()
    lasts(chaos.between(1.0, 10.0))
    node.thaw()
    node.wait_ready()


def _kill_database(chaos: Chaos, part: str) -> None:
    chaos.deployment.postgres.kill()
    lasts(chaos.between(0.0, 4.0))
    chaos.deployment.postgres.process.start()
    chaos.deployment.postgres.wait_ready()


def _freeze_database(chaos: Chaos, part: str) -> None:
    chaos.deployment.postgres.freeze()
    lasts(chaos.between(1.0, 8.0))
    chaos.deployment.postgres.thaw()


def _storm(chaos: Chaos, part: str) -> None:
    for _ in range(2):
        visitor = chaos.visitor()
        lasts(chaos.between(2.0, 4.0))
        visitor.kill()


def _say_again(chaos: Chaos, part: str) -> None:
    """What a service has answered lately comes a second time, late."""
    servers, since_ms = chaos.deployment.kafka.bootstrap_servers, (time.time() - ECHOED_SECONDS) * 1000
    echoed = read_since(servers, part.removeprefix("answers on "), int(since_ms))
    lasts(chaos.between(1.0, 9.0))
    publish(servers, [Outgoing(one.topic, one.key or b"", one.value or b"", one.headers) for one in echoed])


def _answers(chaos: Chaos) -> Sequence[str]:
    return [f"answers on {topic}" for topic in Topics().answers()]


KINDS = (
    Kind("a process is killed", _processes, _kill),
    Kind("a process is stopped and started", _processes, _stop),
    Kind("a process is frozen", _processes, _freeze),
    Kind("a broker is killed", _brokers, _kill_broker),
    Kind("a broker is frozen", _brokers, _freeze_broker),
    Kind("a broker's connections are cut", _brokers, _cut),
    Kind("a broker refuses connections", _brokers, _break_network(Fault.REFUSE)),
    Kind("a broker is in a black hole", _brokers, _break_network(Fault.BLACKHOLE)),
    Kind("a broker's answers are dropped", _brokers, _break_network(Fault.DROP_ANSWERS)),
    Kind("a broker is slow", _brokers, _break_network(Fault.DELAY)),
    Kind("the database is killed", _database, _kill_database),
    Kind("the database is frozen", _database, _freeze_database),
    Kind("connections to the database are cut", _databases, _cut),
    Kind("the database is in a black hole", _databases, _break_network(Fault.BLACKHOLE)),
    Kind("the database's answers are dropped", _databases, _break_network(Fault.DROP_ANSWERS)),
    Kind("the database is slow", _databases, _break_network(Fault.DELAY)),
    Kind("members join and leave the group", _group, _storm),
    Kind("a service answers twice, and late", _answers, _say_again),
)


def main() -> int:
    arguments = _arguments()
    begun = time.monotonic()
    with temporary_directory() as directory:
        deployment = Deployment(directory, orchestrators=2, participants_each=2, nodes=3)
        with deployment:
            traffic = Traffic(
                deployment.urls, deployment.orders_url, arguments.per_second, Random(f"{arguments.seed} traffic")
            )
            traffic.start()
            chaos = Chaos(deployment, Random(arguments.seed))
            chaos.run(arguments.minutes * 60, _say)
            traffic.stop()
            _say(f"  healed; {dict(traffic.counts)}")
            deployment.heal()
            for process in [*deployment.orchestrators, *deployment.participants]:
                if not process.is_running:
                    chaos.troubles.append(f"{process.name} ended by itself with {process.exit_code}")
                    process.start()
            share = _ended_share(deployment.database_url)
            verdict = judge(deployment, traffic, CHECKS, progress=_say)
    rare = {
        kind.name: chaos.counts[kind.name]
        for kind in KINDS
        if chaos.counts[kind.name] < int(LEAST_OF_EACH_KIND_A_MINUTE * arguments.minutes)
    }
    good = not verdict.violations and not chaos.troubles and share >= ENDED_SHARE_LEAST and not rare
    report = {
        "ok": good,
        "seed": arguments.seed,
        "minutes": arguments.minutes,
        "faults": chaos.counts.total(),
        "faults_by_kind": dict(chaos.counts),
        "too_rare": rare,
        "ended_within_60_s_of_healing": round(share, 4),
        "orders": dict(traffic.counts),
        "troubles_of_the_run": chaos.troubles,
        "seconds": round(time.monotonic() - begun, 1),
        **verdict.report(),
    }
    print(json.dumps(report), flush=True)
    return 0 if good else 1


def _ended_share(database_url: str) -> float:
    """Of all sagas those that have a business outcome, a minute after the healing or when all have."""
    query = "select count(*) filter (where status in ('COMPLETED', 'COMPENSATED', 'CANCELLED')), count(*)"
    end, ended, total = time.monotonic() + ENDED_WITHIN_SECONDS, 0, 1
    while time.monotonic() < end and ended < total:
        with psycopg.connect(database_url) as connection:
            row = connection.execute(f"{query} from ordersaga.sagas".encode()).fetchone()
        assert row
        ended, total = row
        lasts(1.0)
    return ended / total if total else 0.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long faults come")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn")
    parser.add_argument("--per-second", type=float, default=7.0, help="orders")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
