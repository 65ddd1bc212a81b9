"""Orders that come in at the same time begin in one transaction.

A transaction costs about the same for one saga as for fifty, so whoever wants to begin one hands it in and waits; a
single thread takes all that have come meanwhile and begins them together. Where orders come one after the other, each
just too late for the one before, they wait a moment for company; alone, an order waits for nobody. The promise is that
of a transaction: when `begin` returns, the saga is in the database. What one order holds cannot make the others fail.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import Lock
from typing import Any

import structlog

from ordersaga.delivery.background import Loop, Looped
from ordersaga.delivery.clock import SystemClock
from ordersaga.delivery.gathering import Gathering
from ordersaga.orchestrator.core.instance import Instance
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.runtime.turn import New
from ordersaga.orchestrator.store.protocol import BadRow, KeyTaken, StoreUnavailable

AnyInstance = Instance[Any]
_log = structlog.get_logger(__name__)
GATHER_LEAST = 2.0
"""For fewer orders no time is given."""
Waiting = tuple[New, "Future[AnyInstance]"]


class Beginnings(Looped):
    def __init__(self, handler: Handler, *, batch_max: int = 200, gather_seconds: float = 0.0) -> None:
        """`gather_seconds`: see `delivery.gathering`."""
        self._handler = handler
        self._batch_max = batch_max
        self._gathering = Gathering(SystemClock(), seconds=gather_seconds, least=GATHER_LEAST)
        self._lock = Lock()
        self._waiting: list[Waiting] = []
        self._ended = False
        self._loop = Loop("beginnings", self._turn, on_end=self._end)

    def begin(self, new: New) -> "Future[AnyInstance]":
        """Done when the saga is in the database, or a `StoreError`. Whoever waits no longer cancels it: then it is not
        begun behind their back, unless it is being begun.
        """
        future: Future[AnyInstance] = Future()
        with self._lock:
            if self._ended:
                raise StoreUnavailable("this process is stopping")
            self._waiting.append((new, future))
        self._loop.wake()
        return future

    def _turn(self) -> None:
        if not self._waiting:
            self._loop.pause(None)
        if self._waiting and (seconds := self._gathering.wait_seconds()) > 0:
            self._loop.rest(seconds)
        self._take()

    def _take(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting[: self._batch_max], self._waiting[self._batch_max :]
        if batch:
            self._gathering.took(len(batch))
        # One that was given up is not begun behind the back of whoever gave it up.
        batch = [(new, future) for new, future in batch if future.set_running_or_notify_cancel()]
        if batch:
            self._begin(batch)

    def _begin(self, batch: Sequence[Waiting]) -> None:
        try:
            begun = self._handler.begin_all([new for new, _ in batch])
        except (BadRow, KeyTaken) as error:
            if len(batch) == 1:
                _settle(batch[0][1], error)
                return
            middle = len(batch) // 2
            self._begin(batch[:middle])
            self._begin(batch[middle:])
        except Exception as error:  # noqa: BLE001 (whatever it is, those who wait have to know)
            for _, future in batch:
                _settle(future, error)
        else:
            for (_, future), instance in zip(batch, begun, strict=True):
                _settle(future, instance)

    def _end(self) -> None:
        """Whoever was let in is not sent away."""
        with self._lock:
            self._ended = True
        while self._waiting:
            self._take()


def at_once(handler: Handler) -> "Callable[[New], Future[AnyInstance]]":
    """The same without company and without waiting, for whoever has one order."""

    def begin(new: New) -> "Future[AnyInstance]":
        future: Future[AnyInstance] = Future()
        future.set_result(handler.begin(new))
        return future

    return begin


def _settle(future: "Future[AnyInstance]", outcome: AnyInstance | Exception) -> None:
    with suppress(InvalidStateError):
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
