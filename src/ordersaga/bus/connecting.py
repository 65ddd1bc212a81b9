"""A client that is opened when it is first needed, and again after it was dropped.

Opening blocks for seconds while no broker answers, so it happens on a thread of its own: whoever needs the client
waits as long as they like, and an attempt that outlasts them serves the next. Failed attempts are spaced by a growing
pause. The promise: at most one client and one attempt at a time, and nothing is opened after `close`.
"""

import time
from collections.abc import Callable
from threading import Condition, Thread
from typing import Generic, TypeVar

from ordersaga.bus.protocol import BusError, BusUnavailable

Client = TypeVar("Client")
_PAUSE_FIRST_SECONDS = 0.1
_PAUSE_MOST_SECONDS = 1.0


class StillConnecting(BusUnavailable):
    """No attempt has failed yet."""


class Connecting(Generic[Client]):
    def __init__(self, name: str, *, open_client: Callable[[], Client], discard: Callable[[Client], None]) -> None:
        """`open_client` raises `BusError`. `discard` is called on any thread, once per client; it must not block."""
        self._name = name
        self._open_client = open_client
        self._discard = discard
        self._changed = Condition()
        self._client: Client | None = None
        self._opening = False
        self._failures_in_row = 0
        self._next_attempt_at = 0.0
        self._error: BusError | None = None
        self._closed = False

    def get(self, timeout_seconds: float) -> Client:
        """Raises `BusUnavailable` with the cause of the last failed attempt; `StillConnecting` during the first."""
        until = time.monotonic() + timeout_seconds
        with self._changed:
            while self._client is None:
                now = time.monotonic()
                if self._closed:
                    raise BusError(f"{self._name} is closed")
                if now >= until:
                    raise self._error or StillConnecting("no broker has answered yet")
                if not self._opening and now >= self._next_attempt_at:
                    self._start()
                self._changed.wait(until - now if self._opening else min(until, self._next_attempt_at) - now)
            return self._client

    def drop(self, client: Client) -> None:
        """Close it; the next `get` opens another. Does nothing where it was dropped before."""
        with self._changed:
            if self._client is not client:
                return
            self._client = None
        self._discard(client)

    def drop_any(self) -> None:
        """As `drop`, whichever there is."""
        client = self._client
        if client is not None:
            self.drop(client)

    def holds(self, client: Client) -> bool:
        """Whether it is neither dropped nor closed."""
        with self._changed:
            return self._client is client

    def close(self) -> Client | None:
        """No more attempts. The client that there is, if any, is handed over to be closed by the caller."""
        with self._changed:
            self._closed = True
            client, self._client = self._client, None
            self._changed.notify_all()
            return client

    def _start(self) -> None:
        self._opening = True
        Thread(target=self._open, name=f"{self._name}-connect", daemon=True).start()

    def _open(self) -> None:
        client: Client | None = None
        error: BusError | None = None
        try:
            client = self._open_client()
        except BusError as caught:
            error = caught
        except Exception as caught:  # noqa: BLE001 (of our making; else those who wait would learn nothing)
            error = BusError(f"{type(caught).__name__}: {caught}")
        with self._changed:
            self._opening = False
            self._error = error
            if client is None:
                pause = min(_PAUSE_FIRST_SECONDS * 2**self._failures_in_row, _PAUSE_MOST_SECONDS)
                self._failures_in_row += 1
                self._next_attempt_at = time.monotonic() + pause
            else:
                self._failures_in_row = 0
            unwanted = client if self._closed else None
            self._client = None if self._closed else client
            self._changed.notify_all()
        if unwanted is not None:
            self._discard(unwanted)
