"""Notices that a customer has ordered the same again within seconds: a finger that pressed twice, or a client that asks
again without an `Idempotency-Key`. Nothing is refused for it, since it may be meant; it is said.

Of one process: two orders that go to two processes are not noticed.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any
from uuid import UUID

import msgspec
import structlog

from ordersaga.orchestrator.runtime.concerning import concerning

WITHIN_SECONDS = 20.0
KEPT_MAX = 10_000
_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder(order="deterministic").encode


class Twins:
    def __init__(
        self,
        counted: Callable[[], None] = lambda: None,
        *,
        within_seconds: float = WITHIN_SECONDS,
        kept_max: int = KEPT_MAX,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`counted` is called for each that is noticed."""
        self._counted = counted
        self._within_seconds = within_seconds
        self._kept_max = kept_max
        self._monotonic = monotonic
        self._lock = Lock()
        self._kept: OrderedDict[bytes, tuple[float, UUID]] = OrderedDict()
        """Digests only: nothing personal is kept."""

    def placed(self, order: Any, saga_id: UUID) -> UUID | None:
        """`order` as it was asked for, customer included. Returns the saga of the same order before, if there was one
        a moment ago.
        """
        digest, now = hashlib.sha256(_encode(order)).digest(), self._monotonic()
        with self._lock:
            at, before = self._kept.pop(digest, (float("-inf"), saga_id))
            self._kept[digest] = (now, saga_id)
            if len(self._kept) > self._kept_max:
                self._kept.popitem(last=False)
        if now - at > self._within_seconds or before == saga_id:
            return None
        _log.warning("orders.same_again", before=str(before), seconds=round(now - at, 1), **concerning(saga_id))
        self._counted()
        return before
