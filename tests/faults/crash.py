"""Kills a process at every failpoint, in each role that has it, while orders go forward, are taken back, are retried.

    python -m tests.faults.crash [--only NAME] [--seed N]

One deployment for all: a case starts the process with the failpoint armed, places its orders, sees it die there, and
the next case starts it again. At the end all is drained, and the ledgers of the participants and the topics are read.
The points come from the registry, so that a new one cannot be forgotten. Progress goes to standard error; standard
output ends with one line of JSON.
"""

import argparse
import importlib
import json
import pkgutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import ordersaga.delivery
import ordersaga.orchestrator
import ordersaga.participants
from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.protocol import Outgoing
from ordersaga.delivery import failpoints
from ordersaga.local.processes import Process
from ordersaga.wire.topics import Topics
from tests.faults.deployment import Deployment, temporary_directory
from tests.faults.judging import Verdict, judge
from tests.faults.lasting import lasts
from tests.faults.ledgers import CHECKS, POISON
from tests.faults.traffic import Traffic
from tests.waiting import until

PHASES = ("forward", "undo", "retry")
ORDERS = {
    "forward": ["happy", "happy", "happy", "accepted", "silent"],
    "undo": ["declined", "declined", "cancels", "cancels", "no-card", "silent"],
    "retry": ["happy", "declined", "cancels", "late", "silent"],
}
DIES_WITHIN_SECONDS = 40.0
FROZEN_SECONDS = 2.5
ORCHESTRATOR, PARTICIPANTS = "orchestrator", "participants"


@dataclass(frozen=True)
class Case:
    role: str
    point: str
    phase: str

    def __str__(self) -> str:
        return f"{self.role}/{self.point}/{self.phase}"


def cases() -> list[Case]:
    return [
        Case(role, point, phase) for point in sorted(all_failpoints()) for role in roles_of(point) for phase in PHASES
    ]


def all_failpoints() -> Sequence[str]:
    """The program's, not those that tests of the registry declare. Every module that may have one is imported first."""
    for package in (ordersaga.delivery, ordersaga.orchestrator, ordersaga.participants):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    return sorted(point for point in failpoints.declared() if not point.startswith("test."))


def roles_of(point: str) -> Sequence[str]:
    """By the beginning of its name. A failpoint of an unknown kind is an error here, so that it finds its role."""
    kind = point.partition(".")[0]
    return {
        "handle": (ORCHESTRATOR,),
        "deadlines": (ORCHESTRATOR,),
        "consume": (ORCHESTRATOR, PARTICIPANTS),
        "relay": (ORCHESTRATOR, PARTICIPANTS),
        "participant": (PARTICIPANTS,),
        "payment": (PARTICIPANTS,),
    }[kind]


