"""Writes the reference: `make reference` (`python -m tools.reference`), into docs/reference.

Settings, HTTP, messages and commands as the code has them; whoever changes one of them runs this, and a test compares.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import typer

from ordersaga import schemas
from ordersaga.cli import app
from ordersaga.settings import Settings, variable
from ordersaga.settings_connections import ConnectionSettings
from ordersaga.settings_http import HttpSettings
from ordersaga.settings_reading import SECRETS, allowed, shown
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Topics

FOLDER = Path(__file__).resolve().parent.parent / "docs/reference"
VERSION = "unreleased"
"""In the documents that are kept here; `ordersaga schemas` says the one that runs."""
UNITS = {
    "_seconds": "seconds",
    "_minute_max": "a minute",
    "_hours": "hours",
    "_days": "days",
    "_cents_max": "cents",
    "_chars_max": "characters",
    "_bytes_max": "bytes",
    "_seconds_max": "seconds",
    "_rows_max": "rows",
}
# How each page begins.
SETTINGS_HEAD = """# Settings

Every setting with its unit, its limits, its default and the reason for it. `make reference` writes this page from
`src/ordersaga/settings.py`; `ordersaga settings` prints the same, with the values that are in force, and `ordersaga
config --changed` what is not as it comes, and where each value is from.

They are read from the environment, once, when a command starts; with `--env-file` from a file too, before which the
environment goes. A secret can be in a file of its own: the same name with `_FILE` behind it says where. An empty
value is the same as none. A name that does not exist is an error that suggests the near one.
"""
HTTP_HEAD = """# HTTP

Every request that the orchestrator answers. `make reference` writes this page and [openapi.json](openapi.json) from
the routes; a running orchestrator answers `GET /schema` with the same document, and `ordersaga schemas openapi`
prints it. Who may ask for what: [running it](../running.md#who-may-ask).

What is refused is answered as problem details (RFC 9457) that also have `error`, a sentence, and `success: false`.
"""
MESSAGES_HEAD = """# Messages

Every message that the orchestrator sends or receives over Kafka. `make reference` writes this page,
[asyncapi.json](asyncapi.json) (AsyncAPI 3) and [messages.schema.json](messages.schema.json) (JSON Schema) from the
structs in `src/ordersaga/wire/messages.py` and the definitions of the sagas; `ordersaga schemas asyncapi` prints them
with the names of topics that are set.

A record's value is an envelope around the payload: `type`, `correlation_id` (the saga's id), `timestamp`, `payload`,
and where they are known `source`, `message_id` (the same on every retry) and `causation_id` (in an event: the
`message_id` that it answers). Unknown fields are ignored. Records are keyed by the saga's id; headers carry
CloudEvents (`ce_...`) and the W3C trace context. [Glossary](../glossary.md) · [how it works](../how-it-works.md)
"""
COMMAND_LINE_HEAD = """# Command line

