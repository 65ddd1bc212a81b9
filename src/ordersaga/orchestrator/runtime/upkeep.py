"""What the store needs once a day: partitions made ahead, what has expired forgotten.

It can be missed for weeks without harm (partitions are made eight weeks ahead), and done by any number of processes.
"""

from ordersaga.delivery.background import Health, Loop
from ordersaga.orchestrator.store.protocol import Store

EVERY_SECONDS = 24 * 3600.0


class StoreUpkeep:
    def __init__(self, store: Store, *, every_seconds: float = EVERY_SECONDS) -> None:
        self._store = store
        self._every_seconds = every_seconds
        self._loop = Loop("upkeep", self._turn)

    def start(self) -> None:
        self._loop.start()

    def stop(self, timeout_seconds: float) -> bool:
        return self._loop.stop(timeout_seconds)

    def health(self) -> Health:
        return self._loop.health()

    def _turn(self) -> None:
        self._store.upkeep()
        self._loop.pause(self._every_seconds)
