"""What a run says of properties that nobody asked for: that they were not seen."""

import json

from ordersaga.testing.conformance import Kind, Participant, Report, Result, examine, names, properties_of
from tests.testing.in_memory import InMemory

PAYMENT = Participant.PAYMENT
FULL = "Run it as full"


def examined(*only: str) -> Report:
    payment = InMemory(PAYMENT)
    try:
        return examine(payment.subject(), only=only)
    finally:
        payment.stop()


def test_who_asks_for_one_property_is_told_of_that_one_and_not_to_run_it_as_full() -> None:
    report = examined("answers")
    lines = report.lines()
    assert report.of(Result.HAS) == ["answers"]
    assert report.has_what_was_asked and not report.passed
    assert len(report.not_asked) == len(properties_of(PAYMENT)) - 1
    assert lines[1] == f"payment: 1 of 1 properties that were asked for; {len(report.not_asked)} others were not."
    (advice,) = lines[2:]
    assert advice.startswith("Nothing can be advised") and "holds the exact amount" in advice
    said = json.loads(report.as_json())
    assert said["passed"] is False and said["not_asked"] == report.not_asked
    assert FULL not in said["advice"]


def test_who_asks_for_what_a_bare_one_promises_is_told_to_run_it_as_bare() -> None:
    report = examined(*names(PAYMENT, Kind.BARE))
    first, _ = report.advice()
    assert first.startswith("Run it as bare until the rest is tried") and "tombstones" in first
    assert report.has_what_was_asked and not report.passed


def test_who_asks_for_what_is_lacking_is_told_so() -> None:
    payment = InMemory(PAYMENT)
    try:
        report = examine(payment.subject(restart=None), only=["answers once committed"])
    finally:
        payment.stop()
    assert report.of(Result.NOT_TRIED) == ["answers once committed"]
    assert not report.has_what_was_asked and not report.passed
