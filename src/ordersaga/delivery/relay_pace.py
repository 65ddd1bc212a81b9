"""How a relay is set, and what it says of itself."""

from dataclasses import dataclass

from ordersaga.delivery.clock import Randomness, backoff_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayPace:
    batch_max: int = 500
    """Records in one publish call. The producer's rate hardly grows above it."""
    held_max: int = 10_000
    """Rows held in memory; more are fetched again by a scan. 10,000 were measured at 180 MB."""
    publish_timeout_seconds: float = 5.0
    scan_interval_seconds: float = 3.0
    """How often rows are looked for that memory does not hold."""
    left_behind_after_seconds: float = 5.0
    """The age from which a row that was never offered is looked for: longer than COMMIT usually takes."""
    retry_first_seconds: float = 0.1
    retry_most_seconds: float = 2.0
    refused_retry_seconds: float = 60.0
    """For what the bus refuses: somebody has to mend a topic or a right first."""

    def pause_seconds(self, attempt: int, randomness: Randomness) -> float:
        """After so many attempts without an answer."""
        return backoff_seconds(
            attempt, first=self.retry_first_seconds, most=self.retry_most_seconds, randomness=randomness
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayFigures:
    """For metrics. Totals count since the start of the process."""

    held: int
    oldest_seconds: float
    blocked_lanes: int
    """Lanes whose first row was tried and not acknowledged."""
    waiting_lanes: int
    """Lanes that wait for a row of another process."""
    leased: bool
    full: bool
    undeleted: int
    """Acknowledged, their rows not deleted yet."""
    published_total: int
    unknown_total: int
    refused_total: int
    found_total: int
    """Rows that came by a scan, not by an offer."""
    last_error: str
