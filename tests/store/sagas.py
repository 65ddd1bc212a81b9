"""A small saga to store, and its changes in a few words."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.bus.protocol import Outgoing
from ordersaga.orchestrator.core.instance import Direction, Instance, Outstanding, SagaData, Status, StepRecord
from ordersaga.orchestrator.store.codec import Codec
from ordersaga.orchestrator.store.protocol import Batch, Change, DeadLetter, EarlyEvent, HistoryEntry, Orphan, Store
from ordersaga.wire.ids import uuid7

AnyInstance = Instance[Any]
NOW = datetime.now(UTC)
PAST, FUTURE = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
_drawn = count()


class Person(Struct, frozen=True, kw_only=True, omit_defaults=True):
    customer_id: str
    card: str | None = None


class Data(SagaData, frozen=True, kw_only=True, omit_defaults=True):
    personal: Person | None = None
    order_id: str | None = None
    payment_id: str | None = None
    note: str = ""


CODEC = Codec({("trial", 1): Data})
KNOWS_ANOTHER = Codec({("trial", 2): Data})


def new_id(moment: datetime = NOW) -> UUID:
    """Each greater than the one before."""
    number = next(_drawn)
    return uuid7(int(moment.timestamp() * 1000) + number, number.to_bytes(10, "big"))


def saga(*, customer_id: str = "c4n4ry-1", status: Status = Status.STARTED, **data: Any) -> AnyInstance:
    person = Person(customer_id=customer_id)
    return Instance(
        saga_id=new_id(),
        saga="trial",
        version=1,
        status=status,
        revision=1,
        created_at=NOW,
        updated_at=NOW,
        step="ONE",
        steps={"ONE": StepRecord(name="ONE", attempts=1)},
        data=Data(personal=person, **data),
    )


def changed(before: AnyInstance, **fields: Any) -> AnyInstance:
    return replace(before, revision=before.revision + 1, **fields)


def with_data(before: AnyInstance, **data: Any) -> AnyInstance:
    return changed(before, data=replace(before.data, **data))


def waiting_until(before: AnyInstance, due_at: datetime | None) -> AnyInstance:
    """With a command that is out until then; None: with none."""
    if due_at is None:
        return changed(before, outstanding=None)
    out = Outstanding(
        step="ONE", direction=Direction.DO, message_id=before.saga_id, attempt=1, sent_at=NOW, due_at=due_at
    )
    return changed(before, outstanding=out)


def change(before: AnyInstance | None, after: AnyInstance, *messages: Outgoing, **body: Any) -> Change:
    cause = "started" if before is None else "moved"
    entry = HistoryEntry(revision=after.revision, cause=cause, body=body)
    return Change(before=before, after=after, history=[entry], messages=messages)


def begun(*sagas: AnyInstance) -> Batch:
    return Batch(changes=[change(None, one) for one in sagas])


def begin(store: Store, *sagas: AnyInstance) -> None:
    with store.transaction() as transaction:
        transaction.save(begun(*sagas))


def message(instance: AnyInstance, value: bytes = b"{}") -> Outgoing:
    return Outgoing("commands", str(instance.saga_id).encode(), value, (("ce_type", b"x"),))


def dead_letter(offset: int = 7, **fields: Any) -> DeadLetter:
    told: dict[str, Any] = {
        "topic": "events", "partition": 0, "key": None, "value": b"\x00\xff", "headers": [], "timestamp_ms": 1,
        "reason": "unreadable", "detail": "is not JSON",
    }  # fmt: skip
    return DeadLetter(offset=offset, **(told | fields))


def early(reference: str, offset: int = 7) -> EarlyEvent:
    return EarlyEvent(reference=reference, topic="events", partition=0, offset=offset, value=b"{}")


def orphan(offset: int = 7, saga_id: UUID | None = None) -> Orphan:
    return Orphan(
        saga_id=saga_id or new_id(), type="order.created", topic="events", partition=0, offset=offset, value=b"{}"
    )
