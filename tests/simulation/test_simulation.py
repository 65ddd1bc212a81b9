"""The simulation itself: one seed is one run, what it finds is had again, and a planted fault is found."""

from collections.abc import Iterator

import pytest

from ordersaga.orchestrator.core import needs
from ordersaga.orchestrator.core.instance import Became
from simulation.deliveries import DELIVERIES
from simulation.faults import KINDS
from simulation.run import Runner


@pytest.fixture
def runner() -> Iterator[Runner]:
    with Runner().ready() as ready:
        yield ready


@pytest.mark.parametrize("seed", [3, 4])
def test_the_same_seed_is_the_same_run(runner: Runner, seed: int) -> None:
    first = runner.run(seed)
    assert first.faults, "something goes wrong in these"
    assert runner.run(seed) == first


def test_a_run_without_faults_has_none(runner: Runner) -> None:
    assert runner.run(3, only=()).faults == []


def test_some_seeds_keep_every_rule_and_meet_every_fault(runner: Runner) -> None:
    outcomes = [runner.run(seed) for seed in range(250)]
    assert [(one.seed, one.broken) for one in outcomes if one.broken] == []
    met = {fault.kind for one in outcomes for fault in one.faults}
    assert set(KINDS) - met == set()
    assert {one.bare for one in outcomes} == {True, False}


def test_a_planted_fault_is_found_and_shown_with_few_faults(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Money is not given back where the authorization is in doubt."""
    monkeypatch.setattr(needs, "Became", _ForgetsDoubt)
    broken = next(outcome for seed in range(400) if (outcome := runner.run(seed)).broken)
    few = runner.shrunk(broken)
    assert few.broken
    assert len(few.faults) <= len(broken.faults)


def test_afternoons_of_deliveries_keep_every_rule_and_meet_every_fault() -> None:
    with Runner(DELIVERIES).ready() as runner:
        outcomes = [runner.run(seed) for seed in range(120)]
    assert [(one.seed, one.broken) for one in outcomes if one.broken] == []
    assert set(DELIVERIES.kinds) - {fault.kind for one in outcomes for fault in one.faults} == set()
    assert {end for one in outcomes for end in one.ends} == {"COMPLETED", "COMPENSATED", "CANCELLED"}


class _ForgetsDoubt:
    DONE = Became.DONE
    IN_DOUBT = Became.DONE
