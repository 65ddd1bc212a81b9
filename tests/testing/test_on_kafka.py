"""Conformance runs over real Kafka: the reference participants have every property, and of the bare ones each that is
missing is named.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.local.kafka import Kafka
from ordersaga.local.ports import free_ports
from ordersaga.local.postgres import Postgres
from ordersaga.participants.everyone import host_of
from ordersaga.testing.bare import BareServices
from ordersaga.testing.bare_host import BareHost
from ordersaga.testing.conformance import (
    Case,
    Effect,
    Kind,
    Report,
    Result,
    Subject,
    examine,
    names,
    properties_of,
)
from ordersaga.wire.topics import Participant
from tests.testing.on_kafka import AsProcess, bare, kafka_bus, own_topics, reference

ORDER, USER, PAYMENT, TIMER = Participant.ORDER, Participant.USER, Participant.PAYMENT, Participant.TIMER
PLAYED = (ORDER, USER, PAYMENT, TIMER)
RESTARTING = {"recognises repeats after a restart", "answers once committed"}

NOT_FULL = {
    "carries causation_id",
    "keys by saga",
    "has message ids",
    "stamps in UTC",
    "has CloudEvents headers",
    "passes on the trace",
    "repeats its answer's id",
    "repeats its first time",
}
"""No bare service has any of these."""
BARE_LACKS: Mapping[Participant, set[str]] = {
    ORDER: NOT_FULL
    | {
        "refuses",
        "recognises repeats",
        "recognises repeats without ids",
        "takes back without the id",
        "stays undone",
        "tombstones",
        "ends alike in any order",
    },
    USER: NOT_FULL,
    PAYMENT: NOT_FULL
    | {
        "refuses",
        "recognises repeats",
        "recognises repeats without ids",
        "takes back without the id",
        "stays undone",
        "tombstones",
        "ends alike in any order",
    },
    TIMER: NOT_FULL | {"stays undone", "tombstones"},
}


def test_a_reference_participant_has_all_that_can_be_tried_without_killing_it(
    kafka_cluster: Kafka, database_url: str
) -> None:
    _, topics = own_topics()
    bus = kafka_bus(kafka_cluster, topics)
    host = host_of(
        PAYMENT, bus, database_url, topics=topics, clock=SystemClock(), randomness=SystemRandom(), lease_seconds=2.0
    )
    host.create_tables()
    host.start()
    try:
        report = examine(Subject(participant=PAYMENT, bus=bus, topics=topics, quiet_seconds=0.5))
    finally:
        host.stop(10)
        bus.close(5)
    lines = "\n".join(report.lines())
    assert not report.of(Result.LACKS), lines
    assert set(report.of(Result.NOT_TRIED)) == RESTARTING | {"holds the exact amount"}, lines
    assert not report.passed, "what was not tried was not seen"
    assert report.left_standing == 0, lines


def test_of_a_bare_service_each_property_that_is_missing_is_named(kafka_cluster: Kafka) -> None:
    _, topics = own_topics()
    bus, services = kafka_bus(kafka_cluster, topics), BareServices(new_id=_new_id)
    host = BareHost(services, bus, topics=topics, clock=SystemClock(), randomness=SystemRandom())
    host.start()
    subject = Subject(
        participant=PAYMENT,
        bus=bus,
        topics=topics,
        ledger=_Holds(services),
        answer_seconds=2.0,
        quiet_seconds=0.5,
    )
    try:
        report = examine(subject, kind=Kind.BARE)
    finally:
        host.stop(10)
        bus.close(5)
    assert set(report.of(Result.LACKS)) == BARE_LACKS[PAYMENT], "\n".join(report.lines())
    assert report.passed, "it has what a bare one promises"
    assert report.advice()[0].startswith("Run it as bare")


# --- the whole ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reports(
    kafka_cluster: Kafka, postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Report]]]:
    """Each participant is a process that is killed, four times at least."""
    folder = tmp_path_factory.mktemp("examined")
    urls = {one: postgres_server.create_database() for one in Participant}
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        made = {f"reference {one}": (reference, one, kafka_cluster, urls[one], folder) for one in Participant}
        played = {f"bare {one}": (bare, one, kafka_cluster, folder) for one in PLAYED}
        yield {name: threads.submit(_examined, stack, *how) for name, how in {**made, **played}.items()}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("participant", Participant)
def test_a_reference_participant_that_is_killed_has_every_property(
    participant: Participant, reports: Mapping[str, Future[Report]]
) -> None:
    report = reports[f"reference {participant}"].result(280)
    assert report.of(Result.HAS) == [one.name for one in properties_of(participant)], "\n".join(report.lines())
    assert report.passed and report.left_standing == 0
    assert report.advice() == [f"Run it as full: ORDERSAGA_PARTICIPANT_{participant.name}=full."]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("participant", PLAYED)
def test_a_bare_service_that_is_killed_has_what_a_bare_one_promises(
    participant: Participant, reports: Mapping[str, Future[Report]]
) -> None:
    report = reports[f"bare {participant}"].result(280)
    lines = "\n".join(report.lines())
    assert BARE_LACKS[participant] <= set(report.of(Result.LACKS)), lines
    assert set(report.of(Result.LACKS)) <= BARE_LACKS[participant] | RESTARTING, lines
    assert report.of(Result.HAS, Kind.BARE) == names(participant, Kind.BARE), lines


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_command_says_the_same_and_ends_with_what_came_of_it(
    kafka_cluster: Kafka, database_url: str, tmp_path: Path
) -> None:
    examined = reference(PAYMENT, kafka_cluster, database_url, tmp_path)
    assert examined.process.env and examined.subject.restart and examined.subject.desk
    url = vars(examined.subject.desk)["url"]
    argv = [sys.executable, "-m", "ordersaga.cli", "conformance", "payment", "--json", "--url", url]
    try:
        with _restarting(examined) as restart_url:
            ended = subprocess.run(
                [*argv, "--restart", restart_url, "--kafka", kafka_cluster.bootstrap_servers],
                env={name: value for name, value in examined.process.env.items() if name != "KAFKA_BOOTSTRAP_SERVERS"},
                capture_output=True,
                text=True,
                timeout=250,
            )
    finally:
        examined.stop()
    said = json.loads(ended.stdout)
    assert (ended.returncode, said["passed"]) == (0, True), ended.stdout + ended.stderr
    assert [one["property"] for one in said["findings"]] == names(PAYMENT)
    assert said["advice"] == "Run it as full: ORDERSAGA_PARTICIPANT_PAYMENT=full."


class _Holds:
    def __init__(self, services: BareServices) -> None:
        self._services = services

    def effects(self, case: Case) -> list[Effect]:
        holds = [one for one in list(self._services.holds) if one.saga_id == case.saga_id]
        return [Effect(effect_id=one.intent_id, stands=one.stands, amount_cents=one.amount_cents) for one in holds]


class _restarting:  # noqa: N801 (a context, used like a function)
    """A URL that kills a process and starts it again."""

    def __init__(self, examined: AsProcess) -> None:
        class Post(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert examined.subject.restart
                examined.subject.restart()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quietly."""

        self._server = ThreadingHTTPServer(("127.0.0.1", free_ports(1)[0]), Post)

    def __enter__(self) -> str:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}/restart"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _examined(stack: ExitStack, make: Any, *how: Any) -> Report:
    examined = make(*how)
    stack.callback(examined.stop)
    try:
        return examine(examined.subject)
    finally:
        examined.process.kill()


_ids = iter(range(1, 10**9))


def _new_id() -> str:
    return f"{next(_ids):06d}"
