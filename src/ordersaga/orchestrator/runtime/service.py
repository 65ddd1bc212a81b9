"""The orchestrator as one thing to start, to stop and to ask how it is.

Its parts run in the background: workers (one member of the consumer group each), the relay, the deadlines. `serve
--only` leaves some of them out, so that they can run as processes of their own; the database is all that they share.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from ordersaga.bus.protocol import Bus, BusError
from ordersaga.delivery.background import Background, Health
from ordersaga.orchestrator.store.protocol import Store, StoreError


@dataclass(frozen=True, kw_only=True)
class Report:
    """How the service is. `ready` is what a load balancer should go by."""

    ready: bool
    parts: Sequence[Health]


class Service:
    def __init__(
        self, store: Store, bus: Bus, parts: Sequence[Background], *, besides: Sequence[Callable[[], Health]] = ()
    ) -> None:
        """`parts` are started in order and stopped in reverse: give the relay first, the worker last. `besides`: what
        else there is to say.
        """
        self._store = store
        self._bus = bus
        self._parts = parts
        self._besides = besides
        self._started: list[Background] = []

    def start(self) -> None:
        for part in self._parts:
            part.start()
            self._started.append(part)

    def stop(self, timeout_seconds: float = 10.0) -> bool:
        """Finish what is in hand, hand over the rest, leave the group. False where a part did not end in time."""
        deadline = monotonic() + timeout_seconds
        ended = [part.stop(max(0.1, deadline - monotonic())) for part in reversed(self._started)]
        self._started.clear()
        return all(ended)

    def health(self, timeout_seconds: float = 2.0) -> Report:
        """Ask the database, the bus and each part."""
        parts = [
            self._database(timeout_seconds),
            self._brokers(timeout_seconds),
            *(part.health() for part in self._parts),
            *(say() for say in self._besides),
        ]
        return Report(ready=all(part.healthy for part in parts), parts=parts)

    def _database(self, timeout_seconds: float) -> Health:
        try:
            self._store.check(timeout_seconds)
        except StoreError as error:
            return Health(name="database", healthy=False, detail=str(error))
        return Health(name="database", healthy=True)

    def _brokers(self, timeout_seconds: float) -> Health:
        try:
            self._bus.check(timeout_seconds)
        except BusError as error:
            return Health(name="kafka", healthy=False, detail=str(error))
        return Health(name="kafka", healthy=True)
