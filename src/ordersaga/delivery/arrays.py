"""Columns of a batch as PostgreSQL arrays in the binary format.

psycopg sends a list as text, with every quote and backslash of every element escaped: for JSON and bytes that costs
more than all the rest of a transaction together. These arrays are the bytes themselves behind a length. Their type is
fixed by their class and not by what is in them, so that a statement keeps one prepared plan, with empty arrays and
NULLs too.

They promise nothing about what is inside: a NUL in a text is refused by the server (an error of class 22), half a
surrogate pair and a number that does not fit by Python, before anything is sent (`ValueError`).
"""

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, ClassVar

from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format

_HEAD = struct.Struct("!iiIii").pack
_LENGTH = struct.Struct("!i").pack
_INTEGER, _BIGINT, _UNSIGNED = struct.Struct("!ii").pack, struct.Struct("!iq").pack, struct.Struct("!iI").pack
_NULL, _SIXTEEN = _LENGTH(-1), _LENGTH(16)
_TRUE, _FALSE = _LENGTH(1) + b"\1", _LENGTH(1) + b"\0"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Array:
    """One column. `element_oid` and `oid` are the server's numbers for the type and for arrays of it."""

    __slots__ = ("_packed", "values")
    element_oid: ClassVar[int]
    oid: ClassVar[int]

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self._packed: bytes | None = None

    def __bool__(self) -> bool:
        return bool(self.values)

    def elements(self) -> Iterable[bytes]:
        """Each value behind its length."""
        raise NotImplementedError

    def packed(self) -> bytes:
        """What is sent; made once, for however many statements."""
        if self._packed is None:
            self._packed = self._pack()
        return self._packed

    def _pack(self) -> bytes:
        if not self.values:
            return _HEAD(0, 0, self.element_oid, 0, 1)[:12]
        try:
            return _HEAD(1, 1, self.element_oid, len(self.values), 1) + b"".join(self.elements())
        except struct.error as error:
            raise ValueError(f"a number does not fit its column: {error}") from error


class Uuids(Array):
    element_oid, oid = 2950, 2951

    def elements(self) -> Iterable[bytes]:
        return [_NULL if value is None else _SIXTEEN + value.bytes for value in self.values]


class Texts(Array):
    element_oid, oid = 25, 1009

    def elements(self) -> Iterable[bytes]:
        return [_NULL if value is None else _LENGTH(len(text := value.encode())) + text for value in self.values]


class Bytes(Array):
    element_oid, oid = 17, 1001

    def elements(self) -> Iterable[bytes]:
        return [_NULL if value is None else _LENGTH(len(value)) + value for value in self.values]


class Json(Array):
    """Of JSON as bytes."""

    element_oid, oid = 3802, 3807

    def elements(self) -> Iterable[bytes]:
        return [_NULL if value is None else _LENGTH(len(value) + 1) + b"\x01" + value for value in self.values]


class Integers(Array):
    element_oid, oid = 23, 1007

    def elements(self) -> Iterable[bytes]:
        return [_NULL if value is None else _INTEGER(4, value) for value in self.values]


class Bigints(Array):
    element_oid, oid = 20, 1016

    def elements(self) -> Iterable[bytes]:
        return [_NULL if value is None else _BIGINT(8, value) for value in self.values]


class Transactions(Array):
    """Of transactions' numbers, as `xmin` has them."""

    element_oid, oid = 28, 1011

    def elements(self) -> Iterable[bytes]:
        return [_UNSIGNED(4, value) for value in self.values]


class Booleans(Array):
    element_oid, oid = 16, 1000

    def elements(self) -> Iterable[bytes]:
        return [_NULL if value is None else _TRUE if value else _FALSE for value in self.values]


class Times(Array):
    """Of aware datetimes."""

    element_oid, oid = 1184, 1185

    def elements(self) -> Iterable[bytes]:
        return [_NULL if value is None else _time(value) for value in self.values]


@lru_cache(maxsize=64)  # most rows of a batch have the same
def _time(moment: datetime) -> bytes:
    return _BIGINT(8, (moment - _EPOCH) // _MICROSECOND)


def register(adapters: AdaptersMap) -> None:
    """Teach the connections that share `adapters`."""
    for kind in (Uuids, Texts, Bytes, Json, Integers, Bigints, Transactions, Booleans, Times):
        adapters.register_dumper(kind, _ArrayDumper)


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def __init__(self, cls: type[Array], context: Any = None) -> None:
        super().__init__(cls, context)
        self.oid = cls.oid

    def dump(self, obj: Array) -> bytes:
        return obj.packed()
