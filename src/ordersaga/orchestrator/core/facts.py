"""What one decision means to those who count: a saga was begun, reached an outcome, a step ended, a command went out
again.

Read from the instance before and after. Counted for each decision and not for each batch, so that the sums are those
of the history.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from ordersaga.orchestrator.core.instance import Became, Direction, Instance, Outstanding, Status
from ordersaga.orchestrator.core.reasons import Reason

AnyInstance = Instance[Any]
OUTCOMES = frozenset({Status.COMPLETED, Status.COMPENSATED, Status.CANCELLED, Status.FAILED})
GIVEN_UP = "GIVEN_UP"


class Began(Struct, frozen=True):
    saga: str


class Ended(Struct, frozen=True):
    """A saga reached an outcome. One that was completed and cancelled later reached two."""

    saga: str
    outcome: Status
    reason: Reason | None
    seconds: float
    """Since the order."""


class StepEnded(Struct, frozen=True):
    saga: str
    step: str
    direction: Direction
    outcome: str
    """What became of it, or that it was given up."""
    seconds: float
    """Since its first command."""


class Repeated(Struct, frozen=True):
    """A command was sent again."""

    saga: str
    step: str
    direction: Direction


Fact = Began | Ended | StepEnded | Repeated


def facts_of(before: AnyInstance | None, after: AnyInstance) -> Iterator[Fact]:
    if before is None:
        yield Began(after.saga)
    elif before.outstanding is not None and before.outstanding != after.outstanding:
        yield from _answered(before.outstanding, after)
    if after.status in OUTCOMES and (before is None or before.status is not after.status):
        seconds = ((after.completed_at or after.created_at) - after.created_at).total_seconds()
        yield Ended(after.saga, after.status, after.reason, max(0.0, seconds))


def _answered(out: Outstanding, after: AnyInstance) -> Iterator[Fact]:
    now = after.outstanding
    if now is not None and (now.step, now.direction) == (out.step, out.direction):
        if now.attempt > out.attempt:
            yield Repeated(after.saga, out.step, out.direction)
        return
    step = after.steps.get(out.step)
    became = step.became if step else None
    if out.direction is Direction.UNDO and became not in (Became.UNDONE, Became.SETTLED):
        became = None
    began_at = out.first_sent_at or out.sent_at
    seconds = ((after.updated_at or began_at) - began_at).total_seconds()
    outcome = became.value if became else GIVEN_UP
    yield StepEnded(after.saga, out.step, out.direction, outcome, max(0.0, seconds))
