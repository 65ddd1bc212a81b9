"""Files of the archive: JSON, one line for each saga, compressed in blocks that can be read one by one, and beside each
file a manifest.

A file is a series of gzip members, so any tool reads it from end to end (`zcat FILE | jq`), and one saga is read with
its block alone. Its manifest says how many sagas it holds, where its blocks begin, and its SHA-256. Both are on the
disk before their names are there, and neither is changed afterwards: what is written anew gets another name.

The directory may be shared by several machines. Nothing here knows which files count: the database does.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import msgspec

from ordersaga.orchestrator.store.protocol import BadRow, StoreUnavailable

FORMAT = "ordersaga-archive-1"
SUFFIX, MANIFEST = ".jsonl.gz", ".manifest.json"
NOTHING = b"null"
BLOCK_SAGAS = 50
"""Enough that what is alike in all of them is compressed; one is read in a millisecond or two."""
_BUSY = ".part"
_MODE = 0o600
"""What customers said is in it."""


class ArchiveUnreadable(BadRow):
    """A file of the archive is not there, or not as it was written. Its text names it. What came for its sagas is set
    aside and tried again by itself.
    """

    parked_as = "archive_unreadable"


class Line(msgspec.Struct, kw_only=True):
    """One saga, whole: each part as its table had it."""

    id: UUID
    saga: str
    version: int
    status: str
    order_id: str | None
    payment_id: str | None
    archived_at: datetime
    state: msgspec.Raw
    history: msgspec.Raw
    personal: msgspec.Raw
    """`null` where there is nothing."""

    @property
    def is_personal(self) -> bool:
        return bytes(self.personal) != NOTHING


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    format: str
    file: str
    sagas: int
    size_bytes: int
    sha256: str
    blocks: list[int]
    """Where each begins; after the last one, where the file ends."""
    first_id: UUID
    last_id: UUID
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Written:
    sagas: int
    size_bytes: int
    sha256: bytes
    blocks: Sequence[int]


encoded = msgspec.json.Encoder().encode
_line = msgspec.json.Decoder(Line).decode
_manifest = msgspec.json.Decoder(Manifest).decode


def digest_of(line: bytes) -> bytes:
    return hashlib.sha256(line).digest()


def block_of(lines: Sequence[bytes]) -> bytes:
    # Without a time: the same sagas are the same bytes.
    return gzip.compress(b"".join(line + b"\n" for line in lines), mtime=0)


def lines_in(block: bytes) -> list[bytes]:
    """Raises `ValueError`."""
    try:
        return gzip.decompress(block).splitlines()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"cannot be decompressed: {error}") from None


def decoded(line: bytes) -> Line:
    """Raises `ValueError`."""
    try:
        return _line(line)
    except msgspec.MsgspecError as error:
        raise ValueError(f"is no saga: {error}") from None


class Directory:
    """Where they are. What cannot be read raises `ArchiveUnreadable`, what cannot be written `StoreUnavailable`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, name: str, blocks: Iterable[tuple[bytes, int]], *, first_id: UUID, last_id: UUID) -> Written:
        """`blocks`: each with the number of its sagas. Returns once file and manifest outlive a loss of power."""
        digest, starts, sagas = hashlib.sha256(), [0], 0
        try:
            with self._new(name) as file:
                for block, count in blocks:
                    file.write(block)
                    digest.update(block)
                    starts.append(starts[-1] + len(block))
                    sagas += count
                self._to_disk(file)
            manifest = Manifest(
                format=FORMAT,
                file=name,
                sagas=sagas,
                size_bytes=starts[-1],
                sha256=digest.hexdigest(),
                blocks=starts,
                first_id=first_id,
                last_id=last_id,
                written_at=datetime.now(UTC),
            )
            with self._new(name + MANIFEST) as file:
                file.write(msgspec.json.format(encoded(manifest)) + b"\n")
                self._to_disk(file)
            for one in (name + MANIFEST, name):
                (self._path / (one + _BUSY)).replace(self._path / one)
            self._settle()
        except OSError as error:
            raise StoreUnavailable(f"the archive's file {name} cannot be written: {_told(error)}") from error
        return Written(sagas, starts[-1], digest.digest(), starts)

    def line(self, name: str, block: tuple[int, int], saga_id: UUID, digest: bytes) -> Line:
        """Of one saga; `block`: where it begins and ends."""
        return self.lines(name, block, {saga_id: digest})[saga_id]

    def lines(self, name: str, block: tuple[int, int], wanted: dict[UUID, bytes]) -> dict[UUID, Line]:
        """Of sagas of one block, each by its digest. All of them, or `ArchiveUnreadable`."""
        try:
            return _picked(lines_in(self.part(name, block)), wanted)
        except ValueError as error:
            raise ArchiveUnreadable(f"the archive's file {name}: {error}") from None

    def part(self, name: str, block: tuple[int, int]) -> bytes:
        begin, end = block
        try:
            with (self._path / name).open("rb") as file:
                file.seek(begin)
                found = file.read(end - begin)
        except OSError as error:
            raise _unreadable(name, error) from error
        if len(found) != end - begin:
            raise ArchiveUnreadable(f"the archive's file {name} ends after {begin + len(found)} bytes, too early")
        return found

    def parts(self, name: str, blocks: Sequence[int], sha256: bytes) -> Iterator[bytes]:
        """All blocks, compressed, once the whole has been found to be what was written."""
        if self.sha256(name) != sha256:
            raise ArchiveUnreadable(f"the archive's file {name} is not the one that was written: put it back first")
        yield from (self.part(name, span) for span in pairwise(blocks))

    def sha256(self, name: str) -> bytes:
        try:
            with (self._path / name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise _unreadable(name, error) from error

    def manifest(self, name: str) -> Manifest:
        try:
            return _manifest((self._path / (name + MANIFEST)).read_bytes())
        except OSError as error:
            raise _unreadable(name + MANIFEST, error) from error
        except msgspec.MsgspecError as error:
            raise ArchiveUnreadable(f"the archive's file {name + MANIFEST} is no manifest: {error}") from None

    def remove(self, name: str) -> None:
        """It and its manifest, finished or not; harmless where there is none."""
        try:
            for one in (name, name + MANIFEST):
                for suffix in ("", _BUSY):
                    (self._path / (one + suffix)).unlink(missing_ok=True)
            self._settle()
        except OSError as error:
            raise StoreUnavailable(f"the archive's file {name} cannot be taken away: {_told(error)}") from error

    def names(self) -> set[str]:
        """Of files, without their manifests."""
        try:
            return {one.name for one in self._path.iterdir() if one.name.endswith((SUFFIX, SUFFIX + _BUSY))}
        except OSError as error:
            raise ArchiveUnreadable(f"the archive's directory cannot be read: {_told(error)}") from error

    # --- small print --------------------------------------------------------------------------------

    def _new(self, name: str) -> BinaryIO:
        return os.fdopen(os.open(self._path / (name + _BUSY), os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "wb")

    def _to_disk(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())

    def _settle(self) -> None:
        """The names too."""
        directory = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _picked(lines: Sequence[bytes], wanted: dict[UUID, bytes]) -> dict[UUID, Line]:
    by_digest = {digest_of(line): line for line in lines}
    for saga_id, digest in wanted.items():
        if digest not in by_digest:
            raise ValueError(f"the line of {saga_id} is not the one that was written")
    return {saga_id: decoded(by_digest[digest]) for saga_id, digest in wanted.items()}


def _unreadable(name: str, error: OSError) -> ArchiveUnreadable:
    return ArchiveUnreadable(f"the archive's file {name} cannot be read: {_told(error)}")


def _told(error: OSError) -> str:
    return error.strerror or type(error).__name__
