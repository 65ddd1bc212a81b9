"""What this process wrote last: instances that need not be read and decoded again for their next event.

Each is kept with the number of the transaction that wrote its row. PostgreSQL has that number in every row (`xmin`), so
whoever locks the row sees whether it is still the very one that was written here: if anybody has touched it since, with
a decision or by hand, it is read. Only sagas that wait for an answer are kept: theirs comes soon, and erasure of
personal data leaves them alone. What is kept is bounded, the oldest goes first, and nothing is lost with it.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from threading import Lock
from typing import NamedTuple
from uuid import UUID

from ordersaga.orchestrator.store.protocol import AnyInstance

RECENT_MAX = 4_000
"""About 20 MB. More in flight are read from the database as they come."""


class Written(NamedTuple):
    by: int
    """The transaction."""
    instance: AnyInstance


class Recent:
    """Safe to use from several threads."""

    def __init__(self, most: int = RECENT_MAX) -> None:
        self._most = most
        self._lock = Lock()
        self._known: dict[UUID, Written] = {}

    def of(self, saga_ids: Iterable[UUID]) -> Mapping[UUID, Written]:
        known = self._known
        return {saga_id: found for saga_id in saga_ids if (found := known.get(saga_id)) is not None}

    def keep(self, by: int, instances: Iterable[AnyInstance]) -> None:
        """After the transaction `by` has committed."""
        with self._lock:
            for instance in instances:
                self._known.pop(instance.saga_id, None)
                if instance.outstanding is not None:
                    self._known[instance.saga_id] = Written(by, instance)
            for saga_id in list(islice(self._known, max(0, len(self._known) - self._most))):
                del self._known[saga_id]
