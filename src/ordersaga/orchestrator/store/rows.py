"""A batch as columns: what each table gets, one list per column. Pure; shared by nobody but the PostgreSQL store."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ordersaga.orchestrator.core.instance import Instance
from ordersaga.orchestrator.store.protocol import Change, DeadLetter, DeadlineKind, InstanceCodec, Orphan

AnyInstance = Instance[Any]
Columns = dict[str, list[Any]]
_json = msgspec.json.Encoder().encode
_msgpack = msgspec.msgpack.Encoder().encode


def saga_columns(instances: Sequence[AnyInstance], codec: InstanceCodec) -> Columns:
    """What `sagas` holds of each, but for what never changes."""
    return {
        "ids": [one.saga_id for one in instances],
        "statuses": [one.status.value for one in instances],
        "steps": [one.step for one in instances],
        "revisions": [one.revision for one in instances],
        "order_ids": [getattr(one.data, "order_id", None) for one in instances],
        "payment_ids": [getattr(one.data, "payment_id", None) for one in instances],
        "reasons": [one.reason.value if one.reason else None for one in instances],
        "attentions": [bool(one.attention) for one in instances],
        "resolveds": [one.resolved is not None for one in instances],
        "updated": [one.updated_at for one in instances],
        "completed": [one.completed_at for one in instances],
        "states": [codec.encode(one).decode() for one in instances],
    }


def new_columns(changes: Sequence[Change], codec: InstanceCodec) -> Columns:
    fresh = [change.after for change in changes]
    return saga_columns(fresh, codec) | {
        "sagas": [one.saga for one in fresh],
        "versions": [one.version for one in fresh],
        "created": [one.created_at for one in fresh],
    }


def moved_columns(changes: Sequence[Change], codec: InstanceCodec) -> Columns:
    return saga_columns([change.after for change in changes], codec) | {
        "was": [change.before.revision if change.before else 0 for change in changes]
    }


def personal_columns(changes: Iterable[Change], codec: InstanceCodec) -> Columns:
    """Only where it changed."""
    columns: Columns = {"ids": [], "customers": [], "data": []}
    for change in changes:
        personal = change.after.data.personal
        if personal is not None and (change.before is None or change.before.data.personal != personal):
            columns["ids"].append(change.after.saga_id)
            columns["customers"].append(personal.customer_id)
            columns["data"].append((codec.encode_personal(change.after.data) or b"null").decode())
    return columns


def history_columns(changes: Iterable[Change]) -> Columns:
    entries = [(change.after.saga_id, entry) for change in changes for entry in change.history]
    return {
        "ids": [saga_id for saga_id, _ in entries],
        "revisions": [entry.revision for _, entry in entries],
        "causes": [entry.cause for _, entry in entries],
        "bodies": [_json(entry.body).decode() for _, entry in entries],
    }


_DUE: tuple[tuple[DeadlineKind, Callable[[AnyInstance], datetime | None]], ...] = (
    (DeadlineKind.COMMAND, lambda one: one.command_due_at),
    (DeadlineKind.WINDOW, lambda one: one.window_due_at),
)


def deadline_columns(changes: Iterable[Change]) -> tuple[Columns, Columns]:
    """What is to be set, and what is to be cleared: only where it changed."""
    to_set: Columns = {"ids": [], "kinds": [], "due": []}
    to_clear: Columns = {"ids": [], "kinds": []}
    for change in changes:
        for kind, due_of in _DUE:
            was, due = due_of(change.before) if change.before else None, due_of(change.after)
            if due == was:
                continue
            columns = to_clear if due is None else to_set
            columns["ids"].append(change.after.saga_id)
            columns["kinds"].append(kind.value)
            if due is not None:
                to_set["due"].append(due)
    return to_set, to_clear


def dead_letter_columns(dead: Sequence[DeadLetter]) -> Columns:
    return {
        "topics": [one.topic for one in dead],
        "partitions": [one.partition for one in dead],
        "offsets": [one.offset for one in dead],
        "keys": [one.key for one in dead],
        "values": [one.value for one in dead],
        "headers": [_msgpack(list(one.headers)) for one in dead],
        "timestamps_ms": [one.timestamp_ms for one in dead],
        "reasons": [one.reason for one in dead],
        "details": [_storable(one.detail) for one in dead],
    }


def orphan_columns(orphans: Sequence[Orphan]) -> Columns:
    return {
        "topics": [one.topic for one in orphans],
        "partitions": [one.partition for one in orphans],
        "offsets": [one.offset for one in orphans],
        "ids": [one.saga_id for one in orphans],
        "types": [one.type for one in orphans],
        "values": [one.value for one in orphans],
    }


def _storable(text: str) -> str:
    """Details quote strangers: without what PostgreSQL does not take."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
