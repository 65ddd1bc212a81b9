"""Between records and what a service is asked: commands are read, answers and news are written.

An answer's id is derived from the command's, so that whoever answers again answers the same. What cannot be read is
handed back with the reason; what is somebody else's is passed over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec
import structlog

from ordersaga.bus.protocol import Outgoing, Record
from ordersaga.participants.service import ServiceSpec
from ordersaga.wire.codec import Envelope, Foreign, decode_announcement, decode_command, encode
from ordersaga.wire.errors import WireError
from ordersaga.wire.headers import headers_for, trace_of
from ordersaga.wire.ids import answer_id
from ordersaga.wire.messages import Event, Message, type_of
from ordersaga.wire.topics import Topics

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True)
class Letter:
    """A command that could be read."""

    record: Record
    envelope: Envelope
    key: str
    names: list[tuple[str, str]]
    """What the command calls its row by: columns with values."""
    message_id: UUID
    """The sender's; without one, derived from the saga and the type."""
    digest: bytes
    """Of the command: equal when the same is asked again."""

    @property
    def command(self) -> Message:
        return self.envelope.body


class Letters:
    """Of one participant."""

    def __init__(self, spec: ServiceSpec, topics: Topics) -> None:
        self._spec = spec
        self._name = spec.participant.value
        self._topic = topics.events_of(spec.participant) if spec.answers else ""
        self._decode = decode_command if spec.answers else decode_announcement
        self.source = f"{self._name}-service"

    def read(self, records: Sequence[Record]) -> tuple[list[Letter], list[tuple[Record, str]]]:
        """What is ours, and what cannot be read, with the reason."""
        letters, dead = [], []
        for record in records:
            try:
                envelope = self._decode(record.value)
            except WireError as error:
                _log.warning("participant.unreadable", participant=self._name, error=str(error))
                dead.append((record, str(error)))
                continue
            if not isinstance(envelope, Foreign) and isinstance(envelope.body, self._spec.commands):
                letters.append(self._letter(record, envelope))
        return letters, dead

    def _letter(self, record: Record, envelope: Envelope) -> Letter:
        command = envelope.body
        name = type_of(command)
        message_id = envelope.message_id or uuid5(NAMESPACE_URL, f"{envelope.correlation_id}/{name}")
        return Letter(
            record,
            envelope,
            self._spec.key(envelope.correlation_id, command) if self._spec.answers else str(message_id),
            self._spec.names_in(command),
            message_id,
            blake2b(name.encode() + _encode(command), digest_size=16).digest(),
        )

    def answer(self, event: Event, letter: Letter, now: datetime) -> Outgoing:
        return self._record(
            event,
            correlation_id=letter.envelope.correlation_id,
            message_id=answer_id(self._name, letter.message_id, type_of(event)),
            now=now,
            causation_id=letter.message_id,
            trace=trace_of(letter.record.headers),
        )

    def news(self, event: Event, key: str, message_id: UUID, now: datetime) -> Outgoing:
        """An event that answers no command."""
        return self._record(event, correlation_id=key, message_id=message_id, now=now)

    def _record(
        self,
        event: Event,
        *,
        correlation_id: str,
        message_id: UUID,
        now: datetime,
        causation_id: UUID | None = None,
        trace: tuple[str | None, str | None] = (None, None),
    ) -> Outgoing:
        headers = headers_for(
            type_of(event),
            message_id=message_id,
            correlation_id=correlation_id,
            timestamp=now,
            source=self.source,
            traceparent=trace[0],
            tracestate=trace[1],
        )
        value = encode(
            event,
            correlation_id=correlation_id,
            timestamp=now,
            source=self.source,
            message_id=message_id,
            causation_id=causation_id,
        )
        return Outgoing(self._topic, correlation_id.encode(), value, headers)
