"""Cancel, acceptance, its reversal, an update: what the order service says of one order, however it arrives."""

from datetime import datetime, timedelta

import pytest

from ordersaga.orchestrator.core.inputs import Verdict
from ordersaga.orchestrator.core.instance import Became, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.testing.story import BARE, FULL, NOON, Story
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.sagas.stories import AUTHORIZED, CANCELLED, OPENED, RELEASED, TIMER, TIMER_CANCELLED, order

ACCEPTED = m.OrderAccepted(order_id="o-1", runner_id="r-1")
GIVEN_BACK = m.OrderAcceptanceCancelled(order_id="o-1")
BY_HAND = m.OrderCancelledByHand(order_id="o-1")


def test_an_acceptance_that_was_taken_back_opens_the_order_for_five_minutes_at_least() -> None:
    story = order(steps_done=5).after(1790).hear(ACCEPTED).after(5).hear(GIVEN_BACK).waits(Status.COMPLETED)
    assert story.saga.window_due_at == story.now + timedelta(minutes=5)
    story.sent.clear()
    story.nobody_accepts().expect(m.CancelOrder, to=Participant.ORDER).reply(CANCELLED).reply(RELEASED)


def test_an_acceptance_that_is_older_than_its_reversal_changes_nothing() -> None:
    story = order(steps_done=5).hear(ACCEPTED, stamp=NOON + timedelta(seconds=5))
    story.hear(GIVEN_BACK, stamp=NOON + timedelta(seconds=9))
    story.hear(ACCEPTED, stamp=NOON + timedelta(seconds=5)).expect_verdict(Verdict.LATE).waits(Status.COMPLETED)


def test_an_order_that_was_opened_after_a_runner_accepted_it_is_open_again() -> None:
    story = order(steps_done=5).hear(ACCEPTED, stamp=NOON + timedelta(seconds=5))
    assert story.saga.closed
    story.hear(OPENED, stamp=NOON + timedelta(seconds=4)).expect_verdict(Verdict.REPEATED)
    story.hear(OPENED, stamp=NOON + timedelta(seconds=6)).waits(Status.COMPLETED)
    assert not story.saga.closed


def test_an_acceptance_older_than_the_confirmed_cancel_is_late() -> None:
    story = order(steps_done=5, kinds=BARE).cancel()
    story.hear(CANCELLED, stamp=NOON + timedelta(seconds=9)).hear(ACCEPTED, stamp=NOON + timedelta(seconds=8))
    story.expect_verdict(Verdict.LATE).waits(Status.CANCELLING)


def test_an_accepted_order_is_not_cancelled_by_a_clock_that_runs_out_at_the_same_moment() -> None:
    story = order(steps_done=5).hear(ACCEPTED)
    assert story.saga.window_due_at is None
    first = order(steps_done=5, kinds=BARE).expect_notice(m.OrderConfirmedNotice).nobody_accepts()
    first.expect(m.CancelOrder, to=Participant.ORDER).hear(ACCEPTED).waits(Status.CANCELLING)
    final = m.OrderCancelled(order_id="o-1", reason="Already in final state: ACCEPTED")
    first.hear(final).ends(Status.COMPLETED)
    assert first.saga.closed, "the clock's cancel is refused, and nobody is told of it"


def test_a_cancel_that_a_bare_service_never_answers_gives_way_to_the_acceptance_with_attention() -> None:
    story = order(steps_done=5, kinds=BARE).expect_notice(m.OrderConfirmedNotice).cancel()
    story.expect(m.CancelOrder, to=Participant.ORDER).hear(ACCEPTED).silence()
    story.expect_notice(m.CancellationRefusedNotice)
    story.ends(Status.COMPLETED, reason=Reason.CUSTOMER_REQUEST, attention=True)
    assert story.saga.closed


def test_the_confirmation_of_a_cancel_that_was_given_up_makes_the_cancel_go_on() -> None:
    story = order(steps_done=5, kinds=BARE).cancel().hear(ACCEPTED, stamp=NOON).silence()
    story.sent.clear()
    story.hear(CANCELLED).expect(m.RevertPayment, to=Participant.PAYMENT).hear(RELEASED)
    story.expect(m.CancelTimer, to=Participant.TIMER).hear(TIMER_CANCELLED)
    story.expect_notice(m.OrderCancelledNotice, reason="CUSTOMER_REQUEST")
    story.ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST, attention=True)


