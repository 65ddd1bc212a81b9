"""What the store without a database has committed, and who holds which saga."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from threading import Condition
from uuid import UUID

from ordersaga.delivery.outbox_memory import MemoryTable
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.store.codec_protocol import InstanceCodec
from ordersaga.orchestrator.store.decoded import decoded as decoded_row
from ordersaga.orchestrator.store.protocol import (
    AnyInstance,
    DamagedRow,
    DeadlineKind,
    EarlyEvent,
    Lookup,
    RequestKey,
    StoredDeadLetter,
    StoredHistory,
    StoredOrphan,
)
from ordersaga.orchestrator.store.statistics_protocol import Sum


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaRow:
    """What is searched for, and the rest as bytes."""

    saga_id: UUID
    saga: str
    version: int
    status: Status
    revision: int
    order_id: str | None
    payment_id: str | None
    state: bytes
    personal: bytes | None


@dataclass(slots=True)
class MemoryTables:
    """What has been committed, and who holds which saga. `changed` guards all of it."""

    outbox: MemoryTable
    changed: Condition = field(default_factory=Condition)
    sagas: dict[UUID, SagaRow] = field(default_factory=dict)
    history: dict[UUID, list[StoredHistory]] = field(default_factory=dict)
    deadlines: dict[tuple[UUID, DeadlineKind], datetime] = field(default_factory=dict)
    failing: set[tuple[UUID, DeadlineKind]] = field(default_factory=set)
    """Deadlines that were put off."""
    dead_letters: dict[tuple[str, int, int, int], StoredDeadLetter] = field(default_factory=dict)
    orphans: dict[tuple[str, int, int, UUID], StoredOrphan] = field(default_factory=dict)
    early: dict[tuple[str, int, int], tuple[datetime, EarlyEvent]] = field(default_factory=dict)
    """Until when each is kept."""
    keys: dict[tuple[str, str], RequestKey] = field(default_factory=dict)
    archive: dict[UUID, tuple[datetime, SagaRow, list[StoredHistory]]] = field(default_factory=dict)
    """Since when each is there."""
    statistics: list[tuple[datetime, Sum]] = field(default_factory=list)
    """What each transaction added, and when."""
    held_by: dict[UUID, object] = field(default_factory=dict)

    def everywhere(self) -> Sequence[SagaRow]:
        """All sagas, those in the archive too; `changed` is held."""
        return [*self.sagas.values(), *(row for _, row, _ in self.archive.values())]

    def bring_back(self, wanted: Lookup) -> Sequence[UUID]:
        """From the archive; `changed` is held. Which ones."""
        orders, payments = set(wanted.order_ids), set(wanted.payment_ids)
        found = [
            saga_id
            for saga_id, (_, row, _) in self.archive.items()
            if saga_id in wanted.saga_ids or row.order_id in orders or row.payment_id in payments
        ]
        for saga_id in found:
            _, row, history = self.archive.pop(saga_id)
            self.sagas[saga_id], self.history[saga_id] = row, history
        return found


def decoded(codec: InstanceCodec, row: SagaRow) -> AnyInstance | None:
    """See `store.decoded`."""
    return decoded_row(codec, (row.saga_id, row.saga, row.version, row.state, row.personal))


def readable(codec: InstanceCodec, rows: Iterable[SagaRow]) -> Iterator[AnyInstance]:
    """Of versions that are known, and not damaged."""
    for row in rows:
        with suppress(DamagedRow):
            if (one := decoded(codec, row)) is not None:
                yield one
