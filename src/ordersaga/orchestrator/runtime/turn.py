"""One transaction's worth of decisions: sagas are handed inputs, and what comes of it is gathered to be written."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from msgspec import Struct

from ordersaga.bus.protocol import Outgoing
from ordersaga.orchestrator.core.decide import decide, start
from ordersaga.orchestrator.core.definition import Definition
from ordersaga.orchestrator.core.facts import Fact, facts_of
from ordersaga.orchestrator.core.inputs import (
    CommandDeadline,
    Decision,
    Happened,
    Input,
    Send,
    Verdict,
    WindowDeadline,
)
from ordersaga.orchestrator.core.instance import Instance, SagaData
from ordersaga.orchestrator.runtime.addressees import Addressees
from ordersaga.orchestrator.runtime.circuits import ALWAYS_OPEN, Gate
from ordersaga.orchestrator.runtime.concerning import concerning
from ordersaga.orchestrator.runtime.counting import FOREIGN
from ordersaga.orchestrator.runtime.intake import Letter, dead_letter, early, kept_letter, orphan
from ordersaga.orchestrator.runtime.outgoing import ParentOf, dead_letter_record, to_records
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.statistics import sums_of
from ordersaga.orchestrator.runtime.track import Track
from ordersaga.orchestrator.store.protocol import (
    Batch,
    Change,
    DeadLetter,
    DeadlineKind,
    Due,
    EarlyEvent,
    HistoryEntry,
    Loaded,
    Orphan,
    RequestKey,
    due_of,
)
from ordersaga.orchestrator.store.references import REFERENCES, reference_to
from ordersaga.wire.codes import is_code
from ordersaga.wire.messages import type_of
from ordersaga.wire.topics import Participant, Topics

AnyInstance = Instance[Any]
_log = structlog.get_logger(__name__)


class New(Struct, frozen=True, kw_only=True):
    """A saga to begin, of the newest version of `saga`."""

    saga: str
    saga_id: UUID
    data: SagaData
    trace: tuple[str | None, str | None] = (None, None)
    request: RequestKey | None = None
    """Under which the client may ask again."""
    told: Mapping[str, str] = {}
    """Who begins it and why, for its history; of a customer's order that is in the order."""


