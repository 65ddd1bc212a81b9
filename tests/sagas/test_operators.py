"""What operators can do: ask again now, settle by hand, resolve; and what they cannot."""

from ordersaga.orchestrator.core.inputs import Verdict
from ordersaga.orchestrator.core.instance import Became, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.testing.story import BARE, Story
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.sagas.stories import AUTHORIZED, CANCELLED, CREATED, RELEASED, TIMER_CANCELLED, order

REFUSED = m.PaymentFailed(error="stripe_error")


def stuck_on_the_money() -> Story:
    story = order(steps_done=5).cancel().reply(CANCELLED).silence_until(Status.FAILED)
    story.sent.clear()
    return story


def test_a_failed_saga_is_taken_up_again_with_all_its_attempts() -> None:
    story = stuck_on_the_money().retry().expect(m.RevertPayment, to=Participant.PAYMENT).waits(Status.CANCELLING)
    assert story.saga.outstanding and story.saga.outstanding.attempt == 1
    story.reply(RELEASED).reply(TIMER_CANCELLED)
    assert (story.saga.status, story.saga.reason) == (Status.CANCELLED, Reason.CUSTOMER_REQUEST)


def test_a_revert_that_is_refused_for_ever_is_settled_by_an_operator() -> None:
    story = order(steps_done=5).cancel().reply(CANCELLED)
    while story.saga.status is not Status.FAILED:
        story.reply(REFUSED) if story.saga.outstanding and not story.saga.outstanding.backing_off else story.silence()
    story.sent.clear()
    story.settle("revert_payment").step("AUTHORIZE_PAYMENT", Became.SETTLED).expect(m.CancelTimer, to=Participant.TIMER)
    story.reply(TIMER_CANCELLED).ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)


def test_what_backs_off_is_asked_again_at_once() -> None:
    story = order(steps_done=5).cancel().reply(CANCELLED).reply(REFUSED)
    story.sent.clear()
    story.retry().expect(m.RevertPayment, to=Participant.PAYMENT).reply(RELEASED)


def test_a_command_that_would_be_done_twice_is_not_repeated_by_hand_either() -> None:
    story = order(kinds=BARE).expect(m.CreateOrder, to=Participant.ORDER)
    story.retry().expect_verdict(Verdict.REFUSED).expect_nothing()
    order().expect(m.CreateOrder, to=Participant.ORDER).retry().expect(m.CreateOrder, to=Participant.ORDER).reply(
        CREATED
    )


def test_an_order_that_a_runner_has_is_not_cancelled_by_hand_either() -> None:
    story = order(steps_done=5, kinds=BARE).cancel().hear(CANCELLED).hear(RELEASED).hear(TIMER_CANCELLED)
    story.after(60).hear(m.OrderAccepted(order_id="o-1", runner_id="r-1"))
    story.sent.clear()
    assert story.saga.status is Status.FAILED
    story.retry().expect_verdict(Verdict.REFUSED).expect_nothing()
    assert story.last.why == "a runner has the order"
    story.settle("cancel_order").ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST, attention=True)


def test_nothing_is_settled_that_an_order_stands_on() -> None:
    order(steps_done=5).settle("revert_payment").expect_verdict(Verdict.REFUSED).waits(Status.COMPLETED)
    order(steps_done=5).settle("no_such_undo").expect_verdict(Verdict.REFUSED)


def test_what_was_seen_to_is_new_again_when_there_is_something_new_to_take_back() -> None:
    story = order(steps_done=2, kinds=BARE).silence().hear(CANCELLED)
    story.resolve()
    assert story.saga.resolved and story.saga.status is Status.COMPENSATED
    story.after(3600).hear(AUTHORIZED)
    assert story.saga.resolved is None and story.saga.outstanding


def test_resolving_keeps_the_status_and_says_by_whom_when_and_why() -> None:
    story = stuck_on_the_money().resolve()
    found = story.saga.resolved
    assert found and (found.actor, found.role, found.at) == ("night-shift", "operator", story.now)
    assert story.saga.status is Status.FAILED


def test_what_is_settled_is_not_waited_for() -> None:
    story = order(steps_done=5).cancel().reply(CANCELLED)
    story.sent.clear()
    story.settle("revert_payment").expect(m.CancelTimer, to=Participant.TIMER)


def test_a_second_order_is_settled_by_hand_while_the_first_one_stands() -> None:
    story = order(steps_done=5).hear(m.OrderCreated(order_id="o-2")).settle("cancel_order")
    story.sent.clear()
    story.ends(Status.COMPLETED)
    first, second = story.saga.steps["CREATE_ORDER"].effects
    assert (first.settled, second.settled) == (False, True)
    undone = order(steps_done=5).hear(m.OrderCreated(order_id="o-2")).reply(m.OrderCancelled(order_id="o-2"))
    undone.hear(m.OrderCreated(order_id="o-3")).settle("cancel_order")
    _, second, third = undone.saga.steps["CREATE_ORDER"].effects
    assert (second.undone, second.settled, third.settled) == (True, False, True)


def test_what_was_seen_to_is_new_again_when_it_fails() -> None:
    story = order(steps_done=5).resolve().nobody_accepts().reply(CANCELLED)
    assert story.saga.resolved and story.saga.status is Status.CANCELLING
    story.silence_until(Status.FAILED)
    assert story.saga.resolved is None


def test_what_was_seen_to_and_is_tried_again_is_new_when_it_fails_again() -> None:
    story = stuck_on_the_money().resolve().retry()
    assert story.saga.resolved
    story.silence_until(Status.FAILED)
    assert story.saga.resolved is None


def test_a_cancel_that_may_win_over_a_runner_is_not_asked_for_again_by_hand() -> None:
    accepted = m.OrderAccepted(order_id="o-1", runner_id="r-1")
    story = order(steps_done=5, kinds=BARE).cancel().expect(m.CancelOrder, to=Participant.ORDER).hear(accepted)
    story.retry().expect_verdict(Verdict.REFUSED).waits(Status.CANCELLING)
    assert story.last.why == "a runner has the order"


def test_a_repeated_answer_reopens_nothing_that_was_settled() -> None:
    story = order(steps_done=5).cancel().reply(CANCELLED).silence_until(Status.FAILED).settle("revert_payment")
    story.reply(TIMER_CANCELLED)
    assert story.saga.status is Status.CANCELLED
    story.sent.clear()
    story.hear(AUTHORIZED).expect_verdict(Verdict.REPEATED).step("AUTHORIZE_PAYMENT", Became.SETTLED).expect_nothing()


def test_a_second_effect_is_taken_back_though_the_first_was_settled() -> None:
    story = order(steps_done=5).cancel().reply(CANCELLED).silence_until(Status.FAILED).settle("revert_payment")
    story.reply(TIMER_CANCELLED)
    story.sent.clear()
    story.hear(m.PaymentAuthorized(payment_id="p-2", order_id="o-1", payment_intent_id="pi_2", status="AUTHORIZED"))
    story.expect(m.RevertPayment, to=Participant.PAYMENT)


def test_what_is_resolved_before_anything_is_wrong_with_it_hides_no_later_trouble() -> None:
    story = order(steps_done=2).resolve()
    assert story.saga.resolved and story.saga.status is Status.STARTED, "whatever its status is"
    story.silence_until(Status.FAILED)
    assert story.saga.resolved is None
