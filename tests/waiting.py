"""Waiting for something that happens elsewhere: on its condition, with a bound, never for time to pass."""

import asyncio
import time
from collections.abc import Callable
from threading import Event


def until(holds: Callable[[], bool], what: str, *, within_seconds: float = 30.0, every_seconds: float = 0.05) -> None:
    """Return as soon as `holds` says yes; fail with `what` was waited for when it never does."""
    end = time.monotonic() + within_seconds
    pause = Event()
    while not holds():
        assert time.monotonic() < end, f"waited {within_seconds:g} s in vain until {what}"
        pause.wait(every_seconds)


async def a_turn_of_the_loop() -> None:
    """Until what the event loop has to do now is done."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_soon(done.set_result, None)
    await done
