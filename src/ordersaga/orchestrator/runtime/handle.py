"""The whole flow, once: records in, decode, load, decide, save with history and outbox, commit, publish.

`Handler` is the only thing that writes an instance. Whatever happens to a saga (an event, a deadline, a person's
wish, its beginning) comes through one of its methods, which are one transaction each; the messages go to the relay
after the commit and never before.

It promises that a record which is handed in twice has one effect: the state itself recognises it. It does not promise
an order between sagas.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from ordersaga.bus.protocol import Outgoing, Record
from ordersaga.delivery.failpoints import declare, hit
from ordersaga.delivery.messages import OutboxRow
from ordersaga.orchestrator.core.decide import decide, start
from ordersaga.orchestrator.core.inputs import CommandDeadline, Decision, Input, Verdict, WindowDeadline
from ordersaga.orchestrator.core.instance import Instance, SagaData
from ordersaga.orchestrator.runtime.counting import Counting
from ordersaga.orchestrator.runtime.intake import (
    REFERENCES,
    Intake,
    Letter,
    concerned,
    dead_letter,
    early,
    kept_letter,
    orphan,
    take_in,
    unknown,
)
from ordersaga.orchestrator.runtime.outgoing import dead_letter_record, to_record
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.store.protocol import (
    Batch,
    Change,
    CommitUnknown,
    DeadLetter,
    DeadlineKind,
    Due,
    EarlyEvent,
    HistoryEntry,
    Loaded,
    Lookup,
    Orphan,
    SettledAs,
    Store,
    StoredDeadLetter,
    Transaction,
    reference_to,
)
from ordersaga.wire.messages import type_of
from ordersaga.wire.topics import Topics

AnyInstance = Instance[Any]
_log = structlog.get_logger(__name__)

AFTER_LOAD = declare("handle.after_load", "Instances are locked and read, nothing is decided.")
BEFORE_COMMIT = declare("handle.before_commit", "State, history, deadlines and outbox are written, not committed.")
AFTER_COMMIT = declare("handle.after_commit", "Committed; the relay knows nothing of it yet.")


class Handler:
    def __init__(
        self,
        store: Store,
        sagas: Sagas,
        publish: Callable[[Sequence[OutboxRow]], None],
        *,
        topics: Topics,
        counting: Counting,
    ) -> None:
        """`publish` is told of the outbox rows of each transaction after it has committed."""
        self._store = store
        self._sagas = sagas
        self._publish = publish
        self._topics = topics
        self._counting = counting

    def records(self, records: Sequence[Record]) -> None:
        """One batch from the bus, in one transaction. Raises `StoreError`: nothing of it is written then."""
        intake = take_in(records)
        with self._store.transaction() as transaction:
            turn = self._read(transaction, intake)
            rows = self._save(transaction, turn)
        self._after_commit(rows, turn, intake)

    def replay(self, stored: StoredDeadLetter, by: str, why: str) -> str:
        """Take in once more what was set aside, and settle it in the same transaction. Returns why it still cannot be
        used, or an empty text; what was settled meanwhile is left alone.
        """
        intake = take_in([stored.letter.record])
        with self._store.transaction() as transaction:
            turn = self._read(transaction, intake)
            if turn.dead:
                return f"{turn.dead[0].reason}: {turn.dead[0].detail}"
            if not transaction.settle_dead_letter(stored.id, SettledAs.REPLAYED, by, why):
                return ""
            rows = self._save(transaction, turn)
        self._after_commit(rows, turn, intake)
        return ""

    def _read(self, transaction: Transaction, intake: Intake) -> "Turn":
        loaded = transaction.load(intake.lookup(self._sagas.unasked))
        hit(AFTER_LOAD)
        turn = Turn(self._sagas, self._topics, loaded)
        for letter in intake.letters:
            turn.read(letter)
        turn.dead += intake.dead
        if learnt := turn.learnt():
            turn.catch_up(transaction.claim(learnt), learnt)
        return turn

    def deadlines(self, due: Sequence[Due]) -> int:
        """Deadlines that have passed; returns how many sagas moved. One that another worker holds is left for the
        next time.
        """
        with self._store.transaction() as transaction:
            loaded = transaction.load(Lookup(saga_ids={one.saga_id for one in due}), skip_locked=True)
            turn = Turn(self._sagas, self._topics, loaded)
            for one in due:
                passed = CommandDeadline() if one.kind is DeadlineKind.COMMAND else WindowDeadline()
                turn.take(one.saga_id, passed, f"deadline.{one.kind.value}", {})
            rows = self._save(transaction, turn)
        self._after_commit(rows, turn)
        return len(turn.changes())

    def begin(self, new: "New") -> AnyInstance:
        """A new saga, as of the database's clock."""
        return self.begin_all([new])[0]

    def begin_all(self, new: Sequence["New"]) -> Sequence[AnyInstance]:
        """New sagas, in one transaction, in the order given."""
        try:
            return self._begin(new)
        except CommitUnknown:
            # Whoever ordered must not be told to order again if the order is there. Its messages are found by the
            # relay's scan.
            found = [instance for one in new if (instance := self._store.get(one.saga_id))]
            if len(found) < len(new):
                raise
            return found

    def _begin(self, new: Sequence["New"]) -> Sequence[AnyInstance]:
        with self._store.transaction() as transaction:
            turn = Turn(self._sagas, self._topics, transaction.load(Lookup()))
            begun = [turn.begin(one) for one in new]
            rows = self._save(transaction, turn)
        self._after_commit(rows, turn)
        return begun

    def ask(self, saga_id: UUID, wish: Input, cause: str, told: dict[str, Any]) -> Decision | None:
        """What a person wants of one saga; None where there is no such saga. `told` goes into the history."""
        with self._store.transaction() as transaction:
            turn = Turn(self._sagas, self._topics, transaction.load(Lookup(saga_ids={saga_id})))
            decision = turn.take(saga_id, wish, cause, told)
            rows = self._save(transaction, turn)
        self._after_commit(rows, turn)
        return decision

    def park(self, record: Record, error: Exception) -> None:
        """Set aside one record that cannot be written, in a transaction of its own, with a copy for the dead letter
        topic.
        """
        dead = dead_letter(record, "cannot_be_stored", f"{type(error).__name__}: {error}")
        with self._store.transaction() as transaction:
            rows = transaction.save(Batch(dead_letters=[dead], messages=[dead_letter_record(dead, self._topics)]))
        self._publish(rows)
        self._counting.dead(dead)

    def _save(self, transaction: Transaction, turn: "Turn") -> Sequence[OutboxRow]:
        batch = turn.batch()
        if not (batch.changes or batch.dead_letters or batch.orphans or batch.early):
            return ()
        rows = transaction.save(batch)
        hit(BEFORE_COMMIT)
        return rows

    def _after_commit(self, rows: Sequence[OutboxRow], turn: "Turn", intake: Intake | None = None) -> None:
        hit(AFTER_COMMIT)
        self._publish(rows)
        self._counting.turn(turn.verdicts, turn.orphans, turn.early, turn.changes())
        if intake is not None:
            self._counting.foreign(intake.foreign)
        for dead in turn.dead:
            self._counting.dead(dead)


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """A saga to begin, of the newest version of `saga`."""

    saga: str
    saga_id: UUID
    data: SagaData
    trace: tuple[str | None, str | None] = (None, None)


