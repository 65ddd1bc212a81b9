"""Services that recognise no repeat, echo no command's id, and may answer twice, late or never."""

import pytest
from msgspec.structs import replace

from ordersaga.orchestrator.core.inputs import Verdict
from ordersaga.orchestrator.core.instance import Became, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.testing.story import BARE, NOON, Story
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.sagas.stories import AUTHORIZED, CANCELLED, CARD, CREATED, OPENED, RELEASED, SAGA, TIMER, order

ACCEPTED = m.OrderAccepted(order_id="o-1", runner_id="r-1")


def bare(steps_done: int = 0) -> Story:
    story = order(steps_done, kinds=BARE)
    story.sent.clear()
    return story


# --- never asked twice -----------------------------------------------------------------------------


@pytest.mark.parametrize("steps_done", [0, 2, 3])
def test_what_it_would_do_twice_is_asked_for_once_and_is_in_doubt_when_it_is_silent(steps_done: int) -> None:
    story = bare(steps_done)
    step = story.saga.step
    assert step
    story.silence().step(step, Became.SETTLED if steps_done == 0 else Became.IN_DOUBT)
    assert story.saga.steps[step].attempts == 1
    assert story.saga.reason is Reason.STEP_TIMED_OUT


def test_an_order_that_comes_to_light_after_everything_was_given_up_is_cancelled() -> None:
    story = bare().silence().ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT, attention=True)
    story.after(600).hear(CREATED).waits(Status.COMPENSATED)
    story.expect(m.CancelOrder(order_id="o-1", saga_id=SAGA, reason="STEP_TIMED_OUT"), to=Participant.ORDER)
    story.hear(CANCELLED).ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT, attention=True)


def test_an_update_that_stayed_silent_is_taken_back_by_the_same_undo_as_the_order() -> None:
    story = bare(steps_done=3).silence().expect(m.CancelOrder, to=Participant.ORDER).hear(CANCELLED)
    story.step("CREATE_ORDER", Became.UNDONE).step("UPDATE_ORDER_STATUS", Became.UNDONE)
    story.expect(m.RevertPayment, to=Participant.PAYMENT).hear(RELEASED)
    story.ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT)


def test_reads_may_be_repeated() -> None:
    bare(steps_done=1).silence().silence().expect(m.GetPaymentInfo, to=Participant.USER).hear(CARD)


@pytest.mark.parametrize("refused_first", [True, False])
def test_of_an_error_and_an_authorization_for_one_command_the_authorization_counts(refused_first: bool) -> None:
    error = m.PaymentFailed(error="DATABASE_ERROR", message="duplicate key")
    story = bare(steps_done=2)
    if refused_first:
        story.hear(error).expect(m.CancelOrder, to=Participant.ORDER).hear(AUTHORIZED).hear(CANCELLED)
        story.expect(m.RevertPayment, to=Participant.PAYMENT).hear(RELEASED)
        story.ends(Status.COMPENSATED, reason=Reason.PAYMENT_ERROR, attention=True)
    else:
        story.hear(AUTHORIZED).hear(error).waits(Status.STARTED)
        (why,) = story.saga.attention
        assert "compare with the provider whether a hold was made" in why
        story.hear(error).expect_verdict(Verdict.REPEATED)
    assert story.saga.steps["AUTHORIZE_PAYMENT"].contradicted


def test_each_answer_may_come_twice() -> None:
    story = bare()
    for answer in (CREATED, CARD, AUTHORIZED, OPENED, TIMER):
        story.hear(answer, stamp=NOON).hear(answer, stamp=NOON).expect_verdict(Verdict.REPEATED)
    story.hear(CREATED).expect_verdict(Verdict.REPEATED)
    assert story.saga.status is Status.COMPLETED and not story.saga.attention


# --- what cannot be named ----------------------------------------------------------------------------


def test_nothing_is_undone_blindly() -> None:
    bare().silence().expect_nothing()
    story = bare(steps_done=2).silence().expect(m.CancelOrder, to=Participant.ORDER).hear(CANCELLED).expect_nothing()
    assert "AUTHORIZE_PAYMENT" in story.saga.attention[0]


# --- an accepted order is cancelled if one asks ------------------------------------------------------


def test_a_cancel_is_not_sent_while_the_acceptance_is_the_newest_word() -> None:
    story = bare(steps_done=5).hear(ACCEPTED)
    story.cancel().expect_verdict(Verdict.REFUSED).expect_nothing()
    story = bare(steps_done=5).cancel().expect(m.CancelOrder, to=Participant.ORDER).silence().hear(ACCEPTED)
    story.expect_nothing().ends(Status.COMPLETED, reason=Reason.CUSTOMER_REQUEST, attention=True)


@pytest.mark.parametrize("state", ["ACCEPTED", "PLACED", "ON_THE_WAY", "DELIVERED", "COMPLETED"])
def test_a_final_state_in_the_answer_to_a_cancel_is_a_refusal(state: str) -> None:
    story = bare(steps_done=5).cancel().expect(m.CancelOrder, to=Participant.ORDER)
    story.hear(m.OrderCancelled(order_id="o-1", reason=f"Already in final state: {state}")).ends(Status.COMPLETED)
    assert story.saga.closed


