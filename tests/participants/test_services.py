"""What each service answers: pure functions over one row."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.participants.order import service as order
from ordersaga.participants.order.service import SERVICE as ORDER
from ordersaga.participants.order.service import Refused
from ordersaga.participants.payment.provider import Authorized, Declined, Released
from ordersaga.participants.payment.service import SERVICE as PAYMENT
from ordersaga.participants.timer.service import SERVICE as TIMER
from ordersaga.participants.timer.service import expire
from ordersaga.participants.user.service import SERVICE as USER
from ordersaga.participants.user.service import UserRow, answer_anyone
from ordersaga.wire import messages as m
from tests.participants.stage import AUTHORIZE, CANCEL, CANCEL_TIMER, CREATE, REVERT, START, Pure, asked

HELD, LET_GO = Authorized("pi_1"), Released("pi_1")


def test_an_order_is_created_opened_and_cancelled() -> None:
    service = Pure(ORDER)
    created = service.ask(CREATE)
    assert isinstance(created, m.OrderCreated)
    opened = service.ask(m.UpdateOrderStatus(order_id=created.order_id, status="CREATED"))
    assert isinstance(opened, m.OrderStatusUpdated)
    assert opened.status == "CREATED"
    assert service.ask(CANCEL) == m.OrderCancelled(order_id=created.order_id, reason="CUSTOMER_REQUEST")
    assert service.row.status == "CANCELLED"


def test_a_cancel_that_overtakes_its_order_leaves_no_order_behind() -> None:
    service = Pure(ORDER)
    assert isinstance(service.ask(CANCEL), m.OrderCancelled)
    assert isinstance(service.ask(CREATE), m.OrderCreationFailed)
    assert service.row.order_id is None


def test_an_accepted_order_is_not_cancelled() -> None:
    service = _open_order()
    service.row = order.accept(service.row, "r-1").row
    refused = service.ask(CANCEL)
    assert refused == m.OrderCancellationFailed(
        error="ORDER_ACCEPTED", order_id=service.row.order_id, status="ACCEPTED"
    )


def test_an_order_that_its_runner_gave_back_can_be_cancelled_again() -> None:
    service = _open_order()
    service.row = order.accept(service.row, "r-1").row
    given_back = order.give_back(service.row)
    service.row = given_back.row
    assert isinstance(given_back.event, m.OrderAcceptanceCancelled)
    assert isinstance(service.ask(CANCEL), m.OrderCancelled)


@pytest.mark.parametrize(
    ("status", "verb"),
    [
        ("PENDING", lambda row: order.accept(row, "r-1")),
        ("CANCELLED", lambda row: order.accept(row, "r-1")),
        ("CREATED", order.give_back),
        ("ACCEPTED", lambda row: order.cancel_by_hand(row, "why")),
    ],
)
def test_what_is_impossible_is_refused_with_the_state(status: str, verb: Any) -> None:
    row = order.OrderRow(key="k", order_id="o-1", status=status)
    with pytest.raises(Refused, match=status):
        verb(row)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (m.UpdateOrderStatus(order_id="another", status="CREATED"), "NOT_FOUND"),
        (m.UpdateOrderStatus(order_id="mine", status="EATEN"), "UNKNOWN_STATUS"),
        (m.UpdateOrderStatus(order_id="mine", status="DELIVERED"), "ILLEGAL_STATE"),
    ],
)
def test_an_update_that_does_not_fit_is_refused(command: m.UpdateOrderStatus, error: str) -> None:
    service = Pure(ORDER, order.OrderRow(key="k", order_id="mine", status="PENDING"))
    refused = service.ask(command)
    assert isinstance(refused, m.OrderStatusUpdateFailed)
    assert refused.error == error


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ("alice", None),
        ("declined-dora", None),
        ("no-card-nick", "Default payment method not set for user"),
        ("unknown-uma", "User not found"),
    ],
)
def test_the_beginning_of_a_made_up_user_says_what_is_wrong(user: str, says: str | None) -> None:
    event = answer_anyone(None, asked(m.GetPaymentInfo(user_id=user), key=user)).event
    assert (event.error if isinstance(event, m.PaymentInfoFailed) else None) == says


def test_a_user_without_a_customer_at_the_provider_is_told_so() -> None:
    event = USER.answer(UserRow(key="u", payment_method_id="pm"), asked(m.GetPaymentInfo(user_id="u"))).event
    assert event == m.PaymentInfoFailed(error="Stripe customer ID not configured for user")


def test_money_is_held_and_let_go() -> None:
    service = Pure(PAYMENT)
    held = service.ask(AUTHORIZE, outcome=HELD)
    assert isinstance(held, m.PaymentAuthorized)
    assert (service.row.amount_cents, service.row.status) == (870, "AUTHORIZED")
    released = service.ask(REVERT, outcome=LET_GO)
    assert isinstance(released, m.PaymentReleased)
    assert (released.payment_id, released.status) == (held.payment_id, "REVERTED")


def test_a_declined_card_leaves_no_payment() -> None:
    service = Pure(PAYMENT)
    declined = service.ask(AUTHORIZE, outcome=Declined("card_declined"))
    assert isinstance(declined, m.PaymentFailed)
    assert (declined.error, declined.stripe_code, service.row) == ("STRIPE_CARD_ERROR", "card_declined", None)


def test_under_fifty_cents_nothing_is_held() -> None:
    small = m.AuthorizePayment(
        order_id="o-1",
        customer=AUTHORIZE.customer,
        order=m.PayableOrder(amount=49, description="x"),
        return_url="",
    )
    refused = Pure(PAYMENT).ask(small)
    assert isinstance(refused, m.PaymentFailed)
    assert refused.error == "INVALID_AMOUNT"


def test_a_revert_that_overtakes_its_authorization_holds_no_money() -> None:
    service = Pure(PAYMENT)
    assert isinstance(service.ask(REVERT), m.PaymentReleased)
    assert isinstance(service.ask(AUTHORIZE), m.PaymentFailed)
    assert service.row.payment_intent_id is None


def test_a_revert_of_another_payment_is_refused() -> None:
    service = Pure(PAYMENT)
    service.ask(AUTHORIZE, outcome=HELD)
    refused = service.ask(m.RevertPayment(payment_id="another", reason="x"))
    assert refused == m.PaymentFailed(error="not_found", payment_id="another")


def test_a_timer_runs_out_or_is_cancelled() -> None:
    service = Pure(TIMER)
    assert isinstance(service.ask(START), m.TimerStarted)
    expired = expire(service.row)
    assert isinstance(expired.event, m.TimerExpired)
    assert isinstance(service.ask(CANCEL_TIMER), m.TimerCancelled)
    assert service.row.status == "CANCELLED"


def test_a_cancel_that_overtakes_its_timer_leaves_none_running() -> None:
    service = Pure(TIMER)
    assert isinstance(service.ask(CANCEL_TIMER), m.TimerCancelled)
    assert isinstance(service.ask(START), m.TimerFailed)


@given(st.lists(st.sampled_from(["do", "undo"]), min_size=1, max_size=12))
def test_in_any_order_of_repeats_a_confirmed_undo_leaves_nothing(order_of: list[str]) -> None:
    services = (Pure(ORDER), Pure(PAYMENT), Pure(TIMER))
    effects: list[set[Any]] = [set(), set(), set()]
    for verb in order_of:
        commands = (CREATE, AUTHORIZE, START) if verb == "do" else (CANCEL, REVERT, CANCEL_TIMER)
        for service, command, seen in zip(services, commands, effects, strict=True):
            event = service.ask(command, outcome=HELD if verb == "do" else LET_GO)
            seen.add(next((v for n in ("order_id", "payment_id", "timer_id") if (v := getattr(event, n, None))), None))
    orders, payments, timers = (service.row for service in services)
    if "undo" in order_of:
        assert orders.status in ("CANCELLED", order.NEVER_MADE)
        assert payments.status in ("REVERTED", "REVERTED_BEFORE_AUTHORIZED")
        assert timers.status in ("CANCELLED", "CANCELLED_BEFORE_STARTED")
    assert len(effects[0] - {None}) <= 1, "one saga never has two orders"


def _open_order() -> Pure:
    service = Pure(ORDER)
    service.ask(CREATE)
    service.ask(m.UpdateOrderStatus(order_id=service.row.order_id, status="CREATED"))
    return service
