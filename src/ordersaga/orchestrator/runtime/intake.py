"""From records to inputs: decode, and find out which saga each one may concern.

Every record ends in exactly one of five piles: an input for a saga, foreign (other flows share the topics), kept (it
names an order or a payment that no saga knows yet), an orphan (an answer in our words for a saga that nobody knows), or
a dead letter (cannot be read). None is dropped without being counted.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordersaga.bus.protocol import Record
from ordersaga.orchestrator.core.inputs import Happened
from ordersaga.orchestrator.store.protocol import (
    DeadLetter,
    EarlyEvent,
    Loaded,
    Lookup,
    Orphan,
)
from ordersaga.orchestrator.store.references import REFERENCES, reference_to
from ordersaga.wire.codec import Envelope, Foreign, decode_event
from ordersaga.wire.errors import WireError
from ordersaga.wire.ids import is_version_7
from ordersaga.wire.messages import Message, type_of

REFERENCE_CHARS_MAX = 300


class Letter(Struct, frozen=True):
    """A record that could be read."""

    record: Record
    envelope: Envelope

    @property
    def cause(self) -> str:
        return type_of(self.envelope.body)

    @property
    def saga_id(self) -> UUID | None:
        """Of the saga that it names, if that can be one of ours."""
        saga_id = self.envelope.saga_id
        return saga_id if saga_id is not None and is_version_7(saga_id) else None

    def happened(self) -> Happened:
        body: Any = self.envelope.body
        return Happened(event=body, causation_id=self.envelope.causation_id, stamp=self.envelope.timestamp)


@dataclass(slots=True)
class Intake:
    """A batch of records, sorted."""

    letters: list[Letter] = field(default_factory=list)
    foreign: list[Foreign] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)

    def lookup(self, unasked: Collection[type[Message]]) -> Lookup:
        """Which instances to load: by saga id, and by order or payment where the saga is not named.

        `unasked` are the events that answer no command: whoever sends them may have ids of the same kind as ours, so a
        correlation id that looks like a saga's says nothing.
        """
        saga_ids: set[UUID] = set()
        others: list[Letter] = []
        for letter in self.letters:
            saga_id = letter.saga_id
            if saga_id is not None:
                saga_ids.add(saga_id)
            if saga_id is None or type(letter.envelope.body) in unasked:
                others.append(letter)
        return _lookup(saga_ids, others)

    def second_lookup(
        self, loaded: Loaded, unasked: Collection[type[Message]], may_come_unasked: Callable[[Any], bool]
    ) -> Lookup:
        """Where a saga is named that is not there, by what may be of another's making as well (an answer to an undo):
        then the id may be another's too, and order or payment tell. Nothing, where there is no such letter.
        """
        missing = loaded.missing
        lost = [letter for letter in self.letters if letter.envelope.saga_id in missing] if missing else []
        answers = [letter for letter in lost if type(letter.envelope.body) not in unasked]
        return _lookup((), [letter for letter in answers if may_come_unasked(letter.envelope.body)])


def _lookup(saga_ids: Collection[UUID], by_reference: Iterable[Letter]) -> Lookup:
    bodies = [letter.envelope.body for letter in by_reference]
    return Lookup(
        saga_ids=saga_ids,
        order_ids={known for body in bodies if (known := getattr(body, "order_id", None))},
        payment_ids={known for body in bodies if (known := getattr(body, "payment_id", None))},
    )


def take_in(records: Iterable[Record]) -> Intake:
    intake = Intake()
    for record in records:
        try:
            envelope = decode_event(record.value)
        except WireError as error:
            intake.dead.append(dead_letter(record, "unreadable", str(error)))
            continue
        if isinstance(envelope, Foreign):
            intake.foreign.append(envelope)
        else:
            intake.letters.append(Letter(record, envelope))
    return intake


def early(letter: Letter) -> EarlyEvent | None:
    """What to keep of news about an order or a payment that no saga knows."""
    record, body = letter.record, letter.envelope.body
    known = ((name, getattr(body, name, None)) for name in REFERENCES)
    reference = next((reference_to(name, value) for name, value in known if value), None)
    if reference is None or len(reference) > REFERENCE_CHARS_MAX:
        return None
    return EarlyEvent(
        reference=reference,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        value=record.value or b"",
    )


def kept_letter(event: EarlyEvent) -> Letter:
    """The letter that was kept."""
    record = Record(event.topic, event.partition, event.offset, None, event.value, (), 0)
    envelope = decode_event(event.value)
    assert isinstance(envelope, Envelope), "only what was decoded is kept"
    return Letter(record, envelope)


def orphan(letter: Letter) -> Orphan | None:
    """What to keep of a letter that concerns no saga: an answer that names a saga of ours; all else is foreign."""
    saga_id, record = letter.saga_id, letter.record
    if saga_id is None:
        return None
    return Orphan(
        saga_id=saga_id,
        type=letter.cause,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        value=record.value or b"",
    )


def dead_letter(record: Record, reason: str, detail: str) -> DeadLetter:
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=record.headers,
        timestamp_ms=record.timestamp_ms,
        reason=reason,
        detail=detail[:1000],
    )
