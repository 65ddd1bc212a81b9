"""Runs one participant: records in, decode, load, answer, save with the answers and the outbox, commit, publish.

A repeat of a command is answered from memory: the same answer with the same id and the time of the first one, and no
second effect. A record that cannot be used is put aside and holds up nobody.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import structlog

from ordersaga.bus.protocol import Bus, Outgoing, Record
from ordersaga.delivery.background import Background, Health, Loop
from ordersaga.delivery.clock import Clock, Randomness
from ordersaga.delivery.consume import ConsumeLoop
from ordersaga.delivery.failpoints import declare, hit
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.relay import Relay
from ordersaga.participants.ledger import Ledger, LedgerTransaction
from ordersaga.participants.service import Asked, Consult, Reply, ServiceSpec
from ordersaga.wire.codec import Envelope, Foreign, decode_announcement, decode_command, encode
from ordersaga.wire.errors import WireError
from ordersaga.wire.headers import headers_for, trace_of
from ordersaga.wire.ids import answer_id, uuid7
from ordersaga.wire.messages import Event, type_of
from ordersaga.wire.topics import Participant, Topics

_log = structlog.get_logger(__name__)
BEFORE_COMMIT = declare("participant.before_commit", "rows and answers are written, not committed")
AFTER_COMMIT = declare("participant.after_commit", "committed; nothing is published of it yet")
_EXPIRE_MAX = 200


@dataclass(frozen=True, slots=True)
class _Letter:
    """A command that could be read."""

    record: Record
    envelope: Envelope
    key: str
    message_id: UUID

    @property
    def trace(self) -> tuple[str | None, str | None]:
        return trace_of(self.record.headers)


@dataclass(slots=True)
class _Turn:
    """One batch's worth of answers."""

    rows: dict[str, Any]
    changed: dict[str, Any] = field(default_factory=dict)
    answers: dict[UUID, Outgoing] = field(default_factory=dict)
    records: list[Outgoing] = field(default_factory=list)


