"""The whole flow, once: records in, decode, load, decide, save with history and outbox, commit, publish.

`Handler` is the only thing that writes an instance. Whatever happens to a saga (an event, a deadline, a person's
wish, its beginning) comes through one of its methods, which are one transaction each; the messages go to the relay
after the commit and never before.

It promises that a record which is handed in twice has one effect: the state itself recognises it. It does not promise
an order between sagas.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from ordersaga.bus.protocol import Record
from ordersaga.delivery.failpoints import declare, hit
from ordersaga.delivery.messages import OutboxRow
from ordersaga.orchestrator.core.inputs import Decision, Input
from ordersaga.orchestrator.core.instance import Instance, Status
from ordersaga.orchestrator.runtime.circuits import ALWAYS_OPEN, Gate
from ordersaga.orchestrator.runtime.concerning import concerning
from ordersaga.orchestrator.runtime.counting import Counting
from ordersaga.orchestrator.runtime.intake import (
    Intake,
    dead_letter,
    take_in,
)
from ordersaga.orchestrator.runtime.outgoing import dead_letter_record
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.step_spans import StepSpans, parent_of
from ordersaga.orchestrator.runtime.turn import New, Turn
from ordersaga.orchestrator.store.protocol import (
    Batch,
    Change,
    CommitUnknown,
    Due,
    Loaded,
    Lookup,
    SettledAs,
    Store,
    StoredDeadLetter,
    StoreError,
    Transaction,
    Unclaimed,
    UnknownVersion,
)
from ordersaga.wire.topics import Topics

AnyInstance = Instance[Any]
_log = structlog.get_logger(__name__)

AFTER_LOAD = declare("handle.after_load", "Instances are locked and read, nothing is decided.")
BEFORE_COMMIT = declare("handle.before_commit", "State, history, deadlines and outbox are written, not committed.")
AFTER_COMMIT = declare("handle.after_commit", "Committed; the relay knows nothing of it yet.")


class CannotBeUsed(Exception):
    """It was taken in once more, and still cannot be used. `code` says why in a word, the text in a line for a person:
    it may quote the record.
    """

    retriable = False

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class Handler:
    def __init__(
        self,
        store: Store,
        sagas: Sagas,
        publish: Callable[[Sequence[OutboxRow]], None],
        *,
        topics: Topics,
        counting: Counting,
        gate: Gate = ALWAYS_OPEN,
        spans: StepSpans | None = None,
    ) -> None:
        """`publish` is told of the outbox rows of each transaction after it has committed; `gate` says whose steps are
        not to be begun; `spans`: where traces are kept.
        """
        self._store = store
        self._sagas = sagas
        self._publish = publish
        self._topics = topics
        self._counting = counting
        self._gate = gate
        self._spans = spans

    def records(self, records: Sequence[Record]) -> None:
        """One batch from the bus, in one transaction. Raises `StoreError`: nothing of it is written then."""
        intake = take_in(records)
        try:
            self._handle(intake)
        except Unclaimed:
            self._handle(intake, claims=True)

    def _handle(self, intake: Intake, *, claims: bool = False) -> None:
        with self._store.transaction() as transaction:
            turn = self._read(transaction, intake, claims=claims)
            saved = self._save(transaction, turn)
        self._after_commit(saved, turn, intake)

    def replay(self, stored: StoredDeadLetter, by: str, why: str, role: str = "operator") -> bool:
        """Take in once more what was set aside, and settle it in the same transaction. Whether it was used: what
        somebody settled meanwhile is left alone. Raises `CannotBeUsed`, `StoreError`.
        """
        intake = take_in([stored.letter.record])
        with self._store.transaction() as transaction:
            turn = self._read(transaction, intake, claims=True)
            if turn.dead:
                raise CannotBeUsed(turn.dead[0].reason, turn.dead[0].detail)
            if not transaction.settle_dead_letter(stored.id, SettledAs.REPLAYED, by, why, role):
                return False
            saved = self._save(transaction, turn)
        self._after_commit(saved, turn, intake)
        return True

    def _read(self, transaction: Transaction, intake: Intake, *, claims: bool) -> Turn:
        """`claims`: what was kept for ids that are learnt is asked for. That costs a round trip, and most often nothing
        was, so it is tried without.
        """
        loaded = transaction.load(intake.lookup(self._sagas.unasked))
        if more := intake.second_lookup(loaded, self._sagas.unasked, self._sagas.may_come_unasked):
            loaded = loaded.joined(transaction.load(more))
        hit(AFTER_LOAD)
        turn = self._turn(loaded)
        for letter in intake.letters:
            turn.read(letter)
        turn.dead += intake.dead
        known: set[str] = set()
        while learnt := {name: saga_id for name, saga_id in turn.learnt.items() if name not in known}:
            turn.catch_up(transaction.claim(learnt) if claims else (), learnt)
            known |= learnt.keys()
        return turn

    def deadlines(self, due: Sequence[Due]) -> int:
        """Deadlines that have passed; returns how many were seen to. One that another worker holds is left for the
        next time.
        """
        with self._store.transaction() as transaction:
            loaded = transaction.load(Lookup(saga_ids={one.saga_id for one in due}), skip_locked=True)
            turn = self._turn(loaded)
            for one in due:
                turn.pass_deadline(one)
            saved = self._save(transaction, turn)
        self._after_commit(saved, turn)
        return len({change.after.saga_id for change in saved.changes} | {one.saga_id for one in turn.rearmed})

    def begin(self, new: New) -> AnyInstance:
        """A new saga, as of the database's clock."""
        return self.begin_all([new])[0]

    def begin_all(self, new: Sequence[New]) -> Sequence[AnyInstance]:
        """New sagas, in one transaction, in the order given."""
        try:
            return self._begin(new)
        except CommitUnknown as unknown:
            # Whoever ordered must not be told to order again if the order is there. Its messages are found by the
            # relay's scan.
            if (found := self._found(new)) is None:
                raise unknown from None
            return found

    def _found(self, new: Sequence[New]) -> Sequence[AnyInstance] | None:
        """None where one is not there, or nobody can say."""
        try:
            found = [instance for one in new if (instance := self._store.get(one.saga_id))]
        except StoreError as error:  # what took the answer to COMMIT most often takes this one too
            _log.warning("orders.not_looked_for", error=f"{type(error).__name__}: {error}")
            return None
        return found if len(found) == len(new) else None

    def _begin(self, new: Sequence[New]) -> Sequence[AnyInstance]:
        with self._store.transaction() as transaction:
            turn = self._turn(transaction.load(Lookup()))
            begun = [turn.begin(one) for one in new]
            saved = self._save(transaction, turn)
        self._after_commit(saved, turn)
        return begun

    def ask(self, saga_id: UUID, wish: Input, cause: str, told: dict[str, Any]) -> Decision | None:
        """What a person wants of one saga; None where there is no such saga. `told` goes into the history. Raises
        `UnknownVersion` where that is for another process.
        """
        with self._store.transaction() as transaction:
            loaded = transaction.load(Lookup(saga_ids={saga_id}))
            if saga_id in loaded.unknown_versions:
                raise UnknownVersion(saga_id)
            turn = self._turn(loaded)
            decision = turn.take(saga_id, wish, cause, told)
            saved = self._save(transaction, turn)
        self._after_commit(saved, turn)
        return decision

    def park(self, record: Record, error: Exception) -> None:
        """Set aside one record that cannot be written, in a transaction of its own, with a copy for the dead letter
        topic.
        """
        reason = getattr(error, "parked_as", "cannot_be_stored")
        dead = dead_letter(record, reason, f"{type(error).__name__}: {error}")
        with self._store.transaction() as transaction:
            rows = transaction.save(Batch(dead_letters=[dead], messages=[dead_letter_record(dead, self._topics)]))
        self._publish(rows)
        self._counting.dead(dead)

    def _turn(self, loaded: Loaded) -> Turn:
        self._gate.looks_on(loaded.now)
        return Turn(self._sagas, self._topics, loaded, self._gate, parent_of=parent_of if self._spans else None)

    def _save(self, transaction: Transaction, turn: Turn) -> "_Saved":
        batch = turn.batch()
        if not (batch.changes or batch.dead_letters or batch.orphans or batch.early or batch.rearmed):
            return _Saved((), ())
        rows = transaction.save(batch)
        hit(BEFORE_COMMIT)
        return _Saved(rows, batch.changes)

    def _after_commit(self, saved: "_Saved", turn: Turn, intake: Intake | None = None) -> None:
        hit(AFTER_COMMIT)
        self._publish(saved.rows)
        self._gate.heard(turn.answered, turn.silent)
        self._counting.turn(turn.verdicts, turn.orphans, turn.early, saved.changes, turn.facts)
        for change in saved.changes:
            _tell_of_trouble(change)
        if self._spans is not None:
            self._spans.tell(turn.transitions)
        if intake is not None:
            self._counting.foreign(intake.foreign)
        self._counting.late(turn.late)
        for dead in turn.dead:
            self._counting.dead(dead)


@dataclass(frozen=True, slots=True)
class _Saved:
    rows: Sequence[OutboxRow]
    changes: Sequence[Change]


def _tell_of_trouble(change: Change) -> None:
    """What a person has to look at is in the log the moment that it is so."""
    before, after = change.before, change.after
    if after.status is Status.FAILED and (before is None or before.status is not Status.FAILED):
        _log.error("saga.failed", reason=after.reason, **concerning(after.saga_id, after))
    if after.attention and (new := [why for why in after.attention if before is None or why not in before.attention]):
        _log.warning("saga.needs_attention", status=after.status, why=new, **concerning(after.saga_id, after))
