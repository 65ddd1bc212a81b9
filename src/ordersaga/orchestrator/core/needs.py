"""What is still to be taken back, read from the record: the second of the engine's three functions.

Nothing is planned ahead and nothing is computed from the position of a step: whatever is recorded as done or in doubt
and not as undone is needed, in the order that the definition gives. A late success makes an undo needed again, a
confirmation that comes by another way makes it needless.
"""

from datetime import datetime
from typing import Any

from msgspec import Struct

from ordersaga.orchestrator.core.definition import Definition, Undo
from ordersaga.orchestrator.core.instance import TAKEN_BACK, Became, Instance, StepRecord

AnyInstance = Instance[Any]


class Need(Struct, frozen=True):
    """One undo that has to be confirmed. `effect_id` is what the undo would name, None where that is not known."""

    undo: Undo
    step: str
    effect_id: str | None
    ids: dict[str, str]
    answer_due_at: datetime | None
    asked_bare: bool = False
    """In doubt, and asked of a participant that was bare then."""
    extra: bool = False
    """A second effect of a step, made by a repeat that was not recognised."""


def needs(definition: Definition, record: AnyInstance) -> tuple[Need, ...]:
    """What is done or in doubt and not confirmed as undone, in the order in which it is to be taken back."""
    found = []
    for undo in _order_of_undos(definition, record):
        if undo.moot_once_expired and record.expired:
            continue
        covered = [record.steps[step.name] for step in definition.steps_undone_by(undo) if step.name in record.steps]
        standing = [step for step in covered if step.became in (Became.DONE, Became.IN_DOUBT)]
        first = definition.steps_undone_by(undo)[0].name
        if standing:
            found.append(_need(undo, first, record, standing))
        found += _extra_needs(undo, first, covered)
    return tuple(found)


def _order_of_undos(definition: Definition, record: AnyInstance) -> tuple[Undo, ...]:
    if definition.undo_order:
        return definition.undo_order
    last_first = sorted(
        definition.steps,
        key=lambda step: record.steps[step.name].order if step.name in record.steps else 0,
        reverse=True,
    )
    return tuple(dict.fromkeys(step.undo for step in last_first if step.undo))


def _need(undo: Undo, first: str, record: AnyInstance, standing: list[StepRecord]) -> Need:
    ids: dict[str, str] = {}
    for step in standing:
        ids |= step.effects[0].ids if step.effects else {}
    known = getattr(record.data, undo.named_by, None)
    effect_id = ids.get(undo.named_by) or (str(known) if known else None)
    due = [step.answer_due_at for step in standing if step.became is Became.IN_DOUBT and step.answer_due_at]
    asked_bare = any(step.asked_bare for step in standing)
    return Need(undo, first, effect_id, ids, max(due, default=None), asked_bare)


def _extra_needs(undo: Undo, first: str, covered: list[StepRecord]) -> list[Need]:
    """Effects that a second success showed, so far as a command can tell them from the first."""
    found = []
    for step in covered:
        own = step.effects[0].ids.get(undo.named_by) if step.effects else None
        for effect in step.effects[1:]:
            effect_id = effect.ids.get(undo.named_by)
            if not effect.undone and not effect.settled and effect_id and effect_id != own:
                found.append(Need(undo, first, effect_id, effect.ids, None, extra=True))
    return found


def settled(definition: Definition, record: AnyInstance) -> bool:
    """Whether nothing is under way and nothing is left to take back."""
    taken_back = record.status in TAKEN_BACK and not needs(definition, record)
    return taken_back or record.closed
