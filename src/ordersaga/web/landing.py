"""Results that other threads have ready land on the event loop, all that are there at once.

`asyncio.wrap_future` wakes the loop for each result, which is a system call each, in the thread that has better things
to do. Here a transaction's worth of results wakes it once, and one timer serves all who wait.
"""

import asyncio
from collections import deque
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
RUNNING_SECONDS_MAX = 20.0
"""How much longer what has begun is waited for: a transaction has bounds of its own, and this is beyond them."""


class StillRunning(Exception):
    """Nobody knows what will come of it."""

    retriable = True


class Landing:
    """Belongs to the event loop on which it is first waited."""

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._landed: deque[Future[Any]] = deque()
        self._waking = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[Future[Any], tuple[float, asyncio.Future[Any]]] = {}
        """Until when, and who waits here; in the order of coming, which is that of giving up."""
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, future: "Future[T]") -> T:
        """The result of `future`, or its exception. After `seconds_max` it is cancelled, `TimeoutError`; where somebody
        has begun with it, it is waited for, and `StillRunning` is raised only after 20 seconds more.
        """
        if future.done():
            return future.result()
        loop = self._loop = self._loop or asyncio.get_running_loop()
        here: asyncio.Future[T] = loop.create_future()
        until = loop.time() + self._seconds_max
        self._waiting[future] = until, here
        if self._timer is None:
            self._timer = loop.call_at(until, self._give_up)
        future.add_done_callback(self._land)
        try:
            return await here
        finally:
            del self._waiting[future]

    def _land(self, future: "Future[Any]") -> None:
        """On the thread that has it ready."""
        self._landed.append(future)
        if not self._waking:
            self._waking = True
            assert self._loop is not None, "somebody waits"
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._pass_on)

    def _pass_on(self) -> None:
        # First the flag: what lands from now on wakes the loop again; what landed before is seen below.
        self._waking = False
        while self._landed:
            future = self._landed.popleft()
            _, here = self._waiting.get(future, (0.0, None))
            if here is None or here.done():
                continue
            error = CancelledError() if future.cancelled() else future.exception()
            if error is None:
                here.set_result(future.result())
            else:
                here.set_exception(error)

    def _give_up(self) -> None:
        assert self._loop is not None, "somebody waits"
        now, self._timer = self._loop.time(), None
        look_at: list[float] = []
        for future, (until, here) in list(self._waiting.items()):
            if until > now:
                look_at.append(until)
                break
            if here.done():
                continue
            if future.cancel():
                here.set_exception(TimeoutError())
            elif until + RUNNING_SECONDS_MAX <= now:
                here.set_exception(StillRunning())
            else:
                look_at.append(until + RUNNING_SECONDS_MAX)
        if look_at:
            self._timer = self._loop.call_at(min(look_at), self._give_up)
