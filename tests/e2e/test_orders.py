"""Orders over HTTP, Apache Kafka and PostgreSQL, with processes that are killed in the middle of them."""

import json
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.stage import Stage
from tests.faults.ledgers import CHECKS, PLANTED, TIMED, Ledgers
from tests.waiting import until

DRAIN_SECONDS = 90.0
Deployment = Callable[..., Stage]


@pytest.mark.timeout(300)
def test_one_process_takes_the_orders_and_another_does_the_rest(deployment: Deployment) -> None:
    stage = deployment(apart=True)
    report = _report(stage.load(40, 16))
    assert report["ended"] == {"COMPLETED": 40} and _drained(stage).violations() == {}

    def sums(url: str, name: str) -> float:
        text = httpx.get(f"{url}/metrics", timeout=10.0).text
        found = {one.name: one for one in text_string_to_metric_families(text)}[name]
        return sum(sample.value for sample in found.samples if sample.name == f"{name}_total")

    urls = (stage.urls[0], stage.rest_urls[0])
    assert [sums(url, "saga_started") for url in urls] == [40, 0]
    assert [sums(url, "saga_finished") for url in urls] == [0, 40]
    assert httpx.post(f"{urls[1]}/orders", json={}, timeout=10.0).status_code == 404, "it takes none"


@pytest.mark.timeout(300)
def test_orders_go_through_five_services_and_every_ledger_agrees(deployment: Deployment) -> None:
    stage = deployment()
    report = _report(stage.load(60, 16))
    ledgers = _drained(stage)
    assert report["ended"] == {"COMPLETED": 60}
    assert ledgers.violations() == {}
    for name in {**CHECKS, **TIMED}:
        assert name in ledgers.violations(planted=PLANTED[name]), f"the check does not notice what it is for: {name}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_orders_survive_the_kill_of_their_orchestrator(deployment: Deployment) -> None:
    stage = deployment()
    load = stage.load(1000, 128)
    for ended in (200, 500):
        _until_ended(stage, ended, load)
        stage.orchestrators[0].kill()
        stage.orchestrators[0].start()
        stage.wait_ready(0)
    _report(load)
    _all_accounted_for(stage)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_orchestrators_share_the_work_and_one_of_them_may_die(deployment: Deployment) -> None:
    stage = deployment(orchestrators=2)
    load = stage.load(1000, 128)
    _until_ended(stage, 300, load)
    stage.orchestrators[1].kill()
    _until_ended(stage, 600, load)
    stage.orchestrators[1].start()
    _report(load)
    _all_accounted_for(stage)


def _report(load: "subprocess.Popen[str]") -> dict[str, Any]:
    out, _ = load.communicate(timeout=600)
    assert load.returncode == 0
    report: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert report["not_ended"] == 0, report
    return report


def _all_accounted_for(stage: Stage) -> None:
    ledgers = _drained(stage)
    assert ledgers.violations() == {}
    assert ledgers.count("select count(*) from ordersaga.sagas") == 1000
    doubled = "select count(*) from (select idempotency_key from participant_payment.sandbox_intents) i"
    assert ledgers.count(doubled) == ledgers.count("select count(*) from ordersaga.sagas")


def _drained(stage: Stage) -> Ledgers:
    """When nothing is on its way any more: the last notifications and deletes come after the last saga has ended."""
    ledgers = Ledgers(stage.database_url)
    # Where the ledgers never agree, the assertion of the test shows how they differ; it says more than this wait.
    with suppress(AssertionError):
        until(lambda: not ledgers.violations(), "the ledgers agree", within_seconds=DRAIN_SECONDS)
    return ledgers


def _until_ended(stage: Stage, number: int, load: "subprocess.Popen[str]") -> None:
    """Until so many sagas have ended, while the load goes on."""
    ledgers = Ledgers(stage.database_url)

    def ended() -> bool:
        assert load.poll() is None, "the load ended before the test had done its part"
        return ledgers.ended() >= number

    until(ended, f"{number} sagas have ended", within_seconds=240)
