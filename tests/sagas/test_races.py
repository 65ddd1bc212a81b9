"""Cancel, expiry, acceptance and an answer at the same moment: one of them wins, whatever comes first."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from ordersaga.orchestrator.core.definition import Kind
from ordersaga.orchestrator.core.inputs import Verdict
from ordersaga.orchestrator.core.instance import Became, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.testing.story import BARE, FULL, NOON, Story
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.sagas.stories import (
    AUTHORIZED,
    CANCELLED,
    CREATED,
    DECLINED,
    OPENED,
    RELEASED,
    SAGA,
    TIMER,
    TIMER_CANCELLED,
    order,
)

ACCEPTED = m.OrderAccepted(order_id="o-1", runner_id="r-1")
EXPIRED = m.TimerExpired(order_id="o-1")
FASTER = m.OrderCancellationFailed(error="ORDER_ACCEPTED", order_id="o-1", status="ACCEPTED")


# --- cancelled while the payment is under way ------------------------------------------------------


def test_a_payment_that_is_refused_after_the_cancel_left_nothing_to_give_back() -> None:
    story = order(steps_done=2).expect(m.AuthorizePayment, to=Participant.PAYMENT)
    paying = story.saga.outstanding
    assert paying
    story.cancel().expect(m.CancelOrder, to=Participant.ORDER)
    story.hear(DECLINED, causation_id=paying.message_id).step("AUTHORIZE_PAYMENT", Became.REFUSED)
    story.reply(CANCELLED).expect_notice(m.OrderCancelledNotice, reason="CUSTOMER_REQUEST")
    story.ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)


@pytest.mark.parametrize("kinds", [FULL, BARE])
def test_a_payment_that_is_authorized_after_the_cancel_is_given_back_by_its_id(
    kinds: Mapping[Participant, Kind],
) -> None:
    story = order(steps_done=2, kinds=kinds).expect(m.AuthorizePayment, to=Participant.PAYMENT)
    story.cancel().expect(m.CancelOrder, to=Participant.ORDER).hear(AUTHORIZED).expect_nothing()
    story.reply(CANCELLED)
    story.expect(m.RevertPayment(payment_id="p-1", order_id="o-1", reason="CUSTOMER_REQUEST"), to=Participant.PAYMENT)
    story.reply(RELEASED).ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)


def test_a_payment_that_is_never_answered_after_the_cancel_is_given_back_without_an_id() -> None:
    story = order(steps_done=2).expect(m.AuthorizePayment, to=Participant.PAYMENT)
    story.cancel().expect(m.CancelOrder, to=Participant.ORDER).reply(CANCELLED)
    story.expect(m.RevertPayment(order_id="o-1", reason="CUSTOMER_REQUEST"), to=Participant.PAYMENT)
    story.reply(RELEASED).ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)


def test_a_bare_payment_that_is_never_answered_after_the_cancel_is_for_a_person_once_its_time_has_passed() -> None:
    story = order(steps_done=2, kinds=BARE).expect(m.AuthorizePayment, to=Participant.PAYMENT)
    paying = story.saga.outstanding
    assert paying
    story.after(5).cancel().expect(m.CancelOrder, to=Participant.ORDER).hear(CANCELLED)
    story.waits(Status.CANCELLING).expect_nothing()
    assert story.saga.command_due_at == paying.due_at, "its own time, not a new one"
    story.silence().ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST, attention=True)


def test_a_cancel_while_the_timer_is_started_stops_the_timer_too() -> None:
    story = order(steps_done=4).expect(m.StartOrderTimer, to=Participant.TIMER).cancel()
    story.expect(m.CancelOrder, to=Participant.ORDER).hear(TIMER).reply(CANCELLED)
    story.expect(m.RevertPayment, to=Participant.PAYMENT).reply(RELEASED)
    story.expect(m.CancelTimer(order_id="o-1", reason="CUSTOMER_REQUEST"), to=Participant.TIMER).reply(TIMER_CANCELLED)
    story.ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)


@pytest.mark.parametrize("names_its_command", [True, False])
def test_an_order_that_is_created_after_its_cancel_was_sent_is_cancelled_by_that_cancel(
    names_its_command: bool,
) -> None:
    story = order().expect(m.CreateOrder, to=Participant.ORDER)
    creating = story.saga.outstanding
    assert creating
    story.cancel().expect(m.CancelOrder, to=Participant.ORDER)
    story.hear(CREATED, causation_id=creating.message_id if names_its_command else None).expect_nothing()
    story.reply(CANCELLED).ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)


# --- expiry and acceptance at the same moment ------------------------------------------------------


def test_a_clock_that_was_a_moment_faster_than_the_runner_loses_when_the_order_service_says_so() -> None:
    story = order(steps_done=5).expect_notice(m.OrderConfirmedNotice).nobody_accepts()
    story.expect(m.CancelOrder, to=Participant.ORDER).hear(ACCEPTED).waits(Status.CANCELLING).reply(FASTER)
    story.ends(Status.COMPLETED)
    assert story.saga.closed
    assert not [send for send in story.sent if isinstance(send.body, m.Notification)], "a clock is told nothing"


def test_a_clock_that_was_a_moment_slower_than_the_runner_does_nothing() -> None:
    story = order(steps_done=5).after(1800).hear(ACCEPTED).hear(EXPIRED).ends(Status.COMPLETED)
    assert story.saga.closed


def test_a_clock_that_was_a_moment_faster_wins_when_the_order_service_says_so() -> None:
    story = order(steps_done=5, kinds=BARE).nobody_accepts().expect(m.CancelOrder, to=Participant.ORDER)
    story.hear(ACCEPTED, stamp=story.now).after(1).hear(CANCELLED, stamp=story.now)
    story.expect(m.RevertPayment, to=Participant.PAYMENT).hear(RELEASED)
    story.ends(Status.CANCELLED, reason=Reason.ACCEPTANCE_TIMEOUT)


def test_the_timer_service_and_the_own_deadline_cancel_once() -> None:
    story = order(steps_done=5).after(1790).hear(EXPIRED).expect_nothing()
    assert story.saga.window_due_at == story.now
    story.hear(EXPIRED).expect_verdict(Verdict.REPEATED).expect_nothing()
    story.nobody_accepts().expect(m.CancelOrder, to=Participant.ORDER)
    assert story.saga.window_due_at is None
    story.hear(EXPIRED).expect_verdict(Verdict.REPEATED).expect_nothing()


def test_a_timer_that_has_gone_off_while_its_order_is_taken_back_is_not_stopped() -> None:
    story = order(steps_done=5).after(1799).cancel().expect(m.CancelOrder, to=Participant.ORDER)
    story.after(2).hear(EXPIRED).reply(CANCELLED).expect(m.RevertPayment, to=Participant.PAYMENT).reply(RELEASED)
    story.expect_nothing().ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)


def test_an_acceptance_that_is_read_after_the_timer_services_word_and_was_said_before_it_counts() -> None:
    """They are on two topics."""
    story = order(steps_done=5, kinds=BARE).after(1799)
    said = story.now
    story.hear(EXPIRED).expect_nothing().hear(ACCEPTED, stamp=said).ends(Status.COMPLETED)
    assert story.saga.closed and story.saga.window_due_at is None


def test_a_timer_that_goes_off_over_a_minute_early_is_ignored() -> None:
    order(steps_done=5).after(1800 - 61).hear(EXPIRED).expect_verdict(Verdict.STRAY).waits(Status.COMPLETED)
    story = order(steps_done=5).after(1800 - 60).hear(EXPIRED).waits(Status.COMPLETED)
    assert story.saga.window_due_at == story.now
    story.nobody_accepts().waits(Status.CANCELLING)
    order(steps_done=2).after(3600).hear(EXPIRED).expect_verdict(Verdict.STRAY)


def test_a_timer_that_goes_off_before_it_is_said_to_be_started_is_remembered() -> None:
    story = order(steps_done=4).expect(m.StartOrderTimer, to=Participant.TIMER).after(1790).hear(EXPIRED)
    assert story.saga.window_due_at == story.now
    story.nobody_accepts().waits(Status.STARTED).hear(TIMER).expect_notice(m.OrderConfirmedNotice)
    story.expect(m.CancelOrder(order_id="o-1", saga_id=SAGA, reason="ACCEPTANCE_TIMEOUT"), to=Participant.ORDER)
    story.waits(Status.CANCELLING)


def test_the_window_is_the_same_instant_for_the_timer_service_and_for_the_saga() -> None:
    story = order(steps_done=4)
    asked = next(send.body for send in story.sent if isinstance(send.body, m.StartOrderTimer))
    assert asked.timeout_at == story.saga.window_due_at == NOON + timedelta(minutes=30)


# --- asked to cancel, in each status ---------------------------------------------------------------


def in_status(status: Status) -> Story:
    declined = order(steps_done=2).reply(DECLINED)
    return {
        Status.STARTED: lambda: order(steps_done=2),
        Status.COMPLETED: lambda: order(steps_done=5),
        Status.COMPENSATING: lambda: declined,
        Status.COMPENSATED: lambda: declined.reply(CANCELLED),
        Status.CANCELLING: lambda: order(steps_done=5).cancel(),
        Status.CANCELLED: lambda: order(steps_done=5).cancel().reply(CANCELLED).reply(RELEASED).reply(TIMER_CANCELLED),
        Status.FAILED: lambda: order(steps_done=5).cancel().silence_until(Status.FAILED),
    }[status]()


@pytest.mark.parametrize(
    ("status", "verdict", "why"),
    [
        (Status.STARTED, Verdict.APPLIED, ""),
        (Status.COMPLETED, Verdict.APPLIED, ""),
        (Status.CANCELLING, Verdict.REPEATED, "cancelled already"),
        (Status.CANCELLED, Verdict.REPEATED, "cancelled already"),
        (Status.COMPENSATING, Verdict.REFUSED, "cannot be cancelled: COMPENSATING"),
        (Status.COMPENSATED, Verdict.REFUSED, "cannot be cancelled: COMPENSATED"),
        (Status.FAILED, Verdict.REFUSED, "cannot be cancelled: FAILED"),
    ],
)
def test_a_cancel_is_granted_known_or_refused_by_the_status(status: Status, verdict: Verdict, why: str) -> None:
    story = in_status(status).cancel("other").expect_verdict(verdict)
    assert story.last.why == why


def test_the_first_cause_stays_the_reason() -> None:
    story = order(steps_done=5).cancel().cancel("operator", reason=Reason.OPERATOR_REQUEST)
    assert story.saga.reason is Reason.CUSTOMER_REQUEST
    assert story.saga.requested and story.saga.requested.actor == "customer"
    failed = in_status(Status.FAILED)
    assert failed.saga.reason is Reason.CUSTOMER_REQUEST
    assert failed.saga.stuck and (failed.saga.stuck.step, failed.saga.stuck.problem) == ("CREATE_ORDER", "silent")


def test_a_cancel_that_was_refused_and_wins_after_all_is_still_the_customers() -> None:
    """Attempt 1 meets a runner, who gives the order back; attempt 2 cancels it. The news of all three comes late."""
    story = order(steps_done=5).cancel(why="changed my mind").silence().silence()
    out = story.saga.outstanding
    assert out and out.attempt == 2
    story.hear(ACCEPTED, stamp=story.now - timedelta(seconds=20))
    story.hear(FASTER, causation_id=out.message_id, stamp=story.now - timedelta(seconds=15))
    assert story.saga.closed and story.saga.reason is None
    story.sent.clear()
    story.hear(CANCELLED, causation_id=out.message_id, stamp=story.now - timedelta(seconds=5))
    story.expect(m.RevertPayment, to=Participant.PAYMENT).reply(RELEASED).reply(TIMER_CANCELLED)
    story.sent.clear()
    story.ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)


def test_an_undo_that_wins_after_all_says_what_it_was_sent_for() -> None:
    """Silence, a cancel, a runner who was faster and gives the order back before the cancel arrives."""
    story = order(steps_done=3).expect(m.UpdateOrderStatus, to=Participant.ORDER).silence_until(Status.COMPENSATING)
    out = story.saga.outstanding
    assert out
    story.hear(OPENED, stamp=story.now - timedelta(seconds=9)).hear(ACCEPTED, stamp=story.now - timedelta(seconds=5))
    story.hear(FASTER, causation_id=out.message_id, stamp=story.now - timedelta(seconds=4))
    assert story.saga.closed and story.saga.reason is None
    story.sent.clear()
    story.hear(CANCELLED, causation_id=out.message_id, stamp=story.now - timedelta(seconds=1))
    story.expect(m.RevertPayment, to=Participant.PAYMENT).reply(RELEASED)
    story.ends(Status.CANCELLED, reason=Reason.STEP_TIMED_OUT)


def test_an_order_that_nobody_accepts_in_its_second_window_does_not_blame_who_asked_in_the_first() -> None:
    story = order(steps_done=5).cancel().hear(ACCEPTED).reply(FASTER)
    assert story.saga.closed
    story.hear(m.OrderAcceptanceCancelled(order_id="o-1")).waits(Status.COMPLETED).nobody_accepts()
    assert story.saga.reason is Reason.ACCEPTANCE_TIMEOUT
