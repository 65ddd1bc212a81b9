"""From records to inputs: decode, and find out which saga each one may concern.

Every record ends in exactly one of five piles: an input for a saga, foreign (other flows share the topics), kept (it
names an order or a payment that no saga knows yet), an orphan (an answer in our words for a saga that nobody knows), or
a dead letter (cannot be read). None is dropped without being counted.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordersaga.bus.protocol import Record
from ordersaga.orchestrator.core.inputs import Happened
from ordersaga.orchestrator.core.instance import Instance
from ordersaga.orchestrator.store.protocol import (
    DeadLetter,
    EarlyEvent,
    Loaded,
    Lookup,
    Orphan,
)
from ordersaga.orchestrator.store.references import reference_to, references_of
from ordersaga.wire.codec import Envelope, Foreign, decode_event
from ordersaga.wire.errors import WireError
from ordersaga.wire.messages import Message, type_of

AnyInstance = Instance[Any]
REFERENCE_CHARS_MAX = 300


class Letter(Struct, frozen=True):
    """A record that could be read."""

    record: Record
    envelope: Envelope

    @property
    def cause(self) -> str:
        return type_of(self.envelope.body)

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
        return self._lookup(lambda letter: type(letter.envelope.body) in unasked)

    def second_lookup(
        self, loaded: Loaded, unasked: Collection[type[Message]], may_come_unasked: Callable[[Any], bool]
    ) -> Lookup | None:
        """Where a saga is named that is not there, by what may be of another's making as well (an answer to an undo):
        then the id may be another's too, and order or payment tell. None: there is no such letter.
        """

        def lost(letter: Letter) -> bool:
            saga_id, body = letter.envelope.saga_id, letter.envelope.body
            if saga_id in loaded.instances or saga_id in loaded.unknown_versions or type(body) in unasked:
                return False
            return is_saga_id(saga_id) and may_come_unasked(body)

        if not any(map(lost, self.letters)):
            return None
        return self._lookup(lambda letter: type(letter.envelope.body) in unasked or lost(letter))

    def _lookup(self, also_by_reference: Callable[[Letter], bool]) -> Lookup:
        saga_ids, order_ids, payment_ids = set(), set(), set()
        for letter in self.letters:
            if is_saga_id(letter.envelope.saga_id):
                saga_ids.add(letter.envelope.saga_id)
                if not also_by_reference(letter):
                    continue
            order_ids.add(getattr(letter.envelope.body, "order_id", None))
            payment_ids.add(getattr(letter.envelope.body, "payment_id", None))
        return Lookup(
            saga_ids={id_ for id_ in saga_ids if id_},
            order_ids={id_ for id_ in order_ids if id_},
            payment_ids={id_ for id_ in payment_ids if id_},
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


def is_saga_id(saga_id: UUID | None) -> bool:
    """Whether it can be one of ours: those are version 7."""
    return saga_id is not None and saga_id.version == 7


def concerned(letter: Letter, loaded: Loaded) -> Sequence[UUID]:
    """The sagas that a letter may concern: the one that it names, else those with its order or payment."""
    saga_id = letter.envelope.saga_id
    if saga_id is not None and saga_id in loaded.instances:
        return (saga_id,)
    order_id = getattr(letter.envelope.body, "order_id", None)
    payment_id = getattr(letter.envelope.body, "payment_id", None)
    return [
        instance.saga_id
        for instance in loaded.instances.values()
        if (order_id and getattr(instance.data, "order_id", None) == order_id)
        or (payment_id and getattr(instance.data, "payment_id", None) == payment_id)
    ]


REFERENCES = ("order_id", "payment_id")


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
    saga_id, record = letter.envelope.saga_id, letter.record
    if saga_id is None or not is_saga_id(saga_id):
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


def unknown(letter: Letter, loaded: Loaded) -> bool:
    """Whether a letter concerns a saga that this version cannot load: it must be read again by one that can."""
    saga_id, body = letter.envelope.saga_id, letter.envelope.body
    if saga_id in loaded.unknown_versions:
        return True
    if saga_id in loaded.instances:
        return False
    known = references_of(getattr(body, "order_id", None), getattr(body, "payment_id", None))
    return not known.isdisjoint(loaded.unknown_references)
