"""Moves sagas that have long ended out of the way, beside the running service: batch after batch, with a pause of four
times as long as each took, so that a fifth of one connection is the most that it ever uses.

Any number of processes may do it, and any of them may die in the middle: each batch is one transaction, and a file
counts from one transaction on.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import structlog

from ordersaga.delivery.background import Loop, Looped
from ordersaga.delivery.clock import Clock, Randomness, SystemClock
from ordersaga.orchestrator.store.archive_protocol import Archive
from ordersaga.orchestrator.store.filing import Filed

_log = structlog.get_logger(__name__)

PAUSES = 4
"""As many times as long as a batch took."""


@dataclass(frozen=True, kw_only=True)
class ArchiveSettings:
    older_than: timedelta | None
    """None: nothing is archived."""
    forget_after: timedelta | None
    """How long a saga is kept in the archive; None: for ever."""
    file_after: timedelta = timedelta(days=30)
    """How long it is kept there before it goes into a file, where there are files."""
    every_seconds: float = 3600.0
    batch_max: int = 200


@dataclass(frozen=True, kw_only=True)
class Progress:
    moved: int = 0
    dropped: tuple[str, ...] = ()
    """Weeks of history."""
    filed: int = 0
    """Sagas that went into files."""
    forgotten: int = 0

    def and_then(self, other: "Progress") -> "Progress":
        return Progress(
            moved=self.moved + other.moved,
            dropped=self.dropped + other.dropped,
            filed=self.filed + other.filed,
            forgotten=self.forgotten + other.forgotten,
        )


class Filing(Protocol):
    """See `store.filing.PostgresFiling`."""

    def file(self, *, older_than: timedelta) -> Filed: ...

    def forget(self, *, older_than: timedelta) -> int: ...

    def sweep(self) -> int: ...


def archive_all(
    archive: Archive, settings: ArchiveSettings, rest: Callable[[], bool], filing: Filing | None = None
) -> Iterator[Progress]:
    """All that is old enough, batch by batch; what has been done so far, after each. `rest` is called between two
    batches and says whether to go on. `filing`: where the archive has files. Raises `StoreError`.
    """
    done = Progress()
    for one in _all(archive, settings, rest, filing):
        done = done.and_then(one)
        yield done


def _all(
    archive: Archive, settings: ArchiveSettings, rest: Callable[[], bool], filing: Filing | None
) -> Iterator[Progress]:
    if settings.older_than is not None:
        if not (yield from _move(archive, settings, settings.older_than, rest)):
            return
        yield Progress(dropped=tuple(archive.drop_history(older_than=settings.older_than)))
    if filing is not None:
        yield from _file(filing, settings, rest)
    if settings.forget_after is not None:
        yield from _forget(archive, filing, settings.batch_max, settings.forget_after, rest)


def _move(
    archive: Archive, settings: ArchiveSettings, older_than: timedelta, rest: Callable[[], bool]
) -> Generator[Progress, None, bool]:
    """Whether to go on."""
    last: UUID | None = None
    while True:
        batch = archive.move(older_than=older_than, limit=settings.batch_max, after=last)
        yield Progress(moved=batch.count)
        last = batch.last
        if last is None:
            return True
        if not rest():
            return False


def _file(filing: Filing, settings: ArchiveSettings, rest: Callable[[], bool]) -> Iterator[Progress]:
    filing.sweep()
    while rest():
        filed = filing.file(older_than=settings.file_after)
        yield Progress(filed=filed.sagas)
        if not filed.sagas:
            return


def _forget(
    archive: Archive, filing: Filing | None, most: int, older_than: timedelta, rest: Callable[[], bool]
) -> Iterator[Progress]:
    while rest():
        gone = archive.forget(older_than=older_than, limit=most)
        yield Progress(forgotten=gone)
        if gone < most:
            break
    while filing is not None and rest():
        gone = filing.forget(older_than=older_than)
        yield Progress(forgotten=gone)
        if not gone:
            break


class Archiver(Looped):
    """A part of the service."""

    def __init__(
        self,
        archive: Archive,
        settings: ArchiveSettings,
        *,
        filing: Filing | None = None,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        self._archive = archive
        self._filing = filing
        self._settings = settings
        self._clock = clock or SystemClock()
        self._loop = Loop("archive", self._turn, clock=self._clock, randomness=randomness)
        self._began = 0.0

    def _turn(self) -> None:
        self._began = self._clock.monotonic()
        *_, done = [Progress(), *archive_all(self._archive, self._settings, self._rest, self._filing)]
        if done != Progress():
            _log.info(
                "archive.moved",
                sagas=done.moved,
                weeks=list(done.dropped),
                to_files=done.filed,
                forgotten=done.forgotten,
            )
        if not self._loop.stopping:
            self._loop.pause(self._settings.every_seconds)

    def _rest(self) -> bool:
        self._loop.pause(PAUSES * (self._clock.monotonic() - self._began))
        self._began = self._clock.monotonic()
        return not self._loop.stopping
