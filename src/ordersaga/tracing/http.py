"""One span for each request. Who works on it finds that span in the request's headers, as if the client had sent it.

The path is not told, only the route: a path may name a customer.
"""

from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from opentelemetry.trace import Span, SpanKind

from ordersaga.tracing.contexts import context_of, text_of
from ordersaga.tracing.spans import Tracing, failed
from ordersaga.web.gate import ALWAYS_LET_IN, STATUS_PATHS
from ordersaga.wire.headers import trace_of

_TRACE = (b"traceparent", b"tracestate")
UNTOLD = STATUS_PATHS | ALWAYS_LET_IN
"""What machines ask every few seconds."""


class TracedHttp:
    """Around an application."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracer = tracing.tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"] in UNTOLD:
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        context = context_of(*trace_of((name.decode("latin-1"), value) for name, value in scope["headers"]))
        attributes = {"http.request.method": method}
        span = self._tracer.start_span(method, context=context, kind=SpanKind.SERVER, attributes=attributes)
        _hand_on(span, scope)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                _answered(span, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, told)
        except BaseException as error:
            failed(span, type(error).__name__)
            raise
        finally:
            route = scope.get("path_template")
            if route:
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
            span.end()


def _hand_on(span: Span, scope: Any) -> None:
    parent, state = text_of(span)
    if parent is None:
        return
    headers = [one for one in scope["headers"] if one[0] not in _TRACE]
    headers.append((b"traceparent", parent.encode()))
    if state:
        headers.append((b"tracestate", state.encode()))
    scope["headers"] = headers


def _answered(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        failed(span, str(status))
