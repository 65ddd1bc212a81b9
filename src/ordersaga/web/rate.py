"""How often something may happen for each of many: token buckets.

Of one process: two processes behind a load balancer let twice as much through. The keys that were quiet longest are
forgotten, which lets them begin anew, so memory stays bounded whatever keys strangers make up.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

KEYS_MAX = 10_000


class Rate:
    def __init__(
        self,
        per_second: float,
        burst: float,
        *,
        keys_max: int = KEYS_MAX,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`burst` at once, and `per_second` from then on, for each key."""
        self._per_second = per_second
        self._burst = burst
        self._keys_max = keys_max
        self._monotonic = monotonic
        self._lock = Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What is left for a key, and as of when."""

    def take(self, key: str) -> int:
        """0 where it may happen; else for how many seconds, rounded up, it may not."""
        now = self._monotonic()
        with self._lock:
            left, at = self._left.pop(key, (self._burst, now))
            left = min(self._burst, left + (now - at) * self._per_second)
            may = left >= 1
            self._left[key] = (left - 1 if may else left, now)
            if len(self._left) > self._keys_max:
                self._left.popitem(last=False)
        return 0 if may else math.ceil((1 - left) / self._per_second)
