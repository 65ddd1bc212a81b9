"""Whether archived sagas can still be read back: each part decompressed, decoded, and held against the others."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from psycopg_pool import ConnectionPool

from ordersaga.orchestrator.store.codec_protocol import InstanceCodec
from ordersaga.orchestrator.store.connections import AnyConnection, Connections, Row, statements

_SQL = statements("archive.sql")
_PAGE = 200
_NO_ID = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One batch, in the order of ids."""

    count: int
    unreadable: Sequence[tuple[UUID | str, str]]
    """Sagas and files, and why."""


def check_all(
    pool: ConnectionPool[AnyConnection],
    codec: InstanceCodec,
    *,
    timeout_seconds: float = 10.0,
    schema: str | None = None,
) -> Iterator[Checked]:
    """Every saga of the archive, batch by batch; reads only. Raises `StoreError`."""
    connections, after = Connections(pool, timeout_seconds, schema), _NO_ID
    while rows := connections.ask(_SQL["to_check"], {"after": after, "limit": _PAGE}):
        found = [(row[0], problem) for row in rows if (problem := problem_of(row, codec))]
        yield Checked(count=len(rows), unreadable=found)
        after = rows[-1][0]


def problem_of(row: Row, codec: InstanceCodec) -> str:
    """Empty where all is well."""
    saga_id, saga, version, status, state, history, personal = row
    try:
        whole = _object(state)
        entries = _decoded(history)
        person = msgspec.json.encode(_object(personal)["data"]) if personal is not None else None
        if codec.knows(saga, version):
            codec.decode(saga, version, msgspec.json.encode(whole["state"]), person)
    except (zlib.error, msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        return f"cannot be read: {type(error).__name__}: {error}"
    return problem_between(saga_id, status, whole, entries)


def problem_between(saga_id: UUID, status: str, whole: dict[str, Any], entries: list[dict[str, Any]]) -> str:
    """Whether the parts of one saga are of one saga."""
    if (whole.get("id"), whole.get("status")) != (str(saga_id), status):
        return "holds another saga, or another status, than its row says"
    revisions = [entry.get("revision") for entry in entries]
    if revisions != list(range(1, len(revisions) + 1)) or len(revisions) != whole.get("revision"):
        return f"has a history of {len(revisions)} entries for {whole.get('revision')} revisions"
    return ""


def _object(compressed: bytes) -> dict[str, Any]:
    found = _decoded(compressed)
    if not isinstance(found, dict):
        raise TypeError("no object")
    return found


def _decoded(compressed: bytes) -> Any:
    return msgspec.json.decode(zlib.decompress(compressed))
