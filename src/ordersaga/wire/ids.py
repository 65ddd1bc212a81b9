"""Ids that the services agree on: derived, never drawn, so that whoever repeats a message repeats its id."""

from hashlib import sha1
from uuid import UUID

import msgspec

_convert, _encode = msgspec.convert, msgspec.json.Encoder().encode
_MESSAGES = UUID("6d3a9d0e-5a0b-5c0e-9d0a-0d5e6f7a8b9c")
"""Name space of message ids. It must never change: ids of commands that are under way depend on it."""
_IN_SPACE = sha1(_MESSAGES.bytes, usedforsecurity=False)
_KIND, _SEVEN = 0xF << 76 | 0b11 << 62, 0x7 << 76 | 0b10 << 62
"""Where a UUID has its version and variant, and what stands there in version 7."""
ID_CHARS_MAX = 255
"""Of an id that a service gives out."""


def message_id(saga_id: UUID, step: str, direction: str, effect_id: str | None = None) -> UUID:
    """The id of a command, the same on every retry.

    `direction` is "do" or "undo". An undo that has learnt the id of its effect is a new command, so it has a new id.
    """
    return _derived(f"{text_of(saga_id)}/{step}/{direction}/{effect_id or ''}")


def announcement_id(saga_id: UUID, type_name: str, revision: int) -> UUID:
    """The id of a notification or a status change: one per saga, type and the revision that brought it."""
    return _derived(f"{text_of(saga_id)}/{type_name}/{revision}")


def answer_id(participant: str, causation_id: UUID | str, type_name: str) -> UUID:
    """The id of a participant's answer to a command: the same when it answers again."""
    return _derived(f"{participant}/{causation_id}/{type_name}")


def may_be_an_id(text: str) -> bool:
    """Whether a service can have given it out: no column holds everything that a path may."""
    return 0 < len(text) <= ID_CHARS_MAX and text.isprintable()


def text_of(known: UUID) -> str:
    """The same as `str`, at a third of the price: there are dozens in what one saga sends and keeps."""
    return _encode(known)[1:-1].decode()


def _derived(name: str) -> UUID:
    """`uuid5(_MESSAGES, name)`, at half the price."""
    named = _IN_SPACE.copy()
    named.update(name.encode())
    digest = bytearray(named.digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return _convert(bytes(digest), UUID)


def uuid7(unix_ms: int, random: bytes) -> UUID:
    """A version 7 UUID: 48 bits of time in milliseconds, then the 74 bits left of 10 random bytes."""
    value = (unix_ms & ((1 << 48) - 1)) << 80 | int.from_bytes(random[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0b11 << 62) | 0b10 << 62)


def is_version_7(known: UUID) -> bool:
    """The same as `known.version == 7`, at a tenth of the price."""
    return known.int & _KIND == _SEVEN


def unix_ms_of(saga_id: UUID) -> int:
    """The time in a version 7 UUID, in milliseconds since 1970."""
    return saga_id.int >> 80
