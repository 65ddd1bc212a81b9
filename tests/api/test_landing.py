"""Results from other threads, on the event loop: all that are there at once, and whoever waits too long is told."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from threading import Thread
from typing import Any

import pytest

from ordersaga.web import landing as landing_module
from ordersaga.web.landing import Landing, StillRunning
from tests.waiting import a_turn_of_the_loop


async def in_a_thread(action: Callable[[], Any]) -> None:
    thread = Thread(target=action)
    thread.start()
    await asyncio.to_thread(thread.join)


def test_what_is_ready_together_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> tuple[list[int], int]:
        landing, loop = Landing(30), asyncio.get_running_loop()
        futures: list[Future[int]] = [Future() for _ in range(50)]
        waiting = [asyncio.ensure_future(landing.wait(future)) for future in futures]
        await a_turn_of_the_loop()
        wakings = 0
        wake = loop.call_soon_threadsafe

        def counted(*arguments: Any, **more: Any) -> Any:
            nonlocal wakings
            wakings += arguments[0] == landing._pass_on
            return wake(*arguments, **more)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        # On this thread, so that the loop cannot run in between.
        for number, future in enumerate(futures):
            future.set_result(number)
        return await asyncio.gather(*waiting), wakings

    assert asyncio.run(scene()) == (list(range(50)), 1)


def test_none_is_forgotten_however_threads_and_loop_meet() -> None:
    async def scene() -> int:
        landing = Landing(30)

        async def one(number: int) -> int:
            future: Future[int] = Future()
            Thread(target=future.set_result, args=(number,)).start()
            return await landing.wait(future)

        return sum(await asyncio.gather(*(one(number) for number in range(500))))

    assert asyncio.run(scene()) == sum(range(500))


def test_an_error_is_the_waiters_and_nobody_elses() -> None:
    async def scene() -> list[Any]:
        landing = Landing(30)
        good: Future[str] = Future()
        bad: Future[str] = Future()
        given_up: Future[str] = Future()
        waiting = asyncio.gather(*(landing.wait(one) for one in (good, bad, given_up)), return_exceptions=True)
        await a_turn_of_the_loop()
        given_up.cancel()
        await in_a_thread(partial(bad.set_exception, ValueError("no")))
        await in_a_thread(partial(good.set_result, "yes"))
        return await waiting

    good, bad, given_up = asyncio.run(scene())
    assert good == "yes" and isinstance(bad, ValueError) and isinstance(given_up, CancelledError)


def test_who_waits_too_long_is_told_in_turn_and_what_they_wait_for_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing_module, "RUNNING_SECONDS_MAX", 0.05)

    async def scene() -> tuple[Future[int], Sequence[Any], float]:
        landing, loop = Landing(0.1), asyncio.get_running_loop()
        late: Future[int] = Future()
        begun: Future[int] = Future()
        begun.set_running_or_notify_cancel()
        start = loop.time()
        outcomes = await asyncio.gather(landing.wait(late), landing.wait(begun), return_exceptions=True)
        seconds = loop.time() - start
        begun.set_result(1)  # nobody waits any more: it is of no consequence
        await a_turn_of_the_loop()
        return late, outcomes, seconds

    late, outcomes, seconds = asyncio.run(scene())
    assert late.cancelled() and [type(one) for one in outcomes] == [TimeoutError, StillRunning]
    assert 0.09 < seconds < 10


def test_what_lands_after_the_loop_has_closed_troubles_nobody() -> None:
    landing, future = Landing(30), Future[int]()

    async def scene() -> None:
        waiting = asyncio.ensure_future(landing.wait(future))
        await a_turn_of_the_loop()
        waiting.cancel()

    asyncio.run(scene())
    future.set_result(1)
    assert future.result() == 1


def test_what_has_begun_when_the_time_is_up_is_waited_for() -> None:
    """Whoever is told to come again though it succeeds does it twice."""

    async def scene() -> int:
        landing = Landing(0.01)
        begun: Future[int] = Future()
        begun.set_running_or_notify_cancel()
        waiting = asyncio.ensure_future(landing.wait(begun))
        await asyncio.wait([waiting], timeout=0.1)
        assert not waiting.done()
        await in_a_thread(partial(begun.set_result, 1))
        return await waiting

    assert asyncio.run(scene()) == 1