Every command with its options. `make reference` writes this page from the commands; `--help` says the same at a
terminal. Exit code 0: done; 1: it failed, or something is not well; 2: it was given wrongly. Settings: [all of
them](settings.md).
"""

SAGAS = schemas.every_saga()


@cache
def files() -> dict[str, str]:
    """Each file of the reference, by its name."""
    return {
        "settings.md": _text(settings()),
        "http.md": _text(http(schemas.openapi(VERSION))),
        "messages.md": _text(messages()),
        "command-line.md": _text(command_line()),
        "openapi.json": _json(schemas.openapi(VERSION)),
        "asyncapi.json": _json(schemas.asyncapi(SAGAS, Topics(), VERSION)),
        "messages.schema.json": _json(schemas.json_schemas(SAGAS)),
    }


def _text(lines: Iterator[str]) -> str:
    return "\n".join(lines).strip() + "\n"


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- settings -------------------------------------------------------------------------------------


def settings() -> Iterator[str]:
    yield SETTINGS_HEAD
    done: set[str] = set()
    for title, owner in (
        ("Database and Kafka", ConnectionSettings),
        ("HTTP", HttpSettings),
        ("The saga and the engine room", Settings),
    ):
        yield f"## {title}\n"
        for name in owner.model_fields:
            if name not in done:
                yield from _setting(name)
        done |= owner.model_fields.keys()


def _setting(name: str) -> Iterator[str]:
    unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
    secret = " · a secret" if name in SECRETS else ""
    yield f"### {variable(name)}\n"
    default = shown(Settings(), name)
    code = default if default.startswith("(") or not default else f"`{_cell(default)}`"
    yield f"Default {code} · {_cell(allowed(name))}{f' · {unit}' if unit else ''}{secret}\n"
    yield f"{Settings.model_fields[name].description}\n"


# --- HTTP -----------------------------------------------------------------------------------------


def http(document: Mapping[str, Any]) -> Iterator[str]:
    yield HTTP_HEAD
    for path, methods in sorted(document["paths"].items()):
        for method, operation in methods.items():
            yield from _request(path, method, operation)
    yield "## What they hold\n"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f"### {name}\n"
        yield from _fields(schema)


def _request(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {method.upper()} {path}\n"
    yield f"{operation.get('summary', '')}. {operation.get('description', '')}".strip() + "\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | in | type | meaning |\n|---|---|---|---|"
        for one in parameters:
            needed = ", needed" if one.get("required") else ""
            meaning = _cell(one.get("description", ""))
            yield f"| `{one['name']}` | {one['in']}{needed} | {_type(one['schema'])} | {meaning} |"
        yield ""
    if body := operation.get("requestBody"):
        schema = next(iter(body["content"].values()))["schema"]
        yield f"Body{'' if body.get('required') else ', which may be left out'}:\n"
        yield from _fields(schema)
    yield "| answer | |\n|---|---|"
    for status, answer in sorted(operation["responses"].items()):
        kinds = [_type(one["schema"]) for one in answer.get("content", {}).values() if "schema" in one]
        yield f"| {status} | {_cell(answer.get('description', ''))}{': ' + kinds[0] if kinds else ''} |"
    yield ""


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    if said := schema.get("description"):
        yield f"{_cell(said)}\n"
    if values := schema.get("enum"):
        yield f"One of {', '.join(f'`{value}`' for value in values)}.\n"
    if not schema.get("properties"):
        return
    yield "| field | type | meaning |\n|---|---|---|"
    for name, one in schema["properties"].items():
        needed = "" if name in schema.get("required", ()) else ", may be left out"
        yield f"| `{name}` | {_type(one)}{needed} | {_cell(one.get('description', ''))} |"
    yield ""


def _type(schema: Mapping[str, Any]) -> str:
    """A type in a word or two; one that has a name is called by it."""
    if "$ref" in schema:
        return _cell(schema["$ref"].rpartition("/")[2])
    if options := schema.get("oneOf") or schema.get("anyOf"):
        return " or ".join(_type(one) for one in options)
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kind = schema.get("type", "anything")
    named = {"string": "text", "object": schema.get("title", "object"), "integer": "whole number"}.get(kind, kind)
    return " ".join(filter(None, [named, f"({schema['format']})" if "format" in schema else "", _limits(schema)]))


def _limits(schema: Mapping[str, Any]) -> str:
    """Of a text, a number or a list."""
    pairs = (("minLength", "maxLength", " characters"), ("minimum", "maximum", ""), ("minItems", "maxItems", ""))
    said = []
    for least, most, unit in pairs:
        if least in schema and most in schema:
            said.append(f"{schema[least]} to {schema[most]}{unit}")
        elif least in schema:
            said.append(f"at least {schema[least]}{unit}")
        elif most in schema:
            said.append(f"up to {schema[most]}{unit}")
    return f"of {', '.join(said)}" if said else ""


# --- messages -------------------------------------------------------------------------------------


def messages() -> Iterator[str]:
    yield MESSAGES_HEAD
    every, components = schemas.spoken(SAGAS), schemas.payload_schemas("{name}")
    for channel in dict.fromkeys(one.channel for one in every):
        here = [one for one in every if one.channel == channel]
        yield f"## {channel}\n"
        yield f"{'The orchestrator writes it' if here[0].sent else 'The orchestrator reads it'}. {here[0].title}.\n"
        for name, one in _by_payload(here):
            yield f"### {name}\n"
            yield from _fields(_described(components[one.payload.__name__]))
    yield "## What they hold\n"
    own = {one.payload.__name__ for one in every}
    for name in sorted(components.keys() - own):
        yield f"### {name}\n"
        yield from _fields(_described(components[name]))


def _by_payload(here: Sequence[schemas.Spoken]) -> Iterator[tuple[str, schemas.Spoken]]:
    """Types that have one payload stand together."""
    for payload in dict.fromkeys(one.payload for one in here):
        same = [one for one in here if one.payload is payload]
        yield " · ".join(one.name for one in same), same[0]


def _described(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without what a struct inherited from one that stands for many."""
    shared = {cls.__doc__ for cls in (m.Message, m.Command, m.Event, m.Announcement)}
    return {key: value for key, value in schema.items() if key != "description" or value not in shared}


# --- commands -------------------------------------------------------------------------------------


def command_line() -> Iterator[str]:
    yield COMMAND_LINE_HEAD
    for name, command in sorted(commands()):
        yield f"## {name}\n"
        said, _, example = (command.help or "").partition("Example:")
        yield f"{said.strip()}\n"
        context = command.context_class(command, info_name=name)
        yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
        rows = [record for one in command.params if (record := one.get_help_record(context))]
        if rows:
            yield "| option | |\n|---|---|"
            yield from (f"| `{option.replace('|', ' or ')}` | {_cell(meaning)} |" for option, meaning in rows)
            yield ""
        if example:
            yield f"Example: `{' '.join(example.split())}`\n"


def commands() -> Iterator[tuple[str, Any]]:
    """Each command that does something, by how it is typed."""
    root: Any = typer.main.get_command(app)
    waiting = [("ordersaga", root)]
    while waiting:
        name, command = waiting.pop()
        below = getattr(command, "commands", {})
        waiting += [(f"{name} {word}", one) for word, one in below.items()]
        if not below or command.invoke_without_command:
            yield name, command


if __name__ == "__main__":
    for file, text in files().items():
        (FOLDER / file).write_text(text, "utf-8")
