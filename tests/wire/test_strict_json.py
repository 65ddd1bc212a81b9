"""Strict JSON accepts exactly what a plain, slow reader with the same rules accepts, and reads the same in it."""

import json
import math
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ordersaga.wire.errors import WireError
from ordersaga.wire.strict_json import INT_MAX, INT_MIN, LIMITS, Limits, shown, strict_json
from tests.wire.samples import VALUES, fit_for_a_row

REFUSED = object()


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def plainly(text: str, limits: Limits) -> Any:
    """The slow reader: the standard library's, with every rule spelled out."""
    try:
        value = json.loads(text, object_pairs_hook=_pairs)
    except (ValueError, RecursionError):
        return REFUSED
    return value if fit_for_a_row(value) and _depth(value) <= limits.depth_max else REFUSED


# Texts of JSON with every freedom that the format leaves to its writer, few keys (so that they meet), and some poison.
_SPACE = st.sampled_from(["", "", "", " ", "\n\t "])
_CHARACTER = st.sampled_from(
    ["a", "b", ":", "ä", "😀", "\\u0061", "\\u0022", '\\"', "\\\\", "\\\\u0022", "\\u00e4", "\\ud83d\\ude00", "\\/"]
)
_POISONED = st.one_of([_CHARACTER] * 30 + [st.sampled_from(["\\u0000", "\\ud800", "\\udc00", "\\\\u0000"])])
_STRING = st.lists(_POISONED, max_size=3).map(lambda parts: '"' + "".join(parts) + '"')
_NUMBER = st.sampled_from(["0", "-0", "1.50", "1E2", "1e-400", str(INT_MAX), str(INT_MIN)] * 4 + ["1e400", str(2**63)])
_LEAF = _STRING | _NUMBER | st.sampled_from(["true", "false", "null"])


@st.composite
def _container(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    parts = []
    is_object = draw(st.booleans())
    for item in draw(st.lists(inner, max_size=4)):
        key = draw(_STRING) + draw(_SPACE) + ":" if is_object else ""
        parts.append(draw(_SPACE) + key + draw(_SPACE) + item + draw(_SPACE))
    return ("{%s}" if is_object else "[%s]") % ",".join(parts)


_TEXTS = st.recursive(_LEAF, _container, max_leaves=12)


@settings(max_examples=600)
@given(_TEXTS)
def test_the_fast_reader_agrees_with_the_slow_one(text: str) -> None:
    limits = Limits(depth_max=3)
    expected = plainly(text, limits)
    try:
        found = strict_json(text.encode(), limits)
    except WireError:
        found = REFUSED
    event("refused" if found is REFUSED else "read")
    assert repr(found) == repr(expected)  # so that 1 is not 1.0, nor true


@given(VALUES)
def test_whatever_a_database_takes_is_read_as_it_is(value: Any) -> None:
    text = json.dumps(value)
    assert strict_json(text.encode()) == json.loads(text)


def test_the_field_of_a_refusal_is_a_path() -> None:
    for text, field in (
        ('{"a":{"b":[0,{"c":"\\u0000"}]}}', "a.b[1].c"),
        ('{"a":[[9223372036854775808]]}', "a[0][0]"),
        ('{"a":{"\\u0000":1}}', "a"),
        ('"\\u0000"', ""),
        ('[0,{"a":[1e400]}]', "[1]"),  # the parser does not say under which key
    ):
        with pytest.raises(WireError) as caught:
            strict_json(text.encode())
        assert caught.value.field == field


def test_the_path_itself_can_be_shown_and_stored() -> None:
    with pytest.raises(WireError) as caught:
        strict_json(json.dumps({"x" * 100 + "\n": {"a\nb": "\0"}}).encode())
    assert caught.value.field == "x" * 64 + ".a\\nb"


def test_a_value_as_large_as_allowed_is_read_and_one_byte_more_is_not() -> None:
    text = b'"' + b"x" * (LIMITS.value_bytes_max - 2) + b'"'
    assert len(strict_json(text)) == LIMITS.value_bytes_max - 2
    with pytest.raises(WireError, match="longer than"):
        strict_json(text + b" ")


@given(st.text())
def test_a_text_that_is_shown_can_be_stored(text: str) -> None:
    assert fit_for_a_row(shown(text))
    assert shown(text).isprintable()
    assert len(shown(text)) <= 64 * len("\\U0001f600")


def test_the_slow_reader_itself_refuses() -> None:
    for text in ('{"a":1,"a":1}', '"\\u0000"', '"\\ud800"', "1e400", str(2**63), "[[[[]]]]"):
        assert plainly(text, Limits(depth_max=3)) is REFUSED
    assert math.isclose(plainly("[1.5]", LIMITS)[0], 1.5)
