"""Payments and sagas, compared: reads both, changes neither, says what differs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from uuid import UUID

import structlog

from ordersaga.delivery.background import Loop, Looped
from ordersaga.orchestrator.core.definition import Money
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
        """Sagas that were begun within `of`, and every payment of the ledger. Raises `StoreError`, and what the ledger
        raises.
        """
        now = self.now()
        # The ledger first: what is paid meanwhile is then at worst a saga that changed a moment ago.
        payments = list(self.payments(now - of))
        pages = list(self._pages(now - of))
        sagas = [one for page in pages for one in page.instances]
        differ = compare(payments, sagas, quiet_since=now - quiet, is_of_another=self._is_of_another, money=self.money)
        return chain((_damaged(saga_id) for page in pages for saga_id in page.damaged), differ)

    def _pages(self, since: datetime) -> Iterator[SagaPage]:
        page = self.store.page(Search(since=since))
        yield page
        while page.next_after is not None:
            page = self.store.page(Search(since=since), after=page.next_after)
            yield page

    def _is_of_another(self, payment: Payment) -> bool:
        """Of a saga that is older, of another version, damaged (which is told by itself), or in the archive."""
        if payment.order_id:
            page = self.store.page(Search(order_id=payment.order_id), limit=1)
            if page.instances or page.unknown_versions or page.damaged:
                return True
        return self.archive.knows(payment.order_id, payment.payment_id)


def _damaged(saga_id: UUID) -> Difference:
    said = f"the row of the saga {saga_id} is damaged: its payment cannot be compared"
    return Difference(kind=Kind.SAGA_DAMAGED, said=said, saga_id=saga_id)


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
