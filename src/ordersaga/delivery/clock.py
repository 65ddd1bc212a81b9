"""Time and chance, passed in, so that a seeded simulation can stand in for both.

Nothing here decides when a deadline of a saga has passed: only the database's clock does. This one paces loops, retries
and leases.
"""

import os
import random
import time
from datetime import UTC, datetime
from threading import Condition
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware UTC. May jump: for people and log lines."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back: for durations."""

    def wait(self, condition: Condition, seconds: float | None) -> bool:
        """Wait, holding `condition`, until it is notified (True) or `seconds` have passed (False)."""


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
