"""Deliveries on Apache Kafka and PostgreSQL, with processes that are stopped and killed in the middle of them. What
came of them is read from the participants' own tables.
"""

import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from tests.e2e.deliveries import OPERATOR, PAYOUT_CENTS, Order, Platform
from tests.e2e.delivery_ledgers import OF_DELIVERIES, PLANTED_IN_DELIVERIES, agree
from tests.faults import topics
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WHOLE = ["mark_delivered", "capture_payment", "pay_runner", "mark_completed"]
HELD = ("AUTHORIZED", "HELD", 0, None)
KILLED = -signal.SIGKILL


@pytest.fixture
def platform(one_platform: Platform) -> Platform:
    return one_platform.all_run()


def paid(order: Order) -> tuple[str, str, int, str]:
    """Its money, once it is delivered."""
    return "CAPTURED", "CAPTURED", PAYOUT_CENTS, order.runner_id


def test_a_delivered_order_is_charged_once_its_runner_paid_once_and_both_are_told(platform: Platform) -> None:
    (order,) = platform.carried()
    saga_id = platform.begun(order)
    assert platform.ended(saga_id)["status"] == "COMPLETED"
    assert platform.asked(saga_id) == WHOLE
    found = platform.answer("GET", "order", f"/orders/{order.order_id}")
    assert (found["status"], found["delivered_for"], found["runner_id"]) == ("COMPLETED", saga_id, order.runner_id)
    found = platform.answer("GET", "payment", f"/payments/{order.payment_id}")
    assert (found["status"], found["payout_cents"], found["runner_id"]) == ("CAPTURED", PAYOUT_CENTS, order.runner_id)
    assert platform.money(order) == paid(order)
    ledgers = agree(platform.database_url)
    assert platform.told(saga_id, order.customer_id) == ["order_delivered"]
    assert platform.told(saga_id, order.runner_id) == ["runner_paid"]
    for name in OF_DELIVERIES:
        noticed = ledgers.violations(planted=PLANTED_IN_DELIVERIES[name])
        assert name in noticed, f"the check does not notice what it is for: {name}"


def test_whoever_asks_again_is_answered_with_the_same_saga(platform: Platform) -> None:
    (order,) = platform.carried()
    first = platform.begun(order)
    assert platform.begun(order) == first
    assert platform.ended(first)["status"] == "COMPLETED"
    assert platform.begun(order) == first
    assert platform.money(order) == paid(order)
    agree(platform.database_url)


def test_those_who_ask_in_one_moment_are_answered_with_one_saga(platform: Platform) -> None:
    (order,) = platform.carried()
    together = Barrier(6)

    def ask(_: int) -> str:
        together.wait(20)
        return platform.begun(order)

    with ThreadPoolExecutor(6) as people:
        (saga_id,) = set(people.map(ask, range(6)))
    assert platform.ended(saga_id)["status"] == "COMPLETED"
    assert platform.money(order) == paid(order)
    agree(platform.database_url)


def test_an_order_that_no_runner_has_is_not_completed(platform: Platform) -> None:
    (order,) = platform.placed()
    refused = platform.complete(order)
    assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (409, "cannot-be-completed")
    begun = "select count(*) from ordersaga.sagas where saga = 'complete_order' and order_id = %s"
    assert platform.count(begun, order.order_id) == 0
    assert (platform.mark(order), platform.money(order)) == (("CREATED", None), HELD)


# --- before the point of no return ----------------------------------------------------------------


def test_a_capture_that_is_refused_gives_the_order_back_to_its_runner_who_is_told(platform: Platform) -> None:
    (order,) = platform.carried()
    platform.answer("POST", "payment", f"/payments/{order.payment_id}/void", OPERATOR)
    saga_id = platform.begun(order)
    found = platform.ended(saga_id)
    assert (found["status"], found["reason"]) == ("COMPENSATED", "CAPTURE_REFUSED")
    assert platform.asked(saga_id) == ["mark_delivered", "capture_payment", "undo_delivery"]
    assert (platform.mark(order), platform.money(order)) == (("ACCEPTED", None), ("REVERTED", "RELEASED", 0, None))
    agree(platform.database_url)
    assert platform.told(saga_id, order.runner_id) == ["delivery_called_off"]
    assert platform.told(saga_id, order.customer_id) == []


