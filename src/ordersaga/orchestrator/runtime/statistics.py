"""Statistics: what is added for each fact, and what is made of the sums again.

Durations are kept as counts of bins, each a fifth wider than the one before, so a quantile is known to within a tenth
however many sagas there were.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ordersaga.orchestrator.core.facts import Began, Ended, Facts, Repeated, StepEnded
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.store.statistics_protocol import Period, Sum

STARTED, ENDED, SAGA_SECONDS, STEP, STEP_SECONDS, REPEATED = (
    "started", "ended", "saga_seconds", "step", "step_seconds", "repeated",
)  # fmt: skip
"""Kinds. Their labels: nothing; outcome and reason; outcome and bin; step, direction and what became of it; step,
direction and bin; step and direction; with `|` between.
"""
DETAILS = frozenset({STEP, STEP_SECONDS})
"""Kinds that are told of a whole time, not of each of its periods."""
_SMALLEST_SECONDS, _GROWTH, _BINS_MAX = 0.001, 1.2, 120
_PER_LOG = 1 / math.log(_GROWTH)


def bin_of(seconds: float) -> int:
    """0: up to a millisecond."""
    if seconds <= _SMALLEST_SECONDS:
        return 0
    return min(_BINS_MAX, math.ceil(math.log(seconds / _SMALLEST_SECONDS) * _PER_LOG))


def seconds_of(number: int) -> float:
    """The middle of a bin."""
    upper = _SMALLEST_SECONDS * _GROWTH**number
    return upper if number == 0 else upper * (1 + 1 / _GROWTH) / 2


def sums_of(facts: Facts) -> Sequence[Sum]:
    """What a transaction adds. One for each kind and label, in one order for all transactions."""
    sums: dict[tuple[str, str, str], list[int]] = {}

    def add(saga: str, kind: str, label: str, count: int, microseconds: int = 0) -> None:
        found = sums.setdefault((saga, kind, label), [0, 0])
        found[0] += count
        found[1] += microseconds

    def add_durations(saga: str, kind: str, label: str, durations: Sequence[float]) -> None:
        by_bin: defaultdict[int, list[int]] = defaultdict(list)
        for seconds in durations:
            by_bin[bin_of(seconds)].append(round(seconds * 1_000_000))
        for number, microseconds in by_bin.items():
            add(saga, kind, f"{label}|{number}", len(microseconds), sum(microseconds))

    for fact, durations in facts.items():
        match fact:
            case Began(saga):
                add(saga, STARTED, "", len(durations))
            case Ended(saga, outcome, reason):
                add(saga, ENDED, f"{outcome}|{reason or ''}", len(durations))
                add_durations(saga, SAGA_SECONDS, outcome, durations)
            case StepEnded(saga, step, direction, outcome):
                add(saga, STEP, f"{step}|{direction}|{outcome}", len(durations))
                add_durations(saga, STEP_SECONDS, f"{step}|{direction}", durations)
            case Repeated(saga, step, direction):
                add(saga, REPEATED, f"{step}|{direction}", len(durations))
    return [
        Sum(saga=saga, kind=kind, label=label, count=count, microseconds=microseconds)
        for (saga, kind, label), (count, microseconds) in sorted(sums.items())
    ]


@dataclass
class Durations:
    bins: Counter[int] = field(default_factory=Counter)
    microseconds: int = 0

    def add(self, number: int, count: int, microseconds: int) -> None:
        self.bins[number] += count
        self.microseconds += microseconds

    @property
    def mean(self) -> float | None:
        return self.microseconds / 1_000_000 / self.bins.total() if self.bins.total() else None

    def quantile(self, share: float) -> float | None:
        """In seconds; None where nothing was measured."""
        wanted, seen = share * self.bins.total(), 0
        for number in sorted(self.bins):
            seen += self.bins[number]
            if seen >= wanted:
                return seconds_of(number)
        return None


@dataclass
class Totals:
    started: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    """By outcome. A saga that was completed and cancelled later counts in both."""
    repeated: int = 0
    durations: Durations = field(default_factory=Durations)

    @property
    def completion_rate(self) -> float | None:
        """Completed of those begun; None where none was."""
        return self.ended[Status.COMPLETED.value] / self.started if self.started else None


@dataclass
class StepTotals:
    became: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    durations: Durations = field(default_factory=Durations)


@dataclass
class Told:
    """What happened in a time."""

    total: Totals = field(default_factory=Totals)
    periods: dict[datetime, Totals] = field(default_factory=dict)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By outcome and reason."""
    steps: dict[tuple[str, str], StepTotals] = field(default_factory=dict)
    """By step and direction."""


def tell(periods: Iterable[Period], saga: str | None = None) -> Told:
    """Sums of one kind of saga (by its name), or of all of them together, from what `Statistics.periods` finds with
    `DETAILS`. What a newer version counts and this one does not know is passed over.
    """
    told = Told()
    for period in periods:
        if saga is not None and period.sum.saga != saga:
            continue
        if period.sum.kind not in DETAILS:
            _add(told.total, period.sum)
            _add(told.periods.setdefault(period.at, Totals()), period.sum)
        _add_details(told, period.sum)
    return told


def _add(totals: Totals, one: Sum) -> None:
    first, _, rest = one.label.partition("|")
    match one.kind:
        case "started":
            totals.started += one.count
        case "ended":
            totals.ended[first] += one.count
        case "saga_seconds":
            totals.durations.add(int(rest), one.count, one.microseconds)
        case "repeated":
            totals.repeated += one.count


def _add_details(told: Told, one: Sum) -> None:
    parts = one.label.split("|")
    match one.kind, parts:
        case "ended", [outcome, reason]:
            told.reasons[outcome, reason] += one.count
        case "step", [step, direction, became]:
            told.steps.setdefault((step, direction), StepTotals()).became[became] += one.count
        case "step_seconds", [step, direction, number]:
            told.steps.setdefault((step, direction), StepTotals()).durations.add(
                int(number), one.count, one.microseconds
            )
        case "repeated", [step, direction]:
            told.steps.setdefault((step, direction), StepTotals()).repeated += one.count
