"""Messages to bytes and back: the envelope that every record carries, and the payload that its `type` promises.

Reading goes in two stages. First only the `type`: traffic of other flows shares our topics, and what is not of our
vocabulary is `Foreign`, told apart without a look at the rest. Only then is the record held to everything: strict
structs for the envelope and the payload, and `strict_json` for what no service should have to store.

Promised: whatever bytes arrive, the outcome is an `Envelope`, a `Foreign` or a `WireError` that names the field, and
the body of an `Envelope` can be stored and sent on as it is. Not promised: that a message concerns a saga that exists,
nor that a foreign one is sound. Of two `type` fields the last decides whether a record is foreign.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct

from ordersaga.wire.errors import WireError
from ordersaga.wire.messages import (
    ALIASES,
    ANNOUNCEMENTS,
    COMMANDS,
    EVENTS,
    STATUS_ANNOUNCEMENTS,
    CreateOrder,
    Event,
    Id,
    Message,
    type_of,
)
from ordersaga.wire.strict_json import LIMITS, Limits, check_size, check_storable, decoded, shown, strict_json
from ordersaga.wire.times import parse_time, time_text

__all__ = [
    "LIMITS",
    "Envelope",
    "Foreign",
    "Limits",
    "decode_announcement",
    "decode_command",
    "decode_event",
    "encode",
]


class Envelope(Struct, frozen=True, kw_only=True):
    """A message of our vocabulary, with what came around it. (A struct is built in a fifth of a dataclass's time.)"""

    body: Message
    correlation_id: str
    """As sent; empty where an existing service's news of an order has none that can be kept."""
    saga_id: UUID | None
    """The correlation id, where that is a UUID."""
    timestamp: datetime | None
    """The sender's clock, aware, in UTC; None where the sender gave none."""
    message_id: UUID | None = None
    causation_id: UUID | None = None
    source: str | None = None


class Foreign(Struct, frozen=True):
    """A message of another flow: to be counted, nothing more."""

    type: str
    """As sent, shortened, and escaped where it cannot be printed."""
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
    """The value of a record. Raises `WireError` for texts, numbers and depths that every reader would refuse."""
    if isinstance(body, CreateOrder):  # the one payload with a part of the customer's own making
        check_storable(body.order_details, "payload.order_details", LIMITS.depth_max - 2)
    try:
        return _ENCODER.encode(
            _Written(
                type=type_of(body),
                correlation_id=correlation_id,
                timestamp=time_text(timestamp),
                payload=body,
                source=source,
                message_id=message_id,
                causation_id=causation_id,
            )
        )
    except UnicodeEncodeError:
        raise WireError("payload", "has half a surrogate pair") from None


def decode_event(value: bytes | None, limits: Limits = LIMITS) -> Envelope | Foreign:
    """An answer or news of a participant, for the orchestrator. Raises `WireError`."""
    return _decode(value, _EVENT_FORMS, limits)


def decode_command(value: bytes | None, limits: Limits = LIMITS) -> Envelope | Foreign:
    """A command, for a participant. Raises `WireError`."""
    return _decode(value, _COMMAND_FORMS, limits)


def decode_announcement(value: bytes | None, limits: Limits = LIMITS) -> Envelope | Foreign:
    """A notification or a saga's change of status, for whoever listens to the orchestrator. Raises `WireError`."""
    return _decode(value, _ANNOUNCEMENT_FORMS, limits)


# --- the forms that a record may have -------------------------------------------------------------


class _Typed(Struct):
    """The first look."""

    type: str


class _Head(Struct, kw_only=True):
    """The envelope as it comes in."""

    payload: Raw
    timestamp: str | None = None
    source: Annotated[str, Meta(max_length=255)] | None = None
    message_id: UUID | None = None
    causation_id: UUID | None = None


class _OwnHead(_Head, kw_only=True):
    correlation_id: Id


class _BareHead(_Head, kw_only=True):
    """Existing services put ids of their own making, or none, into their news of orders."""

    correlation_id: Any = None


class _Written(Struct, kw_only=True, omit_defaults=True):
    """The envelope as it goes out."""

    type: str
    correlation_id: UUID | str
    timestamp: str
    payload: Message
    source: str
    message_id: UUID | None = None
    causation_id: UUID | None = None


_Decoder = msgspec.json.Decoder[Any]


@dataclass(frozen=True, slots=True)
class _Form:
    """How records of one type are read. `event` is what a payload under another service's name means inside."""

    head: _Decoder
    payload: _Decoder
    event: type[Event] | None = None


_ENCODER = msgspec.json.Encoder()
_TYPED = msgspec.json.Decoder(_Typed)
_OWN_HEAD = msgspec.json.Decoder(_OwnHead)
_BARE_HEAD = msgspec.json.Decoder(_BareHead)


def _forms(table: Mapping[str, type[Message]]) -> dict[str, _Form]:
    return {name: _Form(_OWN_HEAD, msgspec.json.Decoder(cls)) for name, cls in table.items()}


_COMMAND_FORMS = _forms(COMMANDS)
_ANNOUNCEMENT_FORMS = _forms(ANNOUNCEMENTS) | _forms(STATUS_ANNOUNCEMENTS)
_EVENT_FORMS = _forms(EVENTS) | {
    name: _Form(_BARE_HEAD, msgspec.json.Decoder(cls), event) for name, (cls, event) in ALIASES.items()
}


# --- reading --------------------------------------------------------------------------------------


def _decode(value: bytes | None, forms: Mapping[str, _Form], limits: Limits) -> Envelope | Foreign:
    if value is None:
        raise WireError("", "has no value")
    check_size(value, limits)
    name = decoded(_TYPED, value).type
    form = forms.get(name)
    if form is None:
        return Foreign(shown(name), "unknown type")
    envelope = _envelope(decoded(form.head, value), form)  # first, since the structs know the fields by name
    strict_json(value, limits)
    return envelope


def _envelope(head: Any, form: _Form) -> Envelope:
    body = decoded(form.payload, head.payload, "payload")
    correlation_id = head.correlation_id
    if form.event is not None:
        body = _meaning(body, form.event)
        correlation_id = _kept(correlation_id)
    return Envelope(
        body=body,
        correlation_id=correlation_id,
        saga_id=_uuid(correlation_id),
        timestamp=None if head.timestamp is None else parse_time(head.timestamp, "timestamp"),
        message_id=head.message_id,
        causation_id=head.causation_id,
        source=head.source,
    )


def _meaning(alias: Struct, event: type[Event]) -> Event:
    return event(**{field: getattr(alias, field) for field in event.__struct_fields__})


def _kept(correlation_id: Any) -> str:
    return correlation_id if isinstance(correlation_id, str) and len(correlation_id) <= 255 else ""


def _uuid(text: str) -> UUID | None:
    if len(text) != 36:
        return None
    try:
        return msgspec.convert(text, UUID)
    except msgspec.ValidationError:
        return None
