"""All interleavings of the create-order saga, within bounds.

    python -m ordersaga.model [--participants full|bare|both] [--faults N] [--hands N]

Progress goes to standard error; standard output ends with one line of JSON.
"""

import argparse
import dataclasses
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from ordersaga.model.explore import Bounds, Found, explore
from ordersaga.orchestrator.core.definition import Definition, Kind, Patience
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER, Customer, OrderData
from ordersaga.wire.topics import Participant

PLACED = OrderData(personal=Customer(customer_id="c-1", order_details={}), amount_cents=870)
ATTEMPTS_MAX = 2


def main() -> int:
    arguments = _arguments()
    bounds = Bounds(faults=arguments.faults, hands=arguments.hands)
    kinds = ("full", "bare") if arguments.participants == "both" else (arguments.participants,)
    begun = time.perf_counter()
    _say(f"{bounds.faults} faults and {bounds.hands} hands on a path; participants: {', '.join(kinds)}")
    with ProcessPoolExecutor(max_workers=len(kinds)) as workers:
        found = dict(zip(kinds, workers.map(_explore, kinds, [bounds] * len(kinds)), strict=True))
    report = {
        "ok": all(one.complete and not one.violations for one in found.values()),
        "states": sum(one.states for one in found.values()),
        "transitions": sum(one.transitions for one in found.values()),
        "violations": sum(len(one.violations) for one in found.values()),
        "ends": {kind: one.ends for kind, one in found.items()},
        "bounds": {"faults": bounds.faults, "hands": bounds.hands, "attempts": ATTEMPTS_MAX},
        "seconds": round(time.perf_counter() - begun, 1),
    }
    print(json.dumps(report), flush=True)
    return 0 if report["ok"] else 1


def _explore(kind: str, bounds: Bounds) -> Found:
    found = explore(definition_of(Kind(kind)), PLACED, bounds, full=kind == "full", progress=partial(_progress, kind))
    _tell(kind, found)
    return found


def definition_of(kind: Kind) -> Definition:
    """The saga with few attempts: more of them add length to a path and nothing else."""
    few = {"attempts_max": ATTEMPTS_MAX}
    undos = {
        undo: dataclasses.replace(undo, patience=dataclasses.replace(undo.patience, **few))
        for undo in CREATE_ORDER.undos()
    }
    steps = tuple(
        dataclasses.replace(step, undo=undos[step.undo] if step.undo else None, patience=_few(step.patience))
        for step in CREATE_ORDER.steps
    )
    order = tuple(undos[undo] for undo in CREATE_ORDER.undo_order)
    return dataclasses.replace(CREATE_ORDER, steps=steps, undo_order=order, kinds=dict.fromkeys(Participant, kind))


def _few(patience: Patience) -> Patience:
    return dataclasses.replace(patience, attempts_max=min(ATTEMPTS_MAX, patience.attempts_max))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="model", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--participants", choices=("full", "bare", "both"), default="both", help="of which kind")
    parser.add_argument("--faults", type=int, default=1, help="refusals, losses, repeats, late answers on one path")
    parser.add_argument("--hands", type=int, default=2, help="what people and the clock do on one path")
    return parser.parse_args()


def _progress(kind: str, states: int, waiting: int) -> None:
    _say(f"  {kind}: {states} states, {waiting} to look at")


def _tell(kind: str, found: Found) -> None:
    _say(f"  {kind}: {found.states} states, {found.transitions} transitions, ends {found.ends}")
    for rule, path in found.violations:
        _say(f"  BROKEN: {rule}")
        for what in path:
            _say(f"    {what}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
