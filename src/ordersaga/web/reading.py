"""Reading a request: its body as an object, and texts out of it."""

from typing import Any

from litestar.exceptions import InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from ordersaga.web.problems import AnyRequest, Refused
from ordersaga.wire.errors import WireError
from ordersaga.wire.strict_json import Limits, strict_json

_BODY = Limits(depth_max=20)
"""An order has four levels."""


def must_be_json(request: AnyRequest) -> None:
    media_type = header_of(request, b"content-type") or ""
    if media_type != "application/json" and media_type.partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "unsupported-media-type", "The body must be application/json.")
    if (header_of(request, b"content-encoding") or "identity").lower() != "identity":
        raise Refused(415, "unsupported-media-type", "The body must not be compressed.")


def header_of(request: AnyRequest, name: bytes) -> str | None:
    """The first header of this name, which is in lower case. (The framework reads all of them for the first asked.)"""
    for known, value in request.scope["headers"]:
        if known == name:
            return value.decode("latin-1")
    return None


async def body_of(request: AnyRequest, bytes_max: int) -> bytes:
    """All of it. Raises what the framework raises for one that is too large, or ends before its end: it is its own
    reading without what it looks up for each request.
    """
    said = header_of(request, b"content-length") or "0"
    if said.isdecimal() and int(said) > bytes_max:
        raise RequestEntityTooLarge
    parts: list[bytes] = []
    received = 0
    while True:
        event = await request.receive()
        if event["type"] != "http.request":
            raise InternalServerException("client disconnected prematurely")
        parts.append(event["body"])
        received += len(event["body"])
        if received > bytes_max:
            raise RequestEntityTooLarge
        if not event.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises `WireError`."""
    found = strict_json(body, _BODY)
    if not isinstance(found, dict):
        raise WireError("", "the body must be a JSON object")
    return found


def optional_text(parent: dict[str, Any], name: str, chars_max: int) -> str:
    """Empty where it is absent or null."""
    text = parent.get(name)
    if text is None:
        return ""
    if not isinstance(text, str) or len(text) > chars_max:
        raise WireError(name, f"must be a text of at most {chars_max} characters")
    return text


def optional_number(parent: dict[str, Any], name: str) -> int | None:
    """A whole number, 1 at least; None where it is absent or null."""
    number = parent.get(name)
    if number is not None and (type(number) is not int or number < 1):
        raise WireError(name, "must be a whole number, 1 at least")
    return number


def required_text(parent: dict[str, Any], name: str, chars_max: int) -> str:
    text = optional_text(parent, name, chars_max).strip()
    if not text:
        raise WireError(name, "is required")
    return text
