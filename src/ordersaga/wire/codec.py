"""Bytes to messages and back.

Reading has two stages. The first reads only the envelope's `type`: whatever is not in our vocabulary is `Foreign` and costs no more than that, since
other flows share the topics. The second is strict: what is in our vocabulary decodes into its struct, or raises `WireError` with the field and the
problem. Nothing else is ever raised, whatever the bytes are; and what decodes can be stored by PostgreSQL as it is (no NUL, no lone surrogate, no
number that one side takes and the other refuses, no key twice).
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from ordersaga.wire.errors import WireError
from ordersaga.wire.messages import ALIASES, ANNOUNCEMENTS, COMMANDS, EVENTS, STATUS_ANNOUNCEMENTS, Message, type_of
from ordersaga.wire.times import parse_time, time_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    value_bytes_max: int = 1_000_000
    """Larger records are refused before they are parsed. The brokers' own limit is about the same."""
    depth_max: int = 32
    """Objects and arrays inside each other."""


LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A message with what travels around it."""

    body: Message
    correlation_id: str
    saga_id: UUID | None
    """The correlation id, where it is a UUID."""
    timestamp: datetime | None
    """The sender's clock, aware UTC."""
    message_id: UUID | None = None
    causation_id: UUID | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Foreign:
    """A record of another flow."""

    type: str
    why: str


def encode(
    body: Message,
    *,
    correlation_id: UUID | str,
    timestamp: datetime,
    source: str,
    message_id: UUID | None = None,
    causation_id: UUID | None = None,
) -> bytes:
    return _ENCODER.encode(
        _Written(
            type=type_of(body),
            correlation_id=str(correlation_id),
            timestamp=time_text(timestamp),
            payload=body,
            source=source,
            message_id=message_id,
            causation_id=causation_id,
        )
    )


def decode_event(value: bytes | None, limits: Limits = LIMITS) -> Envelope | Foreign:
    """For the orchestrator: what participants say."""
    return _decode(value, _EVENTS, limits)


def decode_command(value: bytes | None, limits: Limits = LIMITS) -> Envelope | Foreign:
    """For participants: what the orchestrator asks."""
    return _decode(value, _COMMANDS, limits)


def decode_announcement(value: bytes | None, limits: Limits = LIMITS) -> Envelope | Foreign:
    """For the notification service and whoever follows sagas."""
    return _decode(value, _ANNOUNCEMENTS, limits)


class _Written(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    correlation_id: str
    timestamp: str
    payload: Message
    source: str
    message_id: UUID | None = None
    causation_id: UUID | None = None


class _Typed(msgspec.Struct, frozen=True):
    type: str


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    payload: msgspec.Raw
    correlation_id: str | None = None
    timestamp: str | None = None
    message_id: UUID | None = None
    causation_id: UUID | None = None
    source: str | None = None


Reader = Callable[[msgspec.Raw], Message]
_ENCODER = msgspec.json.Encoder()
_TYPED = msgspec.json.Decoder(_Typed)
_READ = msgspec.json.Decoder(_Read)


def _reader(struct: type[msgspec.Struct], meaning: type[Message]) -> Reader:
    decoder = msgspec.json.Decoder(struct)
    if struct is meaning:
        return decoder.decode

    def read(payload: msgspec.Raw) -> Message:
        found = decoder.decode(payload)
        fields = {name: getattr(found, name) for name in meaning.__struct_fields__ if hasattr(found, name)}
        return meaning(**fields)

    return read


def _readers(table: Mapping[str, type[Message]]) -> dict[str, Reader]:
    return {name: _reader(struct, struct) for name, struct in table.items()}


_COMMANDS = _readers(COMMANDS)
_ANNOUNCEMENTS = _readers(ANNOUNCEMENTS) | _readers(STATUS_ANNOUNCEMENTS)
_EVENTS = _readers(EVENTS) | {name: _reader(struct, meaning) for name, (struct, meaning) in ALIASES.items()}


def _decode(value: bytes | None, readers: Mapping[str, Reader], limits: Limits) -> Envelope | Foreign:
    if not value:
        raise WireError("", "the record is empty")
    if len(value) > limits.value_bytes_max:
        raise WireError("", f"the record has {len(value)} bytes; at most {limits.value_bytes_max} are read")
    name = _guard("type", lambda: _TYPED.decode(value)).type
    reader = readers.get(name)
    if reader is None:
        return Foreign(name[:100], "unknown type")
    _check_plain(value, limits)
    read = _guard("", lambda: _READ.decode(value))
    correlation_id = read.correlation_id or ""
    if len(correlation_id) > 255 or (not correlation_id and name not in ALIASES):
        raise WireError("correlation_id", "1 to 255 characters are needed")
    return Envelope(
        body=_guard("payload", lambda: reader(read.payload)),
        correlation_id=correlation_id,
        saga_id=_uuid(correlation_id),
        timestamp=parse_time(read.timestamp, "timestamp") if read.timestamp else None,
        message_id=read.message_id,
        causation_id=read.causation_id,
        source=read.source,
    )


def _guard(field: str, action: Callable[[], Any]) -> Any:
    """Run a decoder; whatever it makes of strangers' bytes, it is a `WireError` that names the field."""
    try:
        return action()
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise WireError(f"{field}{path.rstrip('`')}".lstrip("."), problem) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise WireError(field, f"cannot be read as JSON: {error}"[:300]) from None


def _check_plain(value: bytes, limits: Limits) -> None:
    """Refuse what a struct decoder lets pass and a database does not take."""
    found = _guard("", lambda: _PLAIN.decode(value.decode()))
    if b"\\u0000" in value:
        _refuse_nul(found, "")
    # Most messages are too shallow to count.
    if value.count(b"{") + value.count(b"[") > limits.depth_max and _depth(found) > limits.depth_max:
        raise WireError("", f"objects inside each other, more than {limits.depth_max} deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has one key twice")
    return found


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise ValueError("an integer does not fit into 64 bits")
    return int(text)


def _number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError("a number is too large")
    return number


def _constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


_PLAIN = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant, strict=True
)


def _refuse_nul(found: Any, path: str) -> None:
    stack = [(found, path)]
    while stack:
        value, where = stack.pop()
        if isinstance(value, str) and "\0" in value:
            raise WireError(where.lstrip("."), "a text holds the character NUL")
        if isinstance(value, dict):
            stack += [(key, f"{where}.(key)") for key in value]
            stack += [(inner, f"{where}.{key}") for key, inner in value.items()]
        elif isinstance(value, list):
            stack += [(inner, f"{where}[{index}]") for index, inner in enumerate(value)]


def _depth(found: Any) -> int:
    level, deepest = [found], 0
    while level := [inner for outer in level if isinstance(outer, dict | list) for inner in _inside(outer)]:
        deepest += 1
    return deepest


def _inside(outer: dict[str, Any] | list[Any]) -> list[Any]:
    return list(outer.values()) if isinstance(outer, dict) else outer


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None
