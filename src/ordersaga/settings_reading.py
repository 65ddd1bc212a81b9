"""Reads the settings from the environment, and says everything that is wrong with them at once.

Promise: a name under our prefix that is no setting is an error, never ignored; a secret's value is in no message. An
empty value is the same as none, since that is what a compose file makes of a variable that is not set.
"""

import difflib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from ordersaga.settings import PREFIX, Settings, variable

SECRETS = frozenset(name for name, info in Settings.model_fields.items() if SecretStr in get_args(info.annotation))
"""Never shown, and readable from a file that is named by the variable with `_FILE` behind it."""

_FIELDS = {variable(name): name for name in Settings.model_fields}
_NAMED = re.compile(r"//[^/\s]*@")
"""In an address, who asks and with which password: it belongs into no address that is shown."""
_FILES = {f"{variable(name)}_FILE": name for name in SECRETS}


class SettingsError(Exception):
    """The settings cannot be used: `problems` has a line for each."""

    retriable = False

    def __init__(self, problems: Collection[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was given, and where."""

    value: str
    origin: str


def read(
    *,
    environment: Mapping[str, str] = os.environ,
    env_file: Path | None = None,
    needs: Collection[str] = (),
    **fixed: Any,
) -> Settings:
    """The settings. `needs` are fields that must be given; `fixed` are fields that a command sets itself, over all.

    The environment counts before the file. Raises `SettingsError`.
    """
    given = _gather(environment, env_file)
    problems = [_unknown(name, one) for name, one in given.items() if name not in _FIELDS and name not in _FILES]
    values, unread = _values(given)
    problems += unread
    values.update(fixed)
    problems += [
        f"{variable(name)} is not set: {Settings.model_fields[name].description}"
        for name in needs
        if name not in values and not _from_file(name, given)
    ]
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError([*problems, *_explain(error, given)]) from None
    if problems:
        raise SettingsError(problems)
    return settings


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """What is left of it without any name of ours: for a child process that is given all of its settings."""
    return {name: value for name, value in environment.items() if not _is_ours(name)}


def listing(settings: Settings) -> Iterator[str]:
    """Every setting: its value, and what it is for. A secret's value is not shown."""
    for name, info in Settings.model_fields.items():
        yield f"{variable(name)}={shown(settings, name)}"
        yield f"    {info.description} Allowed: {allowed(name)}."


def in_force(
    *, environment: Mapping[str, str] = os.environ, env_file: Path | None = None
) -> Iterator[tuple[str, str, str]]:
    """Every setting: its name, its value, and where that is from. A secret's value is not shown. Raises
    `SettingsError`.
    """
    settings, given = read(environment=environment, env_file=env_file), _gather(environment, env_file)
    for name in Settings.model_fields:
        own = given.get(variable(name)) or given.get(f"{variable(name)}_FILE")
        yield variable(name), shown(settings, name), own.origin if own else "default"


def shown(settings: Settings, name: str) -> str:
    """As a person sees it; a secret is not shown."""
    value = getattr(settings, name)
    return "(not set)" if value in (None, "", ()) else "(secret)" if name in SECRETS else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)


def _gather(environment: Mapping[str, str], env_file: Path | None) -> dict[str, Given]:
    """What is ours of the file and of the environment; in small letters too, so that a misspelt name is noticed."""
    given: dict[str, Given] = {}
    if env_file is not None:
        given.update(
            {name: Given(value or "", str(env_file)) for name, value in _lines(env_file).items() if _is_ours(name)}
        )
    given.update({name: Given(value, "the environment") for name, value in environment.items() if _is_ours(name)})
    return {name: one for name, one in given.items() if one.value.strip() or name not in _FIELDS}


def _lines(env_file: Path) -> Mapping[str, str | None]:
    if not env_file.is_file():
        raise SettingsError(
            [f"there is no file {env_file}: give the path of a file with lines such as {PREFIX}HTTP_PORT=8080"]
        )
    try:
        return dotenv_values(env_file, interpolate=False, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{env_file} cannot be read: {error}"]) from None


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX) or name in _FIELDS or name in _FILES


def _values(given: Mapping[str, Given]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {field: given[name].value.strip() for name, field in _FIELDS.items() if name in given}
    problems = []
    for name, field in _FILES.items():
        if name not in given or not given[name].value.strip():
            continue
        if field in values:
            problems.append(f"{variable(field)} and {name} are both set: which of them counts? Keep one")
            continue
        try:
            values[field] = Path(given[name].value.strip()).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            problems.append(f"{name} (from {given[name].origin}) names a file that cannot be read: {why}")
        else:
            if not values[field]:
                problems.append(f"{name} (from {given[name].origin}) names a file that is empty")
    return values, problems


def _from_file(field: str, given: Mapping[str, Given]) -> bool:
    return f"{variable(field)}_FILE" in given


def _unknown(name: str, given: Given) -> str:
    known = {one.removeprefix(PREFIX): one for one in (*_FIELDS, *_FILES)}
    near = difflib.get_close_matches(name.upper().removeprefix(PREFIX), known, n=1, cutoff=0.7)
    hint = f"did you mean {known[near[0]]}?" if near else "`ordersaga settings` lists those that there are"
    return f"{name} (from {given.origin}) is no setting; {hint}"


def _explain(error: ValidationError, given: Mapping[str, Given]) -> list[str]:
    return [
        _problem(str(one["loc"][0]) if one["loc"] else "", one["type"], one["msg"], given)
        for one in error.errors(include_url=False, include_input=False)
    ]


def _problem(field: str, kind: str, message: str, given: Mapping[str, Given]) -> str:
    """Our own checks say what is wrong; for all others it says enough what the value must be."""
    said = message.removeprefix("Value error, ") if kind == "value_error" else ""
    if not field:
        return said or message
    name = variable(field)
    info = Settings.model_fields[field]
    one = given.get(name)
    shown = "" if one is None or field in SECRETS else f"={_NAMED.sub('//***@', one.value)!r}"
    origin = f" (from {one.origin})" if one else ""
    return f"{name}{shown}{origin}: {said or f'must be {allowed(field)}'}. {info.description}"


def allowed(field: str) -> str:
    """What a setting may be, in words."""
    info = Settings.model_fields[field]
    kind = (
        next(part for part in (*get_args(info.annotation), info.annotation) if part is not type(None))
        if _is_optional(info)
        else info.annotation
    )
    if get_origin(kind) is Literal:
        *most, last = map(str, get_args(kind))
        return f"{', '.join(most)} or {last}"
    if kind is bool:
        return "on or off"
    if kind in (int, float):
        return f"{'a whole number' if kind is int else 'a number'}{_bounds(info)}"
    if field.endswith("_path"):
        return "the path of a file that exists"
    pattern = next((found for part in info.metadata if (found := getattr(part, "pattern", None))), None)
    if pattern:
        return f"text that matches {pattern}"
    return "a list separated by commas" if get_origin(kind) is tuple else "text"


def _is_optional(info: FieldInfo) -> bool:
    return type(None) in get_args(info.annotation)


def _bounds(info: FieldInfo) -> str:
    words = {"ge": "from {}", "gt": "above {}", "le": "up to {}", "lt": "below {}"}
    found = [
        words[name].format(value)
        for part in info.metadata
        for name in words
        if (value := getattr(part, name, None)) is not None
    ]
    return f" {' '.join(found)}" if found else ""