def test_a_confirmation_that_is_older_than_the_acceptance_cancels_nothing() -> None:
    """Cancelled, brought back to life by an update on its way, accepted: the order lives."""
    story = order(steps_done=5, kinds=BARE).cancel().hear(ACCEPTED, stamp=NOON + timedelta(seconds=9))
    story.sent.clear()
    story.hear(CANCELLED, stamp=NOON + timedelta(seconds=5)).step("CREATE_ORDER", Became.DONE)
    story.expect_notice(m.CancellationRefusedNotice).ends(Status.COMPLETED)
    assert story.saga.closed
    story.hear(CANCELLED, stamp=NOON + timedelta(seconds=5)).expect_verdict(Verdict.LATE)
    assert story.last.why == "accepted since"


def test_a_confirmation_that_is_newer_than_the_acceptance_ends_it() -> None:
    story = order(steps_done=5, kinds=BARE).cancel().hear(ACCEPTED, stamp=NOON + timedelta(seconds=5))
    story.hear(CANCELLED, stamp=NOON + timedelta(seconds=9)).waits(Status.CANCELLING)
    assert story.saga.accepted is None
    assert story.saga.newest_stamp == NOON + timedelta(seconds=9)


def test_an_acceptance_and_a_cancel_of_the_same_moment_are_for_a_person() -> None:
    story = order(steps_done=5, kinds=BARE).cancel().hear(CANCELLED, stamp=NOON).hear(RELEASED).hear(TIMER_CANCELLED)
    story.sent.clear()
    story.hear(ACCEPTED, stamp=NOON)
    assert story.saga.attention[0] == "accepted and cancelled, and no stamp says which came last"
    assert story.saga.steps["UPDATE_ORDER_STATUS"].effects[0].ids == {"order_id": "o-1"}
    clear = order(steps_done=5, kinds=BARE).hear(ACCEPTED, stamp=NOON)
    assert not clear.saga.attention


def test_an_acceptance_proves_the_update_that_was_said_to_be_refused() -> None:
    story = order(steps_done=3, kinds=BARE).hear(m.OrderStatusUpdateFailed(error="X")).hear(ACCEPTED)
    assert story.saga.steps["UPDATE_ORDER_STATUS"].contradicted
    proven = order(steps_done=3).hear(ACCEPTED)
    assert not proven.saga.steps["UPDATE_ORDER_STATUS"].contradicted
    assert proven.saga.outstanding is None, "its answer is not waited for any more"


def test_an_update_that_revives_a_cancelled_order_is_taken_back_even_after_the_end() -> None:
    story = order(steps_done=3, kinds=BARE).expect(m.UpdateOrderStatus, to=Participant.ORDER).cancel()
    story.expect(m.CancelOrder, to=Participant.ORDER).hear(CANCELLED, stamp=NOON + timedelta(seconds=3))
    story.expect(m.RevertPayment, to=Participant.PAYMENT).hear(RELEASED)
    story.expect_notice(m.OrderCancelledNotice).ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)
    story.hear(OPENED, stamp=NOON + timedelta(seconds=2)).expect_verdict(Verdict.LATE).expect_nothing()
    story.hear(OPENED, stamp=NOON + timedelta(seconds=4)).expect(m.CancelOrder, to=Participant.ORDER)
    story.waits(Status.CANCELLED).hear(CANCELLED, stamp=NOON + timedelta(seconds=5))
    story.ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)


def test_where_stamps_do_not_tell_the_order_of_arrival_counts_and_a_person_looks() -> None:
    story = order(steps_done=3, kinds=BARE).expect(m.UpdateOrderStatus, to=Participant.ORDER).cancel()
    story.expect(m.CancelOrder, to=Participant.ORDER).hear(CANCELLED, stamp=NOON).hear(RELEASED)
    story.hear(OPENED, stamp=NOON)
    assert story.saga.attention == ("opened and cancelled, and no stamp says which came last",)
    assert story.saga.outstanding


def test_a_runner_who_accepts_a_revived_order_whose_money_is_gone_needs_a_person() -> None:
    story = order(steps_done=5, kinds=BARE).cancel().hear(CANCELLED).hear(RELEASED).hear(TIMER_CANCELLED)
    story.sent.clear()
    story.after(60).hear(ACCEPTED).expect_notice(m.OrderFailedNotice)
    story.ends(Status.FAILED, reason=Reason.CUSTOMER_REQUEST, attention=True)
    story.after(60).hear(GIVEN_BACK).expect(m.CancelOrder, to=Participant.ORDER).waits(Status.CANCELLED)
    story.after(1).hear(CANCELLED).ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST, attention=True)


