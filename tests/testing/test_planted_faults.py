"""A conformance run is worth what it notices: each property is proven by a participant that lacks it and no other."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from ordersaga.testing.conformance import Kind, Report, Result, examine, properties_of
from ordersaga.testing.conformance.properties import PROPERTIES
from ordersaga.wire.topics import Participant
from tests.testing.in_memory import Fault, InMemory
from tests.testing.planted import PLANTED, Planted

pytestmark = pytest.mark.timeout(400)
AT_ONCE = 16
"""They wait more than they work."""


@pytest.fixture(scope="module")
def reports() -> Iterator[Mapping[str, Future[Report]]]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        whole = [Planted("nothing", one, "", Fault, restarts=True) for one in Participant]
        sound = {one.participant.value: threads.submit(_examined, one) for one in whole}
        yield sound | {_name(one): threads.submit(_examined, one) for one in PLANTED}


@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: f"{one.participant} {one.what}")
def test_a_participant_with_one_fault_lacks_what_the_fault_takes_and_nothing_else(
    planted: Planted, reports: Mapping[str, Future[Report]]
) -> None:
    report = reports[_name(planted)].result(300)
    lacks = set(report.of(Result.LACKS))
    must = {planted.lacks, *planted.follows}
    assert must <= lacks <= must | planted.may_follow, "\n".join(report.lines())
    assert not report.passed or planted.lacks not in report.of(Result.LACKS, Kind.BARE)


def test_every_check_has_a_planted_fault() -> None:
    proven = {
        (one.name, one.check)
        for planted in PLANTED
        for one in properties_of(planted.participant)
        if one.name == planted.lacks
    }
    assert {(one.name, one.check) for one in PROPERTIES} == proven


@pytest.mark.parametrize("participant", Participant)
def test_a_reference_participant_has_every_property(
    participant: Participant, reports: Mapping[str, Future[Report]]
) -> None:
    report = reports[participant.value].result(300)
    assert report.of(Result.HAS) == [one.name for one in properties_of(participant)], "\n".join(report.lines())
    assert report.passed and report.left_standing == 0
    assert report.advice() == [f"Run it as full: ORDERSAGA_PARTICIPANT_{participant.name}=full."]


def _examined(planted: Planted) -> Report:
    service = InMemory(planted.participant, planted.fault())
    lacking = [name for name, is_there in (("restart", planted.restarts), ("ledger", planted.ledger)) if not is_there]
    try:
        return examine(service.subject(one_at_a_time=planted.one_at_a_time, **dict.fromkeys(lacking)))
    finally:
        service.stop()


def _name(planted: Planted) -> str:
    return f"{planted.participant.value} {planted.what}"
