"""What this process wrote last: instances that need not be read and decoded again for their next event.

Each is kept with the number of the transaction that wrote its row. PostgreSQL has that number in every row (`xmin`), so
whoever locks the row sees whether it is still the very one that was written here: if anybody has touched it since, with
a decision or by hand, it is read. A number is one server's: a standby that takes over without the last transactions
gives their numbers out once more. So all are of one server, known by when it was started, and are read from another.

Only sagas that wait for an answer are kept: theirs comes soon, and erasure of personal data leaves them alone. What is
kept is bounded, the oldest goes first, and nothing is lost with it.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from threading import Lock
from typing import Any, NamedTuple
from uuid import UUID

from ordersaga.orchestrator.store.protocol import AnyInstance

RECENT_MAX = 4_000
"""About 20 MB. More in flight are read from the database as they come."""

NO_SERVER = datetime(1970, 1, 1, tzinfo=UTC)


class Written(NamedTuple):
    by: int
    """The transaction; 0 where nothing is known."""
    instance: Any
    """An `Instance`."""


_UNKNOWN = Written(0, None)


class Recent:
    """Safe to use from several threads."""

    def __init__(self, most: int = RECENT_MAX) -> None:
        self._most = most
        self._lock = Lock()
        self._server = NO_SERVER
        self._known: dict[UUID, Written] = {}

    def of(self, saga_ids: Iterable[UUID]) -> tuple[datetime, Sequence[Written]]:
        """When the server was started on which they were written, and what is known of each of these, in order."""
        with self._lock:
            server, known = self._server, self._known
            return server, [known.get(saga_id, _UNKNOWN) for saga_id in saga_ids]

    def keep(self, by: int, server: datetime, instances: Iterable[AnyInstance]) -> None:
        """After the transaction `by` has committed, on the server that was started then."""
        with self._lock:
            if server != self._server:
                self._server, self._known = server, {}
            for instance in instances:
                self._known.pop(instance.saga_id, None)
                if instance.outstanding is not None:
                    self._known[instance.saga_id] = Written(by, instance)
            for saga_id in list(islice(self._known, max(0, len(self._known) - self._most))):
                del self._known[saga_id]
