"""What may have come together in any number is worked off part by part, each a short transaction of its own.

One statement for all of it would be cancelled where it takes longer than statements may, and would have done nothing
then, nor the next time. The statement of a part says how many rows it looked at, and how far it came; the next one goes
on there, and so does the next turn. What comes behind it waits for the turn after that. Any number of processes may do
the same: what one has in hand is passed over by the others.
"""

from typing import Any

from ordersaga.delivery.clock import Clock, SystemClock
from ordersaga.orchestrator.store.connections import Connections

PART_MAX = 5_000
"""Rows: a tenth of a second or less."""
TURN_SECONDS = 2.0
"""Then whoever waits for this process to stop is waited for no longer."""


class Parts:
    def __init__(self, connections: Connections, statement: bytes, clock: Clock | None = None) -> None:
        """`statement`: of `after` (None: from the beginning) and `part_max`."""
        self._ask = connections.ask
        self._statement = statement
        self._clock = clock or SystemClock()
        self._after: Any = None

    def take_turn(self) -> int:
        """As many parts as there are and time allows; of how many rows."""
        rows, end = 0, self._clock.monotonic() + TURN_SECONDS
        while True:
            values = {"after": self._after, "part_max": PART_MAX}
            ((looked_at, self._after),) = self._ask(self._statement, values)
            rows += int(looked_at)
            if looked_at < PART_MAX:
                self._after = None
                return rows
            if self._clock.monotonic() >= end:
                return rows

    @property
    def left(self) -> bool:
        """Whether the last turn did not come to the end."""
        return self._after is not None
