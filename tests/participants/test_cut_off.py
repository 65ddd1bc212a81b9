"""A participant whose database falls silent: no answer, no error, no end of the connection."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest

from ordersaga.delivery.failpoints import armed
from ordersaga.participants.host import BEFORE_COMMIT
from ordersaga.participants.ledger_protocol import LedgerUnavailable
from ordersaga.participants.payment.consult import AFTER_PROVIDER, BEFORE_PROVIDER, ConsultProvider
from ordersaga.participants.payment.provider import SandboxProvider
from ordersaga.participants.payment.service import Void
from ordersaga.wire.topics import Participant
from tests.faults.proxy import Fault, FaultProxy
from tests.participants.stage import AUTHORIZE, BY, Hosted, hosted

WITHIN_SECONDS = 30
TIMEOUT_SECONDS = 0.5


@contextmanager
def behind_a_proxy(database_url: str) -> Iterator[tuple[Hosted, FaultProxy, Hosted]]:
    """A payment service that has its connections, the network before it, and another one that goes another way."""
    parts = urlsplit(database_url)
    with ExitStack() as stack:
        other = stack.enter_context(hosted(Participant.PAYMENT, database_url))
        proxy = stack.enter_context(FaultProxy(parts.port or 5432))
        url = urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{proxy.port}"))
        service = stack.enter_context(hosted(Participant.PAYMENT, url, tables=False, timeout_seconds=TIMEOUT_SECONDS))
        assert isinstance(service.host._consult, ConsultProvider)
        assert isinstance(service.host._consult._provider, SandboxProvider)
        for connections in (service.ledger._pool, service.host._consult._provider._pool):
            connections.wait(60)
        yield service, proxy, other


def _look_up(service: Hosted) -> object:
    return service.host.look_up("nobody")


def _authorize(service: Hosted) -> object:
    return service.ask(AUTHORIZE)


@pytest.mark.parametrize("ask", [_look_up, _authorize])
def test_a_database_that_falls_silent_is_given_up(database_url: str, ask: Callable[[Hosted], object]) -> None:
    with behind_a_proxy(database_url) as (service, proxy, _), ThreadPoolExecutor(1) as threads:
        proxy.break_(Fault.BLACKHOLE)
        asked = threads.submit(ask, service)
        with pytest.raises(LedgerUnavailable), silent_until_then(proxy):
            asked.result(WITHIN_SECONDS)


@pytest.mark.parametrize("place", [BEFORE_PROVIDER, AFTER_PROVIDER, BEFORE_COMMIT])
def test_a_database_that_falls_silent_in_the_middle_is_given_up(database_url: str, place: str) -> None:
    with behind_a_proxy(database_url) as (service, proxy, other), ThreadPoolExecutor(1) as threads:
        other.ask(AUTHORIZE)
        payment_id = other.one("select payment_id from rows")
        with armed(place, lambda: proxy.break_(Fault.BLACKHOLE)):
            asked = threads.submit(service.host.act, payment_id, Void(), BY)
            with pytest.raises(LedgerUnavailable), silent_until_then(proxy):
                asked.result(WITHIN_SECONDS)


@contextmanager
def silent_until_then(proxy: FaultProxy) -> Iterator[None]:
    """Healed when that is known: whoever leaves is not kept, neither is one who would have waited for ever."""
    try:
        yield
    finally:
        proxy.heal()
