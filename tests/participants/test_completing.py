"""What order and payment service answer when an order is completed: by one saga, once, and back by that one."""

import pytest

from ordersaga.participants.order.rows import OrderRow
from ordersaga.participants.order.service import SERVICE as ORDER
from ordersaga.participants.order.service import Accept
from ordersaga.participants.payment.consult import ConsultProvider
from ordersaga.participants.payment.provider_memory import MemoryProvider
from ordersaga.participants.payment.rows import PaymentRow
from ordersaga.participants.payment.service import SERVICE as PAYMENT
from ordersaga.wire import completing as c
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.participants.stage import ANOTHER, BY, SAGA, Pure, authorize, create, hosted

MARK = c.MarkDelivered(order_id="o-1")
UNDO = c.UndoDelivery(order_id="o-1", reason="CAPTURE_REFUSED")
COMPLETE = c.MarkCompleted(order_id="o-1")
CAPTURE = c.CapturePayment(payment_id="p-1", order_id="o-1", amount_cents=1020)
PAY = c.PayRunner(payment_id="p-1", order_id="o-1", runner_id="r-1", amount_cents=200)


def orders(status: str = "ACCEPTED") -> Pure:
    return Pure(ORDER, OrderRow(key="placed", order_id="o-1", status=status, runner_id="r-1"))


def payments(status: str = "AUTHORIZED", provider: MemoryProvider | None = None) -> Pure:
    provider = provider or MemoryProvider()
    intent = provider.hold_by_hand("hold")
    provider.statuses[intent] = "HELD" if status == "AUTHORIZED" else status
    row = PaymentRow(
        key="placed",
        payment_id="p-1",
        order_id="o-1",
        amount_cents=1020,
        payment_intent_id=intent,
        status=status,
    )
    return Pure(PAYMENT, row, consult=ConsultProvider(provider))


# --- the order ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["ACCEPTED", "PLACED", "ON_THE_WAY"])
def test_what_a_runner_has_is_marked_and_goes_back_to_where_it_was(status: str) -> None:
    service = orders(status)
    assert service.ask(MARK) == service.ask(MARK) == c.OrderDelivered(order_id="o-1")
    assert (service.row.status, service.row.delivered_for) == ("DELIVERED", str(SAGA))
    assert service.ask(UNDO) == service.ask(UNDO) == c.OrderDeliveryUndone(order_id="o-1")
    assert (service.row.status, service.row.delivered_for) == (status, None)


@pytest.mark.parametrize("status", ["PENDING", "CREATED", "CANCELLED", "DELIVERED", "COMPLETED"])
def test_what_no_runner_has_is_not_marked(status: str) -> None:
    refused = orders(status).ask(MARK)
    assert isinstance(refused, c.OrderDeliveryFailed)
    assert (refused.error, refused.status) == ("ILLEGAL_STATE", status)


def test_a_mark_that_was_taken_back_before_it_came_is_refused() -> None:
    service = orders()
    assert service.ask(UNDO) == c.OrderDeliveryUndone(order_id="o-1")
    assert isinstance(service.ask(MARK), c.OrderDeliveryFailed)
    assert service.row.status == "ACCEPTED"


def test_an_order_is_delivered_by_one_saga_and_given_back_by_that_one() -> None:
    service = orders()
    service.ask(MARK)
    service.key = str(ANOTHER)
    assert isinstance(service.ask(MARK), c.OrderDeliveryFailed)
    assert service.ask(UNDO) == c.OrderDeliveryUndone(order_id="o-1"), "of its own there is nothing"
    assert isinstance(service.ask(COMPLETE), c.OrderCompletionFailed)
    assert (service.row.status, service.row.delivered_for) == ("DELIVERED", str(SAGA))


def test_another_saga_may_deliver_it_once_the_first_gave_it_back() -> None:
    service = orders()
    service.ask(MARK)
    service.ask(UNDO)
    service.key = str(ANOTHER)
    assert service.ask(MARK) == c.OrderDelivered(order_id="o-1")
    service.key = str(SAGA)
    assert isinstance(service.ask(MARK), c.OrderDeliveryFailed), "however late its first command comes again"


def test_a_completed_order_stays_completed() -> None:
    service = orders()
    service.ask(MARK)
    assert service.ask(COMPLETE) == service.ask(COMPLETE) == c.OrderCompleted(order_id="o-1")
    reply = service.reply(UNDO)
    assert isinstance(reply.event, c.OrderDeliveryUndoFailed)
    assert not reply.remembered
    assert service.row.status == "COMPLETED"


def test_a_delivered_order_is_not_cancelled() -> None:
    service = orders()
    service.ask(MARK)
    refused = service.ask(m.CancelOrder(order_id="o-1", reason="CUSTOMER_REQUEST"))
    assert isinstance(refused, m.OrderCancellationFailed)
    assert (refused.error, refused.status) == ("ORDER_ACCEPTED", "DELIVERED")


def test_an_order_that_is_not_there_is_not_made_by_asking() -> None:
    service = Pure(ORDER)
    assert isinstance(service.ask(MARK), c.OrderDeliveryFailed)
    assert service.ask(UNDO) == c.OrderDeliveryUndone(order_id="o-1")
    assert isinstance(service.ask(COMPLETE), c.OrderCompletionFailed)
    assert service.row is None


# --- the money ------------------------------------------------------------------------------------


