"""A process from its start to its signal: run something until SIGTERM or SIGINT, then stop it in good order.

The first signal asks: what is in hand is finished, within the time given. The second one insists: the process ends at
once, and whatever was in hand is recovered from the database, as after a crash.
"""

import ctypes
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Protocol, Self

import structlog

_log = structlog.get_logger(__name__)
GC_THRESHOLD = 100_000
"""How many objects more than at the last time make the collector look again; 700 by default. A batch makes some tens of
thousands that live as long as it does: the collector would look at all of them in each, and find nothing.
"""
HEAPS_MAX, TRIM_EVERY_SECONDS = 2, 60.0
_M_ARENA_MAX = -8
"""Of glibc's mallopt."""
STOPPED, FAILED, INSISTED = 0, 1, 130
_ASKING = (signal.SIGTERM, signal.SIGINT)


class Runnable(Protocol):
    def start(self) -> None: ...

    def stop(self, timeout_seconds: float) -> bool: ...


def run_until_signalled(what: Runnable, stop_timeout_seconds: float) -> int:
    """Returns the exit code. To be called on the main thread, since signals arrive there."""
    asked = threading.Event()
    give_back = few_heaps()

    def came(count: int) -> None:
        if count > 1:
            os._exit(INSISTED)
        asked.set()

    with Signals(came):
        try:
            what.start()
            _collect_less_often()
            while not asked.wait(TRIM_EVERY_SECONDS):
                gc.collect()  # by its own count it would come to the old ones after days
                give_back()
        finally:
            _log.info("process.stopping")
            ended = what.stop(stop_timeout_seconds)
    if not ended:
        _log.error("process.not_stopped_in_time", timeout_seconds=stop_timeout_seconds)
        return FAILED
    _log.info("process.stopped")
    return STOPPED


def _collect_less_often() -> None:
    """A batch makes thousands of objects that end without the cycle collector, which would look at each several times;
    and what was imported never ends.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


def few_heaps() -> Callable[[], object]:
    """glibc gives threads heaps of their own, up to eight for each core, and every heap keeps what it once needed: each
    rush would leave some more behind. Before there are threads. Returns what gives back to the system what is free.
    """
    library = ctypes.CDLL(None)
    try:
        library.mallopt(_M_ARENA_MAX, HEAPS_MAX)
        trim = library.malloc_trim
    except AttributeError:  # another C library: it has other habits
        return lambda: None
    return lambda: trim(0)


def leave(exit_code: int) -> None:
    """End the process, also where a thread still hangs in a call that cannot be cut short."""
    sys.stdout.flush()
    sys.stderr.flush()
    hanging = [one for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]
    for thread in hanging:
        thread.join(0.2)
    if any(thread.is_alive() for thread in hanging):
        os._exit(exit_code)
    sys.exit(exit_code)


class Signals:
    """While it is entered, each SIGTERM and SIGINT calls `came` with how many there were, on a thread of its own.

    A handler would not do: it runs on the main thread, and the system may hand a signal to any. Where the main one
    waits for a lock, it hears of it at the end of that wait. The byte that the interpreter writes is there at once.
    """

    def __init__(self, came: Callable[[int], None]) -> None:
        self._came = came
        self._before: dict[signal.Signals, object] = {}
        self._heard, self._written = socket.socketpair()
        self._written.setblocking(False)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._wakeup_before = signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
        for one in _ASKING:
            self._before[one] = signal.signal(one, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._wakeup_before)
        self._written.close()
        self._thread.join()
        self._heard.close()

    def _listen(self) -> None:
        count = 0
        while numbers := self._heard.recv(64):
            for _ in filter(_ASKING.__contains__, numbers):
                count += 1
                self._came(count)
