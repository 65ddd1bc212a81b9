"""Payments and sagas, compared: reads both, changes neither, says what differs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any
from uuid import UUID

import structlog

from ordersaga.delivery.background import Loop, Looped
from ordersaga.orchestrator.core.definition import Money
from ordersaga.orchestrator.core.instance import UNDER_WAY, Instance
from ordersaga.orchestrator.core.reconcile import Difference, Kind, Payment, compare
from ordersaga.orchestrator.runtime.concerning import concerning
from ordersaga.orchestrator.store.archive_protocol import Archive
from ordersaga.orchestrator.store.protocol import SagaPage, Store
from ordersaga.orchestrator.store.search import Search

_log = structlog.get_logger(__name__)
QUIET = timedelta(minutes=15)
"""A saga that changed since is left alone: the ledger may not know yet, or we may not."""
SAGAS_OF = timedelta(days=8)
"""A hold lasts for about seven days."""
AGAIN_SECONDS = 60.0
"""After a failure: half of that or more, then twice as long each time, up to an hour."""
CUT_OFF_SECONDS = 0.5
SHOWN_MAX = 100
"""In the log, of one comparison."""


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    store: Store
    archive: Archive
    payments: Callable[[datetime], Iterable[Payment]]
    """The ledger; those since a moment are enough."""
    money: Mapping[str, Money]
    """By the name of the saga: see `compare`."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def differences(self, *, of: timedelta = SAGAS_OF, quiet: timedelta = QUIET) -> Iterator[Difference]:
        """Of sagas that were begun within `of`, live and archived, and of payments that no saga at all knows. What an
        older saga knows is passed over. Raises `StoreError`, `ArchiveUnreadable`, and what the ledger raises.
        """
        now = self.now()
        # The ledger first: what is paid meanwhile is then at worst a saga that changed a moment ago. Then live sagas:
        # one that is archived meanwhile is read twice, and not missed.
        payments = list(self.payments(now - of))
        damaged: list[UUID] = []
        others = _Others(self.store, self.archive, self.money)
        sagas = list(_all_of(self.store, Search(since=now - of), damaged))
        differ = compare(
            payments,
            sagas,
            archived=_all_of(self.store, Search(since=now - of, archived=True), damaged),
            quiet_since=now - quiet,
            is_of_another=others.have,
            money=self.money,
        )
        return chain(differ, others.unsure(), _not_compared(damaged))


class _Others:
    """Sagas that are not among those that are compared: older ones, of another version, or whose payment has been made
    while they do not know it yet.
    """

    def __init__(self, store: Store, archive: Archive, money: Mapping[str, Money]) -> None:
        self._store, self._archive, self._money = store, archive, money
        self._awaited: set[int] | None = None
        """Amounts in cents of sagas under way that know no payment yet; once they have been looked at."""
        self._unreadable: list[UUID] = []
        """Sagas under way that may wait for any amount: of a version that is not run here, or damaged."""
        self._may_be_theirs: list[Payment] = []

    def unsure(self) -> Iterator[Difference]:
        """After all payments were asked for: those that only one which cannot be read may have."""
        for payment in self._may_be_theirs:
            said = (
                f"payment {payment.payment_id} stands and no saga that can be read here knows of it: it may be of"
                f" {self._unreadable[0]}{', or of others that cannot be read' if self._unreadable[1:] else ''}"
            )
            yield Difference(kind=Kind.UNSURE, said=said, payment_id=payment.payment_id)

    def have(self, payment: Payment) -> bool:
        """Also of one that `unsure` tells of."""
        # First who waits, then who knows: whoever learns of it in between is found.
        if payment.order_id is None and self._is_awaited(payment.amount_cents):
            return True
        known = [Search(payment_id=payment.payment_id)]
        known += [Search(order_id=payment.order_id)] if payment.order_id else []
        for search in known:
            page = self._store.page(search, limit=1)
            if page.instances or page.unknown_versions or page.damaged:
                return True
        if self._archive.knows(payment.order_id, payment.payment_id):
            return True
        if payment.order_id is None and self._unreadable:
            self._may_be_theirs.append(payment)
            return True
        return False

    def _is_awaited(self, amount_cents: int) -> bool:
        if self._awaited is None:
            pages = list(_pages(self._store, Search(statuses=UNDER_WAY)))
            self._unreadable = [one for page in pages for one in (*page.damaged, *page.unknown_versions)]
            self._awaited = {
                saga.data.amount_cents
                for page in pages
                for saga in page.instances
                if self._money.get(saga.saga) is Money.HOLDS and not saga.data.payment_id
            }
        return amount_cents in self._awaited


def _pages(store: Store, search: Search) -> Iterator[SagaPage]:
    page = store.page(search)
    yield page
    while page.next_after is not None:
        page = store.page(search, after=page.next_after)
        yield page


def _all_of(store: Store, search: Search, damaged: list[UUID]) -> Iterator[Instance[Any]]:
    """Those whose row is damaged go into `damaged`."""
    for page in _pages(store, search):
        damaged += page.damaged
        yield from page.instances


def _not_compared(damaged: list[UUID]) -> Iterator[Difference]:
    for saga_id in sorted(set(damaged)):
        said = f"the row of the saga {saga_id} is damaged: its payment cannot be compared"
        yield Difference(kind=Kind.SAGA_DAMAGED, said=said, saga_id=saga_id)


class Reconciler(Looped):
    """Compares every so often, and says in the log what differs."""

    def __init__(
        self, reconciliation: Reconciliation, *, every_seconds: float, told: Callable[[int], None] = lambda count: None
    ) -> None:
        """`told` gets the number of differences each time."""
        self._reconciliation = reconciliation
        self._every_seconds = every_seconds
        self._told = told
        # It reads a whole ledger: one that fails is not read again at once.
        self._loop = Loop("reconcile", self._turn, restart_first_seconds=AGAIN_SECONDS, restart_most_seconds=3600.0)

    def stop(self, timeout_seconds: float) -> bool:
        """It only reads, so it is cut off where it does not end soon, and leaves the time to those who have something
        to hand over.
        """
        super().stop(min(CUT_OFF_SECONDS, timeout_seconds))
        return True

    def _turn(self) -> None:
        found = list(self._reconciliation.differences())
        for one in found[:SHOWN_MAX]:
            about = concerning(one.saga_id) if one.saga_id else {}
            _log.error("reconcile.difference", kind=one.kind, payment_id=one.payment_id, said=one.said, **about)
        _log.info("reconcile.done", differences=len(found))
        self._told(len(found))
        self._loop.pause(self._every_seconds)