@dataclass(slots=True)
class Turn:
    """One transaction's worth of decisions: what was loaded, what became of it, what is to be said."""

    sagas: Sagas
    topics: Topics
    loaded: Loaded
    dead: list[DeadLetter] = field(default_factory=list)
    orphans: list[Orphan] = field(default_factory=list)
    early: list[EarlyEvent] = field(default_factory=list)
    verdicts: list[tuple[Verdict | None, str]] = field(default_factory=list)
    """One for each input: what it was, and why; None for what was foreign after all."""
    _after: dict[UUID, AnyInstance] = field(default_factory=dict)
    _history: dict[UUID, list[HistoryEntry]] = field(default_factory=dict)
    _messages: dict[UUID, list[Outgoing]] = field(default_factory=dict)

    def begin(self, new: "New") -> AnyInstance:
        decision = start(self.sagas.newest(new.saga), new.saga_id, new.data, self.loaded.now, new.trace)
        self._note(decision, "started", {})
        return decision.instance

    def read(self, letter: Letter) -> None:
        """Hand a letter to each saga that it concerns; a fault of ours in deciding sets aside that letter alone."""
        if unknown(letter, self.loaded.unknown_versions):
            self.dead.append(
                dead_letter(
                    letter.record, "unknown_version", "its saga was started by a newer version of this software"
                )
            )
            return
        saga_ids = concerned(letter, self.loaded)
        if not saga_ids:
            self._nobodys(letter)
        self._hand_to(saga_ids, letter)

    def learnt(self) -> dict[str, UUID]:
        """The ids of orders and payments that sagas have learnt in this turn."""
        found = {}
        for saga_id, after in self._after.items():
            before = self.loaded.instances.get(saga_id)
            for name in REFERENCES:
                known = getattr(after.data, name, None)
                if known and (before is None or getattr(before.data, name, None) != known):
                    found[reference_to(name, known)] = saga_id
        return found

    def catch_up(self, claimed: Sequence[EarlyEvent], learnt: Mapping[str, UUID]) -> None:
        """What came before an id was known concerns a saga now: what was kept, and what this turn was about to keep."""
        now_known = [one for one in self.early if one.reference in learnt]
        self.early = [one for one in self.early if one.reference not in learnt]
        for event in [*claimed, *now_known]:
            self._hand_to([learnt[event.reference]], kept_letter(event))

    def _hand_to(self, saga_ids: Sequence[UUID], letter: Letter) -> None:
        for saga_id in saga_ids:
            try:
                self.take(saga_id, letter.happened(), letter.cause, _origin(letter))
            except Exception as error:  # noqa: BLE001 (a bug of ours, whatever it is, must not hold up the others)
                _log.exception("handle.decide_failed", saga_id=str(saga_id), type=letter.cause)
                self.dead.append(dead_letter(letter.record, "decide_failed", f"{type(error).__name__}: {error}"))

    def take(self, saga_id: UUID, seen: Input, cause: str, told: dict[str, Any]) -> Decision | None:
        """What becomes of one saga by one input; None where it was not loaded."""
        instance = self._after.get(saga_id) or self.loaded.instances.get(saga_id)
        if instance is None:
            return None
        decision = decide(self.sagas.of(instance), instance, seen, self.loaded.now)
        self.verdicts.append((decision.verdict, decision.why))
        if decision.verdict is Verdict.APPLIED:
            self._note(decision, cause, told)
        return decision

    def batch(self) -> Batch:
        copies = [dead_letter_record(dead, self.topics) for dead in self.dead]
        return Batch(
            changes=self.changes(), dead_letters=self.dead, orphans=self.orphans, early=self.early, messages=copies
        )

    def changes(self) -> list[Change]:
        return [
            Change(
                before=self.loaded.instances.get(saga_id),
                after=after,
                history=self._history[saga_id],
                messages=self._messages[saga_id],
            )
            for saga_id, after in self._after.items()
        ]

    def _nobodys(self, letter: Letter) -> None:
        body: Any = letter.envelope.body
        if self.sagas.may_come_unasked(body) and (event := early(letter)) is not None:
            self.early.append(event)
        elif (kept := orphan(letter)) is not None:
            self.orphans.append(kept)
        else:
            self.verdicts.append((None, "no saga has this order or payment"))

    def _note(self, decision: Decision, cause: str, told: dict[str, Any]) -> None:
        instance, now = decision.instance, self.loaded.now
        saga_id = instance.saga_id
        entry = HistoryEntry(revision=instance.revision, cause=cause, body=_body(decision, told))
        messages = [to_record(send, instance, self.topics, now) for send in decision.messages]
        self._after[saga_id] = instance
        self._history.setdefault(saga_id, []).append(entry)
        self._messages.setdefault(saga_id, []).extend(messages)


