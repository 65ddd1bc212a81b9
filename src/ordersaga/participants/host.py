"""Runs one participant: records in, decode, load, answer, save with the answers and the outbox, commit, publish.

A repeat of a command is answered from memory: the same answer with the same id and the time of the first one, and no
second effect. A record that cannot be used is put aside and holds up nobody. Not promised: that an answer is published
once only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from ordersaga.bus.protocol import Bus, Record
from ordersaga.delivery.background import Background, Health, Loop
from ordersaga.delivery.clock import Clock, Randomness
from ordersaga.delivery.consume import ConsumeLoop
from ordersaga.delivery.failpoints import declare, hit
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.relay import Relay
from ordersaga.participants.ledger_protocol import Ledger, LedgerTransaction
from ordersaga.participants.letters import Letter, Letters
from ordersaga.participants.service import Asked, By, Consult, Reply, Row, ServiceSpec, Verb
from ordersaga.participants.turn import Turn, rounds
from ordersaga.tracing import Tracing
from ordersaga.wire.ids import uuid7
from ordersaga.wire.topics import Topics

BEFORE_COMMIT = declare("participant.before_commit", "Rows and answers are written, not committed.")
AFTER_COMMIT = declare("participant.after_commit", "Committed; nothing is published of it yet.")
_EXPIRE_MAX = 200
_INBOX_MAX = 100


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
        instance_id: str | None = None,
        besides: Sequence[Background] = (),
        at_end: Callable[[], object] | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """`instance_id`: unique among living processes of this participant; a restarted one has its partitions back at
        once. `besides`: what else runs as long as it does. `at_end`: when all that has stopped. `tracing`: where traces
        are kept.
        """
        self.spec = spec
        self._ledger = ledger
        self._relay = relay
        self._letters = Letters(spec, topics)
        self._clock = clock
        self._randomness = randomness
        self._consult = consult
        self._expire = expire
        self._expire_every_seconds = expire_every_seconds
        self._at_end = at_end
        name, source = spec.participant.value, self._letters.source
        commands = topics.commands_of(spec.participant)
        consumer = bus.consumer(group=source, topics=[commands], client_id=source, instance_id=instance_id)
        consuming = ConsumeLoop(
            consumer,
            tracing.handling(self.handle, source) if tracing else self.handle,
            self.park,
            name=name,
            hold_back=lambda: relay.full,
            reachable=self._look,
            clock=clock,
            randomness=randomness,
        )
        self._parts: list[Background] = [relay, consuming, *besides]
        if expire:
            self._expiring = Loop(f"{name}-expire", self._expire_turn, clock=clock, randomness=randomness)
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
        if self._at_end:
            self._at_end()
        return all(ended)

    def health(self) -> Health:
        sick = [health for part in self._parts if not (health := part.health()).healthy]
        detail = "; ".join(f"{health.name}: {health.detail}" for health in sick)
        return Health(name=self.spec.participant.value, healthy=not sick, detail=detail)

    # --- what comes in ----------------------------------------------------------------------------

    def handle(self, records: Sequence[Record]) -> None:
        letters, dead = self._letters.read(records)
        with self._ledger.transaction() as transaction:
            for record, reason in dead:
                transaction.dead_letter(record, reason)
            rows = self._answer(transaction, letters) if letters else ()
        hit(AFTER_COMMIT)
        self._relay.offer(rows)

    def park(self, record: Record, error: Exception) -> None:
        with self._ledger.transaction() as transaction:
            transaction.dead_letter(record, f"{type(error).__name__}: {error}")

    def _look(self) -> None:
        """Raises `LedgerError` while there is no ledger."""
        with self._ledger.transaction() as transaction:
            transaction.now()

    def _answer(self, transaction: LedgerTransaction, letters: Sequence[Letter]) -> Sequence[OutboxRow]:
        known = transaction.load(
            sorted({letter.key for letter in letters}),
            sorted({name for letter in letters for name in letter.names}),
            list({letter.message_id for letter in letters}),
        )
        turn = Turn(self.spec, known)
        for together in rounds(letters) if self._consult else (letters,):
            self._answer_together(turn, together)
        rows = transaction.save(list(turn.changed.values()), turn.answers, turn.records)
        hit(BEFORE_COMMIT)
        return rows

    def _answer_together(self, turn: Turn, letters: Sequence[Letter]) -> None:
        # One by one and not by their ids, which two of them may share.
        asked = [None if turn.said_before(one) else self._asked(turn, one) for one in letters]
        outcomes: Mapping[UUID, Any] = {}
        if self._consult and any(asked):
            new = [(letter, one) for letter, one in zip(letters, asked, strict=True) if one]
            outcomes = self._consult([(turn.find(letter.key, letter.names), one) for letter, one in new])
        for letter, one in zip(letters, asked, strict=True):
            before = turn.said_before(letter)
            if before is not None:
                turn.repeat(letter, before)
            else:
                assert one, "what was said before stays said"
                outcome = outcomes.get(letter.message_id)
                self._answer_one(turn, letter, replace(one, outcome=outcome) if outcome is not None else one)

    def _answer_one(self, turn: Turn, letter: Letter, asked: Asked) -> None:
        reply = self.spec.answer(turn.find(letter.key, letter.names), asked)
        if reply.row is not None:
            turn.change(reply.row)
        if reply.event is not None:
            turn.say(letter, reply, self._letters.answer(reply.event, letter, turn.now))

    def _asked(self, turn: Turn, letter: Letter) -> Asked:
        return Asked(
            key=letter.key,
            command=letter.command,
            message_id=letter.message_id,
            now=turn.now,
            new_id=self._uuid7().hex,
        )

    # --- what people do and look at ---------------------------------------------------------------

    def act(self, name: str, verb: Verb, by: By) -> Any | None:
        """What a person does to what has the service's id `name`. The row afterwards, or None where there is none.

        Raises `Refused` with the reason, and `LedgerError`.
        """
        with self._ledger.transaction() as transaction:
            row, turn = self._named(transaction, name)
            if row is None:
                return None
            new = self._uuid7()
            asked = Asked(key=row.key, command=verb, message_id=new, now=turn.now, new_id=new.hex, by=by)
            outcomes = self._consult([(row, asked)]) if self._consult else {}
            reply = self.spec.answer(row, replace(asked, outcome=outcomes.get(new)))
            transaction.acted(row.key, type(verb).__name__, by)
            rows = self._say_unasked(transaction, turn.now, [(row, reply)])
            hit(BEFORE_COMMIT)
        hit(AFTER_COMMIT)
        self._relay.offer(rows)
        return reply.row or row

    def look_up(self, name: str) -> Any | None:
        """What has the service's id `name`, or None. Raises `LedgerError`."""
        with self._ledger.transaction() as transaction:
            return self._named(transaction, name)[0]

    def inbox(self, customer_id: str, limit: int = _INBOX_MAX) -> Sequence[Any]:
        """What the notification service keeps for one customer, newest first. Raises `LedgerError`."""
        with self._ledger.transaction() as transaction:
            return transaction.inbox(customer_id, limit)

    def seed(self, rows: Sequence[Row]) -> None:
        """Rows that are to be there from the beginning; those that are there stay as they are. Raises `LedgerError`."""
        with self._ledger.transaction() as transaction:
            there = transaction.load([row.key for row in rows], [], []).rows
            transaction.save([row for row in rows if row.key not in there], {}, [])

    def _named(self, transaction: LedgerTransaction, name: str) -> tuple[Any | None, Turn]:
        names = [(column, name) for column in self.spec.names[:1]]
        turn = Turn(self.spec, transaction.load([] if names else [name], names, []))
        return turn.find(name, names), turn

    # --- what happens without being asked ---------------------------------------------------------

    def _expire_turn(self) -> None:
        assert self._expire
        rows: Sequence[OutboxRow] = ()
        with self._ledger.transaction() as transaction:
            due = transaction.due(_EXPIRE_MAX)
            if due:
                rows = self._say_unasked(transaction, transaction.now(), [(row, self._expire(row)) for row in due])
                hit(BEFORE_COMMIT)
        if rows:
            hit(AFTER_COMMIT)
        self._relay.offer(rows)
        if len(due) < _EXPIRE_MAX:
            self._expiring.pause(self._expire_every_seconds)

    def _say_unasked(
        self, transaction: LedgerTransaction, now: Any, said: Sequence[tuple[Any, Reply]]
    ) -> Sequence[OutboxRow]:
        """Rows and events that answer no command."""
        events = [(reply.event, row.key) for row, reply in said if reply.event is not None]
        records = [self._letters.news(event, key, self._uuid7(), now) for event, key in events]
        return transaction.save([reply.row for _, reply in said if reply.row is not None], {}, records)

    def _uuid7(self) -> UUID:
        return uuid7(int(self._clock.now().timestamp() * 1000), self._randomness.bytes(10))
