"""What goes wrong in one run, drawn from its seed and counted by kind.

Each place where a fault may happen asks `happens(kind)`. A run can be told to let only some of the faults happen that
it had (by number), so that the fewest that still break a rule can be found.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from random import Random

KINDS = {
    "command_lost": 0.015,
    "answer_lost": 0.015,
    "record_twice": 0.03,
    "record_late": 0.04,
    "publish_unknown": 0.02,
    "database_away": 0.01,
    "commit_lost": 0.01,
    "commit_unknown": 0.015,
    "crash": 0.003,
    "participant_crash": 0.002,
    "slow": 0.006,
    "clock_jump": 0.01,
    "refused": 0.03,
    "deaf": 0.015,
    "mute": 0.015,
    "handled_twice": 0.02,
    "contradicted": 0.01,
    "customer_cancels": 0.15,
    "operator_retries": 0.03,
    "accepted": 0.5,
    "given_back": 0.15,
    "cancelled_by_hand": 0.06,
    "voided_by_hand": 0.05,
    "hold_lapses": 0.03,
}
"""How often each happens where it may, in a run that has it."""


@dataclass(frozen=True)
class Fault:
    number: int
    kind: str
    at_seconds: float
    where: str


class Faults:
    def __init__(
        self, random: Random, *, only: Collection[int] | None = None, kinds: Mapping[str, float] = KINDS
    ) -> None:
        """`only`: the numbers of those that may happen; None for all. `kinds`: how often each happens."""
        self._random = random
        self._only = only
        self._number = 0
        # A run with every fault at once is a mess that hides: each has some of them, and some often.
        self._rates = {kind: rate * random.choice((0.0, 0.5, 1.0, 1.0, 3.0)) for kind, rate in kinds.items()}
        self.happened: list[Fault] = []
        self.over = False
        """The world has been troubled enough: no more faults."""

    def happens(self, kind: str, at_seconds: float, where: str = "") -> bool:
        self._number += 1
        drawn = self._random.random() < self._rates.get(kind, 0.0)
        if not drawn or self.over or (self._only is not None and self._number not in self._only):
            return False
        self.happened.append(Fault(self._number, kind, at_seconds, where))
        return True

    def counts(self) -> Counter[str]:
        return Counter(fault.kind for fault in self.happened)
