"""What may yet come of a command that a bare participant was sent more than once.

It carries out each of them, and its answers name none: how many have come tells nothing, since it may answer one of
them twice. Where what it does has no id of its own, a repeat that is carried out last looks like the first. Commands
of one saga to one participant do not overtake each other, so an answer of its own to a later command says that all
before it are over. Nothing else does: neither that it was undone by hand, nor a refusal, nor an operator's word. Then
our own undo goes out all the same, or a person is told where to look.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ordersaga.orchestrator.core.definition import Definition, Kind, Step, Undo
from ordersaga.orchestrator.core.inputs import Verdict
from ordersaga.orchestrator.core.instance import Instance, Status
from ordersaga.orchestrator.core.recording import Observation, Shown, Unmoved, by_hand, cancel_asked, with_attention

AnyInstance = Instance[Any]


def may_come_again(definition: Definition, record: AnyInstance, steps: Iterable[Step]) -> tuple[Step, ...]:
    """Those of `steps` that may be done once more, unseen, after whatever else becomes of them."""
    return tuple(
        step
        for step in steps
        if step.nameless
        and definition.kind_of(step.do) is Kind.BARE
        and (known := record.steps.get(step.name)) is not None
        and known.attempts > 1
    )


def told_of_repeats(definition: Definition, record: AnyInstance, steps: Iterable[Step], but: str) -> AnyInstance:
    """A person is told of each of `steps` that may be done after `but`, and where to look."""
    for step in may_come_again(definition, record, steps):
        asked = f"{step.name} was asked for {record.steps[step.name].attempts} times"
        why = f"{asked}, and may be done after {but}: see what the {step.do.to.value} service holds"
        record = with_attention(record, why)
    return record


def undone_by_hand(
    definition: Definition, record: AnyInstance, undone: AnyInstance, undo: Undo, stamp: datetime | None
) -> Shown:
    """Somebody did it at its participant. A fact (`undone` is the record with it), unless a repeat may follow: then it
    is a wish, and only the answer to an undo of ours, which goes behind the repeat, confirms it. What is undone by best
    effort is no part of the order, which goes on without it.
    """
    if not undo.required:
        return Observation(undone)
    repeated = bool(may_come_again(definition, record, definition.steps_undone_by(undo)))
    shown = record if repeated else undone
    if record.closed or record.committed:
        shown = with_attention(shown, f"{undo.name} was done by hand though the order stands")
    elif record.status in (Status.STARTED, Status.COMPLETED):
        return cancel_asked(shown, by_hand(undo.ask.to, f"{undo.name} was done by hand", stamp if repeated else None))
    return Observation(shown) if shown is not record else Unmoved(Verdict.REPEATED, "a command of ours undoes it too")