def test_a_runner_who_accepts_a_revived_order_whose_money_is_on_its_way_back_needs_a_person() -> None:
    story = order(steps_done=5, kinds=BARE).cancel().hear(CANCELLED, stamp=NOON + timedelta(seconds=3))
    story.expect(m.CancelOrder, to=Participant.ORDER).expect(m.RevertPayment, to=Participant.PAYMENT)
    story.hear(ACCEPTED, stamp=NOON + timedelta(seconds=9))
    story.ends(Status.FAILED, reason=Reason.CUSTOMER_REQUEST, attention=True)
    assert story.saga.stuck
    assert story.saga.stuck.accepted


def test_a_cancel_that_stays_silent_leaves_failed_when_a_runner_turns_out_to_have_the_order() -> None:
    story = order(steps_done=5).cancel().silence_until(Status.FAILED)
    story.sent.clear()
    story.hear(ACCEPTED).expect_notice(m.CancellationRefusedNotice).ends(Status.COMPLETED)
    assert story.saga.closed and story.saga.stuck is None


@pytest.mark.parametrize("kinds", [FULL, BARE])
def test_an_acceptance_is_remembered_while_the_timer_is_started(kinds: object) -> None:
    story = order(steps_done=4).hear(ACCEPTED).expect(m.StartOrderTimer, to=Participant.TIMER)
    story.expect_notice(m.OrderConfirmedNotice).ends(Status.COMPLETED)
    assert story.saga.closed
    story.hear(TIMER)
    assert story.saga.closed


# --- by hand ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps_done", [3, 5])
def test_an_order_that_was_cancelled_by_hand_is_cancelled_by_us_too_since_an_update_may_revive_it(
    steps_done: int,
) -> None:
    story = order(steps_done=steps_done)
    story.sent.clear()
    story.hear(BY_HAND).expect(m.CancelOrder, to=Participant.ORDER).waits(Status.CANCELLING)
    story.hear(BY_HAND).expect_verdict(Verdict.REPEATED)
    story.reply(CANCELLED).expect(m.RevertPayment, to=Participant.PAYMENT).reply(RELEASED)
    assert story.saga.reason is Reason.OPERATOR_REQUEST


def test_an_unasked_confirmation_confirms_nothing_and_is_a_wish_to_cancel() -> None:
    story = order(steps_done=5)
    story.sent.clear()
    story.hear(CANCELLED).expect(m.CancelOrder, to=Participant.ORDER)
    story.step("CREATE_ORDER", Became.DONE).reply(CANCELLED)
    story.expect(m.RevertPayment, to=Participant.PAYMENT).reply(RELEASED)
    story.expect(m.CancelTimer, to=Participant.TIMER).reply(TIMER_CANCELLED)
    story.expect_notice(m.OrderCancelledNotice).ends(Status.CANCELLED, reason=Reason.OPERATOR_REQUEST)


def test_a_payment_voided_by_hand_is_a_fact_and_the_order_goes_with_it() -> None:
    story = order(steps_done=5)
    story.sent.clear()
    story.hear(RELEASED).expect(m.CancelOrder, to=Participant.ORDER).reply(CANCELLED)
    story.expect(m.CancelTimer, to=Participant.TIMER).reply(TIMER_CANCELLED)
    story.expect_notice(m.OrderCancelledNotice).ends(Status.CANCELLED, reason=Reason.OPERATOR_REQUEST)


def test_a_payment_voided_by_hand_of_an_order_that_a_runner_has_needs_a_person() -> None:
    order(steps_done=5).hear(ACCEPTED).hear(RELEASED).ends(Status.COMPLETED, attention=True)


@pytest.mark.parametrize("code", ["STRIPE_PAYMENT_CANCELED", "STRIPE_PAYMENT_FAILED"])
def test_a_hold_that_the_provider_let_go_is_gone(code: str) -> None:
    gone = m.PaymentFailed(error=code, payment_id="p-1")
    refused = order(steps_done=2, kinds=BARE).expect(m.AuthorizePayment, to=Participant.PAYMENT).hear(gone)
    refused.expect(m.CancelOrder, to=Participant.ORDER).hear(CANCELLED)
    refused.ends(Status.COMPENSATED, reason=Reason.PAYMENT_DECLINED)
    story = order(steps_done=5, kinds=BARE)
    story.sent.clear()
    story.hear(gone).expect(m.CancelOrder, to=Participant.ORDER).hear(CANCELLED).hear(TIMER_CANCELLED)
    assert (story.saga.status, story.saga.reason) == (Status.CANCELLED, Reason.OPERATOR_REQUEST)


