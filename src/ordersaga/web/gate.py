"""The door: who is not let in, before anything is read or worked on.

A bound on the requests in the house, so that those inside are served in time and one more is told to come back; a bound
on headers; and no request whose length is said in two ways, since a proxy in front may have believed the other one.
What the house cannot do now it may say itself: here a refusal costs little, and under many times the load nearly all
requests are refused.

Who asks how the process is goes in by a door of its own, with a small bound of its own: probe and alert must not get
lost in the crowd that they are to tell of.
"""

from collections.abc import Callable
from contextvars import ContextVar
from http import HTTPStatus

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from ordersaga.web.origins import Origins
from ordersaga.web.problems import MEDIA_TYPE, RETRY_AFTER_SECONDS, Problem, as_problem

ALWAYS_LET_IN = frozenset({"/livez"})
"""Answered at once, by whoever is at the door."""
STATUS_PATHS = frozenset({"/readyz", "/readyz/api", "/health", "/metrics"})
STATUS_INSIDE_MAX = 20
asks_how_it_is: ContextVar[bool] = ContextVar("asks_how_it_is", default=False)
"""Whether what is worked on is such a request: it has threads of its own (`web.server`)."""

_BUSY = as_problem(503, "busy", "Too many requests at once. Please try again in a few seconds.")
_HEADERS = as_problem(431, "request-header-fields-too-large", "The headers are too large.")
_AMBIGUOUS = as_problem(400, "invalid-request", "The length of the body is said in two ways.")


Unwanted = Callable[[HTTPScope], Problem | None]
"""Why this request is not wanted now; None where it is. Called for each, so it must be quick."""
TurnedAway = Callable[[HTTPScope, Problem], None]
"""Is told of each request that is not let in, and why."""


class Crowd:
    """Those inside by one door. Counted on the event loop's thread alone, so it needs no lock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside = 0

    @property
    def full(self) -> bool:
        return self._inside >= self._most

    def __enter__(self) -> None:
        self._inside += 1

    def __exit__(self, *_: object) -> None:
        self._inside -= 1


class Gate:
    def __init__(
        self,
        app: ASGIApp,
        *,
        requests_max: int,
        headers_bytes_max: int,
        unwanted: Unwanted = lambda scope: None,
        turned_away: TurnedAway = lambda scope, problem: None,
        origins: Origins | None = None,
    ) -> None:
        """`turned_away` is told of each refusal; `origins`: of the front ends that are to understand one."""
        self._app = app
        self._everybody, self._status = Crowd(requests_max), Crowd(STATUS_INSIDE_MAX)
        self._headers_bytes_max = headers_bytes_max
        self._unwanted = unwanted
        self._turned_away = turned_away
        self._origins = origins or Origins()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        is_status = scope["path"] in STATUS_PATHS
        crowd = self._status if is_status else self._everybody
        problem = self._objection(scope, crowd)
        if problem is not None:
            await self._turn_away(problem, scope, send)
            return
        asks_how_it_is.set(is_status)
        with crowd:
            await self._app(scope, receive, send)

    async def crowded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same for a connection that is one too many: it is told so, and closed."""
        if scope["type"] == ScopeType.HTTP and not (scope["path"] in STATUS_PATHS or self._costs_nothing(scope)):
            await self._turn_away(_BUSY, scope, send, closing=True)
        else:
            await self(scope, receive, send)

    def _objection(self, scope: HTTPScope, crowd: Crowd) -> Problem | None:
        headers = scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) > self._headers_bytes_max:
            return _HEADERS
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in headers}:
            return _AMBIGUOUS
        return _BUSY if crowd.full and not self._costs_nothing(scope) else self._unwanted(scope)

    def _costs_nothing(self, scope: HTTPScope) -> bool:
        return scope["path"] in ALWAYS_LET_IN or self._origins.asks_beforehand(scope)

    async def _turn_away(self, problem: Problem, scope: HTTPScope, send: Send, *, closing: bool = False) -> None:
        """Who is to come back keeps the connection: a new one costs more than the answer."""
        self._turned_away(scope, problem)
        body = msgspec.json.encode(problem)
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        is_busy = problem.status == HTTPStatus.SERVICE_UNAVAILABLE
        if is_busy:
            headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
        if closing or not is_busy:
            headers.append((b"connection", b"close"))
        headers += self._origins.told(scope)
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