class Matrix:
    def __init__(self, deployment: Deployment, random: Random) -> None:
        self._deployment = deployment
        self._random = random
        self.traffic = Traffic(deployment.urls, deployment.orders_url, 1.0, random, label="crash")
        self._bus = KafkaBus(deployment.kafka.bootstrap_servers)
        self._poison = self._bus.producer(client_id="poison")
        self.poisoned = 0

    def run(self, case: Case) -> str | None:
        """None where it died there, else what happened instead."""
        process = self._process(case.role)
        self._others_run(case)
        if case.point == "relay.after_take_over":
            self._leave_rows_behind(case, process)
        self._start(process, case, self._failpoint(case))
        self._orders(case)
        return self._dies(process)

    def _others_run(self, case: Case) -> None:
        """Whoever died in the case before is there again."""
        other = self._process(PARTICIPANTS if case.role == ORCHESTRATOR else ORCHESTRATOR)
        if not other.is_running:
            self._deployment.armed(other, "")
            other.start()
        if case.role == PARTICIPANTS:
            self._deployment.wait_ready(0)

    def finish(self) -> None:
        for process in (self._process(ORCHESTRATOR), self._process(PARTICIPANTS)):
            self._deployment.armed(process, "")
            process.restart()
        self._deployment.wait_ready(0)
        self._bus.close(5.0)

    def _process(self, role: str) -> Process:
        deployment = self._deployment
        return (deployment.orchestrators if role == ORCHESTRATOR else deployment.participants)[0]

    def _start(self, process: Process, case: Case, armed: str) -> None:
        process.kill()
        self._deployment.armed(process, armed)
        process.start()
        if case.role == ORCHESTRATOR and "take_over" not in armed:
            _wait_until_it_takes_orders(process, self._deployment)

    def _failpoint(self, case: Case) -> str:
        """At the first to fourth time; what happens once, at the first. What cannot be written is parked."""
        if case.point.endswith("_park"):
            unwritable = "handle.after_load" if case.role == ORCHESTRATOR else "participant.before_commit"
            return f"{unwritable}=raise;{case.point}=kill@1"
        return f"{case.point}=kill@{1 if 'take_over' in case.point else self._random.randint(1, 4)}"

    def _leave_rows_behind(self, case: Case, process: Process) -> None:
        self._start(process, case, "relay.before_publish=kill@2")
        self._orders(case)
        self._dies(process)

    def _orders(self, case: Case) -> None:
        others = self._process(PARTICIPANTS)
        freezes = case.phase == "retry" and others.is_running and case.role == ORCHESTRATOR
        if freezes:
            others.freeze()
        for kind in ORDERS[case.phase]:
            self.traffic.place(kind, str(case).replace("/", "_").replace(".", "_")[:20])
        if case.point.startswith("consume."):
            self._put_poison(case.role)
        if freezes:
            lasts(FROZEN_SECONDS)
            others.thaw()

    def _put_poison(self, role: str) -> None:
        topics = Topics()
        topic = topics.payment_events if role == ORCHESTRATOR else topics.payment_commands
        self._poison.publish([Outgoing(topic, b"", POISON)], 10.0)
        self.poisoned += 1

    def _dies(self, process: Process) -> str | None:
        with suppress(AssertionError):
            until(lambda: not process.is_running, "it has died", within_seconds=DIES_WITHIN_SECONDS)
        if process.is_running:
            return f"it did not die within {DIES_WITHIN_SECONDS:.0f} s"
        return None if process.exit_code == -signal.SIGKILL else f"it ended with {process.exit_code}"


def _wait_until_it_takes_orders(process: Process, deployment: Deployment) -> None:
    """Until it takes orders, or has died: a failpoint may be met before."""
    ready = "it takes orders or has died"
    until(lambda: deployment.takes_orders(0) or not process.is_running, ready, within_seconds=DIES_WITHIN_SECONDS)


def main() -> int:
    arguments = _arguments()
    random = Random(arguments.seed)
    chosen = [case for case in cases() if arguments.only in str(case)]
    failed: dict[str, str] = {}
    begun = time.monotonic()
    with temporary_directory() as directory:
        deployment = Deployment(directory, settings={"ORDERSAGA_STEP_TIMEOUT_SECONDS": "1"})
        with deployment:
            matrix = Matrix(deployment, random)
            matrix.traffic.start_acting()
            for number, case in enumerate(chosen, 1):
                trouble = matrix.run(case)
                _say(f"  {number:3} of {len(chosen)}  {case}: {trouble or 'died there'}")
                if trouble:
                    failed[str(case)] = trouble
            matrix.finish()
            matrix.traffic.stop()
            verdict = judge(deployment, matrix.traffic, CHECKS, poisoned=matrix.poisoned, progress=_say)
    return _report(chosen, failed, verdict, arguments.seed, time.monotonic() - begun)


def _report(chosen: Sequence[Case], failed: dict[str, str], verdict: Verdict, seed: int, seconds: float) -> int:
    report = {
        "ok": not failed and not verdict.violations,
        "cases": len(chosen),
        "points": len({case.point for case in chosen}),
        "not_reached": failed,
        "seed": seed,
        "seconds": round(seconds, 1),
        **verdict.report(),
    }
    print(json.dumps(report), flush=True)
    return 0 if report["ok"] else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="crash", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name has this in it: role/point/phase")
    parser.add_argument("--seed", type=int, default=1, help="draws at which hit it dies")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