@pytest.mark.parametrize("code", ["STRIPE_PAYMENT_CANCELED", "STRIPE_PAYMENT_FAILED", "STRIPE_CARD_ERROR"])
def test_a_hold_that_is_let_go_while_it_is_in_doubt_was_refused(code: str) -> None:
    story = order(steps_done=2, kinds=BARE).cancel().expect(m.AuthorizePayment, to=Participant.PAYMENT)
    story.expect(m.CancelOrder, to=Participant.ORDER).hear(m.PaymentFailed(error=code, payment_id="p-1"))
    story.step("AUTHORIZE_PAYMENT", Became.REFUSED).waits(Status.CANCELLING).hear(CANCELLED)
    story.expect_notice(m.OrderCancelledNotice, money="Your card was not charged.")
    story.ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)


def test_a_hold_that_is_let_go_once_its_undo_was_sent_waits_for_the_answer_to_that() -> None:
    gone = m.PaymentFailed(error="STRIPE_PAYMENT_CANCELED", payment_id="p-1")
    story = order(steps_done=2).cancel().reply(CANCELLED)
    out = story.saga.outstanding
    story.hear(gone).expect_verdict(Verdict.STRAY)
    assert story.saga.outstanding is out, "no attempt has failed"
    story.reply(RELEASED)
    assert (story.saga.status, story.saga.attention) == (Status.CANCELLED, ())


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_authorization_that_the_news_of_its_end_overtook_is_gone(cancelled: bool) -> None:
    gone = m.PaymentFailed(error="STRIPE_PAYMENT_CANCELED", payment_id="p-1")
    ended = Status.CANCELLED if cancelled else Status.COMPENSATED
    for seconds, at_the_end in ((4, False), (4, True), (6, False), (6, True)):
        story = order(steps_done=2, kinds=BARE)
        if cancelled:
            story.cancel()
        story.hear(gone, stamp=at(5))
        if at_the_end:
            story.hear(CANCELLED)
        story.sent.clear()
        story.hear(AUTHORIZED, stamp=at(seconds))
        if not at_the_end:
            story.hear(CANCELLED)
        if seconds > 5:
            story.expect(m.RevertPayment, to=Participant.PAYMENT).hear(RELEASED)
        story.step("AUTHORIZE_PAYMENT", Became.UNDONE).expect_nothing()
        assert (story.saga.status, story.saga.outstanding, story.saga.attention) == (ended, None, ())
        story.hear(AUTHORIZED, stamp=at(seconds)).hear(AUTHORIZED, stamp=at(seconds)).expect_nothing()


def test_news_of_the_end_of_another_hold_is_none_of_the_one_that_was_made() -> None:
    gone = m.PaymentFailed(error="STRIPE_PAYMENT_CANCELED", payment_id="p-9")
    story = order(steps_done=2, kinds=BARE).cancel().hear(gone, stamp=at(5)).hear(CANCELLED)
    story.sent.clear()
    story.hear(AUTHORIZED, stamp=at(4)).expect(m.RevertPayment, to=Participant.PAYMENT)


def test_a_refusal_that_names_its_command_says_nothing_of_a_hold_that_was_made() -> None:
    story = order(steps_done=2).reply(m.PaymentFailed(error="STRIPE_PAYMENT_CANCELED"), stamp=at(5)).reply(CANCELLED)
    story.sent.clear()
    story.hear(AUTHORIZED, stamp=at(4)).expect(m.RevertPayment, to=Participant.PAYMENT)


def test_a_saga_stuck_on_its_cancel_tries_again_when_the_order_is_cancelled_by_hand() -> None:
    story = order(steps_done=5).cancel().silence_until(Status.FAILED)
    story.sent.clear()
    story.after(10).hear(BY_HAND).expect(m.CancelOrder, to=Participant.ORDER).waits(Status.CANCELLING)
    story.reply(CANCELLED).expect(m.RevertPayment, to=Participant.PAYMENT)


# --- done twice ------------------------------------------------------------------------------------


def test_a_second_order_is_taken_back_while_the_first_one_stands() -> None:
    story = order(steps_done=5, kinds=BARE)
    story.sent.clear()
    story.hear(m.OrderCreated(order_id="o-2"))
    story.expect(
        m.CancelOrder(order_id="o-2", saga_id=str(story.saga.saga_id), reason="OPERATOR_REQUEST"), to=Participant.ORDER
    )
    story.waits(Status.COMPLETED).hear(m.OrderCancelled(order_id="o-2")).ends(Status.COMPLETED)
    assert story.saga.window_due_at, "the order itself is open"


