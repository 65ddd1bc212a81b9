"""An answer whose bytes are ready: nothing is encoded, negotiated or added any more.

For the route that many requests a second come to. What it sends is what the framework would have sent.
"""

from typing import Any, Generic, TypeVar

from litestar import Response
from litestar.types import ASGIApp, HTTPResponseStartEvent, Receive, Scope, Send

T = TypeVar("T")


class Prepared(Response[T], Generic[T]):
    """`T` is for the OpenAPI document. The length is added here."""

    def __init__(self, status_code: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """`headers`: names in lower case, as ASGI wants them."""
        self._status_code = status_code
        self._body = body
        self._headers = [*headers, (b"content-length", b"%d" % len(body))]

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIApp:  # type: ignore[override]
        return self._respond

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: HTTPResponseStartEvent = {
            "type": "http.response.start",
            "status": self._status_code,
            "headers": self._headers,
        }
        await send(start)
        await send({"type": "http.response.body", "body": self._body, "more_body": False})
