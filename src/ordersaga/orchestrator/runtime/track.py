"""What the log has of one saga since a moment: what it said, and what was said to it or of it.

After a restore from a backup the saga knows less of itself than the log does. What it has said already is not said once
more: ids of messages are derived, so the same step asks under the same id in every life of a saga. A notification is
known by its type, since a saga gives each once.
"""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from ordersaga.bus.protocol import Record
from ordersaga.orchestrator.core.definition import Definition, Step
from ordersaga.orchestrator.core.inputs import AskedBefore, Decision, Happened, Input, Send
from ordersaga.orchestrator.core.instance import Direction, Instance, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.runtime.intake import Letter
from ordersaga.wire.codec import Envelope, decode_command
from ordersaga.wire.errors import WireError
from ordersaga.wire.ids import message_id
from ordersaga.wire.messages import type_of
from ordersaga.wire.topics import Participant

FORWARD = (Status.STARTED, Status.COMPLETED)


@dataclass(frozen=True, slots=True)
class Own:
    """A message of the saga's own: a command, a notification or a change of status."""

    record: Record
    message_id: UUID
    type: str

    @property
    def reason(self) -> Reason:
        """Why it takes something back, where it says so."""
        try:
            envelope = decode_command(self.record.value)
            body = envelope.body if isinstance(envelope, Envelope) else None
            return Reason(getattr(body, "reason", None) or "")
        except (WireError, ValueError):
            return Reason.OPERATOR_REQUEST


def own_of(record: Record) -> Own | None:
    """None where it is of another's making: what we send bears its id and its type."""
    headers = dict(record.headers)
    found = headers.get("ce_id", b""), headers.get("ce_type", b"")
    try:
        return Own(record, UUID(found[0].decode()), found[1].decode())
    except ValueError:
        return None


@dataclass(slots=True)
class Track:
    saga_id: UUID
    by: str
    """Who lets it be read again, and why."""
    why: str
    letters: list[Letter] = field(default_factory=list)
    own: list[Own] = field(default_factory=list)
    ids: set[UUID] = field(default_factory=set)
    """Of its own messages."""
    told: set[str] = field(default_factory=set)
    """Types of the notifications among them."""

    def add(self, own: Own, *, is_notification: bool) -> None:
        self.own.append(own)
        self.ids.add(own.message_id)
        if is_notification:
            self.told.add(own.type)

    def in_order(self) -> list[Letter | Own]:
        """As far as the clocks of those who wrote agree; of two of the same moment what was said to it comes first."""
        found: list[Letter | Own] = [*self.letters, *self.own]
        return sorted(found, key=lambda one: one.record.timestamp_ms)

    def has(self, send: Send) -> bool:
        if send.to is Participant.NOTIFICATION and type_of(send.body) in self.told:
            return True
        return send.message_id in self.ids

    def asks_anew(self, definition: Definition, decision: Decision) -> bool:
        """Whether it begins a step that was never asked for. One that can be left out does no harm."""
        out = decision.instance.outstanding
        if out is None or out.direction is not Direction.DO or definition.step(out.step).optional:
            return False
        return any(send.message_id == out.message_id and not self.has(send) for send in decision.messages)

    def is_too_early(self, definition: Definition, before: Instance[Any], seen: Input, after: Decision) -> bool:
        """Whether it turns the saga back before what came first, whatever clocks say: a step that it asked for, since a
        saga that goes back asks for none, or the command that this confirms.
        """
        if after.instance.status in FORWARD or before.status not in FORWARD or isinstance(seen, AskedBefore):
            return False
        if self.not_reached(definition, before):
            return True
        confirms = isinstance(seen, Happened) and any(type(seen.event) is undo.ask.ok for undo in definition.undos())
        return confirms and any(takes_back(definition, before, one) for one in self.ids)

    def not_reached(self, definition: Definition, instance: Instance[Any]) -> list[Step]:
        """Steps that were asked for, of which the saga does not know."""
        unknown = [step for step in definition.steps if step.name not in instance.steps]
        return [step for step in unknown if self.asked_for(step)]

    def asked_for(self, step: Step) -> bool:
        return message_id(self.saga_id, step.name, Direction.DO) in self.ids


def takes_back(definition: Definition, instance: Instance[Any], sent: UUID) -> bool:
    """Whether that command takes back what the saga itself is about, and no second effect of a step."""
    for undo in definition.undos():
        first = definition.steps_undone_by(undo)[0].name
        for effect_id in (None, getattr(instance.data, undo.named_by, None)):
            if message_id(instance.saga_id, first, Direction.UNDO, effect_id) == sent:
                return True
    return False