class Host:
    """One participant with its loops: consuming, publishing and, for the timer service, expiring."""

    def __init__(
        self,
        spec: ServiceSpec,
        bus: Bus,
        ledger: Ledger,
        relay: Relay,
        *,
        topics: Topics,
        clock: Clock,
        randomness: Randomness,
        consult: Consult | None = None,
        expire: Callable[[Any], Reply] | None = None,
        expire_every_seconds: float = 0.5,
    ) -> None:
        self.spec = spec
        self._ledger = ledger
        self._relay = relay
        self._topics = topics
        self._clock = clock
        self._randomness = randomness
        self._consult = consult
        self._expire = expire
        self._expire_every_seconds = expire_every_seconds
        name = spec.participant.value
        self._source = f"{name}-service"
        self._decode = decode_command if spec.answers else decode_announcement
        consumer = bus.consumer(
            group=self._source, topics=[topics.commands_of(spec.participant)], client_id=self._source
        )
        self._parts: list[Background] = [
            relay,
            ConsumeLoop(consumer, self.handle, self.park, name=name, hold_back=lambda: relay.full),
        ]
        if expire:
            self._expiring = Loop(f"{name}-expire", self._expire_turn)
            self._parts.append(self._expiring)

    def create_tables(self) -> None:
        """To be called before `start`. Raises `LedgerError`."""
        self._ledger.create_tables()

    def start(self) -> None:
        for part in self._parts:
            part.start()

    def stop(self, timeout_seconds: float) -> bool:
        end = self._clock.monotonic() + timeout_seconds
        ended = [part.stop(max(0.1, end - self._clock.monotonic())) for part in reversed(self._parts)]
        self._ledger.close()
        return all(ended)

    def health(self) -> Health:
        sick = [health for part in self._parts if not (health := part.health()).healthy]
        detail = "; ".join(f"{health.name}: {health.detail}" for health in sick)
        return Health(name=self.spec.participant.value, healthy=not sick, detail=detail)

    # --- what comes in ----------------------------------------------------------------------------

    def handle(self, records: Sequence[Record]) -> None:
        letters, dead = self._read(records)
        with self._ledger.transaction() as transaction:
            for record, reason in dead:
                transaction.dead_letter(record, reason)
            rows = self._answer(transaction, letters) if letters else ()
        hit(AFTER_COMMIT)
        self._relay.offer(rows)

    def park(self, record: Record, error: Exception) -> None:
        with self._ledger.transaction() as transaction:
            transaction.dead_letter(record, f"{type(error).__name__}: {error}")

    def act(self, order_id: str, verb: Callable[[Any], Reply]) -> Any:
        """What a person does to one order; returns the row afterwards, None where there is no such order."""
        with self._ledger.transaction() as transaction:
            row = transaction.order(order_id)
            if row is None:
                return None
            reply = verb(row)
            rows = self._say_unasked(transaction, [(row, reply)])
        self._relay.offer(rows)
        return reply.row or row

    def _read(self, records: Sequence[Record]) -> tuple[list[_Letter], list[tuple[Record, str]]]:
        letters, dead = [], []
        for record in records:
            try:
                envelope = self._decode(record.value)
            except WireError as error:
                _log.warning("participant.unreadable", participant=self.spec.participant.value, error=str(error))
                dead.append((record, str(error)))
                continue
            if not isinstance(envelope, Foreign) and isinstance(envelope.body, self.spec.commands):
                letters.append(self._letter(record, envelope))
        return letters, dead

    def _letter(self, record: Record, envelope: Envelope) -> _Letter:
        name = f"{envelope.correlation_id}/{type_of(envelope.body)}"
        message_id = envelope.message_id or uuid5(NAMESPACE_URL, name)
        key = self.spec.key(envelope.correlation_id, envelope.body) if self.spec.answers else str(message_id)
        return _Letter(record, envelope, key, message_id)

    def _answer(self, transaction: LedgerTransaction, letters: Sequence[_Letter]) -> Sequence[OutboxRow]:
        keys, ids = {letter.key for letter in letters}, {letter.message_id for letter in letters}
        known = transaction.load(keys, ids)
        asked = {
            letter.message_id: Asked(
                key=letter.key,
                command=letter.envelope.body,
                message_id=letter.message_id,
                now=known.now,
                new_id=self._new_id(),
            )
            for letter in letters
            if letter.message_id not in known.answers
        }
        outcomes = self._consult(known.rows, list(asked.values())) if self._consult and asked else {}
        turn = _Turn(rows=dict(known.rows))
        for letter in letters:
            said = known.answers.get(letter.message_id) or turn.answers.get(letter.message_id)
            if said is not None:
                turn.records.append(said)
            else:
                self._answer_one(turn, letter, asked[letter.message_id], outcomes.get(letter.message_id))
        rows = transaction.save(list(turn.changed.values()), turn.answers, turn.records)
        hit(BEFORE_COMMIT)
        return rows

    def _answer_one(self, turn: _Turn, letter: _Letter, asked: Asked, outcome: Any) -> None:
        told = Asked(
            key=asked.key,
            command=asked.command,
            message_id=asked.message_id,
            now=asked.now,
            new_id=asked.new_id,
            outcome=outcome,
        )
        reply = self.spec.answer(turn.rows.get(letter.key), told)
        if reply.row is not None:
            turn.rows[letter.key] = turn.changed[letter.key] = reply.row
        if reply.event is None:
            return
        record = self._record(reply.event, letter.envelope.correlation_id, told, letter.trace)
        turn.records.append(record)
        if reply.remembered:
            turn.answers[letter.message_id] = record

    def _record(
        self, event: Event, correlation_id: str, asked: Asked, trace: tuple[str | None, str | None]
    ) -> Outgoing:
        name = type_of(event)
        message_id = answer_id(self.spec.participant.value, asked.message_id, name)
        headers = headers_for(
            name,
            message_id=message_id,
            correlation_id=correlation_id,
            timestamp=asked.now,
            source=self._source,
            traceparent=trace[0],
            tracestate=trace[1],
        )
        value = encode(
            event,
            correlation_id=correlation_id,
            timestamp=asked.now,
            source=self._source,
            message_id=message_id,
            causation_id=asked.message_id,
        )
        return Outgoing(self._topics.events_of(self.spec.participant), correlation_id.encode(), value, headers)

    # --- what happens without being asked ---------------------------------------------------------

    def _expire_turn(self) -> None:
        assert self._expire
        with self._ledger.transaction() as transaction:
            _, due = transaction.due(_EXPIRE_MAX)
            rows = self._say_unasked(transaction, [(row, self._expire(row)) for row in due])
        self._relay.offer(rows)
        if len(due) < _EXPIRE_MAX:
            self._expiring.pause(self._expire_every_seconds)

    def _say_unasked(self, transaction: LedgerTransaction, said: Sequence[tuple[Any, Reply]]) -> Sequence[OutboxRow]:
        """Rows and events that answer no command."""
        now = transaction.now()
        records = [self._news(reply.event, row.key, now) for row, reply in said if reply.event is not None]
        changed = [reply.row for _, reply in said if reply.row is not None]
        return transaction.save(changed, {}, records)

    def _news(self, event: Event, key: str, now: Any) -> Outgoing:
        message_id = uuid7(int(now.timestamp() * 1000), self._randomness.bytes(10))
        headers = headers_for(
            type_of(event), message_id=message_id, correlation_id=key, timestamp=now, source=self._source
        )
        value = encode(event, correlation_id=key, timestamp=now, source=self._source, message_id=message_id)
        return Outgoing(self._topics.events_of(self.spec.participant), key.encode(), value, headers)

    def _new_id(self) -> str:
        return uuid7(int(self._clock.now().timestamp() * 1000), self._randomness.bytes(10)).hex


def participant_of(name: str) -> Participant:
    """Raises ValueError with the names that there are."""
    try:
        return Participant(name)
    except ValueError:
        names = ", ".join(one.value for one in Participant)
        raise ValueError(f"there is no participant {name!r}; there are: {names}") from None
