"""Whether the files of the archive are those that were written: each held against its manifest, and both against what
the database knows; where a file is not, each of its lines.
"""

from collections.abc import Iterator, Sequence
from uuid import UUID

import msgspec
from psycopg_pool import ConnectionPool

from ordersaga.orchestrator.store.archive import FILES, saga_in
from ordersaga.orchestrator.store.archive_check import Checked, problem_between
from ordersaga.orchestrator.store.archive_files import ArchiveUnreadable, Directory, Line, Manifest
from ordersaga.orchestrator.store.codec_protocol import InstanceCodec
from ordersaga.orchestrator.store.connections import AnyConnection, Connections, Row
from ordersaga.orchestrator.store.filing import ArchiveFile, PostgresFiling

Problem = tuple[UUID | str, str]


def check_files(
    pool: ConnectionPool[AnyConnection],
    directory: Directory | None,
    codec: InstanceCodec,
    *,
    timeout_seconds: float = 10.0,
    schema: str | None = None,
) -> Iterator[Checked]:
    """File after file, then what lies about; reads only. Raises `StoreError`."""
    connections = Connections(pool, timeout_seconds, schema)
    if directory is None:
        ((count,),) = connections.ask(FILES["count_filed"], {})
        if count:
            said = "are in files: set ORDERSAGA_ARCHIVE_DIRECTORY to where those are"
            yield Checked(count=0, unreadable=[(f"{count} sagas", said)])
        return
    files = PostgresFiling(pool, directory, timeout_seconds=timeout_seconds, schema=schema).files()
    for file in files:
        rows = connections.ask(FILES["lines_of"], {"file": file.id})
        yield Checked(
            count=len(rows), unreadable=[*_of_file(file, directory), *_of_lines(file, rows, directory, codec)]
        )
    known = {file.name for file in files} | {name for (name,) in connections.ask(FILES["all_leftovers"], {})}
    strange = sorted(name for name in _names(directory, files) if name.removesuffix(".part") not in known)
    said = "is none of ours: the database does not know it, and erasure does not reach it"
    if strange:
        yield Checked(count=0, unreadable=[(name, said) for name in strange])


def _names(directory: Directory, files: Sequence[ArchiveFile]) -> set[str]:
    try:
        return directory.names()
    except ArchiveUnreadable:
        if files:
            raise
        return set()


def _of_file(file: ArchiveFile, directory: Directory) -> Iterator[Problem]:
    try:
        if directory.sha256(file.name) != file.sha256:
            yield file.name, "is not the one that was written"
    except ArchiveUnreadable as error:
        yield file.name, str(error)
    try:
        if _told(directory.manifest(file.name)) != (
            file.name,
            file.sagas,
            file.size_bytes,
            file.sha256,
            list(file.blocks),
        ):
            yield file.name, "has another manifest than was written"
    except ArchiveUnreadable as error:
        yield file.name, str(error)


def _told(manifest: Manifest) -> tuple[object, ...]:
    try:
        sha256 = bytes.fromhex(manifest.sha256)
    except ValueError:
        sha256 = b""
    return manifest.file, manifest.sagas, manifest.size_bytes, sha256, manifest.blocks


def _of_lines(file: ArchiveFile, rows: Sequence[Row], directory: Directory, codec: InstanceCodec) -> Iterator[Problem]:
    by_block: dict[int, list[Row]] = {}
    for row in rows:
        by_block.setdefault(row[4], []).append(row)
    for block, theirs in by_block.items():
        span = (file.blocks[block], file.blocks[block + 1])
        try:
            found = directory.lines(file.name, span, {row[0]: row[5] for row in theirs})
        except ArchiveUnreadable:
            found = _one_by_one(file.name, span, theirs, directory)
        for saga_id, _, _, status, *_ in theirs:
            problem = problem_of_line(found[saga_id], saga_id, status, codec) if saga_id in found else _NOT_THERE
            if problem:
                yield saga_id, f"{problem} ({file.name}, block {block})"


_NOT_THERE = "has no line as it was written"


def _one_by_one(name: str, span: tuple[int, int], rows: Sequence[Row], directory: Directory) -> dict[UUID, Line]:
    found: dict[UUID, Line] = {}
    for saga_id, _, _, _, _, digest in rows:
        try:
            found[saga_id] = directory.line(name, span, saga_id, digest)
        except ArchiveUnreadable:
            continue
    return found


def problem_of_line(line: Line, saga_id: UUID, status: str, codec: InstanceCodec) -> str:
    """Empty where all is well."""
    try:
        whole, entries = msgspec.json.decode(line.state), msgspec.json.decode(line.history)
        _, saga, version, state, personal = saga_in(line)
        if codec.knows(saga, version):
            codec.decode(saga, version, state, personal)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        return f"cannot be read: {type(error).__name__}: {error}"
    return problem_between(saga_id, status, whole, entries)
