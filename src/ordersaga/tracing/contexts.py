"""Trace contexts as text, as headers carry them, and as OpenTelemetry has them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ordersaga.wire.headers import trace_of

_w3c = TraceContextTextMapPropagator()
_SPAN_ID_MAX = (1 << 64) - 1
_told: ContextVar[int | None] = ContextVar("told", default=None)


def context_of(traceparent: str | None, tracestate: str | None) -> Context:
    """For what is a child of it. Without a parent a trace of its own begins."""
    if traceparent is None:
        return Context()
    return _w3c.extract({"traceparent": traceparent, "tracestate": tracestate or ""}, Context())


def remembered(headers: Iterable[tuple[str, bytes]]) -> SpanContext | None:
    """What a message says that it belongs to."""
    parent, state = trace_of(headers)
    found = trace.get_current_span(context_of(parent, state)).get_span_context() if parent else None
    return found if found is not None and found.is_valid else None


def text_of(span: Span) -> tuple[str | None, str | None]:
    """`traceparent` and `tracestate` for what comes of a span."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier.get("traceparent"), carrier.get("tracestate")


def is_recorded(traceparent: str) -> bool:
    """Whether whoever began the trace wants it kept."""
    return bool(int(traceparent[53:55], 16) & 1)


def span_id_of(message_id: UUID, attempt: int) -> int:
    """Of the span that begins with sending this command for the so manieth time."""
    return (message_id.int + attempt) & _SPAN_ID_MAX or 1


def under(traceparent: str, span_id: int) -> str:
    """The same trace, and this span of it."""
    return f"{traceparent[:36]}{span_id:016x}{traceparent[52:]}"


@contextmanager
def told(span_id: int) -> Iterator[None]:
    """The span that is begun meanwhile gets this id."""
    token = _told.set(span_id)
    try:
        yield
    finally:
        _told.reset(token)


def told_id() -> int | None:
    return _told.get()
