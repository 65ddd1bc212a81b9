"""What each service answers: pure functions over one row."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from ordersaga.participants.order import service as order
from ordersaga.participants.order.rows import OrderRow
from ordersaga.participants.order.service import SERVICE as ORDER
from ordersaga.participants.payment import service as payment
from ordersaga.participants.payment.consult import ConsultProvider
from ordersaga.participants.payment.provider_memory import MemoryProvider
from ordersaga.participants.payment.service import SERVICE as PAYMENT
from ordersaga.participants.service import Refused, Verb
from ordersaga.participants.timer import service as timer
from ordersaga.participants.timer.service import SERVICE as TIMER
from ordersaga.participants.timer.service import expire
from ordersaga.participants.user import service as user
from ordersaga.participants.user.service import SERVICE as USER
from ordersaga.participants.user.service import UserRow, answer_anyone, made_up
from ordersaga.wire import messages as m
from tests.participants.stage import (
    AUTHORIZE,
    CANCEL,
    CANCEL_TIMER,
    CREATE,
    DETAILS,
    REVERT,
    START,
    Pure,
    authorize,
    create,
)

# --- orders ---------------------------------------------------------------------------------------


def test_an_order_is_created_opened_and_cancelled() -> None:
    service = Pure(ORDER)
    created = service.ask(CREATE)
    assert isinstance(created, m.OrderCreated)
    assert (created.status, service.row.status, service.row.amount_cents) == ("PENDING", "PENDING", 1020)
    assert msgspec.json.decode(service.row.details) == DETAILS
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
    again = m.CancelOrder(reason="CUSTOMER_REQUEST", order_id="learnt-elsewhere", saga_id=CANCEL.saga_id)
    assert isinstance(service.ask(again), m.OrderCancelled), "asked with an id, it is as cancelled as before"


def test_a_cancelled_order_is_not_created_again() -> None:
    service = Pure(ORDER)
    service.ask(CREATE)
    service.ask(CANCEL)
    assert isinstance(service.ask(CREATE), m.OrderCreationFailed)


@pytest.mark.parametrize(
    ("details", "field"),
    [
        ({"foodItems": []}, "foodItems"),
        ({"foodItems": [{"price": "4.35", "quantity": 1}]}, "foodItems[0].price"),
        ({"foodItems": [{"price": 4.351, "quantity": 1}]}, "foodItems[0].price"),
        ({"foodItems": [{"price": 4.35, "quantity": 1.5}]}, "foodItems[0].quantity"),
        ({"foodItems": ["burrito"]}, "foodItems[0]"),
        ({"deliveryFee": -1}, "deliveryFee"),
    ],
)
def test_an_order_that_has_no_price_is_refused_and_not_kept(details: dict[str, Any], field: str) -> None:
    service = Pure(ORDER)
    refused = service.ask(create(**details))
    assert isinstance(refused, m.OrderCreationFailed)
    assert (refused.error, service.row) == ("INVALID_ORDER", None)
    assert field in (refused.message or "")


def test_an_accepted_order_is_not_cancelled() -> None:
    service = _open_order()
    service.ask(order.Accept(runner_id="r-1"))
    reply = service.reply(CANCEL)
    assert reply.event == m.OrderCancellationFailed(
        error="ORDER_ACCEPTED", order_id=service.row.order_id, status="ACCEPTED"
    )
    assert not reply.remembered, "asked again, it is tried again"


def test_an_order_that_its_runner_gave_back_can_be_cancelled_again() -> None:
    service = _open_order()
    accepted = service.ask(order.Accept(runner_id="r-1"))
    assert accepted == m.OrderAccepted(order_id=service.row.order_id, runner_id="r-1")
    assert isinstance(service.ask(order.GiveBack()), m.OrderAcceptanceCancelled)
    assert service.row.runner_id is None
    assert isinstance(service.ask(CANCEL), m.OrderCancelled)


def test_an_order_cancelled_by_hand_says_so_once() -> None:
    service = _open_order()
    assert service.ask(order.Cancel()) == m.OrderCancelled(order_id=service.row.order_id, reason="the customer called")
    assert service.ask(order.Cancel()) is None


@pytest.mark.parametrize(
    ("status", "verb"),
    [
        ("PENDING", order.Accept(runner_id="r-1")),
        ("CANCELLED", order.Accept(runner_id="r-1")),
        ("CREATED", order.GiveBack()),
        ("ACCEPTED", order.Accept(runner_id="another")),
        ("ACCEPTED", order.Cancel()),
    ],
)
def test_what_is_impossible_is_refused_with_the_state(status: str, verb: Verb) -> None:
    service = Pure(ORDER, OrderRow(key="k", order_id="o-1", status=status, runner_id="r-1"))
    with pytest.raises(Refused, match=status):
        service.ask(verb)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (m.UpdateOrderStatus(order_id="another", status="CREATED"), "NOT_FOUND"),
        (m.UpdateOrderStatus(order_id="mine", status="EATEN"), "UNKNOWN_STATUS"),
        (m.UpdateOrderStatus(order_id="mine", status="DELIVERED"), "ILLEGAL_STATE"),
    ],
)
def test_an_update_that_does_not_fit_is_refused(command: m.UpdateOrderStatus, error: str) -> None:
    service = Pure(ORDER, OrderRow(key="k", order_id="mine", status="PENDING"))
    refused = service.ask(command)
    assert isinstance(refused, m.OrderStatusUpdateFailed)
    assert refused.error == error


def test_a_cancelled_order_does_not_come_back_to_life() -> None:
    service = _open_order()
    service.ask(CANCEL)
    revived = service.ask(m.UpdateOrderStatus(order_id=service.row.order_id, status="CREATED"))
    assert isinstance(revived, m.OrderStatusUpdateFailed)
    assert service.row.status == "CANCELLED"


# --- users ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_id", "says"),
    [
        ("alice-c4n4ry", None),
        ("declined-dora", None),
        ("no-card-nick", "Default payment method not set for user"),
        ("unknown-uma", "User not found"),
    ],
)
def test_the_beginning_of_a_made_up_user_says_what_is_wrong(user_id: str, says: str | None) -> None:
    event = Pure(replace(USER, answer=answer_anyone), key=user_id).ask(m.GetPaymentInfo(user_id=user_id))
    assert (event.error if isinstance(event, m.PaymentInfoFailed) else None) == says


def test_who_is_not_in_the_table_is_unknown_and_asked_for_again_the_next_time() -> None:
    reply = Pure(USER).reply(m.GetPaymentInfo(user_id="u"))
    assert reply.event == m.PaymentInfoFailed(error="User not found")
    assert not reply.remembered


def test_a_user_without_a_customer_at_the_provider_is_told_so() -> None:
    event = Pure(USER, UserRow(key="u", payment_method_id="pm")).ask(m.GetPaymentInfo(user_id="u"))
    assert event == m.PaymentInfoFailed(error="Stripe customer ID not configured for user")


def test_a_new_card_is_the_one_that_is_told() -> None:
    service = Pure(USER, made_up("no-card-nick", "cus_c4n4ry"))
    assert service.ask(user.SetPaymentMethod(payment_method_id="pm_new")) is None
    told = service.ask(m.GetPaymentInfo(user_id="no-card-nick"))
    assert told == m.PaymentInfoRetrieved(
        payment_info=m.PaymentInfo(stripe_customer_id="cus_c4n4ry", payment_method_id="pm_new")
    )


# --- payments -------------------------------------------------------------------------------------


def test_money_is_held_and_let_go() -> None:
    service, provider = _payments()
    held = service.ask(AUTHORIZE)
    assert isinstance(held, m.PaymentAuthorized)
    assert (service.row.amount_cents, service.row.status, provider.held()) == (1020, "AUTHORIZED", 1)
    released = service.ask(REVERT)
    assert isinstance(released, m.PaymentReleased)
    assert (released.payment_id, released.status, provider.held()) == (held.payment_id, "REVERTED", 0)


def test_captured_money_is_refunded() -> None:
    service, provider = _payments()
    service.ask(AUTHORIZE)
    assert service.ask(payment.CaptureNow()) is None
    released = service.ask(REVERT)
    assert isinstance(released, m.PaymentReleased)
    assert (released.status, service.row.status) == ("REVERTED", "REFUNDED")
    assert list(provider.statuses.values()) == ["REFUNDED"]


def test_a_declined_card_leaves_no_payment() -> None:
    service, provider = _payments()
    declined = service.ask(authorize(card="pm_card_chargeDeclined"))
    assert isinstance(declined, m.PaymentFailed)
    assert (declined.error, declined.stripe_code, service.row) == ("STRIPE_CARD_ERROR", "card_declined", None)
    assert provider.held() == 0


def test_under_fifty_cents_nothing_is_held() -> None:
    service, provider = _payments()
    refused = service.ask(authorize(amount=49))
    assert isinstance(refused, m.PaymentFailed)
    assert (refused.error, provider.by_key) == ("INVALID_AMOUNT", {})
    assert isinstance(service.ask(authorize(amount=50)), m.PaymentAuthorized)


def test_a_revert_that_overtakes_its_authorization_holds_no_money() -> None:
    service, provider = _payments()
    assert isinstance(service.ask(REVERT), m.PaymentReleased)
    assert isinstance(service.ask(AUTHORIZE), m.PaymentFailed)
    assert (service.row.payment_intent_id, provider.held()) == (None, 0)


def test_a_revert_of_another_payment_is_refused_and_moves_no_money() -> None:
    service, provider = _payments()
    service.ask(AUTHORIZE)
    reply = service.reply(m.RevertPayment(payment_id="another", reason="x"))
    assert reply.event == m.PaymentFailed(error="not_found", payment_id="another")
    assert not reply.remembered
    assert provider.held() == 1


def test_a_revert_of_a_payment_that_was_never_made_is_not_called_done() -> None:
    refused = _payments()[0].ask(m.RevertPayment(payment_id="pay-lost", order_id="o-1", reason="x"))
    assert refused == m.PaymentFailed(error="not_found", payment_id="pay-lost")


def test_the_same_money_asked_for_under_another_id_is_held_once() -> None:
    service, provider = _payments()
    assert service.ask(AUTHORIZE) == service.ask(AUTHORIZE)
    assert provider.held() == 1


def test_other_money_for_the_same_order_is_refused() -> None:
    service, provider = _payments()
    service.ask(AUTHORIZE)
    assert isinstance(service.ask(authorize(amount=2000)), m.PaymentFailed)
    assert provider.held() == 1


@pytest.mark.parametrize("verb", [payment.Void(), payment.Refund()])
def test_money_given_back_by_hand_is_announced_once(verb: Verb) -> None:
    service, provider = _payments()
    service.ask(AUTHORIZE)
    if isinstance(verb, payment.Refund):
        service.ask(payment.CaptureNow())
    released = service.ask(verb)
    assert isinstance(released, m.PaymentReleased)
    assert released.status == "REVERTED"
    assert service.ask(verb) is None
    assert provider.held() == 0
    assert service.row.reason == "the customer called"


@pytest.mark.parametrize(
    ("before", "verb", "state"),
    [
        ([], payment.Refund(), "AUTHORIZED"),
        ([payment.CaptureNow()], payment.Void(), "CAPTURED"),
        ([payment.Void()], payment.CaptureNow(), "REVERTED"),
    ],
)
def test_money_that_is_elsewhere_is_not_moved(before: list[Verb], verb: Verb, state: str) -> None:
    service, _ = _payments()
    service.ask(AUTHORIZE)
    for earlier in before:
        service.ask(earlier)
    with pytest.raises(Refused, match=state):
        service.ask(verb)


def test_a_hold_that_the_provider_has_lost_is_not_captured_and_not_called_released() -> None:
    service, provider = _payments()
    service.ask(AUTHORIZE)
    provider.statuses.clear()
    with pytest.raises(Refused, match="holds no money"):
        service.ask(payment.CaptureNow())
    reply = service.reply(REVERT)
    assert isinstance(reply.event, m.PaymentFailed)
    assert (reply.event.error, reply.remembered) == ("missing_intent_id", False)


# --- timers ---------------------------------------------------------------------------------------


def test_a_timer_runs_out_and_a_cancel_of_it_is_granted_all_the_same() -> None:
    service = Pure(TIMER)
    started = service.ask(START)
    assert isinstance(started, m.TimerStarted)
    assert started.timeout_at == "2026-01-02T12:00:00.000000Z"
    expired = expire(service.row)
    assert expired.event == m.TimerExpired(order_id="o-1", timer_id=started.timer_id)
    service.row = expired.row
    assert isinstance(service.ask(CANCEL_TIMER), m.TimerCancelled)
    assert service.row.status == "EXPIRED", "it has fired: that does not change"


def test_a_cancelled_timer_stays_so() -> None:
    service = Pure(TIMER)
    service.ask(START)
    assert isinstance(service.ask(CANCEL_TIMER), m.TimerCancelled)
    assert service.row.status == "CANCELLED"
    assert isinstance(service.ask(START), m.TimerFailed)


def test_a_cancel_that_overtakes_its_timer_leaves_none_running() -> None:
    service = Pure(TIMER)
    assert isinstance(service.ask(CANCEL_TIMER), m.TimerCancelled)
    assert isinstance(service.ask(START), m.TimerFailed)


def test_a_timer_is_stopped_by_hand_once() -> None:
    service = Pure(TIMER)
    service.ask(START)
    assert service.ask(timer.Cancel()) == m.TimerCancelled(order_id="o-1", reason="the customer called")
    assert service.ask(timer.Cancel()) is None


def _open_order() -> Pure:
    service = Pure(ORDER)
    service.ask(CREATE)
    service.ask(m.UpdateOrderStatus(order_id=service.row.order_id, status="CREATED"))
    return service


def _payments() -> tuple[Pure, MemoryProvider]:
    provider = MemoryProvider()
    return Pure(PAYMENT, consult=ConsultProvider(provider)), provider
