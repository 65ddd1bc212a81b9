"""One bus after the other for the conformance suite, and a broker that may be broken for the tests of failures."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count

import pytest

from ordersaga.bus.kafka import KafkaBus, KafkaTimings
from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import Bus, TopicSpec
from ordersaga.local.kafka import KafkaCluster
from tests.bus.reading import eventually

PARTITIONS = 4
_numbers = count(1)

Topics = Callable[..., str]


@pytest.fixture(scope="session")
def kafka_bus(kafka_cluster: KafkaCluster) -> Iterator[KafkaBus]:
    # Members hear of a rebalance with their next heartbeat.
    bus = KafkaBus(kafka_cluster.bootstrap_servers, timings=KafkaTimings(heartbeat_interval_ms=300))
    yield bus
    bus.close(5)


@pytest.fixture(params=["memory", "kafka"])
def bus(request: pytest.FixtureRequest) -> Bus:
    if request.param == "memory":
        return MemoryBus()
    kafka: KafkaBus = request.getfixturevalue("kafka_bus")
    return kafka


@pytest.fixture
def topic(bus: Bus) -> str:
    return new_topic(bus)


@pytest.fixture
def group() -> str:
    return unique("group")


@pytest.fixture(scope="module")
def breakable() -> Iterator[KafkaCluster]:
    """A broker of this module's own, to be killed and started again. Each test leaves it running."""
    with KafkaCluster.start() as cluster:
        yield cluster


@pytest.fixture
def impatient() -> KafkaTimings:
    return KafkaTimings(bootstrap_timeout_ms=1_000, stuck_seconds=1.5)


def unique(what: str) -> str:
    return f"{what}-{next(_numbers)}"


def new_topic(bus: Bus, *, partitions: int = PARTITIONS, **config: str) -> str:
    name = unique("topic")
    dotted = {key.replace("_", "."): value for key, value in config.items()}
    created: Sequence[str] = bus.create_topics([TopicSpec(name=name, partitions=partitions, config=dotted)])
    assert created == [name]
    return name


def grow(bus: Bus, topic: str, partitions: int) -> None:
    """As an operator does it: to so many partitions."""
    if isinstance(bus, MemoryBus):
        bus._log[topic] += [[] for _ in range(partitions - len(bus._log[topic]))]
        return
    assert isinstance(bus, KafkaBus)
    admin = bus._clients.open_admin("by-hand")
    admin.create_partitions({topic: partitions})
    admin.close()

    def is_grown() -> bool:
        state = bus.describe().topics[topic]
        return (state.partitions, state.leaderless) == (partitions, 0)

    eventually(is_grown, "the new partitions have no leader")