def test_an_answer_that_names_no_order_undoes_the_one_that_its_command_named() -> None:
    story = order(steps_done=5).hear(m.OrderCreated(order_id="o-2"))
    story.sent.clear()
    story.reply(m.OrderCancelled()).ends(Status.COMPLETED)
    first, second = story.saga.steps["CREATE_ORDER"].effects
    assert (first.undone, second.undone) == (False, True)
    story.hear(m.OrderCancelled(order_id="o-2")).expect_verdict(Verdict.REPEATED)


def test_the_end_of_a_second_order_does_not_answer_the_cancel_of_the_first() -> None:
    story = order(steps_done=5, kinds=BARE).hear(m.OrderCreated(order_id="o-2")).cancel()
    story.sent.clear()
    story.hear(m.OrderCancelled(order_id="o-2")).expect(m.CancelOrder, to=Participant.ORDER)
    story.hear(m.OrderCancelled(order_id="o-2")).expect_verdict(Verdict.REPEATED).waits(Status.CANCELLING)
    out = story.saga.outstanding
    assert out and out.effect_id == "o-1"


def test_a_second_order_that_a_runner_has_is_for_a_person() -> None:
    story = order(steps_done=5, kinds=BARE).hear(m.OrderCreated(order_id="o-2"))
    story.sent.clear()
    story.hear(m.OrderCancelled(order_id="o-2", reason="Already in final state: COMPLETED"))
    story.ends(Status.COMPLETED, attention=True)
    assert story.saga.attention == ("o-2 was made by a repeat, and a runner has it",)


def test_a_second_order_that_cannot_be_taken_back_is_for_a_person_and_the_first_one_stands() -> None:
    story = order(steps_done=5).hear(m.OrderCreated(order_id="o-2"))
    for _ in range(200):
        if story.saga.attention:
            break
        story.silence()
    story.sent.clear()
    story.ends(Status.COMPLETED, attention=True)
    assert "o-2" in story.saga.attention[0]


def test_a_second_hold_with_another_payment_id_is_released_and_the_order_may_still_be_accepted() -> None:
    story = order(steps_done=5)
    story.sent.clear()
    story.hear(m.PaymentAuthorized(payment_id="p-2", order_id="o-1", payment_intent_id="pi_2"))
    story.expect(m.RevertPayment, to=Participant.PAYMENT).reply(m.PaymentReleased(payment_id="p-2", status="REVERTED"))
    story.ends(Status.COMPLETED)
    story.hear(ACCEPTED).ends(Status.COMPLETED)
    assert story.saga.closed
    assert not story.saga.steps["AUTHORIZE_PAYMENT"].effects[0].undone


def test_the_undo_of_a_second_hold_does_not_make_a_void_by_hand_an_answer() -> None:
    story = order(steps_done=5, kinds=BARE)
    story.hear(m.PaymentAuthorized(payment_id="p-2", order_id="o-1", payment_intent_id="pi_2"))
    story.hear(m.PaymentReleased(payment_id="p-2", status="REVERTED")).hear(ACCEPTED).after(60).hear(RELEASED)
    story.sent.clear()
    story.step("AUTHORIZE_PAYMENT", Became.UNDONE).ends(Status.COMPLETED, attention=True)
    assert story.saga.attention == ("revert_payment was done by hand though the order stands",)


def test_a_void_by_hand_while_the_undo_of_a_second_hold_is_out_is_no_answer_to_that() -> None:
    story = order(steps_done=5, kinds=BARE).hear(ACCEPTED)
    story.hear(m.PaymentAuthorized(payment_id="p-2", order_id="o-1", payment_intent_id="pi_2")).hear(RELEASED)
    out = story.saga.outstanding
    assert out and out.effect_id == "p-2"
    assert story.saga.attention == ("revert_payment was done by hand though the order stands",)
    story.hear(m.PaymentReleased(payment_id="p-2", status="REVERTED"))
    story.sent.clear()
    story.ends(Status.COMPLETED, attention=True)


