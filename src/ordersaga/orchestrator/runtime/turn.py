"""One transaction's worth of decisions: sagas are handed inputs, and what comes of it is gathered to be written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from ordersaga.bus.protocol import Outgoing
from ordersaga.orchestrator.core.decide import decide, start
from ordersaga.orchestrator.core.definition import Definition
from ordersaga.orchestrator.core.facts import Fact, facts_of
from ordersaga.orchestrator.core.inputs import CommandDeadline, Decision, Happened, Input, Verdict
from ordersaga.orchestrator.core.instance import Instance, SagaData
from ordersaga.orchestrator.runtime.circuits import ALWAYS_OPEN, Gate
from ordersaga.orchestrator.runtime.intake import (
    REFERENCES,
    Letter,
    concerned,
    dead_letter,
    early,
    kept_letter,
    orphan,
    unknown,
)
from ordersaga.orchestrator.runtime.outgoing import dead_letter_record, to_record
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.statistics import sums_of
from ordersaga.orchestrator.store.protocol import (
    Batch,
    Change,
    DeadLetter,
    EarlyEvent,
    HistoryEntry,
    Loaded,
    Orphan,
    RequestKey,
    reference_to,
)
from ordersaga.wire.messages import type_of
from ordersaga.wire.topics import Participant, Topics

AnyInstance = Instance[Any]
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """A saga to begin, of the newest version of `saga`."""

    saga: str
    saga_id: UUID
    data: SagaData
    trace: tuple[str | None, str | None] = (None, None)
    request: RequestKey | None = None
    """Under which the client may ask again."""


@dataclass(slots=True)
class Turn:
    """One transaction's worth of decisions: what was loaded, what became of it, what is to be said."""

    sagas: Sagas
    topics: Topics
    loaded: Loaded
    gate: Gate = ALWAYS_OPEN
    dead: list[DeadLetter] = field(default_factory=list)
    orphans: list[Orphan] = field(default_factory=list)
    early: list[EarlyEvent] = field(default_factory=list)
    keys: list[RequestKey] = field(default_factory=list)
    verdicts: list[tuple[Verdict | None, str]] = field(default_factory=list)
    """One for each input: what it was, and why; None for what was foreign after all."""
    answered: set[Participant] = field(default_factory=set)
    """Participants that showed that they live."""
    silent: Counter[Participant] = field(default_factory=Counter)
    """How many commands each did not answer in time."""
    facts: list[Fact] = field(default_factory=list)
    """What the decisions mean to those who count."""
    _after: dict[UUID, AnyInstance] = field(default_factory=dict)
    _history: dict[UUID, list[HistoryEntry]] = field(default_factory=dict)
    _messages: dict[UUID, list[Outgoing]] = field(default_factory=dict)

    def begin(self, new: New) -> AnyInstance:
        definition, shut = self.sagas.newest(new.saga), self.gate.shut()
        decision = start(definition, new.saga_id, new.data, self.loaded.now, new.trace, shut=shut)
        self._note(decision, "started", {})
        if new.request is not None:
            self.keys.append(new.request)
        self._asked(definition, decision)
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
        definition = self.sagas.of(instance)
        decision = decide(definition, instance, seen, self.loaded.now, shut=self.gate.shut())
        self.verdicts.append((decision.verdict, decision.why))
        if isinstance(seen, Happened):
            self._heard(definition, seen, decision.verdict)
        if decision.verdict is Verdict.APPLIED:
            if isinstance(seen, CommandDeadline):
                self._waited_in_vain(definition, instance)
            self._asked(definition, decision)
            self._note(decision, cause, told)
        return decision

    def _heard(self, definition: Definition, seen: Happened, verdict: Verdict) -> None:
        """An answer, early or late: whoever gives one lives. What nobody asked for may be of another's making."""
        answers = definition.answered_by.get(type(seen.event))
        if answers is not None and verdict in (Verdict.APPLIED, Verdict.REPEATED, Verdict.LATE):
            self.answered.add(answers)

    def _waited_in_vain(self, definition: Definition, before: AnyInstance) -> None:
        out = before.outstanding
        if out is not None and not out.backing_off and self.gate.was_there(out.sent_at):
            self.silent[definition.asked_of(out)] += 1

    def _asked(self, definition: Definition, decision: Decision) -> None:
        out = decision.instance.outstanding
        if out is not None and any(send.message_id == out.message_id for send in decision.messages):
            self.gate.asked(definition.asked_of(out))

    def batch(self) -> Batch:
        copies = [dead_letter_record(dead, self.topics) for dead in self.dead]
        return Batch(
            changes=self.changes(),
            dead_letters=self.dead,
            orphans=self.orphans,
            early=self.early,
            messages=copies,
            keys=self.keys,
            sums=sums_of(self.facts),
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
        self.facts += facts_of(self._after.get(saga_id) or self.loaded.instances.get(saga_id), instance)
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
