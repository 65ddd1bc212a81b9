"""What a relay was not acknowledged: counted, told, and when it is to be tried again.

An outcome is refused, which somebody has to mend, or unknown, which time may mend.
"""

from collections.abc import Callable, Iterator, Sequence

import structlog

from ordersaga.bus.protocol import Outcome, Published
from ordersaga.delivery.clock import Randomness
from ordersaga.delivery.message_names import about
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.relay_pace import RelayPace

_log = structlog.get_logger(__name__)


class RelayFailures:
    def __init__(self, pace: RelayPace, randomness: Randomness) -> None:
        self._pace = pace
        self._randomness = randomness
        self.unknown_total = 0
        self.refused_total = 0
        self.last_error = ""

    def tell(
        self, failed: Sequence[tuple[OutboxRow, Outcome]], attempts: Callable[[OutboxRow], int]
    ) -> Iterator[tuple[OutboxRow, bool, float]]:
        """Each row, whether it was refused, and after how many seconds to try it again. `attempts`: how many there were
        before.
        """
        unknown = 0
        for row, outcome in failed:
            self.last_error = outcome.error
            if outcome.published is Published.REFUSED:
                self.refused_total += 1
                named = about(row.record.headers)
                _log.error("relay.refused", row_id=row.row_id, topic=row.record.topic, error=outcome.error, **named)
                yield row, True, self._pace.refused_retry_seconds
            else:
                unknown += 1
                yield row, False, self._pace.pause_seconds(attempts(row) + 1, self._randomness)
        if unknown:
            self.unknown_total += unknown
            _log.warning("relay.unknown", rows=unknown, error=self.last_error)