@pytest.mark.parametrize("still_out", [False, True])
def test_the_cancel_of_a_second_order_does_not_make_a_cancel_by_hand_an_answer(still_out: bool) -> None:
    story = order(steps_done=5, kinds=BARE).hear(m.OrderCreated(order_id="o-2"))
    if not still_out:
        story.hear(m.OrderCancelled(order_id="o-2"))
    story.hear(ACCEPTED).after(60).hear(CANCELLED)
    story.step("CREATE_ORDER", Became.DONE)
    assert story.saga.attention == ("cancelled at the order service though it was accepted",)
    assert story.saga.closed
    if still_out:
        story.hear(m.OrderCancelled(order_id="o-2"))
    story.sent.clear()
    story.ends(Status.COMPLETED, attention=True)


def test_the_answer_to_our_own_undo_is_one_though_a_second_effect_was_undone_before() -> None:
    story = order(steps_done=5, kinds=BARE).hear(m.OrderCreated(order_id="o-2")).hear(m.OrderCancelled(order_id="o-2"))
    story.hear(m.PaymentAuthorized(payment_id="p-2", order_id="o-1", payment_intent_id="pi_2"))
    story.hear(m.PaymentReleased(payment_id="p-2", status="REVERTED"))
    story.cancel().hear(CANCELLED).hear(RELEASED).hear(TIMER_CANCELLED)
    story.sent.clear()
    story.ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)


def test_a_second_hold_that_no_command_can_name_is_for_a_person() -> None:
    story = order(steps_done=5, kinds=BARE)
    story.sent.clear()
    story.hear(m.PaymentAuthorized(payment_id="p-1", order_id="o-1", payment_intent_id="pi_2"))
    story.ends(Status.COMPLETED, attention=True)
    assert "pi_2" in story.saga.attention[0] and "pi_1" in story.saga.attention[0]


def test_the_same_authorization_again_is_a_repeat() -> None:
    order(steps_done=5).hear(AUTHORIZED).expect_verdict(Verdict.REPEATED)


def test_a_reversal_that_overtakes_its_acceptance_leaves_the_order_open() -> None:
    story = order(steps_done=5).hear(GIVEN_BACK, stamp=NOON + timedelta(seconds=9))
    story.hear(ACCEPTED, stamp=NOON + timedelta(seconds=5)).expect_verdict(Verdict.LATE).waits(Status.COMPLETED)
    assert not story.saga.closed and story.saga.window_due_at


def test_a_reversal_that_comes_first_gives_the_order_its_five_minutes_and_once() -> None:
    story = order(steps_done=5).after(1790).hear(GIVEN_BACK, stamp=NOON + timedelta(seconds=1780))
    assert story.saga.window_due_at == story.now + timedelta(minutes=5)
    story.after(60).hear(GIVEN_BACK, stamp=NOON + timedelta(seconds=1780)).expect_verdict(Verdict.REPEATED)


def test_of_two_acceptances_the_later_counts_and_a_reversal_between_them_is_late() -> None:
    story = order(steps_done=5, kinds=BARE).hear(ACCEPTED, stamp=NOON + timedelta(seconds=5))
    story.hear(m.OrderAccepted(order_id="o-1", runner_id="r-2"), stamp=NOON + timedelta(seconds=20))
    story.hear(GIVEN_BACK, stamp=NOON + timedelta(seconds=9)).expect_verdict(Verdict.LATE)
    assert story.saga.closed and story.saga.accepted and story.saga.accepted.runner_id == "r-2"
    story.hear(ACCEPTED, stamp=NOON + timedelta(seconds=5)).expect_verdict(Verdict.LATE)


def test_an_acceptance_that_is_older_than_a_repeated_update_is_late() -> None:
    story = order(steps_done=5, kinds=BARE).hear(OPENED, stamp=NOON + timedelta(seconds=9))
    story.hear(ACCEPTED, stamp=NOON + timedelta(seconds=7)).expect_verdict(Verdict.LATE)
    assert not story.saga.closed


def test_a_cancel_that_was_refused_for_an_acceptance_which_is_over_is_asked_for_again() -> None:
    refused = m.OrderCancellationFailed(order_id="o-1", status="ACCEPTED", error="ORDER_ACCEPTED")
    story = order(steps_done=5).cancel().expect(m.CancelOrder, to=Participant.ORDER)
    story.hear(ACCEPTED, stamp=NOON + timedelta(seconds=5)).hear(GIVEN_BACK, stamp=NOON + timedelta(seconds=9))
    story.sent.clear()
    story.hear(refused, stamp=NOON + timedelta(seconds=6)).waits(Status.CANCELLING)
    story.silence().expect(m.CancelOrder, to=Participant.ORDER).reply(CANCELLED).reply(RELEASED)


