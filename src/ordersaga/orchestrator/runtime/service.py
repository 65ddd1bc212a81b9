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

NEEDED_TO_ANSWER = frozenset({"preparation", "database", "beginnings", "orders"})


@dataclass(frozen=True, kw_only=True)
class Report:
    """How the service is, part by part."""

    parts: Sequence[Health]

    @property
    def ready(self) -> bool:
        """Whether all is well."""
        return all(part.healthy for part in self.parts)

    @property
    def answering(self) -> Sequence[Health]:
        """Those without which it can neither take orders nor tell of them. What else may be away meanwhile, brokers
        above all, is waited for by what was taken.
        """
        return [part for part in self.parts if part.name in NEEDED_TO_ANSWER]


class Service:
    def __init__(
        self,
        store: Store,
        bus: Bus,
        parts: Sequence[Background],
        *,
        besides: Sequence[Callable[[], Health]] = (),
        changes: bool = True,
    ) -> None:
        """`parts` are started in order and stopped in reverse: give the relay first, the worker last. `besides`: what
        else there is to say. `changes`: whether a database that can only be read is not enough.
        """
        self._store = store
        self._bus = bus
        self._parts = parts
        self._besides = besides
        self._changes = changes
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
        return Report(parts=parts)

    def _database(self, timeout_seconds: float) -> Health:
        try:
            self._store.check(timeout_seconds, to_write=self._changes)
        except StoreError as error:
            return Health(name="database", healthy=False, detail=str(error))
        return Health(name="database", healthy=True)

    def _brokers(self, timeout_seconds: float) -> Health:
        try:
            self._bus.check(timeout_seconds)
        except BusError as error:
            return Health(name="kafka", healthy=False, detail=str(error))
        return Health(name="kafka", healthy=True)