@dataclass(slots=True)
class _Moved:
    """What became of one saga so far."""

    before: AnyInstance | None
    after: AnyInstance
    history: list[HistoryEntry] = field(default_factory=list)
    messages: list[Outgoing] = field(default_factory=list)


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
    verdicts: list[tuple[str, str]] = field(default_factory=list)
    """One for each input: what it was (a `Verdict`, or `FOREIGN` after all), and why."""
    late: list[tuple[str, str]] = field(default_factory=list)
    """Of these the late ones: the step that it answers ('' for what answers none), and why."""
    answered: set[Participant] = field(default_factory=set)
    """Participants that showed that they live."""
    silent: Counter[Participant] = field(default_factory=Counter)
    """How many commands each did not answer in time."""
    facts: defaultdict[Fact, list[float]] = field(default_factory=lambda: defaultdict(list))
    """What the decisions mean to those who count, and the seconds that each took."""
    rearmed: list[Due] = field(default_factory=list)
    """Deadlines that were looked at, and when they are due next."""
    parent_of: ParentOf | None = None
    """Where traces are kept: which span a message belongs to."""
    transitions: list[tuple[AnyInstance | None, AnyInstance]] = field(default_factory=list)
    """Kept where traces are."""
    learnt: dict[str, UUID] = field(default_factory=dict)
    """The ids of orders and payments that sagas have learnt in this turn."""
    track: Track | None = None
    """Where a saga is led along what the log has of it: what is there already is not said once more, and no other step
    is begun.
    """
    _moved: dict[UUID, _Moved] = field(default_factory=dict)
    _addressees: Addressees = field(init=False)

    def __post_init__(self) -> None:
        self._addressees = Addressees(self.loaded, self.sagas.may_come_unasked)

    def begin(self, new: New) -> AnyInstance:
        definition, shut = self.sagas.newest(new.saga), self.gate.shut()
        decision = start(definition, new.saga_id, new.data, self.loaded.now, new.trace, shut=shut)
        self._note(None, decision, "started", dict(new.told))
        if new.request is not None:
            self.keys.append(new.request)
        self._asked(definition, decision)
        return decision.instance

    def read(self, letter: Letter) -> None:
        """Hand a letter to each saga that it concerns; a fault of ours in deciding sets aside that letter alone."""
        saga_ids = self._addressees.of(letter)
        if self._addressees.unknown(letter):
            why = "its saga was started by a newer version of this software"
            self.dead.append(dead_letter(letter.record, "unknown_version", why))
            if letter.envelope.saga_id in self.loaded.unknown_versions:
                return
        elif not saga_ids:
            self._nobodys(letter)
        self._hand_to(saga_ids, letter)

    def catch_up(self, claimed: Sequence[EarlyEvent], learnt: Mapping[str, UUID]) -> None:
        """What came before an id was known concerns a saga now: what was kept, and what this turn was about to keep."""
        now_known = [one for one in self.early if one.reference in learnt]
        self.early = [one for one in self.early if one.reference not in learnt]
        for event in [*claimed, *now_known]:
            self._hand_to([learnt[event.reference]], kept_letter(event))

    def _hand_to(self, saga_ids: Sequence[UUID], letter: Letter) -> None:
        for saga_id in saga_ids:
            self.hand(saga_id, letter)

    def hand(self, saga_id: UUID, letter: Letter) -> Decision | None:
        try:
            return self.take(saga_id, letter.happened(), letter.cause, _origin(letter))
        except Exception as error:  # noqa: BLE001 (a bug of ours, whatever it is, must not hold up the others)
            instance = self.loaded.instances.get(saga_id)
            about = concerning(saga_id, instance, message=letter.envelope.message_id)
            _log.exception("handle.decide_failed", type=letter.cause, **about)
            self.dead.append(dead_letter(letter.record, "decide_failed", f"{type(error).__name__}: {error}"))
            return None

    def take(self, saga_id: UUID, seen: Input, cause: str, told: dict[str, Any]) -> Decision | None:
        """What becomes of one saga by one input; None where it was not loaded."""
        instance = self.now_of(saga_id)
        if instance is None:
            return None
        definition = self.sagas.of(instance)
        # Who answers nobody by now does not matter where the log has what was asked and answered.
        shut = self.gate.shut() if self.track is None else ()
        decision = decide(definition, instance, seen, self.loaded.now, shut=shut)
        if self.track is not None and self.track.asks_anew(definition, decision):
            decision = decide(definition, instance, seen, self.loaded.now, shut=frozenset(Participant))
        if self.track is not None and self.track.is_too_early(definition, instance, seen, decision):
            decision = Decision(instance=instance, verdict=Verdict.STRAY, why="more was asked for before")
        self.verdicts.append((decision.verdict, decision.why))
        if decision.verdict is Verdict.LATE:
            event = type(seen.event) if isinstance(seen, Happened) else None
            self.late.append((definition.steps_by_answer.get(event, "") if event else "", decision.why))
        if isinstance(seen, Happened):
            self._heard(definition, seen, decision.verdict)
        if decision.verdict is Verdict.APPLIED:
            if isinstance(seen, CommandDeadline):
                self._waited_in_vain(definition, instance)
            self._asked(definition, decision)
            self._note(instance, decision, cause, told)
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
        if out is None:
            return
        for send in decision.messages:
            if send.message_id is out.message_id:  # not only equal: it was sent just now
                self.gate.asked(definition.asked_of(out))

    def pass_deadline(self, due: Due) -> None:
        """One that is found before its time was not moved when the saga went on: it only goes to where it belongs."""
        due_at = self._due_at(due)
        if due_at is None or due_at <= self.loaded.now:
            passed = CommandDeadline() if due.kind is DeadlineKind.COMMAND else WindowDeadline()
            self.take(due.saga_id, passed, f"deadline.{due.kind.value}", {})
            due_at = self._due_at(due)
        if due_at is not None:
            self.rearmed.append(Due(due.saga_id, due.kind, due_at))

    def _due_at(self, due: Due) -> datetime | None:
        """By what the saga says now."""
        instance = self.now_of(due.saga_id)
        return due_of(instance, due.kind) if instance else None

    def now_of(self, saga_id: UUID) -> AnyInstance | None:
        moved = self._moved.get(saga_id)
        return moved.after if moved else self.loaded.instances.get(saga_id)

    def batch(self) -> Batch:
        copies = [dead_letter_record(dead, self.topics) for dead in self.dead]
        return Batch(
            changes=self._changes(),
            dead_letters=self.dead,
            orphans=self.orphans,
            early=self.early,
            messages=copies,
            keys=self.keys,
            sums=sums_of(self.facts),
            rearmed=self.rearmed,
            learnt=self.learnt.keys(),
        )

    def _changes(self) -> list[Change]:
        return [
            Change(before=moved.before, after=moved.after, history=moved.history, messages=moved.messages)
            for moved in self._moved.values()
        ]

    def _nobodys(self, letter: Letter) -> None:
        body: Any = letter.envelope.body
        if self.sagas.may_come_unasked(body) and (event := early(letter)) is not None:
            self.early.append(event)
        elif (kept := orphan(letter)) is not None:
            self.orphans.append(kept)
        else:
            self.verdicts.append((FOREIGN, "no saga has this order or payment"))

    def _note(self, before: AnyInstance | None, decision: Decision, cause: str, told: dict[str, Any]) -> None:
        instance = decision.instance
        # First what may fail by a fault of ours: a saga must not move without what it has to say.
        track = self.track
        sends = decision.messages if track is None else [send for send in decision.messages if not track.has(send)]
        records = to_records(sends, instance, self.topics, self.loaded.now, self.parent_of)
        entry = HistoryEntry(revision=instance.revision, cause=cause, body=_body(decision, told))
        for fact, seconds in facts_of(self.sagas.of(instance), before, instance):
            self.facts[fact].append(seconds)
        if before is None or before.data is not instance.data:
            self._learn(before, instance)
        moved = self._moved.get(instance.saga_id)
        if moved is None:
            moved = self._moved[instance.saga_id] = _Moved(before, instance)
        moved.after = instance
        moved.history.append(entry)
        moved.messages += records
        if self.parent_of is not None:
            self.transitions.append((before, instance))

    def _learn(self, before: AnyInstance | None, after: AnyInstance) -> None:
        for name in REFERENCES:
            known = getattr(after.data, name, None)
            if known and (before is None or getattr(before.data, name, None) != known):
                self.learnt[reference_to(name, known)] = after.saga_id


