"""Looks after the topics: missing, deleted and created again, grown, or made by whoever mistypes a name.

Kafka's clients say nothing of any of this. A topic that was created again under a consumer whose position lies beyond
the new log's end is read from that end: what stands before it is skipped in silence.
"""

from collections.abc import Collection

import structlog

from ordersaga.bus.protocol import Bus, Cluster, TopicState
from ordersaga.delivery.background import Health, Loop, Looped
from ordersaga.delivery.clock import Clock

EVERY_SECONDS = 30.0
AUTO_CREATE = "a broker creates topics by itself: set auto.create.topics.enable=false, else a misspelt name makes one"
_log = structlog.get_logger(__name__)


class TopicWatch(Looped):
    """Brokers that are away are not its business."""

    def __init__(
        self, bus: Bus, topics: Collection[str], *, every_seconds: float = EVERY_SECONDS, clock: Clock | None = None
    ) -> None:
        self._bus = bus
        self._topics = sorted(topics)
        self._every_seconds = every_seconds
        self._first: dict[str, TopicState] = {}
        """As this process saw each first."""
        self._wrong: dict[str, str] = {}
        """What nothing but a person can put right, by topic."""
        self._odd: list[str] = []
        self._loop = Loop("topics", self.turn, clock=clock)

    def turn(self) -> None:
        cluster = self._bus.describe()
        wrong, odd = dict(self._recreated(cluster)), self._grown(cluster)
        wrong |= {name: f"topic {name} does not exist" for name in self._topics if name not in cluster.topics}
        if cluster.creates_topics:
            odd.append(AUTO_CREATE)
        for text in {*wrong.values()} - {*self._wrong.values()}:
            _log.error("topics.wrong", problem=text)
        for text in {*odd} - {*self._odd}:
            _log.warning("topics.odd", problem=text)
        self._wrong, self._odd = wrong, odd
        self._loop.pause(self._every_seconds)

    def health(self) -> Health:
        found = self._loop.health()
        if not found.healthy:
            return found
        said = "; ".join([*self._wrong.values(), *self._odd])
        return Health(name="topics", healthy=not self._wrong, detail=said)

    def _recreated(self, cluster: Cluster) -> list[tuple[str, str]]:
        """Wrong until this process ends, whatever became of the topic since."""
        again = []
        for name in self._topics:
            if (now := cluster.topics.get(name)) is None:
                continue
            first = self._first.setdefault(name, now)
            if now.identity != first.identity:
                problem = f"topic {name} was deleted and created again: stop all that read it, then start them anew"
                again.append((name, problem))
        return again

    def _grown(self, cluster: Cluster) -> list[str]:
        return [
            f"topic {name} has {now.partitions} partitions and had {first.partitions}: for a while, records of one saga"
            " may come in another order"
            for name, first in self._first.items()
            if (now := cluster.topics.get(name)) and now.partitions != first.partitions
        ]
