"""What was set aside: looked at, taken in once more, or discarded; and what may be used after an update is tried again
by itself.

A replay is harmless at any time: the state recognises what it knows, and what has become late is treated as such. Of
two words on one order the stamps do not always say which was last: many are replayed in the order in which they came.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import structlog

from ordersaga.orchestrator.runtime.handle import CannotBeUsed, Handler
from ordersaga.orchestrator.runtime.noting import note
from ordersaga.orchestrator.runtime.verbs import Actor
from ordersaga.orchestrator.store.archive_files import ArchiveUnreadable
from ordersaga.orchestrator.store.audit import Audit, Wish
from ordersaga.orchestrator.store.protocol import (
    BadRow,
    DamagedRow,
    SettledAs,
    Store,
    StoredDeadLetter,
    StoredOrphan,
)

_log = structlog.get_logger(__name__)
PARKED = ("unknown_version", ArchiveUnreadable.parked_as)
"""Reasons that may pass: the saga was begun by a newer version of this software, or is in a file of the archive that
could not be read.
"""
OURSELVES = Actor(name="ordersaga", role="service", reason="its saga can be read now")
TRIED_AT_ONCE_MAX = 10_000
_PAGE = 100


class SettledBefore(Exception):
    """It was discarded or replayed before, or meanwhile. Its text says by whom, `code` how."""

    retriable = False

    def __init__(self, found: StoredDeadLetter) -> None:
        assert found.settled
        super().__init__(f"it was {found.settled.how.value} by {found.settled.by}: {found.settled.why}")
        self.code = f"{found.settled.how.value} before"


class DeadLetters:
    def __init__(self, store: Store, handler: Handler, *, audit: Audit | None = None) -> None:
        """`audit` is told what was refused; what was done the store writes there itself, with the change."""
        self._store = store
        self._handler = handler
        self._audit = audit

    def replay(self, letter_id: int, by: Actor) -> StoredDeadLetter | None:
        """The letter as it is afterwards, or None where there is none. Harmless when repeated.

        Raises `CannotBeUsed`, `SettledBefore` where it was discarded, `StoreError`.
        """
        with self._refusals_noted(letter_id, "replay", by):
            found = self._open(letter_id, SettledAs.REPLAYED)
            if found is None or found.settled:
                return found
            try:
                used = self._handler.replay(found, by.name, by.reason, by.role)
            except (BadRow, DamagedRow) as error:
                raise CannotBeUsed(getattr(error, "parked_as", "cannot_be_stored"), str(error)) from error
            if used:
                _log.info("dead_letters.replayed", letter=letter_id, by=by.name, why=by.reason)
            return self._open(letter_id, SettledAs.REPLAYED)

    def discard(self, letter_id: int, by: Actor) -> StoredDeadLetter | None:
        """The same for what nobody needs: it is kept for a while and counted no more."""
        with self._refusals_noted(letter_id, "discard", by):
            found = self._open(letter_id, SettledAs.DISCARDED)
            if found is None or found.settled:
                return found
            with self._store.transaction() as transaction:
                ours = transaction.settle_dead_letter(letter_id, SettledAs.DISCARDED, by.name, by.reason, by.role)
            if ours:
                _log.info("dead_letters.discarded", letter=letter_id, by=by.name, why=by.reason)
            return self._open(letter_id, SettledAs.DISCARDED)

    def discard_orphan(self, orphan_id: int, by: Actor) -> StoredOrphan | None:
        """The same for an orphan that somebody has seen to. Nothing is sent because of it."""
        found = self._store.orphan(orphan_id)
        if found is None or found.settled:
            return found
        with self._store.transaction() as transaction:
            ours = transaction.discard_orphan(orphan_id, by.name, by.reason, by.role)
        if ours:
            saga_id = str(found.orphan.saga_id)
            _log.info("orphans.discarded", orphan=orphan_id, saga_id=saga_id, by=by.name, why=by.reason)
        return self._store.orphan(orphan_id)

    def open_ones(self, reason: str) -> Iterator[StoredDeadLetter]:
        """All that are open for one reason, in the order in which they came."""
        after = 0
        while page := self._store.parked(reason, after=after, limit=_PAGE):
            yield from page
            after = page[-1].id

    def try_parked(self) -> int:
        """Take in once more what could not be used for a reason that may have passed; returns how many could be now."""
        used = sum(self._try(one) for reason in PARKED for one in islice(self.open_ones(reason), TRIED_AT_ONCE_MAX))
        if used:
            _log.info("dead_letters.parked_used", letters=used)
        return used

    def _try(self, one: StoredDeadLetter) -> bool:
        """Whether it was used. One that fails stays where it is and keeps no other."""
        try:
            return self._handler.replay(one, OURSELVES.name, OURSELVES.reason, OURSELVES.role)
        except (ArchiveUnreadable, CannotBeUsed):
            return False
        except Exception as error:
            if getattr(error, "retriable", False):
                raise
            place = {"topic": one.letter.topic, "partition": one.letter.partition, "offset": one.letter.offset}
            _log.exception("dead_letters.still_failing", letter=one.id, **place)
            return False

    def _open(self, letter_id: int, wanted: SettledAs) -> StoredDeadLetter | None:
        found = self._store.dead_letter(letter_id)
        if found and found.settled and found.settled.how is not wanted:
            raise SettledBefore(found)
        return found

    @contextmanager
    def _refusals_noted(self, letter_id: int, verb: str, by: Actor) -> Iterator[None]:
        """In the audit, by a code: what was wrong with a record may quote it, and an entry is never taken away."""
        try:
            yield
        except (CannotBeUsed, SettledBefore) as error:
            said, outcome = f"dead letter {letter_id}", f"{verb} refused: {error.code}"
            wish = Wish(actor=by.name, role=by.role, verb=said, reason=by.reason, outcome=outcome)
            note(self._audit, wish)
            raise
