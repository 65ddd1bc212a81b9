"""Who may ask for what: whom each route is for, and whose token came with a request.

A route says whom it is for (`opt=for_roles(...)` or `opt=FOR_ANYBODY`); one that says nothing is for nobody, so a new
route cannot be open by mistake.
"""

from collections.abc import Mapping
from typing import Any

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.types import HTTPScope

from ordersaga.tokens import Principal, Role, Tokens
from ordersaga.web.problems import AnyRequest, Refused
from ordersaga.web.rate import Rate

_KEY = "for_roles"
_WRONG_A_MINUTE_MAX = 20
_READING = ("GET", "HEAD", "OPTIONS")


def for_roles(*roles: Role) -> Mapping[str, Any]:
    """For a route's `opt`. An admin may do what any of them may."""
    return {_KEY: frozenset({*roles, Role.ADMIN})}


FOR_ANYBODY: Mapping[str, Any] = {_KEY: frozenset()}
FOR_CUSTOMERS = for_roles(Role.CUSTOMER, Role.OPERATOR)
FOR_READERS = for_roles(Role.VIEWER, Role.OPERATOR)
READERS: frozenset[Role] = FOR_READERS[_KEY]
FOR_OPERATORS = for_roles(Role.OPERATOR)
FOR_ALL_ROLES = for_roles(*Role)


class Access:
    """The guard of all routes."""

    def __init__(self, tokens: Tokens | None, *, read_only: bool = False) -> None:
        """`tokens` None: nobody is asked who they are. `read_only`: nobody changes anything."""
        self._tokens = tokens
        self._read_only = read_only
        self._wrong = Rate(_WRONG_A_MINUTE_MAX / 60, _WRONG_A_MINUTE_MAX)

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, State], handler: BaseRouteHandler) -> None:
        """Waits for nothing; as a plain function the framework would give it a thread."""
        roles = handler.opt.get(_KEY)
        if roles is None:
            raise Refused(403, "forbidden", "This is for nobody.")
        if self._tokens is not None:
            self._must_be_one_of(roles, connection, self._tokens)
        if self._read_only and connection.scope.get("method") not in _READING:
            raise Refused(503, "read-only", "Nothing can be changed here now: an operator is looking at it first.")

    def _must_be_one_of(
        self, roles: frozenset[Role], connection: ASGIConnection[Any, Any, Any, State], tokens: Tokens
    ) -> None:
        principal = self._principal(connection, tokens)
        connection.scope["user"] = principal
        if not roles:
            return
        if principal is None:
            raise _unknown("A token is needed: Authorization: Bearer <token>.")
        if principal.role not in roles:
            raise Refused(403, "forbidden", f"This is not for {principal.role.value}s.")

    def _principal(self, connection: ASGIConnection[Any, Any, Any, State], tokens: Tokens) -> Principal | None:
        """None where no token was given."""
        given = _authorization(connection.scope)
        if given is None:
            return None
        kind, _, token = given.partition(" ")
        found = tokens.whose(token.strip()) if kind.lower() == "bearer" else None
        if found is None:
            self._count_wrong(connection)
            raise _unknown("This token is not known.")
        return found

    def _count_wrong(self, connection: ASGIConnection[Any, Any, Any, State]) -> None:
        client = connection.client
        wait = self._wrong.take(client.host if client else "")
        if wait:
            raise Refused(429, "too-many-requests", "Too many wrong tokens.", retry_after_seconds=wait)


def may_read(request: AnyRequest) -> bool:
    """Whether whoever asks is one of `READERS`; also where nobody is asked who they are."""
    if "user" not in request.scope:
        return True
    principal = principal_of(request)
    return principal is not None and principal.role in READERS


def principal_of(request: AnyRequest) -> Principal | None:
    """None where nobody is asked who they are."""
    found: Principal | None = request.scope.get("user")
    return found


def roles_of(handler: BaseRouteHandler) -> frozenset[Role] | None:
    """Whom a route is for; empty: anybody; None: nobody."""
    found: frozenset[Role] | None = handler.opt.get(_KEY)
    return found


# --- small print ----------------------------------------------------------------------------------


def _authorization(scope: HTTPScope | Any) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            found: str = value.decode("latin-1")
            return found
    return None


def _unknown(detail: str) -> Refused:
    return Refused(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
