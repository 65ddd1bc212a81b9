"""Time, chance and threads, passed in, so that a seeded simulation can stand in for all of them.

Nothing here decides when a deadline of a saga has passed: only the database's clock does. This one paces loops, retries
and leases.
"""

import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Condition, Lock, Thread
from typing import Protocol

_BYTES_TOGETHER = 640


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
    """The system's, asked for many bytes at once: after each call a thread waits for the interpreter, which costs more
    than the bytes. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._random = random.SystemRandom()
        self._lock = Lock()
        self._kept, self._kept_by = b"", 0

    def bytes(self, n: int) -> bytes:
        with self._lock:
            if len(self._kept) < n or self._kept_by != os.getpid():  # a fork must not give out the same
                self._kept, self._kept_by = os.urandom(max(n, _BYTES_TOGETHER)), os.getpid()
            found, self._kept = self._kept[:n], self._kept[n:]
            return found

    def uniform(self, a: float, b: float) -> float:
        return self._random.uniform(a, b)


def backoff_seconds(attempt: int, *, first: float, most: float, randomness: Randomness) -> float:
    """How long to wait after failure number `attempt` (from 1): doubling up to `most`, and between half of that and all
    of it.

    The spread keeps processes that failed together from coming back together.
    """
    ceiling = min(most, first * 2.0 ** min(attempt - 1, 30))
    return randomness.uniform(ceiling / 2, ceiling)
