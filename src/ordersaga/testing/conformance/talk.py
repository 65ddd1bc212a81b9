"""One check's conversation with the participant: commands out as the orchestrator sends them, answers in.

A check says what it found by how it ends: it returns its evidence, or raises `Lacks` with what was seen instead, or
`NotTried` with what stood in its way. An answer that never comes is `NotTried` unless the check is about just that:
otherwise one thing that is missing would be found missing everywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Lock
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import msgspec

from ordersaga.bus.protocol import BusRefused, BusUnavailable, Headers, Outgoing, Producer, Published
from ordersaga.testing.conformance.ear import Ear, Heard
from ordersaga.testing.conformance.parts import PARTS, Part
from ordersaga.testing.conformance.subject import Case, Effect, MeansFailed, Subject
from ordersaga.wire import messages as m
from ordersaga.wire.codec import encode
from ordersaga.wire.ids import message_id as derived_id
from ordersaga.wire.ids import uuid7
from ordersaga.wire.topics import Participant

SOURCE = "conformance"
_PUBLISH_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 0.05
_SAVED = "its ledger was not looked at"


class Lacks(Exception):
    """The participant does not have the property; the message is what was seen instead."""

    retriable = False


class NotTried(Exception):
    """Nothing can be said of the property; the message is why."""

    retriable = False


@dataclass
class Register:
    """Every saga that something was asked for, so that it can be taken back at the end."""

    cases: dict[str, Case] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def add(self, case: Case) -> None:
        with self.lock:
            self.cases[case.saga_id] = case


class Talk:
    def __init__(self, subject: Subject, ear: Ear, producer: Producer, register: Register, partitions: int) -> None:
        """`partitions`: of its topic."""
        self.subject = subject
        self.partitions = partitions
        self.ear = ear
        self.part: Part = PARTS[subject.participant]
        self._producer = producer
        self._register = register
        self._pause = Event()
        self._topic = subject.topics.commands_of(subject.participant)

    # --- what is asked --------------------------------------------------------------------------------------------

    def case(self) -> Case:
        """A saga that nobody has heard of yet."""
        saga_id = str(uuid7(int(datetime.now(UTC).timestamp() * 1000), uuid4().bytes))
        own = self.subject.participant is Participant.NOTIFICATION
        customer_id = f"c-{uuid4().hex[:24]}" if own else self.subject.samples.customer_id
        case = Case(saga_id=saga_id, order_id=f"order-{uuid4().hex[:20]}", customer_id=customer_id)
        self.ear.expect(saga_id)
        self._register.add(case)
        return case

    def do(self, case: Case) -> m.Message:
        return self.part.do(case, self.subject.samples)

    def undo(self, case: Case, effect_id: str | None) -> m.Command:
        assert self.part.undo, "only asked of those that have something to undo"
        return self.part.undo(case, effect_id)

    def tell(
        self,
        case: Case,
        *commands: m.Message,
        message_id: UUID | None = None,
        named: bool = True,
        headers: Headers = (),
        key: bytes | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> UUID:
        """Send them in one go; the id of the last. `named` false: without a `message_id`, as old senders do. `more`
        goes into the envelope and the payload besides.
        """
        asked_id = message_id
        records = []
        for command in commands:
            asked_id = message_id or id_of(case, command)
            value = encode(
                command,
                correlation_id=case.saga_id,
                timestamp=datetime.now(UTC),
                source=SOURCE,
                message_id=asked_id if named else None,
            )
            records.append(
                Outgoing(self._topic, case.saga_id.encode() if key is None else key, _with(value, more), headers)
            )
        self.publish(records)
        assert asked_id
        return asked_id

    def tell_raw(self, case: Case, *values: bytes | None) -> None:
        """`None`: a record without a value."""
        key = case.saga_id.encode()
        self.publish([Outgoing(self._topic, key, value or b"", tombstone=value is None) for value in values])

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Until all are acknowledged. Raises `BusUnavailable` where they are not in time, and `BusRefused`."""
        end = monotonic() + _PUBLISH_SECONDS
        left = list(records)
        while left:
            outcomes = self._producer.publish(left, max(1.0, end - monotonic()))
            errors = [one.error for one in outcomes if one.published is not Published.ACKNOWLEDGED]
            if any(one.published is Published.REFUSED for one in outcomes):
                raise BusRefused(f"a command could not be published: {errors[0]}")
            if errors and monotonic() >= end:
                raise BusUnavailable(f"a command could not be published: {errors[0]}")
            told = zip(left, outcomes, strict=True)
            left = [record for record, one in told if one.published is not Published.ACKNOWLEDGED]
            if left:
                self._pause.wait(_LOOK_AGAIN_SECONDS)

    # --- what is answered -----------------------------------------------------------------------------------------

    def ask(self, case: Case, command: m.Message, *, silence: str = "", **how: Any) -> Heard:
        """Send it and wait for the next answer to such a command. `silence`: what the participant lacks where none
        comes.
        """
        before = len(self.answers(case, command))
        self.tell(case, command, **how)
        return self.answer(case, command, before, silence=silence)

    def answer(self, case: Case, command: m.Message, before: int = 0, *, silence: str = "") -> Heard:
        """The first after those `before`."""
        seconds = self.subject.answer_seconds
        if not self.ear.wait(lambda: len(self.answers(case, command)) > before, seconds):
            self._unanswered(case, command, silence)
        return self.answers(case, command)[before]

    def answers(self, case: Case, command: m.Message) -> list[Heard]:
        words = self.part.words_for(command)
        return [one for one in self.ear.heard(case.saga_id) if one.type in words]

    def done(self, case: Case, command: m.Message | None = None, **how: Any) -> Heard:
        """Have it carried out, as a beginning: another outcome leaves the check untried."""
        command = command or self.do(case)
        found = self.ask(case, command, **how)
        good = self.part.words_for(command)[0]
        if found.type != good:
            raise NotTried(f"{m.type_of(command)} was answered {shown(found)} and not {good}")
        return found

    def is_good(self, command: m.Message, found: Heard) -> bool:
        return found.type == self.part.words_for(command)[0]

    def quiet(self, case: Case, count: int, what: str) -> None:
        """No more than `count` events of this saga, for as long as nothing has to come. Raises `Lacks`."""
        if self.ear.wait(lambda: len(self.ear.heard(case.saga_id)) > count, self.subject.quiet_seconds):
            raise Lacks(f"{what}: {', '.join(shown(one) for one in self.ear.heard(case.saga_id)[count:])}")

    def effect_id(self, answer: Heard) -> str:
        """What an undo names it by."""
        return str(answer.payload.get(self.part.effect_ids[0]))

    def effect_ids(self, answers: Sequence[Heard]) -> set[tuple[str, ...]]:
        return {tuple(str(one.payload.get(name)) for name in self.part.effect_ids) for one in answers}

    # --- what its ledger has --------------------------------------------------------------------------------------

    def effects(self, case: Case) -> Sequence[Effect] | None:
        """None where no ledger was given."""
        ledger = self.subject.ledger
        self._note(case)
        try:
            return ledger.effects(case) if ledger else None
        except MeansFailed as error:
            raise NotTried(f"its ledger cannot be read: {error}") from error

    def standing(self, case: Case, count: int, what: str) -> str:
        """So much stands of this saga in its ledger: the evidence. Raises `Lacks` where it does not."""
        found = self.effects(case)
        if found is None:
            return _SAVED
        ids = [one.effect_id for one in found if one.stands]
        if len(ids) != count:
            raise Lacks(f"{what}: its ledger has {len(ids)} that stand and not {count} {ids or ''}".rstrip())
        return f"its ledger has {count} that stand{'s' if count == 1 else ''}"

    def until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Of what only a ledger tells: it is asked again and again."""
        end = monotonic() + seconds
        while not (held := holds()) and monotonic() < end:
            self._pause.wait(_LOOK_AGAIN_SECONDS)
        return held

    # --- small print ----------------------------------------------------------------------------------------------

    def _unanswered(self, case: Case, command: m.Message, silence: str) -> None:
        waited = f"{m.type_of(command)} was not answered within {self.subject.answer_seconds:g} s"
        if self.astray(case, command):
            raise NotTried("it answers under another correlation_id")
        raise Lacks(f"{silence}: {waited}") if silence else NotTried(waited)

    def astray(self, case: Case, command: m.Message) -> list[Heard]:
        """What may be an answer under somebody else's id."""
        words = self.part.words_for(command)
        found = self.ear.astray(case.saga_id, case.order_id, str(id_of(case, command)))
        return [one for one in found if one.type in words]

    def _note(self, case: Case) -> None:
        """Ids by which a ledger may know what was done: those of all that was said, whoever waited for it."""
        said = [one.payload.get(name) for one in self.ear.heard(case.saga_id) for name in self.part.effect_ids]
        case.named.extend({one: None for one in said if isinstance(one, str) and one and one not in case.named})


def id_of(case: Case, command: m.Message) -> UUID:
    """As the orchestrator derives it: the same on every retry, another one for an undo that names its effect."""
    named = getattr(command, "payment_id", None) or (
        command.order_id if isinstance(command, m.CancelOrder | m.UpdateOrderStatus) else None
    )
    return derived_id(UUID(case.saga_id), m.type_of(command), "do", named)


def shown(heard: Heard) -> str:
    """In a few words."""
    told = heard.payload.get("error") or heard.payload.get("status") or ""
    return f"{heard.type} {told}".strip()[:120]


def _with(value: bytes, more: Mapping[str, Any] | None) -> bytes:
    if not more:
        return value
    message = msgspec.json.decode(value)
    return msgspec.json.encode({**message, **more, "payload": {**message["payload"], **more}})
