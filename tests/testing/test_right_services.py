"""A service that is right passes, also where it is built otherwise than the reference participants."""

import pytest

from ordersaga.orchestrator.core.reconcile import GONE, STANDING
from ordersaga.testing.conformance import Effect, Result, examine, properties_of
from ordersaga.testing.conformance.outside import _effect
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.testing.in_memory import InMemory

TIMER = Participant.TIMER
NOBODY_KNOWS = {"PENDING"}


def by_order(correlation_id: str, command: m.Message) -> str:
    assert isinstance(command, m.StartOrderTimer | m.CancelTimer)
    return command.order_id


@pytest.mark.timeout(120)
def test_a_timer_service_that_knows_timers_by_their_order_has_every_property() -> None:
    """As `/timers/{order_id}` suggests. A cancel of an order that it never heard of came early, and is remembered."""
    service = InMemory(TIMER, key=by_order)
    try:
        report = examine(service.subject())
    finally:
        service.stop()
    assert report.of(Result.HAS) == [one.name for one in properties_of(TIMER)], "\n".join(report.lines())
    assert report.passed and report.left_standing == 0


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


def payment(status: str) -> Effect:
    return _effect({"payment_id": "pay-1", "status": status})
