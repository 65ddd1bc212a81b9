"""Headers beside the body: CloudEvents, so that standard tools can read our records, and the W3C trace context.

Nothing here decides anything: participants ignore headers that they do not know, and a trace context that breaks its
format is as good as none.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from uuid import UUID

import msgspec

from ordersaga.wire.ids import text_of
from ordersaga.wire.times import time_text

Headers = tuple[tuple[str, bytes], ...]


def headers_for(
    type_name: str,
    *,
    message_id: UUID | None,
    correlation_id: UUID | str,
    timestamp: datetime,
    source: str,
    traceparent: str | None = None,
    tracestate: str | None = None,
) -> Headers:
    """For one record. CloudEvents asks for an id: a message without one is not fully such an event."""
    correlation = correlation_id if isinstance(correlation_id, str) else text_of(correlation_id)
    headers = (*_common(type_name, source, timestamp), ("ce_correlationid", correlation.encode()))
    if message_id is not None:
        headers += (("ce_id", text_of(message_id).encode()),)
    if traceparent:
        headers += (("traceparent", traceparent.encode()),)
        if tracestate:
            headers += (("tracestate", tracestate.encode()),)
    return headers


def unpacked(kept: bytes) -> Headers:
    """As a database keeps them. One without a value, which older versions kept as it came, has an empty one."""
    return tuple([(name, value or b"") for name, value in _unpack(kept)])


def trace_of(headers: Iterable[tuple[str, bytes]]) -> tuple[str | None, str | None]:
    """`traceparent` and `tracestate` of a record or a request; what is malformed counts as absent.

    A state without a parent means nothing. Several state headers are one list, in their order; of parents there is one.
    """
    parents, states = [], []
    for name, value in headers:
        lowered = name.lower()
        if lowered == "traceparent":
            parents.append(value)
        elif lowered == "tracestate":
            states.append(value)
    if len(parents) != 1 or not _is_parent(parents[0]):
        return None, None
    state = b",".join(states)
    return parents[0].decode(), state.decode() if _is_state(state) else None


# --- small print ----------------------------------------------------------------------------------

_unpack = msgspec.msgpack.Decoder(tuple[tuple[str, bytes | None], ...]).decode


@lru_cache(maxsize=64)  # a batch has a dozen types and one time
def _common(type_name: str, source: str, timestamp: datetime) -> Headers:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_type", type_name.encode()),
        ("ce_source", source.encode()),
        ("ce_time", time_text(timestamp).encode()),
    )


_PARENT = re.compile(
    rb"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-[!-~]*)?"
)
_PARENT_BYTES_MAX = 512
"""Of a later version, which may say more than this one."""

_STATE_BYTES_MAX = 512
_STATE_MEMBERS_MAX = 32
_MEMBER = re.compile(
    rb"(?P<key>[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    rb"=[ -+\x2d-<>-~]{0,255}[!-+\x2d-<>-~]"
)


def _is_parent(value: bytes) -> bool:
    found = _PARENT.fullmatch(value) if len(value) <= _PARENT_BYTES_MAX else None
    return found is not None and (found["more"] is None or found["version"] != b"00")


def _is_state(value: bytes) -> bool:
    if not 0 < len(value) <= _STATE_BYTES_MAX:
        return False
    members = [member.strip(b" \t") for member in value.split(b",")]
    found = [_MEMBER.fullmatch(member) for member in members if member]
    keys = [member["key"] for member in found if member]
    return 0 < len(keys) == len(found) <= _STATE_MEMBERS_MAX and len(set(keys)) == len(keys)
