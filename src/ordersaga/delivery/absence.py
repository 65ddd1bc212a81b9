"""When a process leaves its group since what it depends on is away, and when it comes back.

What is away may be away for this process alone, and the others could go on with the partitions that it holds. So it
does not hold them for long. Where it is away for everybody, nothing is lost by leaving: whoever comes back is given
partitions within seconds. Nobody leaves what answers and takes nothing: whoever came in its place would fare alike.
"""

from collections.abc import Callable

from ordersaga.delivery.background import Loop
from ordersaga.delivery.clock import Clock

LEAVE_AFTER_SECONDS = 15.0
"""Longer than a database usually needs to restart. Half of the time in which a service is expected to answer, so that
another process reads in time what it says.
"""
ASK_EVERY_SECONDS = 1.0


class Absence:
    def __init__(self, loop: Loop, reachable: Callable[[], object] | None, *, clock: Clock) -> None:
        """`reachable` raises while what is depended on is away, and does so soon. Without it there is no absence."""
        self._loop = loop
        self._reachable = reachable
        self._clock = clock

    def is_due(self, failing_since: float) -> bool:
        """Whether to see what is away."""
        return self._reachable is not None and self._clock.monotonic() - failing_since >= LEAVE_AFTER_SECONDS

    def what_is_away(self) -> Exception | None:
        try:
            if self._reachable is not None:
                self._reachable()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing can be handled
            return error
        return None

    def wait(self, say: Callable[[Exception], None]) -> None:
        """Until it answers, or the loop is to stop."""
        self._loop.rest(ASK_EVERY_SECONDS)
        while not self._loop.stopping and (error := self.what_is_away()) is not None:
            say(error)
            self._loop.rest(ASK_EVERY_SECONDS)
