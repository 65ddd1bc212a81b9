"""The door: who is not let in, before anything is read or worked on.

A bound on the requests in the house, so that those inside are served in time and one more is told to come back; a bound
on headers; and no request whose length is said in two ways, since a proxy in front may have believed the other one.
What the house cannot do now it may say itself: here a refusal costs little, and under many times the load nearly all
requests are refused.
"""

from collections.abc import Callable
from http import HTTPStatus

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from ordersaga.web.problems import MEDIA_TYPE, RETRY_AFTER_SECONDS, Problem, as_problem

ALWAYS_LET_IN = frozenset({"/livez"})

_BUSY = as_problem(503, "busy", "Too many requests at once. Please try again in a few seconds.")
_HEADERS = as_problem(431, "request-header-fields-too-large", "The headers are too large.")
_AMBIGUOUS = as_problem(400, "invalid-request", "The length of the body is said in two ways.")


Unwanted = Callable[[HTTPScope], Problem | None]
"""Why this request is not wanted now; None where it is. Called for each, so it must be quick."""
TurnedAway = Callable[[HTTPScope, Problem], None]
"""Is told of each request that is not let in, and why."""


class Gate:
    """Counts on the event loop's thread alone, so it needs no lock."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        requests_max: int,
        headers_bytes_max: int,
        unwanted: Unwanted = lambda scope: None,
        turned_away: TurnedAway = lambda scope, problem: None,
    ) -> None:
        self._app = app
        self._requests_max = requests_max
        self._headers_bytes_max = headers_bytes_max
        self._unwanted = unwanted
        self._turned_away = turned_away
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        problem = self._objection(scope)
        if problem is not None:
            self._turned_away(scope, problem)
            await _turn_away(problem, send)
            return
        self._inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1

    async def crowded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same for a connection that is one too many: it is told so, and closed."""
        if scope["type"] == ScopeType.HTTP and scope["path"] not in ALWAYS_LET_IN:
            self._turned_away(scope, _BUSY)
            await _turn_away(_BUSY, send, closing=True)
        else:
            await self(scope, receive, send)

    def _objection(self, scope: HTTPScope) -> Problem | None:
        headers = scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) > self._headers_bytes_max:
            return _HEADERS
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in headers}:
            return _AMBIGUOUS
        crowded = self._inside >= self._requests_max and scope["path"] not in ALWAYS_LET_IN
        return _BUSY if crowded else self._unwanted(scope)


async def _turn_away(problem: Problem, send: Send, *, closing: bool = False) -> None:
    """Who is to come back keeps the connection: a new one costs more than the answer."""
    body = msgspec.json.encode(problem)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    is_busy = problem.status == HTTPStatus.SERVICE_UNAVAILABLE
    if is_busy:
        headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
    if closing or not is_busy:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
