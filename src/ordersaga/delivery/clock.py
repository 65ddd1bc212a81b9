"""Time, chance and threads, passed in, so that a seeded simulation can stand in for all of them.

Nothing here decides when a deadline of a saga has passed: only the database's clock does. This one paces loops, retries
and leases.
"""

import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Condition, Thread
from typing import Protocol


class Running(Protocol):
    """Something that runs beside us."""

    def join(self, timeout: float) -> None:
        """Wait until it has ended, at most so many seconds."""

    def is_alive(self) -> bool: ...


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware UTC. May jump: for people and log lines."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back: for durations."""

    def wait(self, condition: Condition, seconds: float | None) -> bool:
        """Wait, holding `condition`, until it is notified (True) or `seconds` have passed (False)."""

    def run(self, name: str, target: Callable[[], None]) -> Running:
        """Run `target` beside us. A process that was told to go is not held up by it."""


class Randomness(Protocol):
    def bytes(self, n: int) -> bytes: ...

    def uniform(self, a: float, b: float) -> float: ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, condition: Condition, seconds: float | None) -> bool:
        return condition.wait(seconds)

    def run(self, name: str, target: Callable[[], None]) -> Running:
        thread = Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread


class SystemRandom:
    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def bytes(self, n: int) -> bytes:
        return os.urandom(n)

    def uniform(self, a: float, b: float) -> float:
        return self._random.uniform(a, b)


def backoff_seconds(attempt: int, *, first: float, most: float, randomness: Randomness) -> float:
    """How long to wait after failure number `attempt` (from 1): doubling up to `most`, and between half of that and all
    of it.

    The spread keeps processes that failed together from coming back together.
    """
    ceiling = min(most, first * 2.0 ** min(attempt - 1, 30))
    return randomness.uniform(ceiling / 2, ceiling)
