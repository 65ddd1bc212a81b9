"""What may become of topics is noticed, and said."""

from collections.abc import Mapping

import pytest

from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import BusUnavailable, Cluster, TopicState
from ordersaga.orchestrator.runtime.topic_watch import TopicWatch

BOTH = {"a": TopicState(6, "1"), "b": TopicState(6, "2")}


class Said(MemoryBus):
    """Brokers that say what a test wants."""

    cluster = Cluster(BOTH, creates_topics=False)

    def describe(self) -> Cluster:
        return self.cluster


@pytest.fixture
def bus() -> Said:
    return Said()


@pytest.fixture
def watch(bus: Said) -> TopicWatch:
    found = TopicWatch(bus, ["a", "b"], every_seconds=0.0)
    found.turn()
    return found


def seen(watch: TopicWatch, bus: Said, topics: Mapping[str, TopicState], creates: bool | None = False) -> str:
    bus.cluster = Cluster(topics, creates)
    watch.turn()
    return "; ".join([*watch._wrong.values(), *watch._odd])


def test_topics_as_they_should_be_are_nothing_to_speak_of(watch: TopicWatch, bus: Said) -> None:
    assert seen(watch, bus, BOTH) == "" == seen(watch, bus, BOTH, None)


def test_one_that_was_created_again_stays_wrong_until_the_process_starts_anew(watch: TopicWatch, bus: Said) -> None:
    told = "topic b was deleted and created again: stop all that read it, then start them anew"
    again = BOTH | {"b": TopicState(6, "3")}
    assert seen(watch, bus, again) == told == seen(watch, bus, again)
    assert TopicWatch(bus, ["a", "b"])._wrong == {}


def test_one_that_is_missing_is_wrong_while_it_is(watch: TopicWatch, bus: Said) -> None:
    assert seen(watch, bus, {"a": BOTH["a"]}) == "topic b does not exist"
    assert seen(watch, bus, BOTH) == ""


def test_more_partitions_are_odd(watch: TopicWatch, bus: Said) -> None:
    assert "topic a has 12 partitions and had 6" in seen(watch, bus, BOTH | {"a": TopicState(12, "1")})


def test_brokers_that_create_topics_are_odd(watch: TopicWatch, bus: Said) -> None:
    assert "auto.create.topics.enable=false" in seen(watch, bus, BOTH, True)


def test_its_health_says_so_and_brokers_that_are_away_are_a_failed_turn(bus: Said) -> None:
    watch = TopicWatch(bus, ["a", "c"], every_seconds=60.0)
    watch.start()
    while not (health := watch.health()).detail:
        pass
    watch.stop(5.0)
    assert (health.name, health.healthy, health.detail) == ("topics", False, "topic c does not exist")

    class Away(Said):
        def describe(self) -> Cluster:
            raise BusUnavailable("no broker answers")

    with pytest.raises(BusUnavailable):
        TopicWatch(Away(), ["a"]).turn()
