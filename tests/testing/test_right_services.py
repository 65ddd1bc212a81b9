"""A service that is right by the contract is advised as full, also where it is built otherwise than the reference
participants.
"""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from ordersaga.bus.protocol import Outgoing, Record
from ordersaga.orchestrator.core.reconcile import GONE, STANDING
from ordersaga.testing.conformance import Effect, NotOffered, Report, Result, examine, properties_of
from ordersaga.testing.conformance.outside import _effect
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.testing import faults as f
from tests.testing.in_memory import Fault, InMemory

ORDER, USER, PAYMENT, TIMER = Participant.ORDER, Participant.USER, Participant.PAYMENT, Participant.TIMER
NOBODY_KNOWS = {"PENDING"}
pytestmark = pytest.mark.timeout(120)


# --- how else a service may be built ------------------------------------------------------------------------------


def by_order(correlation_id: str, command: m.Message) -> str:
    assert isinstance(command, m.StartOrderTimer | m.CancelTimer)
    return command.order_id


class NobodyGivesBack(InMemory):
    """As the platform's endpoints are: accept, cancel, look."""

    def give_back(self, order_id: str) -> None:
        raise NotOffered(f"POST /orders/{order_id}/give-back: 404")


def goes_by_the_order() -> Fault:
    """Whatever payment a revert names."""

    def hears(record: Record) -> Record:
        said = f.read(record)
        if not f.is_a(said, "revert_payment") or not said["payload"].get("order_id"):
            return record
        payload = {name: value for name, value in said["payload"].items() if name != "payment_id"}
        return replace(record, value=json.dumps({**said, "payload": payload}).encode())

    return Fault(hears=hears)


def draws_an_id_for_each_answer() -> Fault:
    def says(record: Outgoing) -> list[Outgoing]:
        drawn = str(uuid4())
        value = json.dumps({**json.loads(record.value), "message_id": drawn}).encode()
        headers = tuple((name, drawn.encode() if name == "ce_id" else text) for name, text in record.headers)
        return [replace(record, value=value, headers=headers)]

    return Fault(says=says)


def says_nothing_to_another_body() -> Fault:
    """Of two commands with one id the first stands; the second is put aside."""
    first: dict[str, str] = {}

    def hears(record: Record) -> Record | None:
        said = f.read(record)
        if "message_id" not in said:
            return record
        body = json.dumps([said.get("type"), said.get("payload")], sort_keys=True)
        return record if first.setdefault(str(said["message_id"]), body) == body else None

    return Fault(hears=hears)


# --- what is found ------------------------------------------------------------------------------------------------


def test_a_timer_service_that_knows_timers_by_their_order_has_every_property() -> None:
    """As `/timers/{order_id}` suggests. A cancel of an order that it never heard of came early, and is remembered."""
    has_everything(examined(InMemory(TIMER, key=by_order)))


@pytest.mark.parametrize(
    ("participant", "built"),
    [
        (ORDER, f.headers(lambda name: name != "ce_specversion")),
        (PAYMENT, goes_by_the_order),
        (TIMER, says_nothing_to_another_body),
        (ORDER, says_nothing_to_another_body),
        (USER, says_nothing_to_another_body),
    ],
    ids=["five headers", "by the order", "timers with one body", "orders with one body", "users with one body"],
)
def test_what_the_contract_leaves_open_is_held_against_nobody(
    participant: Participant, built: Callable[[], Fault]
) -> None:
    has_everything(examined(InMemory(participant, built())))


def test_an_order_service_where_no_runner_can_give_an_order_back_has_every_property() -> None:
    """What a runner has cannot be cancelled at the end, and that is said."""
    report = examined(NobodyGivesBack(ORDER))
    assert report.left_standing > 0
    has_everything(report, left_standing=report.left_standing)


@pytest.mark.parametrize("participant", [ORDER, USER, PAYMENT, TIMER])
def test_an_answer_that_comes_again_may_have_an_id_of_its_own(participant: Participant) -> None:
    report = examined(InMemory(participant, draws_an_id_for_each_answer()))
    lines = "\n".join(report.lines())
    assert report.of(Result.LACKS) == ["repeats its answer's id"] and not report.of(Result.NOT_TRIED), lines
    assert report.passed and report.has_what_was_asked
    run, besides = report.advice()
    assert run == f"Run it as full: ORDERSAGA_PARTICIPANT_{participant.name}=full."
    assert "repeats its answer's id" in besides


@pytest.mark.parametrize("status", sorted(GONE - NOBODY_KNOWS))
def test_a_payment_that_the_reconciliation_calls_gone_does_not_stand(status: str) -> None:
    assert not payment(status).stands
    assert not payment(status.lower()).stands


@pytest.mark.parametrize("status", sorted(STANDING | NOBODY_KNOWS | {"REFUND_REFUSED", "FAILED_TO_VOID", "None"}))
def test_what_may_be_held_stands(status: str) -> None:
    assert payment(status).stands


@pytest.mark.parametrize("status", ["CANCELLED", "CANCELLED_BEFORE_CREATED", "CANCELLED_BEFORE_STARTED", "EXPIRED"])
def test_an_order_or_a_timer_that_is_over_does_not_stand(status: str) -> None:
    assert not _effect({"order_id": "order-1", "status": status}).stands


def examined(service: InMemory, **means: Any) -> Report:
    try:
        return examine(service.subject(**means))
    finally:
        service.stop()


def has_everything(report: Report, *, left_standing: int = 0) -> None:
    lines = "\n".join(report.lines())
    assert report.of(Result.HAS) == [one.name for one in properties_of(report.participant)], lines
    assert report.passed and report.left_standing == left_standing, lines
    assert report.advice() == [f"Run it as full: ORDERSAGA_PARTICIPANT_{report.participant.name}=full."]


def payment(status: str) -> Effect:
    return _effect({"payment_id": "pay-1", "status": status})
