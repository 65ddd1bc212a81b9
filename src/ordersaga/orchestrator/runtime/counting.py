"""What is counted, so that every record that came in is accounted for.

records in = applied + repeated + late + stray + foreign + kept + orphaned + dead-lettered (a record that concerns two
sagas counts for each, one that was kept counts again when it is applied)
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock

from ordersaga.orchestrator.core.facts import Facts
from ordersaga.orchestrator.core.inputs import Verdict
from ordersaga.orchestrator.store.protocol import Change, DeadLetter, EarlyEvent, Orphan
from ordersaga.wire.codec import Foreign

FOREIGN = "foreign"
"""What concerns no saga and is not ours."""
BECAME = (*Verdict, FOREIGN, "kept", "orphaned", "dead")
"""What may become of what comes in: each is counted under one of these names."""


class Counting:
    """Plain counters by name and label; cheap enough for the hot path, read by metrics and by tests."""

    def __init__(self, measure: Callable[[Facts], None] = lambda facts: None) -> None:
        """`measure` is told what each committed batch means."""
        self._measure = measure
        self._lock = Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._late: Counter[tuple[str, str]] = Counter()

    def turn(
        self,
        verdicts: Sequence[tuple[str, str]],
        orphans: Sequence[Orphan],
        early: Sequence[EarlyEvent],
        changes: Sequence[Change],
        facts: Facts,
    ) -> None:
        """`verdicts`: of each input, a `Verdict` or `FOREIGN`, and why."""
        self._measure(facts)
        found = Counter(verdicts)
        for change in changes:
            if change.before is None or change.before.status is not change.after.status:
                found["status", change.after.status] += 1
        found["orphaned", ""] += len(orphans)
        found["kept", ""] += len(early)
        with self._lock:
            self._counts.update(found)

    def foreign(self, foreign: Iterable[Foreign]) -> None:
        found = Counter((FOREIGN, one.why) for one in foreign)
        with self._lock:
            self._counts.update(found)

    def late(self, late: Iterable[tuple[str, str]]) -> None:
        """By step and why, what `turn` has counted by why alone."""
        with self._lock:
            self._late.update(late)

    def late_by_step(self) -> Mapping[tuple[str, str], int]:
        with self._lock:
            return dict(self._late)

    def dead(self, dead: DeadLetter) -> None:
        with self._lock:
            self._counts["dead", dead.reason] += 1

    def snapshot(self) -> Mapping[tuple[str, str], int]:
        with self._lock:
            return {key: count for key, count in self._counts.items() if count}

    def sums(self) -> Mapping[str, int]:
        """By name only, for a line in the log when a process ends."""
        found: Counter[str] = Counter()
        for (name, _), count in self.snapshot().items():
            found[name] += count
        return dict(found)
