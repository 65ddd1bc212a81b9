"""What a host asks of its ledger: one transaction holds what was done and what is said about it, or neither.

Rows that are there are locked while they are worked on. A row that is not there cannot be locked, so two hosts may both
find it missing: the second to save is told so (`LedgerUnavailable`), and finds it when it tries again.

Two implementations: `ledger.PostgresLedger` and `ledger_memory.MemoryLedger`. One suite of tests runs over both.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from ordersaga.bus.protocol import Outgoing, Record
from ordersaga.delivery.messages import OutboxRow
from ordersaga.participants.service import By, Row


class LedgerError(Exception):
    """The ledger could not do what was asked.

    LedgerError
    ├── LedgerUnavailable   the database is away or busy, or two hosts met: roll back and try again (retriable)
    └── BadAnswer           the database refuses what a row holds: put the record aside
    """

    retriable = False


class LedgerUnavailable(LedgerError):
    retriable = True


class BadAnswer(LedgerError):
    pass


class Owner(Protocol):
    """Under whose name outbox rows are written, as of now."""

    @property
    def owner(self) -> UUID: ...

    @property
    def server(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said to one command, and a digest of the command."""

    asked: bytes
    record: Outgoing


@dataclass(frozen=True, slots=True)
class Known:
    """What a batch finds."""

    now: datetime
    rows: Mapping[str, Any]
    answers: Mapping[UUID, Answer]


class Ledger(Protocol):
    def create_tables(self) -> None:
        """Make what is missing. Ten hosts may do so at once, beside others that work. Raises `LedgerError`:
        `LedgerUnavailable` where somebody holds what is to be changed.
        """

    def transaction(self) -> AbstractContextManager["LedgerTransaction"]:
        """Commits on leaving the block, rolls back when that raises. Waits for nothing without end, rows that another
        host holds included. Raises `LedgerError`, and nothing else of its own.
        """

    def close(self) -> None: ...


class LedgerTransaction(Protocol):
    def load(self, keys: Sequence[str], names: Sequence[tuple[str, str]], message_ids: Sequence[UUID]) -> Known:
        """The rows under `keys` and those with `names` (column and value), and what was answered to `message_ids`."""

    def due(self, limit: int) -> Sequence[Any]:
        """Timers that have run out, locked; those that another host fires are left to it."""

    def inbox(self, customer_id: str, limit: int) -> Sequence[Any]:
        """What one customer was told, newest first."""

    def now(self) -> datetime:
        """The one clock."""

    def save(
        self, rows: Sequence[Row], answers: Mapping[UUID, Answer], records: Sequence[Outgoing]
    ) -> Sequence[OutboxRow]:
        """What was done, what was answered for the first time, and what is to be sent. The rows of the outbox may be
        read after the commit.
        """

    def forget(self, kept: timedelta, part_max: int) -> int:
        """Forget answers that are older than `kept`, the oldest first, so many at most; how many."""

    def acted(self, key: str, verb: str, by: By) -> None:
        """What a person did."""

    def dead_letter(self, record: Record, reason: str) -> None:
        """A record that cannot be used; delivered again, it is kept once."""