def test_an_order_that_was_given_back_is_not_marked_and_the_next_runner_delivers_it(platform: Platform) -> None:
    """The orchestrator has not read yet that the first one gave it back."""
    (order,) = platform.carried()
    with platform.nothing_is_read():
        platform.answer("POST", "order", f"/orders/{order.order_id}/give-back")
        saga_id = platform.begun(order)
    found = platform.ended(saga_id)
    assert (found["status"], found["reason"]) == ("COMPENSATED", "DELIVERY_REJECTED")
    assert platform.asked(saga_id) == ["mark_delivered"]
    assert (platform.mark(order), platform.money(order)) == (("CREATED", None), HELD)
    platform.accept(order, next_runner := f"{order.runner_id}-too")
    second = platform.begun(order)
    assert platform.ended(second)["status"] == "COMPLETED"
    assert platform.money(order) == ("CAPTURED", "CAPTURED", PAYOUT_CENTS, next_runner)
    agree(platform.database_url)
    assert platform.told(saga_id, order.runner_id) == ["delivery_called_off"]
    assert platform.told(second, next_runner) == ["runner_paid"]


def test_a_delivery_that_is_called_off_before_its_mark_is_answered_leaves_nothing(platform: Platform) -> None:
    (order,) = platform.carried()
    with platform.away("order"):
        saga_id = platform.begun(order)
        platform.all_at([saga_id], "MARK_DELIVERED")
        platform.answer("POST", "orchestrator", f"/sagas/{saga_id}/cancel", OPERATOR | {"role": "operator"})
    found = platform.ended(saga_id)
    assert (found["status"], found["reason"]) == ("CANCELLED", "OPERATOR_REQUEST")
    assert platform.asked(saga_id) == ["mark_delivered", "undo_delivery"]
    assert (platform.mark(order), platform.money(order)) == (("ACCEPTED", None), HELD)
    agree(platform.database_url)
    assert platform.told(saga_id, order.runner_id) == ["delivery_called_off"]


# --- the point of no return, and after it ---------------------------------------------------------


def test_an_orchestrator_that_dies_between_the_capture_and_the_end_does_each_thing_once(platform: Platform) -> None:
    """It dies twice: when all captures are asked for, and when it has heard of some and sent nothing yet."""
    orders = platform.carried(6)
    with platform.away("payment"):
        sagas = [platform.begun(one) for one in orders]
        platform.all_at(sagas, "CAPTURE_PAYMENT")
        platform.process("orchestrator").kill()
    captured = "select count(*) from participant_payment.rows where status = 'CAPTURED' and payment_id = any (%s)"
    payments = [one.payment_id for one in orders]
    until(lambda: platform.count(captured, payments) == len(orders), "all is captured", within_seconds=60.0)
    platform.start("orchestrator", failpoints="handle.after_commit=kill@1")
    assert platform.process("orchestrator").wait_ended(60.0) == KILLED
    platform.start("orchestrator")
    platform.wait_until_ready("orchestrator")
    for saga_id, order in zip(sagas, orders, strict=True):
        assert platform.ended(saga_id)["status"] == "COMPLETED"
        assert platform.asked(saga_id) == WHOLE
        assert platform.money(order) == paid(order)
    agree(platform.database_url)
    said = topics.compare(topics.read_all(platform.kafka.bootstrap_servers), platform.database_url)
    assert (said.unknown, said.missing) == ([], [])


def test_a_payout_that_fails_for_a_while_is_asked_for_until_it_is_made_and_nothing_is_undone(
    platform: Platform,
) -> None:
    """The payment service dies when the runner was paid and nothing is written down of it; then it stays away until it
    was asked again. When it is back, the order service is away.
    """
    (order,) = platform.carried()
    platform.process("payment").stop()
    platform.start("payment", failpoints="payment.after_provider=kill@2")
    saga_id = platform.begun(order)
    assert platform.process("payment").wait_ended(60.0) == KILLED
    assert platform.money(order) == paid(order)
    until(lambda: platform.attempts(saga_id, "PAY_RUNNER") > 1, "it is asked for again", within_seconds=150.0)
    refused = platform.ask("POST", "orchestrator", f"/sagas/{saga_id}/cancel", OPERATOR | {"role": "operator"})
    assert (refused.status_code, refused.json()["saga_status"]) == (409, "STARTED")
    assert platform.mark(order) == ("DELIVERED", saga_id)
    with platform.away("order"):
        platform.start("payment")
        platform.all_at([saga_id], "MARK_COMPLETED")
        assert platform.mark(order) == ("DELIVERED", saga_id)
    assert platform.ended(saga_id)["status"] == "COMPLETED"
    assert platform.asked(saga_id) == WHOLE
    assert platform.money(order) == paid(order)
    agree(platform.database_url)
    assert platform.told(saga_id, order.runner_id) == ["runner_paid"]
