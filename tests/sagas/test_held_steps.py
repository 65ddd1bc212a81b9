"""While a participant answers nobody, no step of its is begun: orders wait, and nothing is in doubt."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from ordersaga.orchestrator.core.decide import start
from ordersaga.orchestrator.core.definition import Kind
from ordersaga.orchestrator.core.inputs import Verdict
from ordersaga.orchestrator.core.instance import Became, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.testing.story import BARE, FULL, NOON, SAGA_ID
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.sagas.stories import AUTHORIZED, CANCELLED, CARD, CREATED, OPENED, PLACED, RELEASED, TIMER, order

Kinds = Mapping[Participant, Kind]
kinds_of_participants = pytest.mark.parametrize("kinds", [FULL, BARE], ids=["full", "bare"])


@kinds_of_participants
def test_a_step_waits_for_its_participant_and_goes_on_when_that_answers_again(
    kinds: Kinds,
) -> None:
    story = order(steps_done=1, kinds=kinds).expect(m.GetPaymentInfo, to=Participant.USER)
    story.answers_nobody(Participant.PAYMENT).reply(CARD).waits(Status.STARTED).expect_nothing()
    assert story.saga.held_since == NOON and story.saga.outstanding is None
    story.silence().expect_nothing().silence().expect_nothing()
    story.answers_nobody().silence().expect(m.AuthorizePayment, to=Participant.PAYMENT)
    assert story.saga.held_since is None and story.saga.resume_at is None
    story.reply(AUTHORIZED).expect(m.UpdateOrderStatus, to=Participant.ORDER).reply(OPENED)
    story.expect(m.StartOrderTimer, to=Participant.TIMER).reply(TIMER).ends(Status.COMPLETED)


@kinds_of_participants
def test_who_waited_too_long_is_taken_back_and_nothing_is_in_doubt(kinds: Kinds) -> None:
    story = order(steps_done=1, kinds=kinds).answers_nobody(Participant.PAYMENT).reply(CARD)
    story.sent.clear()
    while story.saga.status is Status.STARTED:
        story.expect_nothing().silence()
    assert story.now == NOON + timedelta(seconds=CREATE_ORDER.hold_seconds_max)
    story.step("AUTHORIZE_PAYMENT", Became.REFUSED)
    assert story.saga.steps["AUTHORIZE_PAYMENT"].refusal == "NOT_ASKED"
    story.expect(m.CancelOrder, to=Participant.ORDER).reply(CANCELLED)
    story.expect_notice(m.OrderCancelledNotice).ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT)


@kinds_of_participants
def test_a_step_that_is_held_is_not_begun_by_hand_before_its_participant_answers(kinds: Kinds) -> None:
    story = order(steps_done=1, kinds=kinds).answers_nobody(Participant.PAYMENT).reply(CARD)
    story.sent.clear()
    story.retry().expect_verdict(Verdict.REFUSED).expect_nothing()
    assert story.last.why == "it is held until the payment service answers"
    story.answers_nobody().retry().expect(m.AuthorizePayment, to=Participant.PAYMENT)


def test_an_outage_makes_few_looks() -> None:
    story, looks = order(steps_done=1).answers_nobody(Participant.PAYMENT).reply(CARD), 0
    while story.saga.status is Status.STARTED:
        story.silence()
        looks += 1
    assert looks <= 10


def test_an_order_may_wait_before_its_first_step() -> None:
    decision = start(CREATE_ORDER, SAGA_ID, PLACED, NOON, shut={Participant.ORDER})
    saga = decision.instance
    assert (saga.status, saga.outstanding, saga.steps) == (Status.STARTED, None, {})
    assert saga.command_due_at == NOON + timedelta(seconds=5)


@kinds_of_participants
def test_an_order_that_waits_can_be_cancelled_and_what_was_not_asked_is_not_undone(
    kinds: Kinds,
) -> None:
    story = order(steps_done=1, kinds=kinds).answers_nobody(Participant.PAYMENT).reply(CARD)
    story.sent.clear()
    story.cancel().expect(m.CancelOrder, to=Participant.ORDER)
    assert story.saga.resume_at is None
    story.reply(CANCELLED).ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)


def test_money_that_is_given_back_by_hand_meanwhile_is_not_waited_with() -> None:
    story = order(steps_done=2).answers_nobody(Participant.ORDER).reply(AUTHORIZED)
    assert story.saga.held_since
    story.sent.clear()
    story.hear(RELEASED).expect(m.CancelOrder, to=Participant.ORDER).reply(CANCELLED)
    story.ends(Status.CANCELLED, reason=Reason.OPERATOR_REQUEST)


@kinds_of_participants
def test_a_step_that_can_be_left_out_is_left_out(kinds: Kinds) -> None:
    story = (
        order(steps_done=3, kinds=kinds)
        .answers_nobody(Participant.TIMER)
        .expect(m.UpdateOrderStatus, to=Participant.ORDER)
    )
    story.reply(OPENED).step("START_TIMER", Became.SKIPPED).ends(Status.COMPLETED)
    assert story.saga.window_due_at, "the saga's own deadline keeps the window"
    story.nobody_accepts().expect(m.CancelOrder, to=Participant.ORDER).reply(CANCELLED)
    story.expect(m.RevertPayment, to=Participant.PAYMENT).reply(RELEASED)
    story.ends(Status.CANCELLED, reason=Reason.ACCEPTANCE_TIMEOUT)


def test_undos_are_never_held() -> None:
    story = order(steps_done=3).answers_nobody(*Participant).cancel()
    story.sent.clear()
    story.silence_until(Status.FAILED)
    assert story.saga.stuck and story.saga.stuck.step == "CREATE_ORDER"


def test_an_operator_who_asks_for_another_try_makes_it_look_again() -> None:
    story = order(steps_done=1).answers_nobody(Participant.PAYMENT).reply(CARD)
    story.sent.clear()
    story.retry().expect_nothing().answers_nobody().retry().expect(m.AuthorizePayment, to=Participant.PAYMENT)


def test_news_in_between_begins_no_step_of_whoever_is_silent() -> None:
    story = order(steps_done=1).answers_nobody(Participant.PAYMENT).reply(CARD).after(1)
    story.sent.clear()
    story.hear(CREATED).expect_verdict(Verdict.REPEATED).expect_nothing()
