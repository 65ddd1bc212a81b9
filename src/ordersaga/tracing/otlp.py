"""Sends spans to a collector, by OpenTelemetry's own SDK, which is installed apart: `ordersaga[tracing]`.

Where to, with which headers, how many of them: the environment variables of OpenTelemetry (`OTEL_...`) say so.
"""

from collections.abc import Callable
from threading import Thread
from typing import Any

from ordersaga.tracing.contexts import told_id
from ordersaga.tracing.spans import Tracing

LAST_SECONDS = 1.0
"""For what is left at the end of a process."""


class NoSdk(Exception):
    """What sends spans is not installed."""

    retriable = False


class Collector:
    """Spans of some services of this process, on their way to one collector."""

    def __init__(self) -> None:
        """Raises `NoSdk`."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise NoSdk(f"traces need {error.name}: install it with pip install 'ordersaga[tracing]'") from None
        self._processor = BatchSpanProcessor(OTLPSpanExporter())

    def tracing(self, service: str) -> Tracing:
        """`service`: its name, where OTEL_SERVICE_NAME gives none."""
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

        resource = Resource({"service.name": service}).merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=resource, id_generator=_ids(), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        return Tracing(provider.get_tracer("ordersaga"), self.stop)

    def stop(self, timeout_seconds: float) -> bool:
        """A collector that is away must not hold up the end of a process."""
        return _within(min(timeout_seconds, LAST_SECONDS), self._processor.shutdown)


def _ids() -> Any:
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415

    class ToldIds(RandomIdGenerator):
        def generate_span_id(self) -> int:
            return told_id() or super().generate_span_id()

    return ToldIds()


def _within(timeout_seconds: float, do: Callable[[], object]) -> bool:
    thread = Thread(target=do, name="last-spans", daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    return not thread.is_alive()
