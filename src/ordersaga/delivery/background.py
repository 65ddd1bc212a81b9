"""The one contract of everything that runs in the background: start, stop within a time, and say how it is.

A `Loop` calls its `turn` again and again on a thread of its own. The promise: an exception that a turn did not foresee
is logged, counted, and followed by another turn after a growing pause; a loop never dies in silence. One that says of
itself that it is `retriable` (something we depend on is away) is logged in a line, any other with its traceback.
The non-promise: a turn that does not return cannot be ended, so every turn must bound its waiting.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from typing import Protocol

import structlog

from ordersaga.delivery.clock import Clock, Randomness, Running, SystemClock, SystemRandom, backoff_seconds

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    name: str
    healthy: bool
    detail: str = ""
    """Why not, or what is odd: one line."""


class Background(Protocol):
    """Start once. `stop` may come before `start`, and twice."""

    def start(self) -> None: ...

    def stop(self, timeout_seconds: float) -> bool:
        """Finish what is in hand and end. False when that took longer than the timeout: the thread may be running
        still.
        """

    def health(self) -> Health: ...


class GiveUpError(Exception):
    """Raised by a turn to end its loop for good: no further turn can do better. The loop is unhealthy from then on."""


class Loop:
    """A thread that takes turns until it is stopped."""

    def __init__(
        self,
        name: str,
        turn: Callable[[], None],
        *,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
        restart_first_seconds: float = 0.1,
        restart_most_seconds: float = 10.0,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        """`on_end` runs on the loop's thread after the last turn, whatever ended it."""
        self.name = name
        self._turn = turn
        self._on_end = on_end
        self._clock = clock or SystemClock()
        self._randomness = randomness or SystemRandom()
        self._restart_first_seconds = restart_first_seconds
        self._restart_most_seconds = restart_most_seconds
        self._thread: Running | None = None
        self._changed = Condition()
        self._stopping = False
        self._awake = False
        self._failures_in_row = 0
        self.failures = 0
        self.last_error = ""
        self._gave_up = False

    @property
    def started(self) -> bool:
        return self._thread is not None

    @property
    def stopping(self) -> bool:
        return self._stopping

    def start(self) -> None:
        """Does nothing where `stop` came first."""
        with self._changed:
            assert self._thread is None, f"{self.name} was started before"
            if self._stopping:
                return
            self._thread = self._clock.run(self.name, self._run)

    def request_stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def stop(self, timeout_seconds: float) -> bool:
        self.request_stop()
        return self.join(timeout_seconds)

    def join(self, timeout_seconds: float) -> bool:
        thread = self._thread
        if thread is None:
            return True
        thread.join(max(0.0, timeout_seconds))
        return not thread.is_alive()

    def wake(self) -> None:
        """End the current `pause`, or the next one."""
        with self._changed:
            self._awake = True
            self._changed.notify_all()

    def pause(self, seconds: float | None) -> None:
        """For the turn, its work done: wait until woken, stopped, or `seconds` have passed. A turn that has come here
        did not fail, though it may end in a day.
        """
        self._failures_in_row = 0
        until = None if seconds is None else self._clock.monotonic() + seconds
        with self._changed:
            while not (self._awake or self._stopping):
                left = None if until is None else until - self._clock.monotonic()
                if left is not None and left <= 0:
                    break
                self._clock.wait(self._changed, left)
            self._awake = False

    def rest(self, seconds: float) -> None:
        """Unlike `pause` it is not cut short by `wake`, only by a stop."""
        until = self._clock.monotonic() + seconds
        with self._changed:
            while not self._stopping and (left := until - self._clock.monotonic()) > 0:
                self._clock.wait(self._changed, left)

    def health(self) -> Health:
        if self._gave_up:
            return Health(name=self.name, healthy=False, detail=f"gave up: {self.last_error}")
        if self._thread is None or not self._thread.is_alive():
            return Health(name=self.name, healthy=False, detail="not running")
        if self._failures_in_row:
            return Health(
                name=self.name,
                healthy=False,
                detail=f"failed {self._failures_in_row} times in a row: {self.last_error}",
            )
        return Health(name=self.name, healthy=True)

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._take_turn()
        finally:
            if self._on_end is not None:
                self._on_end()

    def _take_turn(self) -> None:
        try:
            self._turn()
            self._failures_in_row = 0
        except GiveUpError as error:
            self.last_error = _one_line(error)
            self._gave_up = True
            self._stopping = True
            _log.error("background.gave_up", loop=self.name, error=self.last_error)
        except Exception as error:  # noqa: BLE001 - a loop outlives whatever its turn did not foresee
            self.failures += 1
            self._failures_in_row += 1
            self.last_error = _one_line(error)
            if getattr(error, "retriable", False):
                _log.warning(
                    "background.retrying", loop=self.name, error=self.last_error, in_a_row=self._failures_in_row
                )
            else:
                _log.exception("background.turn_failed", loop=self.name, in_a_row=self._failures_in_row)
            self._pause_before_restart()

    def _pause_before_restart(self) -> None:
        """A rest, so that a busy neighbour does not turn a failing loop into a hot one."""
        seconds = backoff_seconds(
            self._failures_in_row,
            first=self._restart_first_seconds,
            most=self._restart_most_seconds,
            randomness=self._randomness,
        )
        self.rest(seconds)


class Looped:
    """A `Background` that is one loop, and nothing to finish: `_loop` is made by whoever derives from it."""

    _loop: Loop

    def start(self) -> None:
        self._loop.start()

    def stop(self, timeout_seconds: float) -> bool:
        return self._loop.stop(timeout_seconds)

    def health(self) -> Health:
        return self._loop.health()


class Chore(Looped):
    """Something small that is done at once, and again after each rest."""

    def __init__(
        self, name: str, do: Callable[[], object], *, every_seconds: float, again_seconds: float = 60.0
    ) -> None:
        """`do`: where it says True there is more of it, and the rest is the short one, `again_seconds`."""
        self._do = do
        self._every_seconds = every_seconds
        self._again_seconds = again_seconds
        self._loop = Loop(name, self._turn)

    def _turn(self) -> None:
        is_more = self._do() is True
        self._loop.pause(self._again_seconds if is_more else self._every_seconds)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:500]
