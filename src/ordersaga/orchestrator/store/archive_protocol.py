"""Where sagas go that have long ended, and how they come back.

Moved, never copied: a saga is in the hot tables or in the archive, in one transaction with its history and personal
data. Whoever loads one that is in the archive (its late news has come) finds it moved back and locked: see
`Transaction.load`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    saga_id: UUID
    saga: str
    version: int
    status: str
    order_id: str | None
    payment_id: str | None
    at: datetime
    """When it was moved here."""
    file: str | None = None
    """Of the archive, in which all but this is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What one batch moved. `last` is where the next goes on; None: nothing is left to look at."""

    count: int
    last: UUID | None


class Archive(Protocol):
    def move(self, *, older_than: timedelta, limit: int, after: UUID | None = None) -> Moved:
        """Move one batch in one transaction, in the order of ids, after the one named.

        Moved is what was begun and last changed longer ago than `older_than` and has nothing before it: COMPLETED and
        accepted, COMPENSATED, CANCELLED, FAILED and resolved; nothing due, no `attention` that nobody has resolved.
        What another transaction holds is passed over. Raises `StoreUnavailable`, `CommitUnknown`.
        """

    def drop_history(self, *, older_than: timedelta) -> Sequence[str]:
        """Take away the history of weeks that ended longer ago than that, whose sagas are in the archive with theirs;
        that of the few which are not is moved first. The names of what was dropped; a week that somebody reads at this
        moment stays for another time. Raises `StoreUnavailable`.
        """

    def page(self, *, limit: int = 100, before: UUID | None = None) -> Sequence[Archived]:
        """Newest first, at most 100, older than the one whose id is `before`."""

    def knows(self, order_id: str | None, payment_id: str | None) -> bool:
        """Whether a saga with one of these is here."""

    def restore(self, saga_id: UUID) -> Sequence[UUID]:
        """Move it back, and with it what else is here of its order. Which ones; none where it is not here."""

    def forget(self, *, older_than: timedelta, limit: int) -> int:
        """Delete for good what has been here longer than that and is in no file; at most `limit`, oldest first. How
        many.
        """
