"""A batch as columns: what each table gets, one array per column. Pure; for the PostgreSQL store."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from ordersaga.delivery.arrays import Array, Bigints, Booleans, Bytes, Integers, Json, Texts, Times, Uuids
from ordersaga.orchestrator.core.instance import UNDER_WAY
from ordersaga.orchestrator.store.codec_protocol import InstanceCodec
from ordersaga.orchestrator.store.connections import Row
from ordersaga.orchestrator.store.protocol import (
    AnyInstance,
    Batch,
    Change,
    DeadLetter,
    DeadlineKind,
    EarlyEvent,
    Lookup,
    Orphan,
    RequestKey,
)
from ordersaga.orchestrator.store.statistics_protocol import Sum

Columns = Mapping[str, Array]
_json = msgspec.json.Encoder().encode
_msgpack = msgspec.msgpack.Encoder().encode


def check_revisions(changes: Iterable[Change]) -> None:
    """A change that changes nothing is a bug of ours."""
    for change in changes:
        assert change.before is None or change.before.revision < change.after.revision, "a change has a new revision"


def new_columns(changes: Sequence[Change], codec: InstanceCodec) -> Columns:
    fresh = [change.after for change in changes]
    return {
        **_saga_columns(fresh, codec),
        "sagas": Texts([one.saga for one in fresh]),
        "versions": Integers([one.version for one in fresh]),
        "created": Times([one.created_at for one in fresh]),
    }


def moved_columns(changes: Sequence[Change], codec: InstanceCodec) -> Columns:
    was = Integers([change.before.revision for change in changes if change.before])
    return {**_saga_columns([change.after for change in changes], codec), "was": was}


def _saga_columns(instances: Sequence[AnyInstance], codec: InstanceCodec) -> Columns:
    """What `sagas` holds of each, but for what never changes."""
    return {
        "ids": Uuids([one.saga_id for one in instances]),
        "statuses": Texts([one.status for one in instances]),
        "steps": Texts([one.step for one in instances]),
        "revisions": Integers([one.revision for one in instances]),
        "order_ids": Texts([reference_of(one, "order_id") for one in instances]),
        "payment_ids": Texts([reference_of(one, "payment_id") for one in instances]),
        "reasons": Texts([one.reason for one in instances]),
        "attentions": Booleans([bool(one.attention) for one in instances]),
        "resolveds": Booleans([one.resolved is not None for one in instances]),
        "updated": Times([one.updated_at or one.created_at for one in instances]),
        "completed": Times([one.completed_at for one in instances]),
        "states": Json([codec.encode(one) for one in instances]),
    }


def reference_of(instance: AnyInstance, name: str) -> str | None:
    """An id by which events may name the saga, where its data have one."""
    found: str | None = getattr(instance.data, name, None)
    return found


def personal_columns(changes: Iterable[Change], codec: InstanceCodec) -> tuple[Columns, Columns]:
    """What is to be kept, and what is to be erased: only where another value stands in its place. It is never compared,
    since whoever does not change it passes on the same object.
    """
    kept: list[AnyInstance] = []
    erased: list[AnyInstance] = []
    for change in changes:
        personal = change.after.data.personal
        was = change.before.data.personal if change.before else None
        if personal is was:
            continue
        (erased if personal is None else kept).append(change.after)
    return {
        "ids": Uuids([one.saga_id for one in kept]),
        "customers": Texts([one.data.personal.customer_id for one in kept]),
        "data": Json([codec.encode_personal(one.data) for one in kept]),
    }, {"ids": Uuids([one.saga_id for one in erased])}


def history_columns(changes: Iterable[Change]) -> Columns:
    entries = [(change.after.saga_id, entry) for change in changes for entry in change.history]
    return {
        "ids": Uuids([saga_id for saga_id, _ in entries]),
        "revisions": Integers([entry.revision for _, entry in entries]),
        "causes": Texts([entry.cause for _, entry in entries]),
        "bodies": Json([_json(entry.body) for _, entry in entries]),
    }


def moved_deadlines(batch: Batch) -> Mapping[tuple[UUID, DeadlineKind], datetime | None]:
    """What is to be written of deadlines; None: nothing waits for it any more. One that is due later than it was stands
    where it stood.
    """
    moved: dict[tuple[UUID, DeadlineKind], datetime | None] = {
        (one.saga_id, one.kind): one.due_at for one in batch.rearmed
    }
    for change in batch.changes:
        was, saga_id = change.before, change.after.saga_id
        command, window = change.after.command_due_at, change.after.window_due_at
        if _is_written(command, was.command_due_at if was else None):
            moved[saga_id, DeadlineKind.COMMAND] = command
        if _is_written(window, was.window_due_at if was else None):
            moved[saga_id, DeadlineKind.WINDOW] = window
    return moved


def _is_written(due: datetime | None, was: datetime | None) -> bool:
    return due != was and (due is None or was is None or due < was)


def deadline_columns(batch: Batch) -> tuple[Columns, Columns]:
    """What is to be set, and what is to be cleared."""
    moved = [(saga_id, kind, due) for (saga_id, kind), due in moved_deadlines(batch).items()]
    to_set = [one for one in moved if one[2] is not None]
    to_clear = [one for one in moved if one[2] is None]
    return {
        "ids": Uuids([saga_id for saga_id, _, _ in to_set]),
        "kinds": Texts([kind for _, kind, _ in to_set]),
        "due": Times([due for _, _, due in to_set]),
    }, {
        "ids": Uuids([saga_id for saga_id, _, _ in to_clear]),
        "kinds": Texts([kind for _, kind, _ in to_clear]),
    }


def dead_letter_columns(letters: Sequence[DeadLetter]) -> Columns:
    """In one order everywhere, so that two who set aside the same records do not wait for each other."""
    dead = sorted(letters, key=lambda one: (one.topic, one.partition, one.offset))
    return {
        "topics": Texts([one.topic for one in dead]),
        "partitions": Integers([one.partition for one in dead]),
        "offsets": Bigints([one.offset for one in dead]),
        "timestamps_ms": Bigints([one.timestamp_ms for one in dead]),
        "keys": Bytes([one.key for one in dead]),
        "values": Bytes([one.value for one in dead]),
        "headers": Bytes([_msgpack([(_storable(name), value) for name, value in one.headers]) for one in dead]),
        "reasons": Texts([one.reason for one in dead]),
        "details": Texts([_storable(one.detail) for one in dead]),
    }


def orphan_columns(orphans: Sequence[Orphan]) -> Columns:
    kept = sorted(orphans, key=lambda one: (one.topic, one.partition, one.offset))
    return {
        "topics": Texts([one.topic for one in kept]),
        "partitions": Integers([one.partition for one in kept]),
        "offsets": Bigints([one.offset for one in kept]),
        "ids": Uuids([one.saga_id for one in kept]),
        "types": Texts([one.type for one in kept]),
        "values": Bytes([one.value for one in kept]),
    }


def early_columns(early: Sequence[EarlyEvent]) -> Columns:
    kept = sorted(early, key=lambda one: (one.topic, one.partition, one.offset))
    return {
        "topics": Texts([one.topic for one in kept]),
        "partitions": Integers([one.partition for one in kept]),
        "offsets": Bigints([one.offset for one in kept]),
        "references": Texts([one.reference for one in kept]),
        "values": Bytes([one.value for one in kept]),
    }


def key_columns(keys: Sequence[RequestKey]) -> Columns:
    """In one order, so that two batches cannot wait for each other."""
    kept = sorted(keys, key=lambda one: (one.principal, one.key))
    return {
        "principals": Texts([one.principal for one in kept]),
        "request_keys": Texts([one.key for one in kept]),
        "fingerprints": Bytes([one.fingerprint for one in kept]),
        "saga_ids": Uuids([one.saga_id for one in kept]),
    }


def sum_columns(sums: Sequence[Sum]) -> Columns:
    return {
        "sagas": Texts([one.saga for one in sums]),
        "kinds": Texts([one.kind for one in sums]),
        "labels": Texts([one.label for one in sums]),
        "counts": Bigints([one.count for one in sums]),
        "microseconds": Bigints([one.microseconds for one in sums]),
    }


def in_flight_columns(changes: Sequence[Change]) -> Columns:
    """What is added to how many sagas are at each step, and taken away."""
    moved = Counter([at for change in changes if (at := _in_flight_at(change.after))])
    moved.subtract(Counter([at for change in changes if change.before and (at := _in_flight_at(change.before))]))
    found = [(status, step, count) for (status, step), count in sorted(moved.items()) if count]
    return {
        "statuses": Texts([status for status, _, _ in found]),
        "steps": Texts([step for _, step, _ in found]),
        "counts": Bigints([count for _, _, count in found]),
    }


def _in_flight_at(instance: AnyInstance) -> tuple[str, str] | None:
    return (instance.status, instance.step or "") if instance.status in UNDER_WAY else None


def _storable(text: str) -> str:
    """What quotes strangers, without what PostgreSQL does not take: a dead letter is never refused."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def missing(wanted: Lookup, locked: Sequence[Row]) -> Collection[UUID]:
    """Of what was asked for, by its id or by a reference, that which was not there to be locked."""
    if len(locked) == len(wanted.saga_ids) and not (wanted.order_ids or wanted.payment_ids):  # nearly always
        return ()
    found = {saga_id: saga is not None for saga_id, saga, *_ in locked}
    return [saga_id for saga_id in {*wanted.saga_ids, *found} if not found.get(saga_id)]
