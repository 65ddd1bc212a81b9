"""Calls of a library whose own timeouts do not bound everything, on threads of their own."""

from collections.abc import Callable
from threading import Thread
from typing import TypeVar

from ordersaga.bus.protocol import BusUnavailable

T = TypeVar("T")


def bounded(work: Callable[[], T], timeout_seconds: float) -> T:
    """What `work` returns or raises; `BusUnavailable` when it takes longer. It is not ended then, only left alone."""
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as failure:  # noqa: BLE001 (it goes to the caller)
            failures.append(failure)

    thread = Thread(target=run, name="bus-call", daemon=True)
    thread.start()
    thread.join(max(0.0, timeout_seconds))
    if failures:
        raise failures[0]
    if not results:
        raise BusUnavailable("no answer in time")
    return results[0]


def in_background(work: Callable[[], None]) -> None:
    Thread(target=work, name="bus-close", daemon=True).start()
