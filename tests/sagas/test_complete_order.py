"""Stories of the complete-order saga: before its point of no return, at it, and after."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from ordersaga.orchestrator.core.definition import Kind
from ordersaga.orchestrator.core.inputs import Verdict
from ordersaga.orchestrator.core.instance import Became, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.sagas.complete_order import COMPLETE_ORDER, PATIENT, Delivery, People
from ordersaga.testing.story import FULL, Story, given
from ordersaga.wire import completing as m
from ordersaga.wire.messages import Command, OrderCancelledByHand
from ordersaga.wire.topics import Participant

ORDER, PAYMENT = Participant.ORDER, Participant.PAYMENT
BROUGHT = Delivery(
    personal=People(customer_id="c4n4ry-1", runner_id="r-1"),
    order_id="o-1",
    payment_id="p-1",
    amount_cents=1698,
    payout_cents=435,
)
DELIVERED = m.OrderDelivered(order_id="o-1")
CAPTURED = m.PaymentCaptured(payment_id="p-1", order_id="o-1")
PAID = m.RunnerPaid(payout_id="po_1", payment_id="p-1", order_id="o-1")
COMPLETED = m.OrderCompleted(order_id="o-1")
UNDONE = m.OrderDeliveryUndone(order_id="o-1")
NOT_HELD = m.PaymentCaptureFailed(error="NOTHING_HELD", payment_id="p-1")
NOT_PAID = m.RunnerPayoutFailed(error="PROVIDER_REFUSED", payment_id="p-1")
ANSWERS = (DELIVERED, CAPTURED, PAID, COMPLETED)
UNDO = m.UndoDelivery(order_id="o-1", reason="CAPTURE_REFUSED")
BARE_ORDERS = {**FULL, ORDER: Kind.BARE}


def delivery(steps_done: int = 0, *, kinds: Mapping[Participant, Kind] = FULL) -> Story:
    """An order that was brought, of which the first steps are done, each command looked at."""
    story = given(COMPLETE_ORDER, BROUGHT, kinds=kinds)
    asked: tuple[type[Command], ...] = (m.MarkDelivered, m.CapturePayment, m.PayRunner, m.MarkCompleted)
    for command, to, answer in list(zip(asked, (ORDER, PAYMENT, PAYMENT, ORDER), ANSWERS, strict=True))[:steps_done]:
        story.expect(command, to=to).reply(answer)
    return story


def at_rest(story: Story) -> tuple[Status, tuple[str, ...]]:
    return story.saga.status, story.saga.attention


def out(story: Story) -> str:
    return story.saga.outstanding.step if story.saga.outstanding else "nothing"


def test_a_delivered_order_is_captured_paid_out_and_completed_and_both_are_told() -> None:
    story = delivery(4)
    story.expect_notice(m.OrderDeliveredNotice, customer_id="c4n4ry-1", amount_cents=1698)
    story.expect_notice(m.RunnerPaidNotice, customer_id="r-1", amount_cents=435)
    story.ends(Status.COMPLETED)
    assert story.saga.closed
    assert story.saga.data.payout_id == "po_1"


def test_the_commands_say_what_is_to_be_done() -> None:
    story = given(COMPLETE_ORDER, BROUGHT)
    story.expect(m.MarkDelivered(order_id="o-1"), to=ORDER).reply(DELIVERED)
    story.expect(m.CapturePayment(payment_id="p-1", order_id="o-1", amount_cents=1698), to=PAYMENT).reply(CAPTURED)
    story.expect(m.PayRunner(payment_id="p-1", order_id="o-1", runner_id="r-1", amount_cents=435), to=PAYMENT)
    story.reply(PAID).expect(m.MarkCompleted(order_id="o-1"), to=ORDER)


# --- before the point of no return ----------------------------------------------------------------


def test_an_order_that_no_runner_has_is_not_completed() -> None:
    refused = m.OrderDeliveryFailed(error="ILLEGAL_STATE", order_id="o-1", status="CANCELLED")
    story = delivery().expect(m.MarkDelivered, to=ORDER).reply(refused)
    story.expect_notice(m.DeliveryCalledOffNotice, customer_id="r-1", reason="DELIVERY_REJECTED")
    story.ends(Status.COMPENSATED, reason=Reason.DELIVERY_REJECTED)


def test_a_mark_that_is_not_answered_is_taken_back() -> None:
    story = delivery().expect(m.MarkDelivered, to=ORDER)
    while story.saga.status is Status.STARTED:
        story.silence()
    for _ in range(2):
        story.expect(m.MarkDelivered, to=ORDER)
    story.expect(m.UndoDelivery(order_id="o-1", reason="STEP_TIMED_OUT"), to=ORDER).reply(UNDONE)
    story.expect_notice(m.DeliveryCalledOffNotice, customer_id="r-1").ends(
        Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT
    )
    assert story.saga.explanation == COMPLETE_ORDER.explanations[Reason.STEP_TIMED_OUT]


def test_an_operator_may_call_it_off_before_the_capture() -> None:
    story = delivery().expect(m.MarkDelivered, to=ORDER).cancel("operator", reason=Reason.OPERATOR_REQUEST)
    story.expect(m.UndoDelivery(order_id="o-1", reason="OPERATOR_REQUEST"), to=ORDER).reply(UNDONE)
    story.expect_notice(m.DeliveryCalledOffNotice).ends(Status.CANCELLED, reason=Reason.OPERATOR_REQUEST)


def test_it_is_not_for_the_customer_to_call_it_off() -> None:
    delivery().cancel("customer").expect_verdict(Verdict.REFUSED)


def test_a_payment_service_that_answers_nobody_is_waited_for_and_then_the_mark_is_taken_back() -> None:
    """Nothing was asked of it, so nothing is in doubt: the point of no return was not reached."""
    story = delivery().answers_nobody(PAYMENT).expect(m.MarkDelivered, to=ORDER).reply(DELIVERED)
    story.silence_until(Status.COMPENSATING).expect(m.UndoDelivery, to=ORDER).reply(UNDONE)
    story.expect_notice(m.DeliveryCalledOffNotice).ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT)


def test_a_mark_that_comes_to_light_after_it_was_given_up_is_taken_back() -> None:
    story = delivery(kinds=BARE_ORDERS).expect(m.MarkDelivered, to=ORDER).cancel("operator")
    story.expect(m.UndoDelivery, to=ORDER).hear(UNDONE).hear(DELIVERED)
    story.expect(m.UndoDelivery, to=ORDER).hear(UNDONE)
    assert story.saga.status is Status.CANCELLED
    story.step("MARK_DELIVERED", Became.UNDONE)


def test_an_undo_that_is_never_confirmed_needs_a_person() -> None:
    story = delivery(1).expect(m.CapturePayment, to=PAYMENT).reply(NOT_HELD)
    story.silence_until(Status.FAILED)
    story.expect_notice(m.CompletionFailedNotice, customer_id="r-1")
    assert story.saga.reason is Reason.CAPTURE_REFUSED


# --- the point of no return -----------------------------------------------------------------------


def test_a_refused_capture_takes_the_mark_back() -> None:
    story = delivery(1).expect(m.CapturePayment, to=PAYMENT).reply(NOT_HELD)
    story.expect(UNDO, to=ORDER).reply(UNDONE)
    story.expect_notice(m.DeliveryCalledOffNotice, reason="CAPTURE_REFUSED")
    story.ends(Status.COMPENSATED, reason=Reason.CAPTURE_REFUSED)


def test_a_capture_in_doubt_is_asked_for_under_one_id_until_it_is_answered_and_a_person_is_told_meanwhile() -> None:
    story = delivery(1)
    ids = set()
    for _ in range(2 * PATIENT.attempts_max + 1):
        assert story.saga.outstanding
        ids.add(story.saga.outstanding.message_id)
        story.silence()
    assert (story.saga.status, len(ids)) == (Status.STARTED, 1)
    assert story.saga.attention == ("CAPTURE_PAYMENT is not done yet; it is asked for until it is",)
    for _ in range(500):
        story.silence()
    assert story.saga.status is Status.STARTED
    assert len(story.saga.attention) == 1
    story.reply(CAPTURED).reply(PAID).reply(COMPLETED)
    assert at_rest(story) == (Status.COMPLETED, ())


def test_a_capture_that_turns_out_refused_after_long_silence_takes_the_mark_back() -> None:
    story = delivery(1)
    for _ in range(50):
        story.silence()
    story.reply(NOT_HELD)
    assert (story.saga.status, story.saga.attention) == (Status.COMPENSATING, ())
    story.reply(UNDONE)
    assert story.saga.status is Status.COMPENSATED


@pytest.mark.parametrize("silences", [0, 1, 40])
def test_from_the_capture_on_nothing_is_called_off(silences: int) -> None:
    """Whether it is done is not known yet: a cancel is refused, and changes nothing."""
    story = delivery(1)
    for _ in range(silences):
        story.silence()
    story.cancel("operator").expect_verdict(Verdict.REFUSED)
    assert "point of no return" in story.last.why
    story.reply(CAPTURED).cancel("operator").expect_verdict(Verdict.REFUSED)
    story.reply(PAID).reply(COMPLETED).cancel("operator").expect_verdict(Verdict.REFUSED)


def test_after_a_refused_capture_asking_to_call_it_off_changes_nothing() -> None:
    delivery(1).reply(NOT_HELD).cancel("operator").expect_verdict(Verdict.REFUSED)


def test_a_capture_that_was_refused_and_done_is_shown_to_a_person() -> None:
    story = delivery(1).reply(NOT_HELD).hear(CAPTURED).reply(UNDONE)
    assert story.saga.status is Status.COMPENSATED
    assert story.saga.attention == ("CAPTURE_PAYMENT was done, though it counted as REFUSED",)


def test_a_refusal_that_comes_after_the_success_is_only_noted() -> None:
    story = delivery(2).hear(NOT_HELD).expect(m.PayRunner, to=PAYMENT)
    assert story.saga.steps["CAPTURE_PAYMENT"].contradicted
    assert (story.saga.status, story.saga.committed) == (Status.STARTED, True)


def test_news_of_another_payment_is_not_the_answer() -> None:
    story = delivery(1).hear(m.PaymentCaptureFailed(error="NOTHING_HELD"), causation_id=story_id())
    story.expect_verdict(Verdict.STRAY)


def story_id() -> UUID:
    return UUID(int=7)


# --- after it -------------------------------------------------------------------------------------


def test_a_refused_payout_is_asked_for_until_it_is_made() -> None:
    story = delivery(2)
    for attempt in range(1, PATIENT.attempts_max + 3):
        story.expect(m.PayRunner, to=PAYMENT).reply(NOT_PAID).hear(NOT_PAID)
        assert story.last.verdict is Verdict.REPEATED, "a refusal while it backs off says nothing new"
        assert bool(story.saga.attention) is (attempt >= PATIENT.attempts_max)
        assert story.saga.steps["PAY_RUNNER"].refusal == "PROVIDER_REFUSED"
        story.silence()
    story.expect(m.PayRunner, to=PAYMENT).reply(PAID).reply(COMPLETED)
    assert at_rest(story) == (Status.COMPLETED, ())


def test_the_pauses_between_attempts_grow_to_their_most_and_no_further() -> None:
    story, pauses = delivery(2), []
    for _ in range(60):
        story.silence()
        assert story.saga.outstanding
        if story.saga.outstanding.backing_off:
            pauses.append((story.saga.outstanding.due_at - story.now).total_seconds())
    assert max(pauses) <= PATIENT.backoff_seconds_max
    assert min(pauses[12:]) >= 0.75 * PATIENT.backoff_seconds_max


def test_a_payment_service_that_answers_nobody_is_waited_for_as_long_as_it_takes() -> None:
    story = delivery(1).answers_nobody(PAYMENT).reply(CAPTURED)
    for _ in range(200):
        story.silence()
    assert (story.saga.status, out(story)) == (Status.STARTED, "nothing")
    assert story.saga.attention == ("PAY_RUNNER is not done yet; it is asked for until it is",)
    story.answers_nobody().silence()
    story.reply(PAID).reply(COMPLETED)
    assert at_rest(story) == (Status.COMPLETED, ())


def test_an_operator_may_ask_again_at_once() -> None:
    story = delivery(2).expect(m.PayRunner, to=PAYMENT).reply(NOT_PAID).expect_nothing()
    story.retry().expect(m.PayRunner, to=PAYMENT)


def test_a_payout_by_other_means_is_settled_and_the_saga_goes_on() -> None:
    story = delivery(2).settle("pay_runner").expect(m.PayRunner, to=PAYMENT).expect(m.MarkCompleted, to=ORDER)
    story.reply(COMPLETED).step("PAY_RUNNER", Became.SETTLED)
    story.settle("pay_runner").expect_verdict(Verdict.REFUSED)
    story.ends(Status.COMPLETED)


def test_a_payout_that_was_made_though_it_was_settled_is_shown_to_a_person() -> None:
    story = delivery(2).settle("pay_runner").hear(PAID)
    assert story.saga.attention == ("PAY_RUNNER was done, though it counted as SETTLED",)


def test_what_comes_before_the_point_cannot_be_settled_forward() -> None:
    delivery().settle("mark_delivered").expect_verdict(Verdict.REFUSED)
    delivery(1).settle("undo_delivery").expect_verdict(Verdict.REFUSED)


def test_a_runner_who_was_paid_twice_is_shown_to_a_person() -> None:
    story = delivery(3).hear(replace_payout("po_2"))
    assert story.saga.attention == ("PAY_RUNNER was done twice (po_1 and po_2); none is to be taken back by a command",)


def replace_payout(payout_id: str) -> m.RunnerPaid:
    return m.RunnerPaid(payout_id=payout_id, payment_id="p-1", order_id="o-1")


def test_a_mark_that_is_taken_back_by_hand_after_the_capture_is_shown_to_a_person() -> None:
    story = delivery(2, kinds=BARE_ORDERS).hear(UNDONE)
    assert (story.saga.status, len(story.saga.attention)) == (Status.STARTED, 1)
    story.hear(PAID).hear(COMPLETED)
    assert story.saga.status is Status.COMPLETED


def test_a_mark_that_is_taken_back_by_hand_before_the_capture_calls_it_off() -> None:
    story = given(replace(COMPLETE_ORDER, hold_seconds_max=1000), BROUGHT, kinds=BARE_ORDERS).answers_nobody(PAYMENT)
    story.hear(DELIVERED).hear(UNDONE)
    assert (story.saga.status, story.saga.reason) == (Status.CANCELLED, Reason.OPERATOR_REQUEST)


def test_other_news_of_the_order_is_none_of_its_business() -> None:
    delivery(2).hear(OrderCancelledByHand(order_id="o-1")).expect_verdict(Verdict.STRAY)


def test_a_mark_that_is_made_again_after_it_was_taken_back_is_taken_back_again() -> None:
    """A bare order service that was killed carries our command out again, after somebody took the mark back: its
    stamps tell.
    """
    story = delivery(kinds=BARE_ORDERS).expect(m.MarkDelivered, to=ORDER)
    first, undone, second = (story.now + timedelta(seconds=n) for n in (1, 2, 3))
    story.hear(UNDONE, stamp=undone).hear(DELIVERED, stamp=first)
    assert story.saga.status is Status.CANCELLED
    story.hear(DELIVERED, stamp=first).expect_verdict(Verdict.LATE)
    story.hear(DELIVERED, stamp=second)
    story.expect(m.UndoDelivery, to=ORDER).hear(UNDONE, stamp=second + timedelta(seconds=1))
    story.expect_notice(m.DeliveryCalledOffNotice).ends(Status.CANCELLED, reason=Reason.OPERATOR_REQUEST)


@pytest.mark.parametrize("told_before", [True, False])
@pytest.mark.parametrize("kinds", [FULL, BARE_ORDERS])
def test_what_was_done_and_undone_in_one_moment_and_is_told_after_that_is_clear_of_a_full_participant(
    kinds: Mapping[Participant, Kind], told_before: bool
) -> None:
    """Told again, where nobody heard that a batch was committed; or told late."""
    story = delivery(kinds=kinds).expect(m.MarkDelivered, to=ORDER).cancel("operator")
    at = story.now + timedelta(seconds=1)
    story.expect(m.UndoDelivery, to=ORDER)
    if told_before:
        story.hear(DELIVERED, stamp=at)
    story.hear(UNDONE, stamp=at)
    assert at_rest(story) == (Status.CANCELLED, ())
    story.hear(DELIVERED, stamp=at)
    if kinds is FULL:
        story.expect_verdict(Verdict.LATE).expect_nothing()
    assert bool(story.saga.attention) == (kinds is not FULL)


def test_a_late_answer_to_a_closed_one_is_a_repeat() -> None:
    story = delivery(4)
    for answer in ANSWERS:
        story.hear(answer)
        assert story.last.verdict is Verdict.REPEATED
    assert story.saga.status is Status.COMPLETED
