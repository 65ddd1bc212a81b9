from collections.abc import Iterator

import pytest

from .house import House, Process, answers
from .stage import ONE


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    for process in house.processes:
        process.producer.before = lambda: None
        process.producer.answer = answers()
        process.outbox.away = ()
        process.relay.stop(5.0)


@pytest.fixture
def one(house: House) -> Process:
    return house.process(ONE).start()
