"""Places where a process can be made to fail are declared, and do nothing until they are armed."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from time import monotonic

import pytest

from ordersaga.delivery import failpoints
from ordersaga.delivery.failpoints import VARIABLE, FailpointError, arm_from_environment, armed, declare, hit

HERE = declare("test.here", "A place in the tests.")
THERE = declare("test.there", "Another place in the tests.")


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.disarm()


def test_a_place_that_is_not_armed_does_nothing() -> None:
    hit(HERE)
    with armed(THERE, "raise"):
        hit(HERE)


def test_a_place_fails_at_every_hit_or_at_the_one_that_is_counted() -> None:
    with armed(HERE, "raise"):
        for _ in range(2):
            with pytest.raises(FailpointError):
                hit(HERE)
    with armed(HERE, "raise@2"):
        hit(HERE)
        with pytest.raises(FailpointError):
            hit(HERE)
        hit(HERE)
    hit(HERE)


def test_a_test_may_arm_a_place_with_anything() -> None:
    seen: list[str] = []
    with armed(HERE, lambda: seen.append("here")):
        hit(HERE)
    assert seen == ["here"]


def test_the_environment_arms_several_places() -> None:
    arm_from_environment({VARIABLE: "test.here=sleep:0.05@1; test.there=raise"})
    began = monotonic()
    hit(HERE)
    assert monotonic() - began >= 0.05
    with pytest.raises(FailpointError):
        hit(THERE)


def test_an_empty_environment_arms_nothing() -> None:
    arm_from_environment({})
    arm_from_environment({VARIABLE: ""})
    hit(HERE)


@pytest.mark.parametrize(
    "text", ["nowhere=raise", "test.here=explode", "test.here", "test.here=raise@soon", "test.here=sleep:"]
)
def test_a_mistake_in_the_environment_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"failpoint|invalid|could not|is not"):
        arm_from_environment({VARIABLE: text})


def test_importing_reads_no_environment_and_kill_is_a_kill() -> None:
    script = (
        "from ordersaga.delivery import failpoints as f;"
        "place = f.declare('test.place', 'A place.'); f.hit(place); print('unarmed', flush=True);"
        "f.arm_from_environment(); f.hit(place); print('first', flush=True); f.hit(place); print('never', flush=True)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], env={VARIABLE: "test.place=kill@2"}, capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == ["unarmed", "first"]


def test_one_name_is_one_place() -> None:
    with pytest.raises(AssertionError):
        declare("test.here", "Something else.")


def test_every_place_of_delivery_is_declared_with_a_sentence() -> None:
    from ordersaga.delivery import consume, relay, upkeep

    names = {
        relay.BEFORE_PUBLISH,
        relay.AFTER_PUBLISH,
        upkeep.BEFORE_DELETE,
        upkeep.AFTER_DELETE,
        upkeep.AFTER_TAKE_OVER,
    }
    names |= {consume.AFTER_POLL, consume.AFTER_HANDLE, consume.AFTER_COMMIT, consume.BEFORE_PARK, consume.AFTER_PARK}
    assert names <= failpoints.declared().keys()
    assert all(sentence.endswith(".") for sentence in failpoints.declared().values())