def test_cancelled_already_is_a_confirmation() -> None:
    story = bare(steps_done=5).cancel().expect(m.CancelOrder, to=Participant.ORDER)
    story.hear(m.OrderCancelled(order_id="o-1", reason="Already in final state: CANCELLED"))
    story.expect(m.RevertPayment, to=Participant.PAYMENT)


# --- codes and sentences -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "attention"),
    [
        ("STRIPE_CARD_ERROR", Reason.PAYMENT_DECLINED, False),
        ("STRIPE_PAYMENT_FAILED", Reason.PAYMENT_DECLINED, False),
        ("STRIPE_PAYMENT_CANCELED", Reason.PAYMENT_DECLINED, False),
        ("INVALID_PAYLOAD", Reason.PAYMENT_ERROR, False),
        ("INVALID_AMOUNT", Reason.PAYMENT_ERROR, False),
        ("PAYLOAD_PARSE_ERROR", Reason.PAYMENT_ERROR, False),
        ("DATABASE_ERROR", Reason.PAYMENT_ERROR, True),
        ("DB_UNEXPECTED_ERROR", Reason.PAYMENT_ERROR, True),
        ("STRIPE_API_ERROR", Reason.PAYMENT_ERROR, True),
        ("STRIPE_UNEXPECTED_STATUS", Reason.PAYMENT_ERROR, True),
        ("STRIPE_UNEXPECTED_ERROR", Reason.PAYMENT_ERROR, True),
        ("UNEXPECTED_PROCESSING_ERROR", Reason.PAYMENT_ERROR, True),
        ("a code that nobody has seen", Reason.PAYMENT_ERROR, True),
    ],
)
def test_a_payment_that_failed_says_by_its_code_whether_a_hold_may_have_been_made(
    code: str, reason: Reason, attention: bool
) -> None:
    told = m.PaymentFailed(error=code, message="SELECT card FROM cards -- alice@campus.example")
    story = bare(steps_done=2).hear(told).step("AUTHORIZE_PAYMENT", Became.REFUSED)
    story.expect(m.CancelOrder, to=Participant.ORDER).hear(CANCELLED)
    notice = next(send.body for send in story.sent if isinstance(send.body, m.OrderCancelledNotice))
    assert "alice-c4n4ry" not in str(notice) and code not in notice.explanation
    story.ends(Status.COMPENSATED, reason=reason, attention=attention)


@pytest.mark.parametrize(
    "code", ["stripe_error", "not_found", "missing_intent_id", "invalid_state", "PROCESSING_ERROR"]
)
def test_a_revert_that_is_refused_is_asked_for_again(code: str) -> None:
    story = bare(steps_done=5).cancel().hear(CANCELLED)
    story.sent.clear()
    story.hear(m.PaymentFailed(error=code)).expect_nothing().silence().expect(m.RevertPayment, to=Participant.PAYMENT)
    assert story.saga.outstanding and story.saga.outstanding.attempt == 2


def test_a_payment_that_was_captured_at_once_is_done() -> None:
    captured = m.PaymentAuthorized(payment_id="p-1", payment_intent_id="pi_1", status="SUCCEEDED")
    bare(steps_done=2).hear(captured).step("AUTHORIZE_PAYMENT", Became.DONE).waits(Status.STARTED)


@pytest.mark.parametrize("status", ["PENDING", "ACCEPTED", "CANCELLED", "created"])
def test_an_update_to_another_status_is_somebody_elses(status: str) -> None:
    story = bare(steps_done=3).hear(m.OrderStatusUpdated(order_id="o-1", status=status))
    story.expect_verdict(Verdict.STRAY).step("UPDATE_ORDER_STATUS", None).waits(Status.STARTED)


def test_a_payout_to_the_runner_of_another_payment_is_nobodys_undo() -> None:
    payout = m.PaymentReleased(payment_id="p-9", status="SUCCEEDED")
    bare(steps_done=5).hear(payout).expect_verdict(Verdict.STRAY)
    story = bare(steps_done=5).cancel().hear(CANCELLED)
    story.hear(payout).expect_verdict(Verdict.STRAY).waits(Status.CANCELLING)


@pytest.mark.parametrize(("said", "quoted"), [("stripe_error", ": stripe_error"), ("no card of c4n4ry-1 is known", "")])
def test_a_second_effect_that_cannot_be_taken_back_is_told_without_a_sentence_of_the_services(
    said: str, quoted: str
) -> None:
    story = bare(steps_done=5).hear(replace(AUTHORIZED, payment_id="pay_2", payment_intent_id="pi_2"))
    for _ in range(200):
        if story.hear(m.PaymentFailed(error=said)).saga.attention:
            break
        story.silence()
    (why,) = story.saga.attention
    assert why == f"AUTHORIZE_PAYMENT was done twice; pay_2 could not be taken back{quoted}"
