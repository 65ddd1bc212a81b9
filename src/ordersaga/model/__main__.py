"""All interleavings of each saga, within bounds.

    python -m ordersaga.model [--saga NAME] [--participants full|bare|both] [--faults N] [--hands N]

Progress goes to standard error; standard output ends with one line of JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from ordersaga.model import complete_order, create_order
from ordersaga.model.explore import Bounds, Found, explore
from ordersaga.model.stage import ATTEMPTS_MAX, Stage
from ordersaga.orchestrator.core.definition import Kind

STAGES: dict[str, Callable[[Kind], Stage]] = {
    "create_order": create_order.stage_of,
    "complete_order": complete_order.stage_of,
}


def main() -> int:
    arguments = _arguments()
    bounds = Bounds(faults=arguments.faults, hands=arguments.hands)
    kinds = ("full", "bare") if arguments.participants == "both" else (arguments.participants,)
    sagas = [arguments.saga] if arguments.saga else list(STAGES)
    begun = time.perf_counter()
    _say(f"{bounds.faults} faults and {bounds.hands} hands on a path; participants: {', '.join(kinds)}")
    with ProcessPoolExecutor(max_workers=len(kinds)) as workers:
        told = {(saga, kind): workers.submit(_explore, saga, kind, bounds) for saga in sagas for kind in kinds}
        found = {key: one.result() for key, one in told.items()}
    report = {
        "ok": all(one.complete and not one.violations for one in found.values()),
        "sagas": {saga: _sum({kind: found[saga, kind] for kind in kinds}) for saga in sagas},
        "violations": sum(len(one.violations) for one in found.values()),
        "bounds": {"faults": bounds.faults, "hands": bounds.hands, "attempts": ATTEMPTS_MAX},
        "seconds": round(time.perf_counter() - begun, 1),
    }
    print(json.dumps(report), flush=True)
    return 0 if report["ok"] else 1


def _sum(found: dict[str, Found]) -> dict[str, Any]:
    return {
        "states": sum(one.states for one in found.values()),
        "transitions": sum(one.transitions for one in found.values()),
        "violations": sum(len(one.violations) for one in found.values()),
        "ends": {kind: one.ends for kind, one in found.items()},
    }


def _explore(saga: str, kind: str, bounds: Bounds) -> Found:
    found = explore(STAGES[saga](Kind(kind)), bounds, progress=partial(_progress, f"{saga}, {kind}"))
    _tell(f"{saga}, {kind}", found)
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="model", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--saga", choices=tuple(STAGES), help="which one; all where none is named")
    parser.add_argument("--participants", choices=("full", "bare", "both"), default="both", help="of which kind")
    parser.add_argument("--faults", type=int, default=1, help="refusals, losses, repeats, late answers on one path")
    parser.add_argument("--hands", type=int, default=1, help="what people and the clock do on one path")
    return parser.parse_args()


def _progress(which: str, states: int, waiting: int) -> None:
    _say(f"  {which}: {states} states, {waiting} to look at")


def _tell(which: str, found: Found) -> None:
    _say(f"  {which}: {found.states} states, {found.transitions} transitions, ends {found.ends}")
    for rule, path in found.violations:
        _say(f"  BROKEN: {rule}")
        for what in path:
            _say(f"    {what}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