def test_a_reversal_that_is_older_than_the_refusal_of_a_cancel_is_late() -> None:
    refused = m.OrderCancellationFailed(order_id="o-1", status="ACCEPTED", error="ORDER_ACCEPTED")
    story = order(steps_done=5).cancel().hear(refused, stamp=NOON + timedelta(seconds=9))
    story.hear(GIVEN_BACK, stamp=NOON + timedelta(seconds=7)).expect_verdict(Verdict.LATE)
    assert story.saga.closed


def test_a_cancel_that_an_update_overtook_is_asked_for_again() -> None:
    """The order service cancelled, then an update brought the order back to life; its words came the other way."""
    story = order(steps_done=3, kinds=BARE).expect(m.UpdateOrderStatus, to=Participant.ORDER).cancel()
    story.expect(m.CancelOrder, to=Participant.ORDER).hear(OPENED, stamp=NOON + timedelta(seconds=6))
    story.hear(CANCELLED, stamp=NOON + timedelta(seconds=5)).step("UPDATE_ORDER_STATUS", Became.DONE)
    story.step("CREATE_ORDER", Became.UNDONE).expect(m.CancelOrder, to=Participant.ORDER).waits(Status.CANCELLING)
    story.hear(CANCELLED, stamp=NOON + timedelta(seconds=5)).expect_verdict(Verdict.REPEATED)
    story.hear(CANCELLED, stamp=NOON + timedelta(seconds=8)).expect(m.RevertPayment, to=Participant.PAYMENT)


def test_an_order_whose_money_went_back_while_a_runner_had_it_is_offered_to_no_other() -> None:
    story = order(steps_done=5).hear(ACCEPTED).hear(RELEASED).after(60)
    story.expect_notice(m.OrderConfirmedNotice).hear(GIVEN_BACK).expect(m.CancelOrder, to=Participant.ORDER)
    story.reply(CANCELLED).expect(m.CancelTimer, to=Participant.TIMER).reply(TIMER_CANCELLED)
    assert (story.saga.status, story.saga.reason) == (Status.CANCELLED, Reason.OPERATOR_REQUEST)


def test_another_cancel_of_the_same_order_has_all_its_attempts() -> None:
    story = order(steps_done=5).cancel().silence_until(Status.FAILED).hear(ACCEPTED)
    story.hear(GIVEN_BACK).nobody_accepts()
    assert story.saga.outstanding and story.saga.outstanding.attempt == 1


def test_an_order_that_came_back_to_life_is_cancelled_with_fresh_attempts() -> None:
    story = order(steps_done=5, kinds=BARE).cancel().silence().silence().silence().silence()
    assert story.saga.outstanding and story.saga.outstanding.attempt == 3
    story.hear(CANCELLED, stamp=NOON + timedelta(seconds=5)).hear(OPENED, stamp=NOON + timedelta(seconds=6))
    story.hear(RELEASED)
    out = story.saga.outstanding
    assert (out.step, out.attempt) == ("CREATE_ORDER", 1)


# --- an order that came back to life -----------------------------------------------------------------


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def revived() -> Story:
    """Cancelled, and brought back by an update: the second cancel is out."""
    story = order(steps_done=3, kinds=BARE).expect(m.UpdateOrderStatus, to=Participant.ORDER).cancel()
    story.expect(m.CancelOrder, to=Participant.ORDER).hear(OPENED, stamp=at(6)).hear(CANCELLED, stamp=at(5))
    return story.expect(m.CancelOrder, to=Participant.ORDER)


def test_a_runner_who_takes_an_order_that_came_back_to_life_has_it() -> None:
    for story in (revived().hear(ACCEPTED, stamp=at(7)).silence(), revived().silence().hear(ACCEPTED, stamp=at(7))):
        story.expect_nothing()
        assert (story.saga.status, story.saga.closed) == (Status.COMPLETED, True)
    assert revived().hear(ACCEPTED, stamp=at(7)).silence().saga.attention, "the cancel may win all the same"
    failed = revived().silence_until(Status.FAILED).hear(ACCEPTED, stamp=at(7))
    assert (failed.saga.status, failed.saga.closed) == (Status.COMPLETED, True)


def test_a_repeated_update_that_is_newer_than_the_cancel_says_that_the_order_lives() -> None:
    story = order(steps_done=3, kinds=BARE).hear(OPENED, stamp=at(4)).cancel()
    story.sent.clear()
    story.hear(OPENED, stamp=at(7)).hear(CANCELLED, stamp=at(6)).step("UPDATE_ORDER_STATUS", Became.DONE)
    story.expect(m.CancelOrder, to=Participant.ORDER).hear(CANCELLED, stamp=at(8))
    story.expect(m.RevertPayment, to=Participant.PAYMENT)