def _body(decision: Decision, told: dict[str, Any]) -> dict[str, Any]:
    """What the history keeps of a transition: names and ids, nothing personal."""
    instance = decision.instance
    body: dict[str, Any] = {
        "status": instance.status.value,
        "step": instance.step,
        "rows": decision.rows,
        "sent": [_sent(instance, send.message_id, type_of(send.body)) for send in decision.messages],
    }
    if instance.reason is not None:
        body["reason"] = instance.reason.value
    return body | told


def _sent(instance: AnyInstance, sent_id: UUID, name: str) -> dict[str, Any]:
    out = instance.outstanding
    sent: dict[str, Any] = {"type": name, "message_id": str(sent_id)}
    return sent | {"attempt": out.attempt} if out and out.message_id == sent_id else sent


def _origin(letter: Letter) -> dict[str, Any]:
    record, envelope = letter.record, letter.envelope
    origin: dict[str, Any] = {"from": [record.topic, record.partition, record.offset]}
    if envelope.message_id:
        origin["message_id"] = str(envelope.message_id)
    if envelope.timestamp:
        origin["stamp"] = _text(envelope.timestamp)
    ids = {
        name: value
        for name in ("order_id", "payment_id", "payment_intent_id", "error")
        if (value := getattr(envelope.body, name, None))
    }
    return origin | {"event": ids} if ids else origin


def _text(stamp: datetime) -> str:
    return stamp.isoformat().replace("+00:00", "Z")
