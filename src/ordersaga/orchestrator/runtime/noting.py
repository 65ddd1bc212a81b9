"""What somebody wished goes into the audit, where there is one."""

from typing import Any

import structlog

from ordersaga.orchestrator.core.instance import Instance
from ordersaga.orchestrator.runtime.concerning import concerning
from ordersaga.orchestrator.store.audit import Audit, Wish
from ordersaga.orchestrator.store.protocol import StoreError

_log = structlog.get_logger(__name__)


def note(audit: Audit | None, wish: Wish, after: Instance[Any] | None = None) -> None:
    """Never raises: it is done or refused by now, and whoever asked must not take the one for the other. `after`: the
    saga as it is now, for the line in the log.
    """
    if audit is None:
        return
    try:
        audit.note(wish)
    except StoreError as error:
        named = concerning(wish.saga_id, after) if wish.saga_id else {}
        _log.error("audit.not_written", verb=wish.verb, error=str(error), **named)
