"""Columns of a batch as PostgreSQL arrays in the binary format.

psycopg sends a list as text, with every quote and backslash of every element escaped: for JSON and bytes that costs
more than all the rest of a transaction together. These arrays are the bytes themselves behind a length. Their type is
fixed by their class and not by what is in them, so that a statement keeps one prepared plan, with empty arrays and
NULLs too.

They promise nothing about what is inside: a NUL in a text is refused by the server (an error of class 22), half a
surrogate pair and a number that does not fit by Python, before anything is sent (`ValueError`).
"""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format

_HEAD = struct.Struct("!iiIii").pack
_LENGTH = struct.Struct("!i").pack
_NULL = _LENGTH(-1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Array:
    """One column. `element_oid` and `oid` are the server's numbers for the type and for arrays of it."""

    __slots__ = ("values",)
    element_oid: ClassVar[int]
    oid: ClassVar[int]

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values

    def __bool__(self) -> bool:
        return bool(self.values)

    @staticmethod
    def pack(value: Any) -> bytes:
        raise NotImplementedError

    def packed(self) -> bytes:
        pack = self.pack
        if not self.values:
            return _HEAD(0, 0, self.element_oid, 0, 1)[:12]
        try:
            elements = [None if value is None else pack(value) for value in self.values]
        except struct.error as error:
            raise ValueError(f"a number does not fit its column: {error}") from error
        parts = [_HEAD(1, 1, self.element_oid, len(elements), 1)]
        for element in elements:
            if element is None:
                parts.append(_NULL)
            else:
                parts.append(_LENGTH(len(element)))
                parts.append(element)
        return b"".join(parts)


class Uuids(Array):
    element_oid, oid = 2950, 2951

    @staticmethod
    def pack(value: Any) -> bytes:
        packed: bytes = value.bytes
        return packed


class Texts(Array):
    element_oid, oid = 25, 1009

    @staticmethod
    def pack(value: Any) -> bytes:
        packed: bytes = value.encode()
        return packed


class Bytes(Array):
    element_oid, oid = 17, 1001

    @staticmethod
    def pack(value: Any) -> bytes:
        return bytes(value)


class Json(Array):
    """Of JSON as bytes."""

    element_oid, oid = 3802, 3807

    @staticmethod
    def pack(value: Any) -> bytes:
        packed: bytes = b"\x01" + value
        return packed


class Integers(Array):
    element_oid, oid = 23, 1007

    @staticmethod
    def pack(value: Any) -> bytes:
        return struct.pack("!i", value)


class Bigints(Array):
    element_oid, oid = 20, 1016

    @staticmethod
    def pack(value: Any) -> bytes:
        return struct.pack("!q", value)


class Floats(Array):
    element_oid, oid = 701, 1022

    @staticmethod
    def pack(value: Any) -> bytes:
        return struct.pack("!d", value)


class Booleans(Array):
    element_oid, oid = 16, 1000

    @staticmethod
    def pack(value: Any) -> bytes:
        return struct.pack("!?", value)


class Times(Array):
    """Of aware datetimes."""

    element_oid, oid = 1184, 1185

    @staticmethod
    def pack(value: Any) -> bytes:
        return struct.pack("!q", (value - _EPOCH) // _MICROSECOND)


def register(adapters: AdaptersMap) -> None:
    """Teach the connections that share `adapters`."""
    for kind in (Uuids, Texts, Bytes, Json, Integers, Bigints, Floats, Booleans, Times):
        adapters.register_dumper(kind, _ArrayDumper)


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def __init__(self, cls: type[Array], context: Any = None) -> None:
        super().__init__(cls, context)
        self.oid = cls.oid

    def dump(self, obj: Array) -> bytes:
        return obj.packed()