def test_held_money_is_captured_once_and_the_runner_paid_once() -> None:
    provider = MemoryProvider()
    service = payments(provider=provider)
    captured = c.PaymentCaptured(payment_id="p-1", order_id="o-1")
    assert service.ask(CAPTURE) == service.ask(CAPTURE) == captured
    paid = service.ask(PAY)
    assert isinstance(paid, c.RunnerPaid)
    assert service.ask(PAY) == paid, "under another id of the message too"
    assert (list(provider.statuses.values()), len(provider.payouts)) == (["CAPTURED"], 1)
    assert (service.row.status, service.row.payout_cents, service.row.runner_id) == ("CAPTURED", 200, "r-1")


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (c.CapturePayment(payment_id="p-1", order_id="o-1", amount_cents=1021), "OTHER_PAYMENT"),
        (c.CapturePayment(payment_id="p-1", order_id="o-2", amount_cents=1020), "OTHER_PAYMENT"),
        (c.CapturePayment(payment_id="p-2", order_id="o-1", amount_cents=1020), "OTHER_PAYMENT"),
    ],
)
def test_another_payment_is_not_captured(command: c.CapturePayment, error: str) -> None:
    service = payments()
    refused = service.ask(command)
    assert isinstance(refused, c.PaymentCaptureFailed)
    assert (refused.error, service.row.status) == (error, "AUTHORIZED")


def test_what_the_provider_does_not_hold_any_more_is_not_captured() -> None:
    provider = MemoryProvider()
    service = payments(provider=provider)
    provider.lapse("hold")
    refused = service.ask(CAPTURE)
    assert isinstance(refused, c.PaymentCaptureFailed)
    assert (refused.error, service.row.status) == ("NOTHING_HELD", "AUTHORIZED")


def test_a_payment_that_is_not_there_is_not_captured() -> None:
    refused = Pure(PAYMENT, consult=ConsultProvider(MemoryProvider())).ask(CAPTURE)
    assert isinstance(refused, c.PaymentCaptureFailed)
    assert refused.error == "NOT_FOUND"


@pytest.mark.parametrize("status", ["REVERTED", "REFUNDED", "PENDING"])
def test_a_payment_that_does_not_stand_is_not_captured(status: str) -> None:
    refused = payments(status).ask(CAPTURE)
    assert isinstance(refused, c.PaymentCaptureFailed)
    assert refused.error == "ILLEGAL_STATE"


@pytest.mark.parametrize(
    "command",
    [
        c.PayRunner(payment_id="p-1", order_id="o-1", runner_id="r-1", amount_cents=1021),
        c.PayRunner(payment_id="p-1", order_id="o-2", runner_id="r-1", amount_cents=200),
    ],
)
def test_no_more_is_paid_out_than_was_captured_and_of_no_other_order(command: c.PayRunner) -> None:
    service = payments()
    service.ask(CAPTURE)
    reply = service.reply(command)
    assert isinstance(reply.event, c.RunnerPayoutFailed)
    assert (reply.remembered, service.row.payout_id) == (False, None)


def test_nothing_is_paid_out_of_money_that_is_only_held() -> None:
    service = payments()
    assert isinstance(service.ask(PAY), c.RunnerPayoutFailed)
    service.ask(CAPTURE)
    assert isinstance(service.ask(PAY), c.RunnerPaid), "asked again, it is tried again"


def test_nobody_else_is_paid_for_the_same_order() -> None:
    service = payments()
    service.ask(CAPTURE)
    service.ask(PAY)
    other = c.PayRunner(payment_id="p-1", order_id="o-1", runner_id="r-2", amount_cents=200)
    assert isinstance(service.ask(other), c.RunnerPayoutFailed)


# --- on the database ------------------------------------------------------------------------------


def test_a_delivered_order_is_completed_on_the_database_too(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        (created,) = service.ask(create())
        assert isinstance(created, m.OrderCreated)
        order_id = created.order_id
        service.ask(m.UpdateOrderStatus(order_id=order_id, status="CREATED"))
        service.host.act(order_id, Accept(runner_id="r-1"), BY)
        (delivered,) = service.ask(c.MarkDelivered(order_id=order_id), saga_id=ANOTHER)
        assert delivered == c.OrderDelivered(order_id=order_id)
        (undone,) = service.ask(c.UndoDelivery(order_id=order_id, reason="r"), saga_id=ANOTHER)
        assert undone == c.OrderDeliveryUndone(order_id=order_id)
        row = service.host.look_up(order_id)
        assert row is not None
        assert (row.status, row.called_off) == ("ACCEPTED", (str(ANOTHER),))


def test_money_is_captured_and_paid_out_on_the_database_too(database_url: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        (held,) = service.ask(authorize())
        assert isinstance(held, m.PaymentAuthorized)
        capture = c.CapturePayment(payment_id=held.payment_id, order_id="o-1", amount_cents=1020)
        pay = c.PayRunner(payment_id=held.payment_id, order_id="o-1", runner_id="r-1", amount_cents=200)
        assert service.ask(capture, saga_id=ANOTHER) == [c.PaymentCaptured(payment_id=held.payment_id, order_id="o-1")]
        (paid,) = service.ask(pay, saga_id=ANOTHER)
        assert isinstance(paid, c.RunnerPaid)
        service.clear("answers")
        assert service.ask(pay, saga_id=ANOTHER) == [paid], "though the answer is forgotten, it is paid once"
        assert service.one("select count(*) from sandbox_payouts") == 1
