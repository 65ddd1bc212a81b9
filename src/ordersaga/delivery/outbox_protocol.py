"""What the relay asks of an outbox.

Each row has an owner, the process that wrote it, and that process publishes it from memory. An owner lives as long as
it is registered, and it is removed by anyone who finds its lease run out. The promise: a row is never given to two
owners that both may believe to be alive. The non-promise: an owner that is frozen between its last look at the clock
and the send may still publish a row that another has taken over.

Two implementations: `outbox.PostgresOutbox` and `outbox_memory.MemoryOutbox`. One suite of tests runs over both.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from ordersaga.delivery.messages import OutboxRow


@dataclass(frozen=True, slots=True)
class Pending:
    """All rows that wait, whoever owns them."""

    rows: int
    oldest_age_seconds: float


class Outbox(Protocol):
    """One owner's view of the outbox. Every method is a transaction of its own and raises `OutboxUnavailable` when it
    cannot be had, and `AnotherServer` where ids of rows are not those of the server that the lease began on.
    """

    @property
    def owner(self) -> UUID:
        """The id to write rows under, now. It changes when the lease was lost, so ask for it in every transaction."""

    @property
    def server(self) -> datetime | None:
        """When the server was started that the lease began on; None before it began."""

    @property
    def lease_seconds(self) -> float: ...

    def register(self, *, anew: bool = False) -> None:
        """Begin a lease; with `anew` under another id, because the old one was lost. Its rows can be taken over."""

    def beat(self) -> None:
        """Renew the lease on the database's clock. Raises `LeaseLost` when somebody has removed this owner."""

    def release(self) -> None:
        """End the lease: others take over at once."""

    def acknowledged(self, row_ids: Sequence[int]) -> None:
        """Delete rows whose records are in the log of the bus, in one statement; none on another server."""

    def still_there(self, row_ids: Collection[int]) -> set[int]:
        """Those that are not deleted yet, whoever owns them."""

    def take_over(self, limit: int, *, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        """Become the owner of rows whose owner is gone, oldest first; not of rows on the topics `without`."""

    def left_behind(
        self,
        known: Collection[int],
        *,
        older_than_seconds: float,
        limit: int,
        without: Collection[str] = (),
        after: int = 0,
    ) -> Sequence[OutboxRow]:
        """Rows of mine that are not among `known` nor on the topics `without`, and come after the row `after`, oldest
        first: a COMMIT whose answer was lost, or more than memory would hold.
        """

    def pending(self) -> Pending: ...


class OutboxError(Exception):
    """The outbox could not do what was asked.

    OutboxError
    ├── OutboxUnavailable   the database cannot be reached, is busy or read-only: try again later (retriable)
    └── LeaseLost           others may own our rows by now: forget what is held, register under another id
        └── AnotherServer   not the one that the lease began on: forget the ids of rows too, they may come again
    """

    retriable = False


class OutboxUnavailable(OutboxError):
    retriable = True


class LeaseLost(OutboxError):
    pass


class AnotherServer(LeaseLost):
    """Or the same one, started again, since that cannot be told from a standby that lacks what was committed last."""
