"""An examination that kills waits until what it killed is back, and looks for all that it has named."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Timer
from typing import Any

import pytest

from ordersaga.testing.conformance import Case, Effect, MeansFailed, Result, Subject, examine, properties_of
from ordersaga.testing.conformance.property import When
from ordersaga.wire.topics import Participant
from tests.testing.in_memory import InMemory

LONGER_THAN_AN_ANSWER_SECONDS = 6.0
ORDER, USER, NOTIFICATION = Participant.ORDER, Participant.USER, Participant.NOTIFICATION


@pytest.mark.parametrize("participant", [ORDER, NOTIFICATION])
def test_one_that_is_back_later_than_an_answer_may_be_has_what_a_kill_tries(participant: Participant) -> None:
    wanted = kills(participant)
    with running(Late(participant)) as late:
        report = examine(late.subject(), only=wanted)
    assert report.of(Result.HAS) == wanted, "\n".join(report.lines())


def test_a_ledger_that_knows_ids_only_is_asked_for_all_that_were_given() -> None:
    with running(KnowsIdsOnly(Participant.PAYMENT)) as payment:
        report = examine(payment.subject(), only=["answers once committed", "recognises repeats"])
    assert report.of(Result.HAS) == ["recognises repeats", "answers once committed"], "\n".join(report.lines())
    assert "its ledger has 1 that stands of each" in report.findings[-1].evidence


def test_of_one_that_never_comes_back_nothing_is_said() -> None:
    with running(InMemory(USER)) as user:
        gone = replace(user.subject(), restart=user.stop, restart_seconds=1.0)
        report = examine(gone, only=["answers", "answers once committed"])
    assert report.of(Result.HAS) == ["answers"]
    assert report.of(Result.NOT_TRIED) == ["answers once committed"], "\n".join(report.lines())
    assert "within 1 s nothing came of what was asked in partition 0, 1, 2, 3, 4, 5" in report.findings[-1].evidence


def kills(participant: Participant) -> list[str]:
    return [one.name for one in properties_of(participant) if one.when is When.RESTARTING]


class Late(InMemory):
    """Killed at once and started a while later; its ledger is out of reach meanwhile."""

    def restart(self) -> None:
        self._line.cut()
        self._dying.append(self._host)
        self._starting = Timer(LONGER_THAN_AN_ANSWER_SECONDS, self._start)
        self._starting.start()

    def subject(self, **more: Any) -> Subject:
        subject = super().subject(**more)
        return replace(subject, answer_seconds=LONGER_THAN_AN_ANSWER_SECONDS - 1)

    def effects(self, case: Case) -> Sequence[Effect]:
        if self._line.is_cut:
            raise MeansFailed("connection refused")
        return super().effects(case)


class KnowsIdsOnly(InMemory):
    """As the endpoints of a service do."""

    def effects(self, case: Case) -> Sequence[Effect]:
        return super().effects(case) if case.named else ()


@contextmanager
def running(participant: InMemory) -> Iterator[InMemory]:
    try:
        yield participant
    finally:
        participant.stop()
