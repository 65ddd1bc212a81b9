"""The create-order saga: what becomes of an order when all goes well, when a step is refused, when nobody answers."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ordersaga.orchestrator.core.decide import decide, start
from ordersaga.orchestrator.core.inputs import CommandDeadline, Input, Verdict, WindowDeadline
from ordersaga.orchestrator.core.instance import Became, Status
from ordersaga.orchestrator.core.needs import settled
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.testing.story import BARE, FULL, NOON, SAGA_ID, given
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.sagas.stories import (
    AUTHORIZED,
    CANCELLED,
    CARD,
    CREATED,
    DECLINED,
    OPENED,
    PLACED,
    RELEASED,
    SAGA,
    TIMER,
    TIMER_CANCELLED,
    order,
)


def test_an_order_goes_through_the_five_services_and_is_completed() -> None:
    assert PLACED.personal
    (
        order()
        .expect(
            m.CreateOrder(customer_id="c4n4ry-1", order_details=PLACED.personal.order_details, saga_id=SAGA),
            to=Participant.ORDER,
        )
        .reply(CREATED)
        .expect(m.GetPaymentInfo(user_id="c4n4ry-1"), to=Participant.USER)
        .reply(CARD)
        .expect(
            m.AuthorizePayment(
                order_id="o-1",
                customer=m.PayingCustomer(
                    clerk_user_id="c4n4ry-1",
                    stripe_customer_id="cus_c4n4ry",
                    user_stripe_card=m.Card(payment_method_id="pm_c4n4ry"),
                ),
                order=m.PayableOrder(amount=870, description="Food order o-1"),
                return_url="https://campus.example/return",
            ),
            to=Participant.PAYMENT,
        )
        .reply(AUTHORIZED)
        .expect(m.UpdateOrderStatus(order_id="o-1", status="CREATED"), to=Participant.ORDER)
        .reply(OPENED)
        .expect(
            m.StartOrderTimer(order_id="o-1", customer_id="c4n4ry-1", timeout_at=NOON + timedelta(minutes=30)),
            to=Participant.TIMER,
        )
        .reply(TIMER)
        .expect_notice(m.OrderConfirmedNotice, order_id="o-1", amount_cents=870)
        .ends(Status.COMPLETED)
    )


def test_a_declined_card_takes_the_order_back_and_tells_the_customer_why() -> None:
    (
        order(steps_done=2)
        .expect(m.AuthorizePayment, to=Participant.PAYMENT)
        .reply(DECLINED)
        .expect(m.CancelOrder(order_id="o-1", saga_id=SAGA, reason="PAYMENT_DECLINED"), to=Participant.ORDER)
        .reply(CANCELLED)
        .expect_notice(m.OrderCancelledNotice, reason="PAYMENT_DECLINED", money="Your card was not charged.")
        .ends(Status.COMPENSATED, reason=Reason.PAYMENT_DECLINED)
    )


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("User not found", Reason.CUSTOMER_UNKNOWN),
        ("Default payment method not set for user", Reason.PAYMENT_METHOD_MISSING),
        ("Stripe customer ID not configured for user", Reason.PAYMENT_METHOD_MISSING),
    ],
)
def test_what_the_user_service_says_becomes_a_reason(sentence: str, reason: Reason) -> None:
    (
        order(steps_done=1)
        .expect(m.GetPaymentInfo, to=Participant.USER)
        .reply(m.PaymentInfoFailed(error=sentence))
        .expect(m.CancelOrder, to=Participant.ORDER)
        .reply(CANCELLED)
        .ends(Status.COMPENSATED, reason=reason)
    )


def test_a_user_service_with_a_passing_fault_is_asked_again() -> None:
    story = order(steps_done=1).expect(m.GetPaymentInfo, to=Participant.USER)
    story.reply(m.PaymentInfoFailed(error="Internal server error: timeout")).expect_nothing()
    story.silence().expect(m.GetPaymentInfo, to=Participant.USER).reply(CARD)
    story.expect(m.AuthorizePayment, to=Participant.PAYMENT).waits(Status.STARTED)


def test_a_passing_fault_that_does_not_pass_is_a_refusal_in_the_end() -> None:
    story = order(steps_done=1).expect(m.GetPaymentInfo, to=Participant.USER)
    failed = m.PaymentInfoFailed(error="Internal server error: " + "x" * 200)
    for _ in range(2):
        story.reply(failed).expect_nothing().reply(failed).expect_verdict(Verdict.REPEATED)
        assert story.last.why == "backing off already"
        story.silence().expect(m.GetPaymentInfo, to=Participant.USER)
    story.reply(failed).step("GET_USER_DATA", Became.REFUSED).expect(m.CancelOrder, to=Participant.ORDER)
    assert story.saga.steps["GET_USER_DATA"].refusal == failed.error[:100]
    story.reply(CANCELLED).ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT)


def test_a_silent_step_that_turns_out_to_be_refused_is_not_undone() -> None:
    story = order(steps_done=2, kinds=BARE).silence().hear(m.PaymentFailed(error="DATABASE_ERROR"))
    story.step("AUTHORIZE_PAYMENT", Became.REFUSED)
    assert "DATABASE_ERROR" in story.saga.attention[0]
    story.sent.clear()
    story.hear(CANCELLED).expect_notice(m.OrderCancelledNotice)
    story.ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT, attention=True)


def test_what_a_payment_service_says_in_a_sentence_is_not_quoted() -> None:
    """It may name the customer. A code is worth a look, and names nobody."""
    story = order(steps_done=2).reply(m.PaymentFailed(error="no card for c4n4ry@mail.example"))
    (why,) = story.saga.attention
    assert why == "payment failed, and no code says why: compare with the provider whether a hold was made"


def test_a_confirmation_that_brings_the_id_confirms_an_undo_that_did_not_know_it() -> None:
    story = order().silence_until(Status.COMPENSATING)
    story.sent.clear()
    story.reply(m.OrderCancelled(order_id="o-7")).step("CREATE_ORDER", Became.UNDONE)
    story.expect_notice(m.OrderCancelledNotice).ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT)


def test_what_made_the_undo_impossible_is_kept_short() -> None:
    story = order(steps_done=5).cancel().reply(CANCELLED)
    error = "stripe_error" + "x" * 200
    while story.saga.status is not Status.FAILED:
        waits = story.saga.outstanding and story.saga.outstanding.backing_off
        story.silence() if waits else story.reply(m.PaymentFailed(error=error))
    assert story.saga.stuck and story.saga.stuck.problem == error[:100]


def test_an_answer_of_a_service_that_the_saga_leaves_out_is_not_its_business() -> None:
    without = replace(
        CREATE_ORDER,
        steps=CREATE_ORDER.steps[:-1],
        undo_order=tuple(undo for undo in CREATE_ORDER.undo_order if undo.name != "cancel_timer"),
    )
    story = given(without, PLACED)
    for answer in (CREATED, CARD, AUTHORIZED, OPENED):
        story.reply(answer)
    story.hear(TIMER).expect_verdict(Verdict.STRAY)
    assert (story.last.why, story.saga.status) == ("not of this saga", Status.COMPLETED)


def test_where_no_order_is_given_what_was_finished_last_is_taken_back_first() -> None:
    story = given(replace(CREATE_ORDER, undo_order=()), PLACED)
    for answer in (CREATED, CARD, AUTHORIZED, OPENED, TIMER):
        story.reply(answer)
    story.sent.clear()
    story.cancel().expect(m.CancelTimer, to=Participant.TIMER).reply(TIMER_CANCELLED)
    story.expect(m.CancelOrder, to=Participant.ORDER).reply(CANCELLED)
    story.expect(m.RevertPayment, to=Participant.PAYMENT).reply(RELEASED)
    story.ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)
    early = given(replace(CREATE_ORDER, undo_order=()), PLACED).reply(CREATED).reply(CARD).reply(AUTHORIZED)
    early.sent.clear()
    early.reply(m.OrderStatusUpdateFailed(error="X")).expect(m.RevertPayment, to=Participant.PAYMENT)


def test_the_trace_of_the_request_stays_with_the_saga() -> None:
    begun = start(CREATE_ORDER, SAGA_ID, PLACED, NOON, ("00-trace", "vendor=1")).instance
    assert (begun.traceparent, begun.tracestate) == ("00-trace", "vendor=1")


def test_a_saga_is_settled_when_nothing_is_left_to_take_back_or_a_runner_has_the_order() -> None:
    story = order(steps_done=2)
    assert not settled(story.definition, story.saga)
    story.reply(DECLINED)
    assert not settled(story.definition, story.saga)
    story.reply(CANCELLED)
    assert settled(story.definition, story.saga)
    story = order(steps_done=5)
    assert not settled(story.definition, story.saga)
    assert settled(story.definition, story.hear(m.OrderAccepted(order_id="o-1", runner_id="r-1")).saga)
    late = order(steps_done=2, kinds=BARE).silence().hear(CANCELLED).after(60).hear(AUTHORIZED)
    assert (late.saga.status, settled(late.definition, late.saga)) == (Status.COMPENSATED, False)


def test_a_rejected_order_left_nothing_behind_so_nothing_is_undone() -> None:
    order().expect(m.CreateOrder, to=Participant.ORDER).reply(m.OrderCreationFailed(error="CLOSED")).ends(
        Status.COMPENSATED, reason=Reason.ORDER_REJECTED
    )


def test_an_order_that_cannot_be_opened_is_cancelled_before_its_money_is_given_back() -> None:
    (
        order(steps_done=3)
        .expect(m.UpdateOrderStatus, to=Participant.ORDER)
        .reply(m.OrderStatusUpdateFailed(error="ILLEGAL_STATE"))
        .expect(m.CancelOrder, to=Participant.ORDER)
        .expect_nothing()
        .reply(CANCELLED)
        .expect(m.RevertPayment(payment_id="p-1", order_id="o-1", reason="ORDER_UPDATE_FAILED"), to=Participant.PAYMENT)
        .reply(RELEASED)
        .expect_notice(m.OrderCancelledNotice, money="The $8.70 reserved on your card are released.")
        .ends(Status.COMPENSATED, reason=Reason.ORDER_UPDATE_FAILED)
    )


@pytest.mark.parametrize("answer", [m.TimerFailed(error="DOWN"), None])
def test_an_order_is_confirmed_without_the_timer_service(answer: m.Event | None) -> None:
    story = order(steps_done=4).expect(m.StartOrderTimer, to=Participant.TIMER)
    story = story.reply(answer) if answer else story.silence()
    story.expect_notice(m.OrderConfirmedNotice).ends(Status.COMPLETED)
    assert story.now <= NOON + timedelta(seconds=2)


@pytest.mark.parametrize(
    ("steps_done", "silent"), [(0, "CREATE_ORDER"), (2, "AUTHORIZE_PAYMENT"), (3, "UPDATE_ORDER_STATUS")]
)
def test_a_silent_step_is_asked_again_and_then_undone_because_it_may_have_happened(
    steps_done: int, silent: str
) -> None:
    story = order(steps_done)
    first = story.sent[-1]
    story.silence_until(Status.COMPENSATING).step(silent, Became.IN_DOUBT)
    asked = [send for send in story.sent if send.message_id == first.message_id]
    assert [send.body for send in asked] == [first.body] * 3, "a retry is the same message"
    story.sent.clear()
    while story.saga.outstanding:
        undone = {"CREATE_ORDER": CANCELLED, "AUTHORIZE_PAYMENT": RELEASED, "START_TIMER": TIMER_CANCELLED}
        story.reply(undone[story.saga.outstanding.step])
        story.sent.clear()
    story.ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT)


def test_a_full_participant_is_told_to_undo_what_has_no_id_yet() -> None:
    (
        order()
        .expect(m.CreateOrder, to=Participant.ORDER)
        .silence_until(Status.COMPENSATING)
        .expect(m.CreateOrder, to=Participant.ORDER)
        .expect(m.CreateOrder, to=Participant.ORDER)
        .expect(m.CancelOrder(saga_id=SAGA, reason="STEP_TIMED_OUT"), to=Participant.ORDER)
        .reply(m.OrderCancelled())
        .ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT)
    )


def test_a_bare_participant_is_never_asked_twice_for_what_it_would_do_twice() -> None:
    story = order(steps_done=2, kinds=BARE).expect(m.AuthorizePayment, to=Participant.PAYMENT).silence()
    story.waits(Status.COMPENSATING).expect(m.CancelOrder, to=Participant.ORDER).reply(CANCELLED)
    story.ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT, attention=True)


@pytest.mark.parametrize("kinds", [BARE, FULL])
def test_an_answer_that_comes_after_a_retry_counts(kinds: object) -> None:
    story = order(steps_done=1).expect(m.GetPaymentInfo, to=Participant.USER).silence().silence()
    story.expect(m.GetPaymentInfo, to=Participant.USER).hear(CARD).expect(m.AuthorizePayment, to=Participant.PAYMENT)
    story.hear(CARD).expect_verdict(Verdict.REPEATED)


def test_a_late_authorization_is_voided_while_the_saga_is_taken_back() -> None:
    (
        order(steps_done=2, kinds=BARE)
        .expect(m.AuthorizePayment, to=Participant.PAYMENT)
        .silence()
        .expect(m.CancelOrder, to=Participant.ORDER)
        .hear(AUTHORIZED)
        .hear(CANCELLED)
        .expect(m.RevertPayment, to=Participant.PAYMENT)
        .hear(RELEASED)
        .ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT)
    )


def test_a_late_authorization_is_voided_even_after_the_end() -> None:
    story = order(steps_done=2, kinds=BARE).expect(m.AuthorizePayment, to=Participant.PAYMENT).silence()
    story.expect(m.CancelOrder, to=Participant.ORDER).hear(CANCELLED)
    story.ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT, attention=True)
    story.after(3600).hear(AUTHORIZED).waits(Status.COMPENSATED)
    story.expect(m.RevertPayment(payment_id="p-1", order_id="o-1", reason="STEP_TIMED_OUT"), to=Participant.PAYMENT)
    story.hear(RELEASED).ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT, attention=True)


def test_a_refused_undo_is_tried_again_and_a_person_is_called_when_it_stays_refused() -> None:
    story = order(steps_done=3).expect(m.UpdateOrderStatus, to=Participant.ORDER)
    story.reply(m.OrderStatusUpdateFailed(error="X")).expect(m.CancelOrder, to=Participant.ORDER).reply(CANCELLED)
    for _ in range(19):
        story.expect(m.RevertPayment, to=Participant.PAYMENT).reply(
            m.PaymentFailed(error="stripe_error")
        ).expect_nothing()
        story.reply(m.PaymentFailed(error="stripe_error")).expect_verdict(Verdict.REPEATED)
        story.silence()
    story.expect(m.RevertPayment, to=Participant.PAYMENT).reply(m.PaymentFailed(error="stripe_error"))
    story.expect_notice(m.OrderFailedNotice).ends(Status.FAILED, reason=Reason.ORDER_UPDATE_FAILED)
    assert story.saga.stuck and story.saga.stuck.problem == "stripe_error"


def test_the_late_answer_that_a_failed_saga_lacked_brings_it_back() -> None:
    story = order(steps_done=3).expect(m.UpdateOrderStatus, to=Participant.ORDER)
    story.reply(m.OrderStatusUpdateFailed(error="X")).reply(CANCELLED).silence_until(Status.FAILED)
    story.sent.clear()
    story.hear(RELEASED).ends(Status.COMPENSATED, reason=Reason.ORDER_UPDATE_FAILED)


def test_nobody_accepts_so_the_order_is_taken_back_in_the_order_of_the_definition() -> None:
    (
        order(steps_done=5)
        .expect_notice(m.OrderConfirmedNotice)
        .nobody_accepts()
        .expect(m.CancelOrder(order_id="o-1", saga_id=SAGA, reason="ACCEPTANCE_TIMEOUT"), to=Participant.ORDER)
        .reply(CANCELLED)
        .expect(m.RevertPayment, to=Participant.PAYMENT)
        .reply(RELEASED)
        .expect_notice(m.OrderCancelledNotice, reason="ACCEPTANCE_TIMEOUT")
        .ends(Status.CANCELLED, reason=Reason.ACCEPTANCE_TIMEOUT)
    )


def test_a_customer_cancels_a_confirmed_order_and_its_timer_goes_last() -> None:
    (
        order(steps_done=5)
        .expect_notice(m.OrderConfirmedNotice)
        .cancel()
        .expect(m.CancelOrder(order_id="o-1", saga_id=SAGA, reason="CUSTOMER_REQUEST"), to=Participant.ORDER)
        .reply(CANCELLED)
        .expect(m.RevertPayment, to=Participant.PAYMENT)
        .reply(RELEASED)
        .expect(m.CancelTimer, to=Participant.TIMER)
        .reply(TIMER_CANCELLED)
        .ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)
    )


def test_a_cancel_that_a_runner_was_faster_than_leaves_the_order_standing() -> None:
    refused = m.OrderCancellationFailed(error="ORDER_ACCEPTED", order_id="o-1", status="ACCEPTED")
    story = order(steps_done=5).expect_notice(m.OrderConfirmedNotice).cancel()
    story.expect(m.CancelOrder, to=Participant.ORDER).reply(refused)
    story.expect_notice(m.CancellationRefusedNotice, money="$8.70 stay reserved on your card.").ends(Status.COMPLETED)
    assert story.saga.closed


def test_an_accepted_order_is_closed_and_cannot_be_cancelled() -> None:
    story = order(steps_done=5).hear(m.OrderAccepted(order_id="o-1", runner_id="r-1")).ends(Status.COMPLETED)
    assert story.saga.closed and story.saga.window_due_at is None
    story.cancel().expect_verdict(Verdict.REFUSED)


def test_a_confirmation_of_another_order_is_a_stray() -> None:
    order(steps_done=3).hear(m.OrderStatusUpdated(order_id="o-2", status="CREATED")).expect_verdict(Verdict.STRAY)


def test_only_the_status_created_confirms_the_update() -> None:
    order(steps_done=3).hear(m.OrderStatusUpdated(order_id="o-1", status="PLACED")).expect_verdict(Verdict.STRAY)


def test_an_answer_to_a_command_that_was_never_sent_is_a_stray() -> None:
    order(steps_done=1).hear(AUTHORIZED).expect_verdict(Verdict.STRAY)


def test_a_payout_to_a_runner_is_not_this_sagas_business() -> None:
    order(steps_done=3).hear(m.PaymentReleased(payment_id="p-1", status="SUCCEEDED")).expect_verdict(Verdict.STRAY)


# --- deadlines that are not due ---------------------------------------------------------------------


def test_a_deadline_that_is_read_too_early_changes_nothing() -> None:
    """A row of a deadline may be older than the state: a runner has given the order back since."""
    early: list[tuple[int, Input]] = [(5, WindowDeadline()), (1, CommandDeadline())]
    for steps_done, deadline in early:
        story = order(steps_done=steps_done)
        decision = decide(story.definition, story.saga, deadline, story.now)
        assert (decision.verdict, decision.instance) == (Verdict.LATE, story.saga)
