"""Payments against the sagas of orders that were placed, live and archived, with and without an order in the ledger."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from ordersaga.orchestrator.core.definition import Money
from ordersaga.orchestrator.core.reconcile import Kind, Payment
from ordersaga.orchestrator.runtime.reconciling import QUIET, SAGAS_OF, Reconciliation
from ordersaga.orchestrator.store.archive import PostgresArchive
from ordersaga.orchestrator.store.connections import open_pool
from ordersaga.wire import completing as c
from ordersaga.wire import messages as m
from tests.api.conftest import Stage
from tests.api.test_completing import accepted, complete, opened
from tests.api.test_erase import archive_all, told

AMOUNT_CENTS = 2425
IN_AN_HOUR = datetime.now(UTC) + timedelta(hours=1)
MONEY = {"create_order": Money.HOLDS, "complete_order": Money.CAPTURES}


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


def found(
    stage: Stage, url: str, payments: Sequence[Payment], *, of: timedelta = SAGAS_OF, now: datetime = IN_AN_HOUR
) -> list[tuple[Kind, str | None]]:
    """What differs an hour from now, when nothing has just changed, and in which order."""
    pool = open_pool(url, "saga", size_max=2)
    try:
        comparison = Reconciliation(
            store=stage.api.store,
            archive=PostgresArchive(pool),
            payments=lambda since: payments,
            money=MONEY,
            now=lambda: now,
        )
        return [(one.kind, one.order_id) for one in comparison.differences(of=of)]
    finally:
        pool.close()


def held(saga_id: str, **more: str) -> Payment:
    return Payment(payment_id=f"pay-{saga_id}", amount_cents=AMOUNT_CENTS, **{"status": "AUTHORIZED"} | more)


def paying(stage: Stage) -> tuple[str, str]:
    """A saga that has asked for its payment, and its order."""
    saga_id = stage.place()
    card = m.PaymentInfo(stripe_customer_id="cus_1", payment_method_id="pm_1")
    told(stage, saga_id, m.OrderCreated(order_id=f"order-{saga_id}"), m.PaymentInfoRetrieved(payment_info=card))
    return saga_id, f"order-{saga_id}"


def taken_back(stage: Stage) -> tuple[str, str]:
    saga_id, order_id = opened(stage)
    stage.client.post(f"/sagas/{saga_id}/cancel", json={"who": "mia", "why": "a test", "role": "operator"})
    released = m.PaymentReleased(payment_id=f"pay-{saga_id}", status="REVERTED")
    told(stage, saga_id, m.OrderCancelled(order_id=order_id), released, m.TimerCancelled(order_id=order_id))
    assert stage.client.get(f"/sagas/{saga_id}").json()["status"] == "CANCELLED"
    return saga_id, order_id


@pytest.mark.parametrize("named", [False, True], ids=["no order", "order"])
def test_money_of_an_order_that_was_taken_back_is_found_in_the_archive_too(
    postgres_stage: Stage, url: str, named: bool
) -> None:
    saga_id, order_id = taken_back(postgres_stage)
    ledger = [held(saga_id, **({"order_id": order_id} if named else {}))]
    assert found(postgres_stage, url, ledger) == [(Kind.STILL_HELD, order_id)]
    assert archive_all(url) == 1
    assert found(postgres_stage, url, ledger) == [(Kind.STILL_HELD, order_id)]
    assert found(postgres_stage, url, ledger, of=timedelta(days=400)) == [(Kind.STILL_HELD, order_id)]
    assert found(postgres_stage, url, ledger, of=timedelta(0)) == [], "of an older one that knows it"


def test_what_is_expected_of_a_completed_order_is_expected_of_an_archived_one(postgres_stage: Stage, url: str) -> None:
    order_id = accepted(postgres_stage)
    saga_id = order_id.removeprefix("order-")
    completing = complete(postgres_stage, order_id).json()["saga_id"]
    told(
        postgres_stage,
        completing,
        c.OrderDelivered(order_id=order_id),
        c.PaymentCaptured(payment_id=f"pay-{saga_id}"),
        c.RunnerPaid(payout_id="po-1"),
        c.OrderCompleted(order_id=order_id),
    )
    assert archive_all(url) == 2
    assert found(postgres_stage, url, [held(saga_id, status="CAPTURED")]) == []
    assert found(postgres_stage, url, [held(saga_id)]) == [(Kind.NOT_CAPTURED, order_id)]
    assert found(postgres_stage, url, []) == [(Kind.NO_PAYMENT, order_id)]


def test_a_hold_whose_saga_has_not_heard_of_it_yet_is_not_called_nobodys(postgres_stage: Stage, url: str) -> None:
    """The ledger does not say of which order it is. Whoever believed it would release what the order stands on."""
    saga_id, _ = paying(postgres_stage)
    assert found(postgres_stage, url, [held(saga_id)]) == []
    assert found(postgres_stage, url, [held(saga_id)], of=timedelta(0)) == [], "begun just before"
    another = Payment(payment_id="another", amount_cents=AMOUNT_CENTS + 1, status="AUTHORIZED")
    assert found(postgres_stage, url, [another]) == [(Kind.NO_SAGA, None)], "none waits for that amount"


@pytest.mark.parametrize("changed", ["state = '{}'", "version = 77"], ids=["damaged", "not run here"])
@pytest.mark.parametrize("of", [SAGAS_OF, timedelta(0)], ids=["within", "older"])
def test_a_hold_that_only_a_saga_may_have_which_cannot_be_read_is_not_passed_over_in_silence(
    postgres_stage: Stage, url: str, changed: str, of: timedelta
) -> None:
    paying(postgres_stage)
    with psycopg.connect(url) as connection:
        connection.execute(f"UPDATE saga.sagas SET {changed}".encode())
    kinds = [kind for kind, _ in found(postgres_stage, url, [held("another")], of=of)]
    assert [kind for kind in kinds if kind is not Kind.SAGA_DAMAGED] == [Kind.UNSURE]


def test_a_hold_that_nobody_waits_for_any_more_is_nobodys(postgres_stage: Stage, url: str) -> None:
    saga_id, order_id = paying(postgres_stage)
    told(postgres_stage, saga_id, m.PaymentFailed(error="STRIPE_CARD_ERROR"), m.OrderCancelled(order_id=order_id))
    assert postgres_stage.client.get(f"/sagas/{saga_id}").json()["status"] == "COMPENSATED"
    assert found(postgres_stage, url, [held("unknown")]) == [(Kind.NO_SAGA, None)]


def test_a_hold_that_an_older_live_saga_knows_is_not_called_nobodys(postgres_stage: Stage, url: str) -> None:
    saga_id = accepted(postgres_stage).removeprefix("order-")
    assert found(postgres_stage, url, [held(saga_id)]) == []
    assert found(postgres_stage, url, [held(saga_id)], of=timedelta(0)) == []


def test_what_changed_a_moment_ago_is_left_alone_in_the_archive_too(postgres_stage: Stage, url: str) -> None:
    saga_id, order_id = taken_back(postgres_stage)
    assert archive_all(url) == 1
    soon = datetime.now(UTC) + QUIET / 2
    assert found(postgres_stage, url, [held(saga_id, order_id=order_id)], now=soon) == []
