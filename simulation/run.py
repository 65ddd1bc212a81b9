"""Runs one seed and says what came of it; finds the fewest faults that still break a rule."""

import traceback
from collections.abc import Collection, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import structlog

import ordersaga.participants.payment.consult
from ordersaga.delivery import failpoints
from simulation.faults import Fault
from simulation.rules import broken_rules, sagas_of
from simulation.scene import Scene
from simulation.scenes import ORDERS
from simulation.scheduler import world as new_world
from simulation.world import World

assert ordersaga.participants.payment.consult.BEFORE_PROVIDER
BUGS = frozenset({"background.turn_failed", "handle.decide_failed", "relay.publish_failed", "background.gave_up"})
"""What is logged when something happened that nobody foresaw."""


@dataclass(frozen=True)
class Outcome:
    seed: int
    broken: list[str]
    faults: list[Fault]
    ends: list[str] = field(default_factory=list)
    """The status of each saga."""
    bare: bool = False
    seconds: float = 0.0
    """Of the world's own time."""


class Runner:
    """Runs seeds, one at a time."""

    def __init__(self, scene: Scene = ORDERS) -> None:
        self._scene = scene
        self._world: World | None = None
        self._bugs: list[str] = []

    @contextmanager
    def ready(self) -> Iterator["Runner"]:
        """Every failpoint and every log line is the world's."""
        before = structlog.get_config()
        structlog.configure(processors=[self._listen], cache_logger_on_first_use=False)
        with ExitStack() as armed:
            for name in failpoints.declared():
                armed.enter_context(failpoints.armed(name, lambda name=name: self._at(name)))  # type: ignore[misc]
            yield self
        structlog.configure(**before)

    def run(self, seed: int, *, only: Collection[int] | None = None) -> Outcome:
        """`only`: which of its faults may happen."""
        self._bugs.clear()
        with new_world(Random(f"{seed} turns")) as scheduler:
            world = self._world = World(seed, scheduler, self._scene, only=only)
            rested = world.run()
            seconds = scheduler.seconds
            broken = list(self._bugs)
            broken += broken_rules(world) if rested else [f"I10: no rest after {seconds:.0f} s: {world.restless()}"]
            ends = [f"{one.status}" + (" with attention" if one.attention else "") for one in sagas_of(world).values()]
            self._world = None
        return Outcome(seed, broken, world.faults.happened, ends, world.bare, seconds)

    def shrunk(self, outcome: Outcome) -> Outcome:
        """The same with as few faults as still break a rule: halves first, then one by one."""
        best = outcome
        size = max(1, len(best.faults) // 2)
        while True:
            numbers = [fault.number for fault in best.faults]
            for start in range(0, len(numbers), size):
                kept = set(numbers[:start] + numbers[start + size :])
                found = self.run(outcome.seed, only=kept)
                if found.broken:
                    best = found
                    break
            else:
                if size == 1:
                    return best
                size = max(1, size // 2)

    def _at(self, name: str) -> None:
        if self._world is not None:
            self._world.at(name)

    def _listen(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        if event.get("event") in BUGS:
            error = event.get("exc_info")
            told = {key: value for key, value in event.items() if key not in ("event", "exc_info")}
            self._bugs.append(f"bug: {event['event']} {told} {_current_error() if error else ''}")
        raise structlog.DropEvent


def _current_error() -> str:
    return traceback.format_exc(limit=-4)
