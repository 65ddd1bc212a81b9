"""Moves sagas that have long ended out of the way, beside the running service: batch after batch, with a pause of four
times as long as each took, so that a fifth of one connection is the most that it ever uses.

Any number of processes may do it, and any of them may die in the middle: each batch is one transaction.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from ordersaga.delivery.background import Loop, Looped
from ordersaga.delivery.clock import Clock, Randomness, SystemClock
from ordersaga.orchestrator.store.archive_protocol import Archive

_log = structlog.get_logger(__name__)

PAUSES = 4
"""As many times as long as a batch took."""


@dataclass(frozen=True, kw_only=True)
class ArchiveSettings:
    older_than: timedelta | None
    """None: nothing is archived."""
    forget_after: timedelta | None
    """How long a saga is kept in the archive; None: for ever."""
    every_seconds: float = 3600.0
    batch_max: int = 200


@dataclass(frozen=True, kw_only=True)
class Progress:
    moved: int = 0
    dropped: tuple[str, ...] = ()
    """Weeks of history."""
    forgotten: int = 0


def archive_all(archive: Archive, settings: ArchiveSettings, rest: Callable[[], bool]) -> Iterator[Progress]:
    """All that is old enough, batch by batch; what has been done so far, after each. `rest` is called between two
    batches and says whether to go on. Raises `StoreError`.
    """
    done = Progress()
    if settings.older_than is not None:
        last: UUID | None = None
        while True:
            batch = archive.move(older_than=settings.older_than, limit=settings.batch_max, after=last)
            done = Progress(moved=done.moved + batch.count)
            yield done
            last = batch.last
            if last is None:
                break
            if not rest():
                return
        done = Progress(moved=done.moved, dropped=tuple(archive.drop_history(older_than=settings.older_than)))
        yield done
    while settings.forget_after is not None and rest():
        gone = archive.forget(older_than=settings.forget_after, limit=settings.batch_max)
        done = Progress(moved=done.moved, dropped=done.dropped, forgotten=done.forgotten + gone)
        yield done
        if gone < settings.batch_max:
            break


class Archiver(Looped):
    """A part of the service."""

    def __init__(
        self,
        archive: Archive,
        settings: ArchiveSettings,
        *,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        self._archive = archive
        self._settings = settings
        self._clock = clock or SystemClock()
        self._loop = Loop("archive", self._turn, clock=self._clock, randomness=randomness)
        self._began = 0.0

    def _turn(self) -> None:
        self._began = self._clock.monotonic()
        *_, done = [Progress(), *archive_all(self._archive, self._settings, self._rest)]
        if done != Progress():
            _log.info("archive.moved", sagas=done.moved, weeks=list(done.dropped), forgotten=done.forgotten)
        if not self._loop.stopping:
            self._loop.pause(self._settings.every_seconds)

    def _rest(self) -> bool:
        self._loop.pause(PAUSES * (self._clock.monotonic() - self._began))
        self._began = self._clock.monotonic()
        return not self._loop.stopping
