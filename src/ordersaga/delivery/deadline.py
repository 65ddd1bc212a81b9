"""An end to waiting for a database that does not answer.

No setting of a server or of libpq bounds the wait for a server that is frozen or cut off behind a silent network.
`Deadline` does: a transaction that takes longer than `seconds` has its socket shut under it, so that the thread inside
gets an error and the pool throws the connection away. The promise is an error within about `seconds`; what became of a
COMMIT that was cut off is unknown.
"""

import os
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any

import structlog
from psycopg import Connection, OperationalError

from ordersaga.delivery.clock import Clock, SystemClock

_log = structlog.get_logger(__name__)


class Deadline:
    """One time limit for all who use it. Its thread starts with the first use and sleeps until the oldest transaction
    is due.

    Any wait of that thread is at most `seconds` long, so it ends before a transaction that begins meanwhile is due:
    starting one wakes nobody.
    """

    def __init__(self, seconds: float, *, clock: Clock | None = None) -> None:
        self.seconds = seconds
        self._clock = clock or SystemClock()
        self._guarded: deque[_Guarded] = deque()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._idle = False

    @contextmanager
    def guard(self, connection: Connection[Any]) -> Iterator[None]:
        guarded = _Guarded(connection, self._clock.monotonic() + self.seconds)
        with self._changed:
            self._guarded.append(guarded)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="database-deadline", daemon=True)
                self._thread.start()
            elif self._idle:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                guarded.connection = None
                while self._guarded and self._guarded[0].connection is None:
                    self._guarded.popleft()

    def _run(self) -> None:
        with self._changed:
            while True:
                self._cut_due()
                if self._guarded:
                    self._clock.wait(self._changed, self._guarded[0].due - self._clock.monotonic())
                elif not self._clock.wait(self._changed, self.seconds) and not self._guarded:
                    self._idle = True
                    self._clock.wait(self._changed, None)
                    self._idle = False

    def _cut_due(self) -> None:
        """The lock is held, so that no connection goes back to its pool while it is being cut."""
        now = self._clock.monotonic()
        while self._guarded and self._guarded[0].due <= now:
            connection = self._guarded.popleft().connection
            if connection is not None:
                _log.error("database.deadline", seconds=self.seconds)
                _cut(connection)


@dataclass(slots=True)
class _Guarded:
    connection: Connection[Any] | None
    due: float


def _cut(connection: Connection[Any]) -> None:
    """Shut the socket through a copy of its descriptor: libpq's own stays valid, so nothing is closed twice."""
    with suppress(OSError, OperationalError), socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)