def _body(decision: Decision, told: dict[str, Any]) -> dict[str, Any]:
    """What the history keeps of a transition: names and ids, nothing personal. Ids and times as they are: they become
    texts when all of it becomes JSON.
    """
    instance = decision.instance
    body: dict[str, Any] = {
        "status": instance.status,
        "step": instance.step,
        "rows": decision.rows,
        "sent": [_sent(instance, send) for send in decision.messages],
        **told,
    }
    if instance.reason is not None:
        body["reason"] = instance.reason
    return body


def _sent(instance: AnyInstance, send: Send) -> dict[str, Any]:
    out = instance.outstanding
    sent: dict[str, Any] = {"type": type_of(send.body), "message_id": send.message_id}
    if out is not None and out.message_id is send.message_id:  # sent just now, as in `_asked`
        sent["attempt"] = out.attempt
    return sent


def _origin(letter: Letter) -> dict[str, Any]:
    record, envelope = letter.record, letter.envelope
    origin: dict[str, Any] = {"from": [record.topic, record.partition, record.offset]}
    if envelope.message_id:
        origin["message_id"] = envelope.message_id
    if envelope.timestamp:
        origin["stamp"] = envelope.timestamp
    ids = {
        name: value
        for name in ("order_id", "payment_id", "payment_intent_id", "error")
        if (value := getattr(envelope.body, name, None)) and (name != "error" or is_code(value))
    }
    return origin | {"event": ids} if ids else origin
