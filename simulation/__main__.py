"""Simulated afternoons, one for each seed: real code, virtual time, everything that can go wrong.

    python -m simulation [--saga NAME] [--seeds N] [--first S] [--processes P]

A seed that breaks a rule is run again with fewer and fewer faults, and the fewest that still break it are shown. The
same seed always gives the same run: `--seeds 1 --first S`. Progress goes to standard error; standard output ends with
one line of JSON.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field

from simulation.run import Outcome, Runner
from simulation.scenes import SCENES

CHUNK = 100
SHOWN_MAX = 5


@dataclass
class Tally:
    seeds: int = 0
    broken: list[Outcome] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    hours: float = 0.0
    """Of the worlds' own time."""

    def add(self, other: "Tally") -> None:
        self.seeds += other.seeds
        self.broken += other.broken
        self.faults += other.faults
        self.ends += other.ends
        self.hours += other.hours


def run_seeds(scene: str, seeds: Sequence[int]) -> Tally:
    """In a process of its own, which ends with the one that asked."""
    tally = Tally()
    asked_by = os.getppid()
    with Runner(SCENES[scene]).ready() as runner:
        for seed in seeds:
            if os.getppid() != asked_by:
                os._exit(1)
            outcome = runner.run(seed)
            tally.seeds += 1
            tally.faults.update(fault.kind for fault in outcome.faults)
            kind = "bare" if outcome.bare else "full"
            tally.ends.update(f"{kind}: {end}" for end in outcome.ends)
            tally.hours += outcome.seconds / 3600
            if outcome.broken:
                few = len(tally.broken) < SHOWN_MAX
                tally.broken.append(runner.shrunk(outcome) if few else outcome)
    return tally


def main() -> int:
    arguments = _arguments()
    begun, total = time.perf_counter(), Tally()
    last = arguments.first + arguments.seeds
    chunks = [range(start, min(start + CHUNK, last)) for start in range(arguments.first, last, CHUNK)]
    with ProcessPoolExecutor(arguments.processes) as pool:
        running = [pool.submit(run_seeds, arguments.saga, chunk) for chunk in chunks]
        for number, done in enumerate(as_completed(running), 1):
            found = done.result()
            for outcome in found.broken[: max(0, SHOWN_MAX - len(total.broken))]:
                _show(outcome, arguments.saga)
            total.add(found)
            if arguments.until_broken and total.broken:
                pool.shutdown(wait=False, cancel_futures=True)
                break
            if number % 10 == 0 or number == len(running):
                rate = total.seeds / (time.perf_counter() - begun)
                _say(f"  {total.seeds} of {arguments.seeds} seeds, {len(total.broken)} broken, {rate:.0f} a second")
    seconds = time.perf_counter() - begun
    report = {
        "ok": not total.broken,
        "seeds": total.seeds,
        "violations": len(total.broken),
        "broken_seeds": [outcome.seed for outcome in total.broken[:100]],
        "faults": {kind: total.faults[kind] for kind in SCENES[arguments.saga].kinds},
        "ends": dict(sorted(total.ends.items())),
        "simulated_hours": round(total.hours, 1),
        "seconds": round(seconds, 1),
        "seeds_per_second": round(total.seeds / seconds, 1),
    }
    print(json.dumps(report), flush=True)
    return 0 if report["ok"] else 1


def _show(outcome: Outcome, saga: str) -> None:
    _say(f"seed {outcome.seed} breaks a rule ({'bare' if outcome.bare else 'full'} participants):")
    for problem in outcome.broken:
        _say(f"  {problem}")
    _say(f"  with {len(outcome.faults)} faults:")
    for fault in outcome.faults:
        _say(f"    {fault.at_seconds:8.3f} s  {fault.kind:<18} {fault.where}")
    _say(f"  again: make simulate SEEDS=1 FIRST={outcome.seed} ARGS='--saga {saga}'")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="simulation", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--saga", choices=tuple(SCENES), default="create_order", help="what the afternoons are about")
    parser.add_argument("--seeds", type=int, default=1_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--until-broken", action="store_true", help="stop at the first that breaks a rule")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
