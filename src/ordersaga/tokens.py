"""Bearer tokens and the roles behind them. Kept as digests: whoever reads the settings cannot use them."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

_NAME = re.compile(r"[A-Za-z0-9._-]{1,50}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Role(StrEnum):
    CUSTOMER = "customer"
    """A front end that orders and cancels for customers, whom it knows and names."""
    VIEWER = "viewer"
    """Reads everything, changes nothing."""
    OPERATOR = "operator"
    """Does what a person on call does."""
    ADMIN = "admin"
    """Everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Whose token it is."""

    name: str
    role: Role


class Tokens:
    """Who has a token. Each is `name:role:digest`, as `new_token` makes them."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Raises `ValueError`, which quotes no line."""
        self._known = [_read(number, line) for number, line in enumerate(lines, start=1)]
        names = [one.name for _, one in self._known]
        if len(set(names)) != len(names):
            raise ValueError("two tokens have one name: who did what could not be told apart")

    def __bool__(self) -> bool:
        return bool(self._known)

    def whose(self, token: str) -> Principal | None:
        """Takes as long for a token that is nearly right as for any other."""
        digest = _digest(token)
        found = None
        for known, principal in self._known:
            if hmac.compare_digest(known, digest):
                found = principal
        return found


def new_token(name: str, role: Role) -> tuple[str, str]:
    """A token, and the line for the settings. The token is kept nowhere else. Raises `ValueError`."""
    token = secrets.token_urlsafe(32)
    line = f"{name}:{role.value}:{_digest(token)}"
    Tokens([line])
    return token, line


# --- small print ----------------------------------------------------------------------------------


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _read(number: int, line: str) -> tuple[str, Principal]:
    parts: Sequence[str] = line.strip().split(":")
    if len(parts) != 3 or not _NAME.fullmatch(parts[0]) or not _DIGEST.fullmatch(parts[2]):
        raise ValueError(f"token {number} is not of the form name:role:digest: `ordersaga token` makes one")
    if parts[1] not in set(Role):
        raise ValueError(f"token {number} has none of the roles {', '.join(Role)}")
    return parts[2], Principal(name=parts[0], role=Role(parts[1]))