def test_an_order_that_was_accepted_and_given_back_since_the_cancel_lives() -> None:
    story = order(steps_done=3, kinds=BARE).hear(OPENED, stamp=at(4)).hear(ACCEPTED, stamp=at(8))
    story.hear(GIVEN_BACK, stamp=at(9)).cancel().hear(CANCELLED, stamp=at(7))
    story.step("UPDATE_ORDER_STATUS", Became.DONE).waits(Status.CANCELLING)


def test_a_full_service_whose_clock_went_back_has_cancelled_the_order_all_the_same() -> None:
    story = order(steps_done=3).reply(OPENED, stamp=at(6)).cancel()
    story.sent.clear()
    story.reply(CANCELLED, stamp=at(5)).step("UPDATE_ORDER_STATUS", Became.UNDONE)
    story.expect(m.RevertPayment, to=Participant.PAYMENT)


def test_a_reversal_that_comes_before_its_acceptance_shows_an_order_that_lives() -> None:
    story = order(steps_done=5, kinds=BARE).cancel().hear(CANCELLED, stamp=at(5)).hear(RELEASED).hear(TIMER_CANCELLED)
    assert story.saga.status is Status.CANCELLED
    story.sent.clear()
    story.hear(GIVEN_BACK, stamp=at(9)).expect(m.CancelOrder, to=Participant.ORDER)
    story.hear(ACCEPTED, stamp=at(8)).expect_verdict(Verdict.LATE)
    story.hear(CANCELLED, stamp=at(10)).ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)


def test_a_cancel_that_is_confirmed_again_is_the_newest_word() -> None:
    story = order(steps_done=5, kinds=BARE).cancel().hear(CANCELLED, stamp=at(6)).hear(RELEASED).hear(TIMER_CANCELLED)
    story.hear(CANCELLED, stamp=at(8)).hear(ACCEPTED, stamp=at(7)).expect_verdict(Verdict.LATE)
    assert story.saga.status is Status.CANCELLED


@pytest.mark.parametrize("ended", [False, True])
def test_a_cancel_by_hand_is_the_newest_word_whatever_is_under_way(ended: bool) -> None:
    story = order(steps_done=5, kinds=BARE).cancel()
    if ended:
        story.hear(CANCELLED, stamp=at(5)).hear(RELEASED).hear(TIMER_CANCELLED)
    story.hear(BY_HAND, stamp=at(9)).hear(ACCEPTED, stamp=at(7)).expect_verdict(Verdict.LATE)
    assert not story.saga.accepted


def test_an_acceptance_of_the_moment_in_which_it_was_given_back_needs_a_person() -> None:
    story = order(steps_done=5).hear(GIVEN_BACK, stamp=at(5)).hear(ACCEPTED, stamp=at(5))
    assert story.saga.attention == ("accepted and given back, and no stamp says which came last",)


def test_a_second_order_that_a_runner_has_says_nothing_of_the_first() -> None:
    story = order(steps_done=5).hear(m.OrderCreated(order_id="o-2"))
    story.sent.clear()
    story.reply(m.OrderCancellationFailed(error="ORDER_ACCEPTED", order_id="o-2", status="ACCEPTED")).expect_nothing()
    assert story.saga.attention and not story.saga.closed
    assert story.saga.window_due_at, "the order itself is open"


@pytest.mark.parametrize("steps_done", [4, 5])
def test_a_timer_that_is_stopped_by_hand_cancels_no_order(steps_done: int) -> None:
    story = order(steps_done=steps_done)
    story.sent.clear()
    story.hear(TIMER_CANCELLED).expect_nothing()
    assert story.saga.status is (Status.COMPLETED if steps_done == 5 else Status.STARTED)
    if steps_done == 5:
        story.nobody_accepts().expect(m.CancelOrder, to=Participant.ORDER).reply(CANCELLED)
        story.expect(m.RevertPayment, to=Participant.PAYMENT).reply(RELEASED)
        assert (story.saga.status, story.saga.reason) == (Status.CANCELLED, Reason.ACCEPTANCE_TIMEOUT)


def test_a_timer_that_is_stopped_because_a_runner_came_needs_no_person() -> None:
    order(steps_done=5).hear(ACCEPTED).hear(TIMER_CANCELLED).ends(Status.COMPLETED)
