"""What one saga is explored with: its definition, its participants as pure values, and the rules of its own.

To explore a saga of your own, write its `Stage` and hand it to `explore`. What the participants hold is one immutable
value with a field `answers` (empty at first), in which the explorer keeps what full ones have answered.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ordersaga.orchestrator.core.definition import Definition, Kind, Patience, Undo
from ordersaga.orchestrator.core.inputs import CancelAsked
from ordersaga.orchestrator.core.instance import Instance, Requested, SagaData
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.wire.payloads import Command, Event
from ordersaga.wire.topics import Participant

Said = tuple[Any, tuple[Event, ...]]
"""What the participants hold afterwards, and what they say."""
Rule = Callable[[Instance[Any], Any], bool]
"""(saga, what the participants hold) -> whether it holds; its docstring is what is shown where it does not."""
CUSTOMER = CancelAsked(Requested(actor="customer", role="customer", reason=Reason.CUSTOMER_REQUEST))
ATTEMPTS_MAX = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    definition: Definition
    data: SagaData
    world: Any
    """What the participants hold at the beginning."""
    carry_out: Callable[[Any, Command, bool], Said]
    """(what they hold, a command, whether the participant says no if it may) -> what becomes of it."""
    forgets: Callable[[Command, Sequence[Event]], bool] = lambda command, said: False
    """Whether a full participant does not remember this answer: asked again, it tries again."""
    hands: Mapping[str, Callable[[Any], Said | None]] = field(default_factory=dict)
    """What people do past the saga, in words; None where it cannot be done now."""
    time_over: Callable[[Any], Said | None] | None = None
    """The timer service says that the window is over."""
    settled: Mapping[str, Callable[[Any, Container[str | None]], Any]] = field(default_factory=dict)
    """By the name of an undo: what they hold once a person has done it, given the ids that it is about (None: whatever
    there is); None where nobody in his senses would.
    """
    done_by_hand: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    """By the name of a command that is asked for until it is done: what they hold once a person has done it."""
    cancel: CancelAsked = CUSTOMER
    cancels: str = "the customer cancels"
    begins: str = "an order is placed"
    always: tuple[Rule, ...] = ()
    at_rest: tuple[Rule, ...] = ()
    broken_by_commands: Callable[[Any, Sequence[Command]], list[str]] = lambda world, commands: []
    """The rules that are broken by sending this while the participants hold that."""

    def is_full(self, participant: str) -> bool:
        return self.definition.kinds.get(Participant(participant)) is Kind.FULL


def few_attempts(definition: Definition, kinds: Mapping[Participant, Kind]) -> Definition:
    """The saga with few attempts: more of them add length to a path and nothing else."""
    undos: dict[Undo, Undo] = {undo: replace(undo, patience=_few(undo.patience)) for undo in definition.undos()}
    steps = tuple(
        replace(step, undo=undos[step.undo] if step.undo else None, patience=_few(step.patience))
        for step in definition.steps
    )
    order = tuple(undos[undo] for undo in definition.undo_order)
    return replace(definition, steps=steps, undo_order=order, kinds=kinds)


def _few(patience: Patience) -> Patience:
    return replace(patience, attempts_max=min(ATTEMPTS_MAX, patience.attempts_max))
