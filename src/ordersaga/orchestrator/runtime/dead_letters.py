"""What was set aside: looked at, taken in once more, or discarded; and what may be used after an update is tried again
by itself.

A replay is harmless at any time: the state recognises what it knows, and what has become late is treated as such.
"""

import structlog

from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.runtime.verbs import Actor
from ordersaga.orchestrator.store.archive_files import ArchiveUnreadable
from ordersaga.orchestrator.store.protocol import BadRow, SettledAs, Store, StoredDeadLetter, StoredOrphan

_log = structlog.get_logger(__name__)
PARKED = ("unknown_version", ArchiveUnreadable.parked_as)
"""Reasons that may pass: the saga was begun by a newer version of this software, or is in a file of the archive that
could not be read.
"""
OURSELVES = Actor(name="ordersaga", role="service", reason="its saga can be read now")
TRIED_AT_ONCE_MAX = 10_000
_PAGE = 100


class CannotBeUsed(Exception):
    """It was taken in once more, and still cannot be used. Its text says why."""

    retriable = False


class SettledBefore(Exception):
    """It was discarded or replayed before. Its text says by whom."""

    retriable = False


class DeadLetters:
    def __init__(self, store: Store, handler: Handler) -> None:
        self._store = store
        self._handler = handler

    def replay(self, letter_id: int, by: Actor) -> StoredDeadLetter | None:
        """The letter as it is afterwards, or None where there is none. Harmless when repeated.

        Raises `CannotBeUsed`, `SettledBefore` where it was discarded, `StoreError`.
        """
        found = self._open(letter_id, SettledAs.REPLAYED)
        if found is None or found.settled:
            return found
        try:
            problem = self._handler.replay(found, by.name, by.reason)
        except BadRow as error:
            problem = f"the database refuses it: {error}"
        if problem:
            raise CannotBeUsed(problem)
        _log.info("dead_letters.replayed", letter=letter_id, by=by.name, why=by.reason)
        return self._store.dead_letter(letter_id)

    def discard(self, letter_id: int, by: Actor) -> StoredDeadLetter | None:
        """The same for what nobody needs: it is kept for a while and counted no more."""
        found = self._open(letter_id, SettledAs.DISCARDED)
        if found is None or found.settled:
            return found
        with self._store.transaction() as transaction:
            transaction.settle_dead_letter(letter_id, SettledAs.DISCARDED, by.name, by.reason)
        _log.info("dead_letters.discarded", letter=letter_id, by=by.name, why=by.reason)
        return self._store.dead_letter(letter_id)

    def discard_orphan(self, orphan_id: int, by: Actor) -> StoredOrphan | None:
        """The same for an orphan that somebody has seen to. Nothing is sent because of it."""
        found = self._store.orphan(orphan_id)
        if found is None or found.settled:
            return found
        with self._store.transaction() as transaction:
            transaction.discard_orphan(orphan_id, by.name, by.reason)
        saga_id = str(found.orphan.saga_id)
        _log.info("orphans.discarded", orphan=orphan_id, saga_id=saga_id, by=by.name, why=by.reason)
        return self._store.orphan(orphan_id)

    def try_parked(self) -> int:
        """Take in once more what could not be used for a reason that may have passed; returns how many could be now."""
        used = sum(self._try_parked(reason) for reason in PARKED)
        if used:
            _log.info("dead_letters.parked_used", letters=used)
        return used

    def _try_parked(self, reason: str) -> int:
        """In the order in which they came: of two words on one order the stamps do not always say which was last."""
        used = after = 0
        for _ in range(TRIED_AT_ONCE_MAX // _PAGE):
            page = self._store.parked(reason, after=after, limit=_PAGE)
            used += sum(self._try(one) for one in page)
            if len(page) < _PAGE:
                break
            after = page[-1].id
        return used

    def _try(self, one: StoredDeadLetter) -> bool:
        """Whether it was used. One that fails stays where it is and keeps no other."""
        try:
            return not self._handler.replay(one, OURSELVES.name, OURSELVES.reason)
        except ArchiveUnreadable:
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
            raise SettledBefore(f"it was {found.settled.how.value} by {found.settled.by}: {found.settled.why}")
        return found
