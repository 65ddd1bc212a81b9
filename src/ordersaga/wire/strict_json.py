"""JSON as strangers send it, read so that nothing which parses here can break later, in the database or elsewhere.

Refused, with a `WireError` that names the field: what is too large or nested too deep, a key that appears twice, the
character NUL, half a surrogate pair, integers outside 64 bits, numbers that no float can hold, `NaN`, bytes that are
not UTF-8, a byte order mark.

Not promised: a schema. What the fields mean is for the caller.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from ordersaga.wire.errors import WireError

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a value may cost before we look at what it says. The outermost object is level 1 of `depth_max`."""

    value_bytes_max: int = 1_000_000
    depth_max: int = 32


LIMITS = Limits()


def strict_json(value: bytes, limits: Limits = LIMITS) -> Any:
    """The parsed `value`, fit to be stored and sent on as it is. Raises `WireError`."""
    check_size(value, limits)
    parsed = decoded(_ANYTHING, value)
    check_storable(parsed, "", limits.depth_max)
    _check_duplicates(value, parsed)
    return parsed


def check_size(value: bytes, limits: Limits) -> None:
    if len(value) > limits.value_bytes_max:
        raise WireError("", f"is longer than {limits.value_bytes_max} bytes")


T = TypeVar("T")


def decoded(decoder: "msgspec.json.Decoder[T]", value: bytes | msgspec.Raw, field: str = "") -> T:
    """What `decoder` makes of `value`. Its complaints become a `WireError` whose path starts with `field`."""
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        raise _named(str(error), field) from None
    except msgspec.DecodeError as error:
        raise WireError(field, str(error)) from None
    except WireError as error:  # a struct's own check
        raise WireError(_joined(field, error.field), error.problem) from None
    except UnicodeDecodeError:
        raise WireError(field, "is not UTF-8") from None
    except RecursionError:
        raise WireError(field, "is nested too deep") from None


def check_storable(value: Any, field: str, levels_left: int) -> None:
    """Raise `WireError` for what parses in Python and breaks in PostgreSQL. Recurses no deeper than `levels_left`."""
    kind = type(value)
    if kind is dict:
        _check_level(field, levels_left)
        for key, item in value.items():
            if "\0" in key:
                raise WireError(field, "has a key with the character NUL")
            if type(item) is str and "\0" not in item:  # nearly all there is: spared a call and a path
                continue
            check_storable(item, f"{field}.{shown(key)}" if field else shown(key), levels_left - 1)
    elif kind is list:
        _check_level(field, levels_left)
        for index, item in enumerate(value):
            check_storable(item, f"{field}[{index}]", levels_left - 1)
    elif kind is str and "\0" in value:
        raise WireError(field, "has the character NUL")
    elif kind is int and not INT_MIN <= value <= INT_MAX:
        raise WireError(field, "is an integer outside 64 bits")
    elif kind is float and not math.isfinite(value):
        raise WireError(field, "is no finite number")


def shown(text: str, length_max: int = 64) -> str:
    """A stranger's text as it may stand in a log, a label or a row: shortened, escaped where it cannot be printed."""
    text = text[:length_max]
    return text if text.isprintable() else ascii(text)[1:-1]


# --- small print ----------------------------------------------------------------------------------

_ANYTHING: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_PLACE = re.compile(r"(.*) - at `\$\.?([^`]*)`", re.DOTALL)


def _check_level(field: str, levels_left: int) -> None:
    if levels_left < 1:
        raise WireError(field, "is nested too deep")


def _check_duplicates(value: bytes, parsed: Any) -> None:
    """The parser keeps the last of two equal keys and says nothing.

    Each key that it dropped took at least two quotation marks with it, so equal numbers of them before and after prove
    that there was none, at a fifth of the price of looking. Only the escape `\\u0022` makes marks out of nothing.
    """
    same = value.count(b'"') == _ENCODER.encode(parsed).count(b'"')
    if not same or (b"\\" in value and b"\\u0022" in value):
        json.loads(value, object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise WireError(shown(key), "appears twice")
        seen.add(key)


def _named(problem: str, field: str) -> WireError:
    """A complaint of the parser, its place put in the form `payload.order_id`."""
    if place := _PLACE.fullmatch(problem):
        problem, path = place.groups()
        field = _joined(field, path.partition("[...]")[0])  # so far it knows the way
    if missing := _MISSING.fullmatch(problem):
        return WireError(_joined(field, missing[1]), "is missing")
    return WireError(field, problem[0].lower() + problem[1:])


def _joined(field: str, path: str) -> str:
    return f"{field}.{path}" if field and path else field or path
