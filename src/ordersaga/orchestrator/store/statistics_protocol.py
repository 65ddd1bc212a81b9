"""What sagas did, hour by hour: sums that are exact and cost no look at the sagas.

Each transaction appends what it adds (`Batch.sums`), which waits for nobody; a chore folds that into the hours every
few seconds. Whoever reads gets both, so a figure is right the moment that its transaction has committed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from msgspec import Struct


class Sum(Struct, frozen=True, kw_only=True):
    """How often something happened, and how long it took together. `kind` and `label`: see `runtime.statistics`."""

    saga: str
    kind: str
    label: str
    count: int
    microseconds: int = 0
    """Whole ones, so that sums are the same in whatever order they are added."""


class By(StrEnum):
    """Of what length the periods are, in UTC."""

    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    at: datetime
    """When it began."""
    sum: Sum


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    status: str
    step: str | None
    count: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """FAILED and not resolved, by cause."""

    reason: str | None
    step: str | None
    """The undo that could not be confirmed is of this step."""
    problem: str | None
    count: int
    examples: Sequence[UUID]
    """The newest, three at most."""


@dataclass(frozen=True, slots=True)
class Unfolded:
    """What was appended and is not in its hours yet."""

    sums: int
    oldest_seconds: float


class Statistics(Protocol):
    """Each raises `StoreUnavailable`."""

    def periods(self, since: datetime, until: datetime, by: By, details: Collection[str]) -> Sequence[Period]:
        """Sums of the hours that begin in [since, until), oldest first; both are whole hours. Of the kinds that are
        `details` there is one sum for the whole time, at `since`.
        """

    def in_flight(self) -> Sequence[InFlight]:
        """Sagas that have no outcome yet, oldest first."""

    def failures(self) -> Sequence[Failure]:
        """Most frequent first, at most 50 causes."""

    def fold(self) -> int:
        """Put what was appended into its hours, as much as a turn of some seconds does; how many sums there were.
        Harmless at any time, by any number.
        """

    def unfolded(self) -> Unfolded: ...
