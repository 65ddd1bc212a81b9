"""What is answered when something is wrong: RFC 9457 problem details, with the `success` and `error` that existing
front ends read.

Promise: an answer says what is wrong and, where it is a field, which one; it never holds a stack trace, SQL or a
participant's text.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal

import msgspec
import structlog
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap
from msgspec import UNSET, Meta, Struct, UnsetType

from ordersaga.wire.errors import WireError

_log = structlog.get_logger(__name__)
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
"""A restart of the database or a failover takes a few seconds; sooner only adds load."""

AnyRequest = Request[Any, Any, State]


class Problem(Struct, frozen=True, kw_only=True):
    """Problem details (RFC 9457)."""

    type: Annotated[str, Meta(description="What kind of problem, for machines")]
    title: Annotated[str, Meta(description="The same in words")]
    status: Annotated[int, Meta(description="The HTTP status")]
    detail: Annotated[str, Meta(description="What is wrong with this request")]
    error: Annotated[str, Meta(description="The same as detail")]
    success: Literal[False] = False
    field: Annotated[str | UnsetType, Meta(description="Which field is wrong, as a path")] = UNSET
    saga_status: Annotated[str | UnsetType, Meta(description="The status in which this cannot be done")] = UNSET


class Refused(Exception):
    """A request that is answered with a problem. `kind` becomes the last part of the problem's type."""

    retriable = False

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        saga_status: str = "",
        retry_after_seconds: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.saga_status = saga_status
        self.headers = dict(headers or {})
        if retry_after_seconds is not None:
            self.headers["Retry-After"] = str(retry_after_seconds)


def as_problem(status: int, kind: str, detail: str, *, field: str = "", saga_status: str = "") -> Problem:
    return Problem(
        type=f"urn:ordersaga:problem:{kind}",
        title=kind.replace("-", " ").capitalize(),
        status=status,
        detail=detail,
        error=detail,
        field=field[:300] or UNSET,
        saga_status=saga_status or UNSET,
    )


def _answer(found: Problem, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(msgspec.json.encode(found), status_code=found.status, media_type=MEDIA_TYPE, headers=headers)


def unavailable() -> Response[bytes]:
    detail = "The service cannot do this right now. Please try again in a few seconds."
    return _answer(as_problem(503, "unavailable", detail), {"Retry-After": str(RETRY_AFTER_SECONDS)})


def _invalid(_: AnyRequest, error: WireError) -> Response[bytes]:
    return _answer(as_problem(400, "invalid-request", f"{error.field or 'body'}: {error.problem}", field=error.field))


def refused(_: AnyRequest, error: Refused) -> Response[bytes]:
    found = as_problem(error.status, error.kind, str(error), saga_status=error.saga_status)
    return _answer(found, error.headers or None)


def passing_trouble(request: AnyRequest, error: Exception) -> Response[bytes]:
    """For errors of whatever keeps the rows."""
    _log.warning("api.store_unavailable", method=request.method, route=_route(request), error=type(error).__name__)
    return unavailable()


def _http(_: AnyRequest, error: HTTPException) -> Response[bytes]:
    """What the framework itself refuses: no such route, wrong method, too large, a wrong query parameter."""
    status = error.status_code
    if status >= 500:
        return _answer(as_problem(status, "internal-error", HTTPStatus(status).phrase))
    keys = [str(one.get("key", "")) for one in error.extra or () if isinstance(one, dict)]
    messages = [str(one.get("message", "")) for one in error.extra or () if isinstance(one, dict)]
    phrase = HTTPStatus(status).phrase
    detail = f"{keys[0]}: {messages[0]}" if keys and status == 400 else phrase
    kind = "invalid-request" if status == 400 else phrase.lower().replace(" ", "-")
    return _answer(as_problem(status, kind, detail, field=keys[0] if keys else ""), error.headers)


def unexpected(request: AnyRequest, error: Exception) -> Response[bytes]:
    _log.error("api.request_failed", method=request.method, route=_route(request), exc_info=error)
    return _answer(as_problem(500, "internal-error", "Something went wrong on our side."))


def _route(request: AnyRequest) -> str:
    """The route's pattern rather than the path, which is a stranger's text."""
    return str(request.scope.get("path_template") or "unknown")


HANDLERS: ExceptionHandlersMap = {
    WireError: _invalid,
    Refused: refused,
    HTTPException: _http,
    Exception: unexpected,
}
