from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .house import House, Process, answers
from .stage import ONE, StandingClock


@pytest.fixture
def house() -> Iterator[House]:
    with ended(House()) as house:
        yield house


@pytest.fixture
def standing() -> Iterator[House]:
    """One whose clock stands: what waits for it does not happen."""
    with ended(House(StandingClock())) as house:
        yield house


@contextmanager
def ended(house: House) -> Iterator[House]:
    yield house
    for process in house.processes:
        process.producer.before = lambda: None
        process.producer.answer = answers()
        process.outbox.away = ()
        process.relay.stop(5.0)


@pytest.fixture
def one(house: House) -> Process:
    return house.process(ONE).start()
