"""What one decision means to those who count: a saga was begun, reached an outcome, a step ended, a command went out
again.

Read from the instance before and after. Counted for each decision and not for each batch, so that the sums are those
of the history.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from ordersaga.orchestrator.core.definition import Definition
from ordersaga.orchestrator.core.instance import Became, Direction, Instance, Outstanding, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.core.sending import was_told

AnyInstance = Instance[Any]
OUTCOMES = frozenset({Status.COMPLETED, Status.COMPENSATED, Status.CANCELLED, Status.FAILED})
GIVEN_UP = "GIVEN_UP"


class Began(Struct, frozen=True):
    saga: str


class Ended(Struct, frozen=True):
    """A saga reached an outcome, so many seconds after the order. One that was completed and cancelled later reached
    two; one whose cancel came too late is completed once.
    """

    saga: str
    outcome: Status
    reason: Reason | None


class StepEnded(Struct, frozen=True):
    """So many seconds after its first command."""

    saga: str
    step: str
    direction: Direction
    outcome: str
    """What became of it, or that it was given up."""


class Repeated(Struct, frozen=True):
    """A command was sent again."""

    saga: str
    step: str
    direction: Direction


Fact = Began | Ended | StepEnded | Repeated
Facts = Mapping[Fact, Sequence[float]]
"""Of many decisions: each fact once, with the seconds that it took each time (0 for what takes none)."""


def facts_of(definition: Definition, before: AnyInstance | None, after: AnyInstance) -> Iterator[tuple[Fact, float]]:
    """Of one decision, with the seconds that each took."""
    if before is None:
        yield Began(after.saga), 0.0
    elif before.outstanding is not None and before.outstanding != after.outstanding:
        yield from _answered(before.outstanding, after)
    if after.status in OUTCOMES and (before is None or _is_news(definition, before, after.status)):
        yield Ended(after.saga, after.status, after.reason), _seconds(after.created_at, after.completed_at)


def _is_news(definition: Definition, before: AnyInstance, status: Status) -> bool:
    """Whether it did not have this outcome just before, nor, where it stands after all, before it was called off."""
    is_back = status is Status.COMPLETED and bool(before.notified)
    return before.status is not status and not (is_back and was_told(before, definition.notices.completed))


def _answered(out: Outstanding, after: AnyInstance) -> Iterator[tuple[Fact, float]]:
    now = after.outstanding
    if now is not None and (now.step, now.direction) == (out.step, out.direction):
        if now.attempt > out.attempt:
            yield Repeated(after.saga, out.step, out.direction), 0.0
        return
    step = after.steps.get(out.step)
    became = step.became if step else None
    if out.direction is Direction.UNDO and became not in (Became.UNDONE, Became.SETTLED):
        became = None
    seconds = _seconds(out.first_sent_at or out.sent_at, after.updated_at)
    yield StepEnded(after.saga, out.step, out.direction, became or GIVEN_UP), seconds


def _seconds(since: datetime, until: datetime | None) -> float:
    return max(0.0, ((until or since) - since).total_seconds())
