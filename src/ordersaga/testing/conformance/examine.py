"""A conformance run: every property of one participant is tried, and the outcome is a report.

    report = examine(Subject(participant=Participant.PAYMENT, bus=KafkaBus("127.0.0.1:9092"), ledger=..., restart=...))
    report.must_have("recognises repeats")

First one command is asked, with patience, and another in each partition. A participant that does not answer them is not
asked anything else. Then all checks run that do each other no harm, at once, each with sagas of its own; then the
malformed records; then the kills, after each of which nothing is judged until it answers in each partition again. At
the end what was done is taken back, as far as the participant takes back.

Promised: a check that itself fails is told as "not tried" with the error, and the others go on. Not promised: that a
participant which passes has no flaws. Absence is believed after `quiet_seconds`, and a kill meets the moment that it
meets.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from threading import Event
from time import monotonic

from ordersaga.bus.protocol import BusUnavailable, Producer
from ordersaga.orchestrator.core.definition import Kind
from ordersaga.testing.conformance.checks_said import answers
from ordersaga.testing.conformance.ear import Ear
from ordersaga.testing.conformance.properties import properties_of
from ordersaga.testing.conformance.property import Property, When
from ordersaga.testing.conformance.report import Finding, Report, Result
from ordersaga.testing.conformance.restarting import wait_until_there
from ordersaga.testing.conformance.subject import Subject
from ordersaga.testing.conformance.taking_back import take_back
from ordersaga.testing.conformance.talk import Lacks, NotTried, Register, Talk
from ordersaga.wire.topics import Participant

_CLOSE_SECONDS = 5.0
_REACH_SECONDS = 20.0
_ASK_AGAIN_SECONDS = 0.2
Told = Callable[[Finding], None]


def examine(
    subject: Subject, *, kind: Kind = Kind.FULL, only: Collection[str] = (), told: Told = lambda finding: None
) -> Report:
    """`only`: names of properties; none: all that such a participant may have. `told` hears each finding as it is made.

    Raises `BusError` where no broker answers, and `TopicMissing`.
    """
    partitions = _partitions(subject)
    producer = subject.bus.producer(client_id="conformance")
    ear = Ear(subject.bus, subject.topics.events_of(subject.participant))
    try:
        return _Examination(subject, kind, ear, producer, told, partitions=partitions).of(
            [one for one in properties_of(subject.participant) if not only or one.name in only]
        )
    finally:
        ear.close()
        producer.close(_CLOSE_SECONDS)


class TopicMissing(BusUnavailable):
    """A topic that the participant reads or writes does not exist. Its name may be set otherwise."""


class _Examination:
    def __init__(
        self, subject: Subject, kind: Kind, ear: Ear, producer: Producer, told: Told, *, partitions: int
    ) -> None:
        self._subject = subject
        self._kind = kind
        self._told = told
        self._register = Register()
        self._talk = Talk(subject, ear, producer, self._register, partitions)
        self._ear, self._producer, self._partitions = ear, producer, partitions

    def of(self, wanted: Sequence[Property]) -> Report:
        silence = self._greeting()
        findings = (
            [self._finding(one, *_of_a_silent_one(one, silence)) for one in wanted] if silence else self._all(wanted)
        )
        made = take_back(self._talk, self._register.cases.values())
        return Report(
            self._subject.participant, self._kind, tuple(findings), undone=tuple(made.undone), left=tuple(made.left)
        )

    def _greeting(self) -> str:
        """Why it cannot be examined; empty where it can."""
        talk = self._patient()
        if talk.part.done is None:
            self._greet_a_silent_one(talk)
            return ""
        case = talk.case()
        try:
            talk.ask(case, talk.do(case))
            wait_until_there(talk, talk.subject.greeting_seconds)
        except NotTried as error:
            return "" if "correlation_id" in str(error) else str(error)
        return ""

    def _greet_a_silent_one(self, talk: Talk) -> None:
        """It answers nobody: what it keeps is for the checks to say, once it had the time to begin."""
        if talk.subject.ledger is not None:
            with suppress(NotTried):
                wait_until_there(talk, talk.subject.greeting_seconds)

    def _patient(self) -> Talk:
        subject = replace(self._subject, answer_seconds=self._subject.greeting_seconds)
        return Talk(subject, self._ear, self._producer, self._register, self._partitions)

    def _all(self, wanted: Sequence[Property]) -> list[Finding]:
        together = [one for one in wanted if one.when is When.TOGETHER]
        with ThreadPoolExecutor(self._threads(len(together)), "conformance") as threads:
            findings = list(threads.map(self._tried, together))
        for when in (When.ALONE, When.RESTARTING):
            findings += [self._tried(one) for one in wanted if one.when is when]
        return sorted(findings, key=lambda one: wanted.index(one.property))

    def _threads(self, checks: int) -> int:
        return 1 if self._subject.one_at_a_time else max(1, checks)

    def _tried(self, wanted: Property) -> Finding:
        try:
            return self._finding(wanted, Result.HAS, wanted.check(self._talk))
        except Lacks as error:
            return self._finding(wanted, Result.LACKS, str(error))
        except NotTried as error:
            return self._finding(wanted, Result.NOT_TRIED, str(error))
        except Exception as error:  # noqa: BLE001 (what a participant may say is not foreseen; the others are tried)
            return self._finding(wanted, Result.NOT_TRIED, f"the check failed: {type(error).__name__}: {error}")

    def _finding(self, wanted: Property, result: Result, evidence: str) -> Finding:
        finding = Finding(wanted, result, evidence)
        self._told(finding)
        return finding


def _of_a_silent_one(wanted: Property, silence: str) -> tuple[Result, str]:
    if wanted.check is answers:
        return Result.LACKS, f"silence: {silence}"
    return Result.NOT_TRIED, "it answers nothing"


def _partitions(subject: Subject) -> int:
    """Of its topic. Raises `TopicMissing`."""
    there = _topics(subject)
    needed = {subject.topics.commands_of(subject.participant), subject.topics.events_of(subject.participant)}
    if subject.participant is Participant.NOTIFICATION:
        needed = {subject.topics.commands_of(subject.participant)}
    missing = sorted(needed - there.keys())
    if missing:
        names = " and ".join(missing)
        raise TopicMissing(f"there is no topic {names}: set its name with ORDERSAGA_TOPIC_..., or create it")
    return there[subject.topics.commands_of(subject.participant)]


def _topics(subject: Subject) -> Mapping[str, int]:
    """Brokers that only just begin are asked again."""
    end, pause = monotonic() + _REACH_SECONDS, Event()
    while True:
        try:
            subject.bus.check(_REACH_SECONDS)
            return subject.bus.partitions()
        except BusUnavailable:
            if monotonic() >= end:
                raise
        pause.wait(_ASK_AGAIN_SECONDS)
