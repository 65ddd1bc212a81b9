"""How things stand in a store, in figures: for those who watch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ordersaga.orchestrator.core.instance import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCounts:
    by_status: Mapping[Status, int] = field(default_factory=dict)
    outbox_rows: int = 0
    deadlines_due: int = 0
    dead_letters: int = 0
    """Those that are open."""
    orphans: int = 0
    """Likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How things stand, for those who watch."""

    active: Mapping[tuple[str, str | None], int] = field(default_factory=dict)
    """Sagas that have no outcome yet, by status and step."""
    oldest_active_seconds: float = 0.0
    failed: int = 0
    """FAILED and not resolved."""
    oldest_failed_seconds: float = 0.0
    """Since the order, of these."""
    attention: int = 0
    dead_letters: int = 0
    orphans: int = 0
    deadlines_due: int = 0
    deadlines_late_seconds: float = 0.0
    deadlines_failing: int = 0
    """Those that failed by a fault of ours, or of their row, and were put off."""
