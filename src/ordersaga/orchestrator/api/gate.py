"""A bound on the requests in the house: one more is told to come back, so that those inside are served in time."""

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from ordersaga.orchestrator.api.problems import MEDIA_TYPE, RETRY_AFTER_SECONDS, as_problem

ALWAYS_LET_IN = frozenset({"/livez"})


class Gate:
    """Counts on the event loop's thread alone, so it needs no lock."""

    def __init__(self, app: ASGIApp, requests_max: int) -> None:
        self._app = app
        self._requests_max = requests_max
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"] in ALWAYS_LET_IN:
            await self._app(scope, receive, send)
        elif self._inside >= self._requests_max:
            await _turn_away(send)
        else:
            self._inside += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._inside -= 1


async def _turn_away(send: Send) -> None:
    body = msgspec.json.encode(as_problem(503, "busy", "Too many requests at once. Please try again in a few seconds."))
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(RETRY_AFTER_SECONDS).encode()),
    ]
    start: Message = {"type": "http.response.start", "status": 503, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})
