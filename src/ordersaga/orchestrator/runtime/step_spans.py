"""What became of a saga's commands, as spans: from the sending that the saga remembers to what came of it.

One span for each attempt, under the request that began the saga. Its id follows from the command's and the attempt, so
the command can carry it when the span is not there yet, and two processes tell the same one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.trace import SpanKind

from ordersaga.orchestrator.core.inputs import Send
from ordersaga.orchestrator.core.instance import Became, Direction, Instance, Outstanding
from ordersaga.tracing.contexts import context_of, is_recorded, span_id_of, under
from ordersaga.tracing.spans import Tracing, harmless

AnyInstance = Instance[Any]
NO_ANSWER, GIVEN_UP = "NO_ANSWER", "GIVEN_UP"
_WELL = (Became.DONE.value, Became.UNDONE.value)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A command that is not waited for any more."""

    after: AnyInstance
    out: Outstanding
    outcome: str


class StepSpans:
    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def tell(self, transitions: Sequence[tuple[AnyInstance | None, AnyInstance]]) -> None:
        """After the commit."""
        with harmless():
            for before, after in transitions:
                for attempt in attempts_ended(before, after):
                    self._tell(attempt)

    def _tell(self, attempt: Attempt) -> None:
        after, out = attempt.after, attempt.out
        if after.traceparent is None or not is_recorded(after.traceparent):
            return
        step = after.steps.get(out.step)
        attributes: dict[str, str | int] = {
            "ordersaga.saga_id": str(after.saga_id),
            "ordersaga.saga": after.saga,
            "ordersaga.step": out.step,
            "ordersaga.direction": out.direction.value,
            "ordersaga.attempt": out.attempt,
            "ordersaga.outcome": attempt.outcome,
            "ordersaga.status": after.status.value,
            "messaging.system": "kafka",
            "messaging.operation.name": "create",
            "messaging.operation.type": "create",
            "messaging.message.id": str(out.message_id),
            "messaging.message.conversation_id": str(after.saga_id),
        }
        if step is not None and step.reason is not None:
            attributes["ordersaga.reason"] = step.reason.value
        self._tracing.span(
            out.step if out.direction is Direction.DO else f"undo {out.step}",
            parent=context_of(after.traceparent, after.tracestate),
            span_id=span_id_of(out.message_id, out.attempt),
            kind=SpanKind.PRODUCER,
            attributes=attributes,
            began_at=out.sent_at,
            ended_at=after.updated_at or out.sent_at,
            error="" if attempt.outcome in _WELL else attempt.outcome,
        )


def attempts_ended(before: AnyInstance | None, after: AnyInstance) -> Iterator[Attempt]:
    out = before.outstanding if before is not None else None
    if out is None or out.backing_off:  # then it was told when it fell silent
        return
    now = after.outstanding
    if now is not None and now.message_id == out.message_id:
        if now.attempt != out.attempt or now.backing_off:
            yield Attempt(after, out, NO_ANSWER)
        return
    yield Attempt(after, out, _outcome(out, after))


def _outcome(out: Outstanding, after: AnyInstance) -> str:
    step = after.steps.get(out.step)
    if step is None:
        return GIVEN_UP
    if out.direction is Direction.DO:
        return step.became.value if step.became else GIVEN_UP
    if step.became in (Became.UNDONE, Became.SETTLED):
        return step.became.value
    for effect in step.effects[1:]:
        if out.effect_id in effect.ids.values() and (effect.undone or effect.settled):
            return (Became.UNDONE if effect.undone else Became.SETTLED).value
    return GIVEN_UP


def parent_of(send: Send, instance: AnyInstance) -> str | None:
    """What a message belongs to: the span of its attempt, where it is a command that is waited for."""
    out, parent = instance.outstanding, instance.traceparent
    if parent is None or out is None or out.message_id != send.message_id:
        return parent
    return under(parent, span_id_of(out.message_id, out.attempt))
