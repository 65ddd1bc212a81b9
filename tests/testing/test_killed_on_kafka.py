"""Conformance runs over real Kafka that kill what they examine: the reference participants have every property, and of
the bare services each that is missing is named.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from ordersaga.local.kafka import Kafka
from ordersaga.local.postgres import Postgres
from ordersaga.testing.conformance import HttpDesk, Kind, Report, Result, examine, names, properties_of
from ordersaga.wire.topics import Participant
from tests.testing.bare_lacks import KILLED_LACKS, KILLED_MAY_LACK
from tests.testing.on_kafka import AsProcess, Platform, bare, reference, restarted_by_url

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
AT_ONCE = 5
"""Bare services wait for sessions, most of their time."""
PAYMENT = Participant.PAYMENT
BY_THE_COMMAND = "payment, by the command"
Ended = subprocess.CompletedProcess[str]
Make = Callable[[Participant, Platform], AsProcess]


@pytest.fixture(scope="module")
def examined(
    kafka_cluster: Kafka, postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Any]]]:
    """Each participant is a process that is killed, some of them five times. Those that take longest come first."""
    url = postgres_server.create_database()
    platform = Platform(kafka_cluster, url, tmp_path_factory.mktemp("examined"))
    with ThreadPoolExecutor(AT_ONCE) as threads:

        def begun(by: Callable[[AsProcess], Any], make: Make, participant: Participant) -> Future[Any]:
            return threads.submit(_until_killed, by, make, participant, platform)

        played = {f"bare {one}": begun(_report, bare, one) for one in KILLED_LACKS}
        command = begun(_said_by_the_command, reference, PAYMENT)
        made = {one.value: begun(_report, reference, one) for one in Participant if one is not PAYMENT}
        yield {**played, BY_THE_COMMAND: command, **made}
    platform.bus.close(5.0)
    postgres_server.drop_database(url)


@pytest.mark.parametrize("participant", KILLED_LACKS)
def test_of_a_bare_service_each_property_that_is_missing_is_named(
    participant: Participant, examined: Mapping[str, Future[Report]]
) -> None:
    report = examined[f"bare {participant}"].result(580)
    lines = "\n".join(report.lines())
    lacks = KILLED_LACKS[participant]
    assert lacks <= set(report.of(Result.LACKS)) <= lacks | KILLED_MAY_LACK.get(participant, set()), lines
    assert report.of(Result.HAS, Kind.BARE) == names(participant, Kind.BARE), lines


@pytest.mark.parametrize("participant", [one for one in Participant if one is not PAYMENT])
def test_a_reference_participant_that_is_killed_has_every_property(
    participant: Participant, examined: Mapping[str, Future[Report]]
) -> None:
    report = examined[participant.value].result(580)
    assert report.of(Result.HAS) == all_of(participant), "\n".join(report.lines())
    assert report.passed and report.left_standing == 0
    assert report.advice() == [f"Run it as full: ORDERSAGA_PARTICIPANT_{participant.name}=full."]


def test_the_command_finds_every_property_of_one_that_its_url_kills(examined: Mapping[str, Future[Ended]]) -> None:
    ended = examined[BY_THE_COMMAND].result(580)
    said = json.loads(ended.stdout)
    found = {one["property"]: one["result"] for one in said["findings"]}
    assert found == dict.fromkeys(all_of(PAYMENT), "has"), ended.stdout
    assert (ended.returncode, said["passed"], said["left_standing"]) == (0, True, 0)
    assert said["advice"] == "Run it as full: ORDERSAGA_PARTICIPANT_PAYMENT=full."


def all_of(participant: Participant) -> list[str]:
    return [one.name for one in properties_of(participant)]


def _until_killed(by: Callable[[AsProcess], Any], make: Make, participant: Participant, platform: Platform) -> Any:
    examined = make(participant, platform)
    try:
        return by(examined)
    finally:
        examined.process.kill()


def _report(examined: AsProcess) -> Report:
    return examine(examined.subject)


def _said_by_the_command(examined: AsProcess) -> Ended:
    desk, environment = examined.subject.desk, examined.process.env
    assert isinstance(desk, HttpDesk) and environment
    argv = [sys.executable, "-m", "ordersaga.cli", "conformance", "payment", "--json", "--url", desk.url]
    argv += ["--answer-seconds", str(examined.subject.answer_seconds)]
    with restarted_by_url(examined) as url:
        return subprocess.run(
            [*argv, "--restart", url, "--kafka", environment["KAFKA_BOOTSTRAP_SERVERS"]],
            env={name: value for name, value in environment.items() if name != "KAFKA_BOOTSTRAP_SERVERS"},
            capture_output=True,
            text=True,
            timeout=550,
        )
