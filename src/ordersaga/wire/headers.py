"""Headers beside the body: CloudEvents, so that standard tools can read our records, and the W3C trace context."""

import re
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from ordersaga.wire.times import time_text

_TRACEPARENT = re.compile(rb"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
_TRACESTATE_BYTES_MAX = 512


def headers_for(
    type_name: str,
    *,
    message_id: UUID | None,
    correlation_id: str,
    timestamp: datetime,
    source: str,
    traceparent: str | None = None,
    tracestate: str | None = None,
) -> tuple[tuple[str, bytes], ...]:
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", type_name.encode()),
        ("ce_source", source.encode()),
        ("ce_time", time_text(timestamp).encode()),
        ("ce_correlationid", correlation_id.encode()),
    ]
    if message_id:
        headers.append(("ce_id", str(message_id).encode()))
    if traceparent:
        headers.append(("traceparent", traceparent.encode()))
        if tracestate:
            headers.append(("tracestate", tracestate.encode()))
    return tuple(headers)


def trace_of(headers: Iterable[tuple[str, bytes]]) -> tuple[str | None, str | None]:
    """The trace context of a record or a request; what is malformed counts as absent."""
    found = {name.lower(): value for name, value in headers}
    parent = found.get("traceparent", b"")
    if not _TRACEPARENT.match(parent) or parent.startswith(b"ff") or b"0" * 32 in parent:
        return None, None
    state = found.get("tracestate", b"")
    valid = 0 < len(state) <= _TRACESTATE_BYTES_MAX and state.isascii()
    return parent.decode(), state.decode() if valid else None
