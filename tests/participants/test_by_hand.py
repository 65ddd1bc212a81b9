"""What people do and look at, at a participant on a real database."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from ordersaga.delivery.failpoints import FailpointError, armed
from ordersaga.participants.order import service as order
from ordersaga.participants.payment import service as payment
from ordersaga.participants.payment.consult import AFTER_PROVIDER, BEFORE_PROVIDER
from ordersaga.participants.service import By, Refused
from ordersaga.participants.timer import service as timer
from ordersaga.participants.user import service as user
from ordersaga.participants.user.service import UserRow, made_up
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.participants.stage import (
    AUTHORIZE,
    BY,
    CREATE,
    SAGA,
    START,
    Hosted,
    authorize,
    command_record,
    hosted,
    saga_id,
)

ACTS = "select array_agg(concat_ws(' ', verb, actor, role, reason) order by act_id) from acts"


def test_a_runner_accepts_an_order_and_everyone_is_told(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        order_id = _open_order(service)
        accepted = service.host.act(order_id, order.Accept(runner_id="r-1"), By(actor="r-1", role="runner", reason=""))
        assert accepted is not None
        assert (accepted.status, accepted.runner_id) == ("ACCEPTED", "r-1")
        (envelope,) = service.envelopes()
        assert envelope.body == m.OrderAccepted(order_id=order_id, runner_id="r-1")
        assert (envelope.saga_id, envelope.causation_id) == (SAGA, None), "it answers no command"
        assert service.host.look_up(order_id) == accepted


def test_who_did_what_and_why_is_kept_with_what_was_done(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        order_id = _open_order(service)
        service.host.act(order_id, order.Cancel(), BY)
        with pytest.raises(Refused):
            service.host.act(order_id, order.GiveBack(), BY)
        assert service.one(ACTS) == ["Cancel op-7 support the customer called"]


def test_what_nobody_knows_is_not_acted_upon(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        assert service.host.act("nobody", order.Cancel(), BY) is None
        assert service.host.look_up("nobody") is None
        assert service.one("select count(*) from acts") == 0


def test_a_payment_is_captured_and_refunded_by_hand(database_url: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        (held,) = service.ask(AUTHORIZE)
        assert isinstance(held, m.PaymentAuthorized)
        service.host.act(held.payment_id, payment.CaptureNow(), BY)
        assert service.one("select array_agg(status) from sandbox_intents") == ["CAPTURED"]
        service.offered.clear()
        refunded = service.host.act(held.payment_id, payment.Refund(), BY)
        assert refunded is not None
        assert refunded.status == "REFUNDED"
        assert [type(one.body) for one in service.envelopes()] == [m.PaymentReleased]
        assert service.one("select array_agg(status) from sandbox_intents") == ["REFUNDED"]


def test_a_void_that_crashed_is_done_by_the_next_one(database_url: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        (held,) = service.ask(AUTHORIZE)
        assert isinstance(held, m.PaymentAuthorized)
        with armed(AFTER_PROVIDER, "raise"), pytest.raises(FailpointError):
            service.host.act(held.payment_id, payment.Void(), BY)
        service.offered.clear()
        service.host.act(held.payment_id, payment.Void(), BY)
        assert [type(one.body) for one in service.envelopes()] == [m.PaymentReleased]
        assert service.one("select array_agg(status) from sandbox_intents") == ["RELEASED"]


def test_twice_as_many_voids_at_once_as_there_are_connections_are_all_done(database_url: str) -> None:
    """Each asks the provider while it holds its row."""
    with hosted(Participant.PAYMENT, database_url) as service:
        connections = service.ledger._pool
        connections.resize(connections.max_size)
        connections.wait(60)
        meeting = Barrier(connections.max_size)
        orders = [f"o-{number}" for number in range(2 * connections.max_size)]
        service.deliver([command_record(authorize(one), saga_id()) for one in orders])
        payments = [one.body.payment_id for one in service.envelopes() if isinstance(one.body, m.PaymentAuthorized)]

        def wait_until_each_connection_is_held() -> None:
            meeting.wait(60)

        def void(payment_id: str) -> str:
            row = service.host.act(payment_id, payment.Void(), BY)
            assert row is not None
            return str(row.status)

        with (
            ThreadPoolExecutor(len(orders)) as threads,
            armed(BEFORE_PROVIDER, wait_until_each_connection_is_held),
        ):
            assert list(threads.map(void, payments)) == ["REVERTED"] * len(orders)
        assert service.one("select array_agg(distinct status) from sandbox_intents") == ["RELEASED"]


def test_a_timer_is_found_by_its_order_and_stopped(database_url: str) -> None:
    with hosted(Participant.TIMER, database_url) as service:
        service.ask(START)
        stopped = service.host.act("o-1", timer.Cancel(), BY)
        assert stopped is not None
        assert stopped.status == "CANCELLED"


def test_users_are_there_from_the_beginning_and_stay_as_they_are(database_url: str) -> None:
    seeds = [one for one in (made_up("customer-ok", "cus_c4n4ry"), made_up("no-card-nick", "cus_2")) if one]
    with hosted(Participant.USER, database_url) as service:
        service.host.seed(seeds)
        service.host.act("no-card-nick", user.SetPaymentMethod(payment_method_id="pm_card_visa"), BY)
        service.host.seed(seeds)
        assert service.host.look_up("no-card-nick") == UserRow(
            key="no-card-nick", stripe_customer_id="cus_2", payment_method_id="pm_card_visa"
        )
        (told,) = service.ask(m.GetPaymentInfo(user_id="customer-ok"))
        assert isinstance(told, m.PaymentInfoRetrieved)
        assert told.payment_info.stripe_customer_id == "cus_c4n4ry"


def _open_order(service: Hosted) -> str:
    (created,) = service.ask(CREATE)
    assert isinstance(created, m.OrderCreated)
    service.ask(m.UpdateOrderStatus(order_id=created.order_id, status="CREATED"))
    service.offered.clear()
    return created.order_id
