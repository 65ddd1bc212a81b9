"""What a bare service was asked for twice it may do twice, the second time after all else: no end goes by it unseen."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from ordersaga.orchestrator.core.definition import Kind
from ordersaga.orchestrator.core.inputs import Verdict
from ordersaga.orchestrator.core.instance import Became, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.testing.story import FULL, NOON, Story
from ordersaga.wire import completing as m
from ordersaga.wire.topics import Participant
from tests.sagas.test_complete_order import (
    BARE_ORDERS,
    CAPTURED,
    COMPLETED,
    DELIVERED,
    NOT_HELD,
    ORDER,
    PAID,
    PAYMENT,
    UNDONE,
    delivery,
)

AT = [NOON + timedelta(seconds=second) for second in range(9)]
MAY_FOLLOW = "MARK_DELIVERED was asked for 2 times, and may be done after {}: see what the order service holds"


def asked_twice(kinds: Mapping[Participant, Kind] = BARE_ORDERS) -> Story:
    """An operator asks for the mark again while the first answer is under way."""
    return delivery(kinds=kinds).expect(m.MarkDelivered, to=ORDER).retry().expect(m.MarkDelivered, to=ORDER)


def paid(story: Story) -> Story:
    return story.reply(DELIVERED).reply(CAPTURED).reply(PAID)


# --- taken back by hand ---------------------------------------------------------------------------


def test_a_mark_taken_back_by_hand_between_two_that_were_asked_for_is_taken_back_by_us_too() -> None:
    """The second is made after that, and its answer may get lost; our undo goes behind it."""
    story = asked_twice().hear(UNDONE, stamp=AT[2]).hear(DELIVERED, stamp=AT[1]).waits(Status.CANCELLING)
    story.expect(m.UndoDelivery(order_id="o-1", reason="OPERATOR_REQUEST"), to=ORDER)
    story.hear(UNDONE, stamp=AT[4]).hear(DELIVERED, stamp=AT[3]).expect_verdict(Verdict.LATE)
    story.expect_notice(m.DeliveryCalledOffNotice).ends(Status.CANCELLED, reason=Reason.OPERATOR_REQUEST)


def test_that_it_was_taken_back_by_hand_confirms_nothing_when_it_is_told_again() -> None:
    story = asked_twice().hear(UNDONE, stamp=AT[2]).hear(DELIVERED, stamp=AT[1]).hear(UNDONE, stamp=AT[2])
    story.expect_verdict(Verdict.REPEATED).waits(Status.CANCELLING)
    story.hear(UNDONE, stamp=AT[4]).step("MARK_DELIVERED", Became.UNDONE)
    assert story.saga.status is Status.CANCELLED


@pytest.mark.parametrize("kinds", [FULL, BARE_ORDERS])
def test_where_it_was_asked_for_once_or_of_a_full_service_it_is_a_fact(kinds: Mapping[Participant, Kind]) -> None:
    story = asked_twice(FULL) if kinds is FULL else delivery(kinds=kinds).expect(m.MarkDelivered, to=ORDER)
    story.hear(UNDONE, stamp=AT[2]).hear(DELIVERED, stamp=AT[1])
    story.ends(Status.CANCELLED, reason=Reason.OPERATOR_REQUEST)


def test_a_mark_taken_back_by_hand_past_the_point_is_taken_back_by_us_too_when_the_capture_is_refused() -> None:
    story = asked_twice().hear(DELIVERED, stamp=AT[1]).expect(m.CapturePayment, to=PAYMENT).hear(UNDONE, stamp=AT[2])
    assert story.saga.attention == ("undo_delivery was done by hand though the order stands",)
    story.hear(UNDONE, stamp=AT[2]).expect_verdict(Verdict.REPEATED)
    story.reply(NOT_HELD).expect(m.UndoDelivery, to=ORDER).hear(UNDONE, stamp=AT[4])
    story.ends(Status.COMPENSATED, reason=Reason.CAPTURE_REFUSED, attention=True)


def test_a_mark_made_again_after_our_undo_is_taken_back_again() -> None:
    story = asked_twice().cancel("operator").expect(m.UndoDelivery, to=ORDER)
    story.hear(UNDONE, stamp=AT[2]).hear(DELIVERED, stamp=AT[1]).expect_verdict(Verdict.LATE)
    story.hear(DELIVERED, stamp=AT[3]).expect(m.UndoDelivery, to=ORDER).hear(UNDONE, stamp=AT[4])
    assert (story.saga.status, story.saga.attention) == (Status.CANCELLED, ())


@pytest.mark.parametrize("twice", [False, True])
def test_a_mark_that_was_refused_and_made_and_taken_back_by_hand_is_taken_back_by_us_where_another_may_follow(
    twice: bool,
) -> None:
    story = asked_twice() if twice else delivery(kinds=BARE_ORDERS).expect(m.MarkDelivered, to=ORDER)
    story.hear(UNDONE, stamp=AT[2]).hear(m.OrderDeliveryFailed(error="ILLEGAL_STATE", order_id="o-1"), stamp=AT[3])
    story.hear(DELIVERED, stamp=AT[1])
    if twice:
        story.step("MARK_DELIVERED", Became.DONE).expect(m.UndoDelivery, to=ORDER).hear(UNDONE, stamp=AT[4])
    story.step("MARK_DELIVERED", Became.UNDONE).expect_nothing()
    assert (story.saga.status, bool(story.saga.attention)) == (Status.COMPENSATED, twice)


# --- settled --------------------------------------------------------------------------------------


def test_a_mark_that_may_come_after_the_end_was_settled_is_for_a_person() -> None:
    story = paid(asked_twice()).settle("mark_completed")
    assert (story.saga.status, story.saga.attention) == (
        Status.COMPLETED,
        (MAY_FOLLOW.format("mark_completed was settled"),),
    )
    story.hear(DELIVERED).expect_verdict(Verdict.REPEATED)


def test_an_answer_to_a_later_command_says_that_both_are_over() -> None:
    answered = paid(asked_twice()).reply(COMPLETED)
    refused = paid(asked_twice()).reply(m.OrderCompletionFailed(error="DOWN", order_id="o-1")).settle("mark_completed")
    elsewhere = asked_twice().reply(DELIVERED).reply(CAPTURED).settle("pay_runner").reply(COMPLETED)
    for story in (answered, refused, elsewhere, paid(asked_twice(FULL)).settle("mark_completed")):
        assert (story.saga.status, story.saga.attention) == (Status.COMPLETED, ())


def test_a_mark_that_may_come_after_its_undo_was_settled_is_for_a_person() -> None:
    story = asked_twice().cancel("operator").settle("undo_delivery")
    assert (story.saga.status, story.saga.attention) == (
        Status.CANCELLED,
        (MAY_FOLLOW.format("undo_delivery was settled"),),
    )
    story.hear(DELIVERED).step("MARK_DELIVERED", Became.DONE).waits(Status.CANCELLED)


# --- refused --------------------------------------------------------------------------------------


def test_a_mark_of_which_one_was_refused_is_for_a_person_and_taken_back_when_it_shows() -> None:
    """It is not undone blindly: an order that may not be delivered would be brought back to life."""
    refused = m.OrderDeliveryFailed(error="ILLEGAL_STATE", order_id="o-1")
    story = asked_twice().hear(refused).expect_nothing()
    assert (story.saga.status, story.saga.attention) == (Status.COMPENSATED, (MAY_FOLLOW.format("one was refused"),))
    story.hear(DELIVERED).expect(m.UndoDelivery, to=ORDER).hear(UNDONE)
    story.ends(Status.COMPENSATED, reason=Reason.DELIVERY_REJECTED, attention=True)
    full = asked_twice(FULL).hear(refused)
    assert (full.saga.status, full.saga.attention) == (Status.COMPENSATED, ())
