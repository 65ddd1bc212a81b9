"""What is said to us and by us, as documents for other people's tools: OpenAPI of the HTTP interface, AsyncAPI of the
messages, JSON Schemas of each message.

All of it comes from what the code goes by: the routes, the message structs, the sagas' definitions, the topics' names.
The schemas say what a message has to have; `wire.codec` is stricter in what a schema cannot say (sizes, depths, texts
that no database stores).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec

from ordersaga.as_set import sagas_of
from ordersaga.orchestrator.api.app import AppSettings, create_app
from ordersaga.orchestrator.core.definition import Definition
from ordersaga.settings import Settings
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant, Topics

ASYNCAPI = "3.0.0"
KEY = "The saga's id; events of services that know nothing of us may have none."


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """One kind of message: its name (the `type` on the wire), its payload, where it travels, and whether we send it."""

    name: str
    payload: type[Any]
    channel: str
    """The name of a field of `Topics`."""
    sent: bool
    title: str


def every_saga() -> tuple[Definition, ...]:
    """Those too that are not begun where a participant is bare: the vocabulary is that of all of them."""
    return tuple(sagas_of(Settings.model_validate({f"participant_{one.value}": "full" for one in Participant})))


def spoken(sagas: Sequence[Definition]) -> list[Spoken]:
    """Every message of the vocabulary: commands by saga and step first, then events, then announcements."""
    found = [_command(name, cls, _askers(sagas)) for name, cls in m.COMMANDS.items()]
    found += [_event(name, cls) for name, cls in m.EVENTS.items()]
    found += [_event(name, cls) for name, (cls, _) in m.ALIASES.items()]
    found += [_announcement(name, cls, "notification_events") for name, cls in m.ANNOUNCEMENTS.items()]
    return found + [_announcement(name, cls, "saga_events") for name, cls in m.STATUS_ANNOUNCEMENTS.items()]


def _askers(sagas: Sequence[Definition]) -> Mapping[type[m.Command], Participant]:
    asks = [step.do for saga in sagas for step in saga.steps] + [undo.ask for saga in sagas for undo in saga.undos()]
    return {get_type_hints(ask.command)["return"]: ask.to for ask in asks}


def _command(name: str, cls: type[m.Command], askers: Mapping[type[m.Command], Participant]) -> Spoken:
    to = askers[cls]
    return Spoken(
        name=name, payload=cls, channel=f"{to.value}_commands", sent=True, title=f"Asks the {to.value} service"
    )


def _event(name: str, cls: type[Any]) -> Spoken:
    """By whom it is said stands before the dot; those without one are news of existing order services."""
    service = name.partition(".")[0] if "." in name else Participant.ORDER.value
    return Spoken(
        name=name, payload=cls, channel=f"{service}_events", sent=False, title=f"Said by the {service} service"
    )


def _announcement(name: str, cls: type[Any], channel: str) -> Spoken:
    return Spoken(name=name, payload=cls, channel=channel, sent=True, title="Said to whoever listens")


# --- JSON Schemas ---------------------------------------------------------------------------------


def payload_schemas(ref_template: str) -> dict[str, Any]:
    """A schema for each payload struct and what it holds, by the struct's name."""
    tables = [*m.COMMANDS.values(), *m.EVENTS.values(), *m.ANNOUNCEMENTS.values(), *m.STATUS_ANNOUNCEMENTS.values()]
    structs = dict.fromkeys([*tables, *(cls for cls, _ in m.ALIASES.values())])
    _, components = msgspec.json.schema_components(list(structs), ref_template=ref_template)
    return components


def envelope_schema(one: Spoken, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The value of a record. Unknown fields are ignored, so none are forbidden."""
    bare = one.name in m.ALIASES
    return {
        "type": "object",
        "required": ["type", "payload", *([] if bare else ["correlation_id"]), *(["timestamp"] if one.sent else [])],
        "properties": {
            "type": {"const": one.name},
            "correlation_id": {"description": "The saga's id"} if bare else _text("The saga's id", maxLength=255),
            "timestamp": _text("ISO 8601; without a zone it is read as UTC"),
            "payload": dict(payload),
            "source": _text("Who says it", maxLength=255),
            "message_id": _text("The same on every retry, by which repeats are recognised", format="uuid"),
            "causation_id": _text("In an event: the message_id of the command that it answers", format="uuid"),
        },
    }


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def json_schemas(sagas: Sequence[Definition]) -> dict[str, Any]:
    """One document with the schema of every message under `$defs`, by its `type`; `oneOf` is any of them."""
    every = spoken(sagas)
    defs = payload_schemas("#/$defs/{name}")
    for one in every:
        defs[one.name] = envelope_schema(one, {"$ref": f"#/$defs/{one.payload.__name__}"})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Messages of the order saga",
        "oneOf": [{"$ref": f"#/$defs/{one.name}"} for one in every],
        "$defs": defs,
    }


# --- AsyncAPI -------------------------------------------------------------------------------------


def asyncapi(sagas: Sequence[Definition], topics: Topics, version: str) -> dict[str, Any]:
    """What the orchestrator sends and receives, as it is set: topics go by the names that are in force."""
    every = spoken(sagas)
    channels = list(dict.fromkeys(one.channel for one in every))
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "Order saga orchestrator",
            "version": version,
            "description": "Commands go from the orchestrator to one service, events from a service to everyone.",
        },
        "defaultContentType": "application/json",
        "channels": {channel: _channel(channel, topics, every) for channel in channels},
        "operations": {_operation_name(channel, every): _operation(channel, every) for channel in channels},
        "components": {
            "messages": {one.name: _message(one) for one in every},
            "schemas": payload_schemas("#/components/schemas/{name}"),
        },
    }


def _channel(channel: str, topics: Topics, every: Sequence[Spoken]) -> dict[str, Any]:
    return {
        "address": getattr(topics, channel),
        "messages": {one.name: {"$ref": f"#/components/messages/{one.name}"} for one in _on(channel, every)},
    }


def _operation(channel: str, every: Sequence[Spoken]) -> dict[str, Any]:
    return {
        "action": "send" if _is_sent(channel, every) else "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{one.name}"} for one in _on(channel, every)],
    }


def _operation_name(channel: str, every: Sequence[Spoken]) -> str:
    return f"{'send' if _is_sent(channel, every) else 'receive'}_{channel}"


def _is_sent(channel: str, every: Sequence[Spoken]) -> bool:
    (sent,) = {one.sent for one in _on(channel, every)}
    return sent


def _on(channel: str, every: Sequence[Spoken]) -> Iterator[Spoken]:
    return (one for one in every if one.channel == channel)


def _message(one: Spoken) -> dict[str, Any]:
    return {
        "name": one.name,
        "title": one.title,
        "payload": envelope_schema(one, {"$ref": f"#/components/schemas/{one.payload.__name__}"}),
        "headers": _headers(),
        "bindings": {"kafka": {"key": _text(KEY), "bindingVersion": "0.5.0"}},
    }


def _headers() -> dict[str, Any]:
    """CloudEvents and the trace context; none of them is needed."""
    names = ("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_correlationid", "traceparent")
    return {"type": "object", "properties": {name: {"type": "string"} for name in (*names, "tracestate")}}


# --- OpenAPI --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Described:
    """All that the routes ask of their application before anybody asks them."""

    version: str
    begun_within_seconds: float = 10.0


def openapi(version: str) -> dict[str, Any]:
    """What `GET /schema` answers."""
    described: Any = _Described(version=version)
    return create_app(described, AppSettings()).openapi_schema.to_schema()
