"""The spans of one service: batches taken in, messages sent, and what a caller knows the times of.

Names and attributes are those of OpenTelemetry's semantic conventions for messaging. Texts of exceptions are left out:
they may quote what a customer wrote.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer

from ordersaga.bus.protocol import Headers, Outcome, Outgoing, Producer, Published, Record
from ordersaga.tracing.contexts import remembered, told

_log = structlog.get_logger(__name__)
Attributes = Mapping[str, str | int]
Handle = Callable[[Sequence[Record]], None]
_IDS = {"ce_id": "messaging.message.id", "ce_correlationid": "messaging.message.conversation_id"}
_ID_CHARS_MAX = 100


class Tracing:
    def __init__(self, tracer: Tracer, stop: Callable[[float], bool] = lambda timeout_seconds: True) -> None:
        """`stop` sends what is left, within a time."""
        self.tracer = tracer
        self.stop = stop

    def handling(self, handle: Handle, group: str) -> Handle:
        """The same, told: the batch by itself, and each record of it in the trace that it belongs to."""

        def traced(records: Sequence[Record]) -> None:
            begun_ns = time.time_ns()
            contexts = [remembered(record.headers) for record in records]
            more: Attributes = {"messaging.consumer.group.name": group}
            with self._batch("process", SpanKind.CONSUMER, [r.topic for r in records], contexts, more) as span:
                handle(records)
            with harmless():
                self._each(records, contexts, Link(span.get_span_context()), begun_ns)

        return traced

    def producer(self, producer: Producer) -> Producer:
        return _TracedProducer(producer, self)

    @contextmanager
    def sending(self, records: Sequence[Outgoing]) -> Iterator[Span]:
        contexts = [remembered(record.headers) for record in records]
        with self._batch("send", SpanKind.PRODUCER, [record.topic for record in records], contexts, {}) as span:
            yield span

    def span(
        self,
        name: str,
        *,
        parent: Context,
        span_id: int,
        kind: SpanKind,
        attributes: Attributes,
        began_at: datetime,
        ended_at: datetime,
        error: str = "",
    ) -> None:
        """One that is over. It links to what is being done now."""
        now = trace.get_current_span().get_span_context()
        with told(span_id):
            span = self.tracer.start_span(
                name,
                context=parent,
                kind=kind,
                attributes=attributes,
                links=[Link(now)] if now.is_valid else None,
                start_time=_ns(began_at),
            )
        if error:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(_ns(max(began_at, ended_at)))

    @contextmanager
    def _batch(
        self,
        operation: str,
        kind: SpanKind,
        topics: Sequence[str],
        contexts: Iterable[SpanContext | None],
        more: Attributes,
    ) -> Iterator[Span]:
        found = sorted(set(topics))
        attributes = {**_operation(operation, found), "messaging.batch.message_count": len(topics), **more}
        span: Span = trace.INVALID_SPAN
        with harmless():
            span = self.tracer.start_span(
                f"{operation} {found[0]}" if len(found) == 1 else operation,
                context=Context(),
                kind=kind,
                attributes=attributes,
                links=[Link(context) for context in contexts if context],
            )
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except BaseException as error:
                failed(span, type(error).__name__)
                raise

    def _each(
        self, records: Sequence[Record], contexts: Sequence[SpanContext | None], batch: Link, begun_ns: int
    ) -> None:
        for record, context in zip(records, contexts, strict=True):
            if context is None or not context.trace_flags.sampled:
                continue
            parent = trace.set_span_in_context(trace.NonRecordingSpan(context), Context())
            attributes = {**_operation("process", [record.topic]), **_ids(record.headers)}
            span = self.tracer.start_span(
                f"process {record.topic}",
                context=parent,
                kind=SpanKind.CONSUMER,
                attributes=attributes,
                links=[batch],
                start_time=begun_ns,
            )
            span.end()


class _TracedProducer:
    def __init__(self, producer: Producer, tracing: Tracing) -> None:
        self._producer = producer
        self._tracing = tracing

    def publish(self, records: Sequence[Outgoing], timeout_seconds: float) -> Sequence[Outcome]:
        with self._tracing.sending(records) as span:
            outcomes = self._producer.publish(records, timeout_seconds)
            others = [one.published.value for one in outcomes if one.published is not Published.ACKNOWLEDGED]
            if others:
                failed(span, others[0])
            return outcomes

    def partition(self, topic: str, key: bytes) -> int | None:
        return self._producer.partition(topic, key)

    def cut_off(self) -> bool:
        return self._producer.cut_off()

    def close(self, timeout_seconds: float) -> None:
        self._producer.close(timeout_seconds)


@contextmanager
def harmless() -> Iterator[None]:
    """What was done is done: that it cannot be told must not undo it."""
    try:
        yield
    except Exception:  # noqa: BLE001 (whatever it is)
        _log.exception("tracing.not_told")


def failed(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, kind))


# --- small print ----------------------------------------------------------------------------------


def _operation(operation: str, topics: Sequence[str]) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }
    return found | {"messaging.destination.name": topics[0]} if len(topics) == 1 else found


def _ids(headers: Headers) -> dict[str, str]:
    """Of strangers: as much of them as an id has."""
    known = ((_IDS.get(name), value) for name, value in headers)
    return {name: value.decode("utf-8", "replace")[:_ID_CHARS_MAX] for name, value in known if name}


def _ns(when: datetime) -> int:
    return int(when.timestamp() * 1_000_000) * 1000
