"""Payments and sagas are compared: each kind of difference is found, and nothing where all is well."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from ordersaga.orchestrator.core.definition import Money
from ordersaga.orchestrator.core.instance import (
    Acceptance,
    Became,
    Effect,
    Instance,
    Resolved,
    Status,
    StepRecord,
)
from ordersaga.orchestrator.core.reconcile import GONE, STANDING, Kind, Payment, compare
from ordersaga.orchestrator.sagas.complete_order import Delivery
from ordersaga.orchestrator.sagas.create_order import OrderData

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=5)
QUIET_SINCE = NOW - timedelta(minutes=15)
MONEY = {"create_order": Money.HOLDS, "complete_order": Money.CAPTURES}


def saga(number: int, status: Status = Status.COMPLETED, **more: Any) -> Instance[OrderData]:
    ids = {"payment_id": f"pay-{number}", "payment_intent_id": f"pi-{number}"}
    became = Became.DONE if status is Status.COMPLETED else Became.UNDONE
    step = StepRecord(name="AUTHORIZE_PAYMENT", became=became, effects=(Effect(ids=ids),))
    instance = Instance(
        saga_id=UUID(int=number),
        saga="create_order",
        version=1,
        status=status,
        revision=6,
        created_at=LONG_AGO,
        updated_at=LONG_AGO,
        data=OrderData(order_id=f"order-{number}", payment_id=f"pay-{number}", amount_cents=1998),
        steps={step.name: step},
    )
    return replace(instance, **more)


def payment(number: int, **more: Any) -> Payment:
    whole = Payment(
        payment_id=f"pay-{number}",
        order_id=f"order-{number}",
        payment_intent_id=f"pi-{number}",
        amount_cents=1998,
        status="AUTHORIZED",
    )
    return replace(whole, **more)


def kinds(
    payments: list[Payment], sagas: list[Instance[OrderData]], archived: Sequence[Instance[OrderData]] = ()
) -> list[tuple[Kind, UUID | None]]:
    found = compare(payments, sagas, archived=iter(archived), quiet_since=QUIET_SINCE, money=MONEY)
    return [(one.kind, one.saga_id) for one in found]


def delivery(number: int, status: Status = Status.COMPLETED, **more: Any) -> Instance[Any]:
    """What completes the order of `saga(number)`."""
    data = Delivery(order_id=f"order-{number}", payment_id=f"pay-{number}", amount_cents=1998, payout_cents=500)
    whole: Instance[Any] = saga(number, status, saga_id=UUID(int=100 + number), saga="complete_order", steps={})
    return replace(whole, data=data, **more)


RESOLVED = Resolved(actor="mia", role="operator", why="paid back by hand", at=LONG_AGO)


def resolved(number: int, **more: Any) -> Instance[OrderData]:
    """FAILED, and a person has seen to it."""
    return saga(number, Status.FAILED, resolved=RESOLVED, **more)


WELL = [
    ([payment(1)], [saga(1)]),
    ([payment(1, status="CAPTURED")], [saga(1)]),
    ([payment(1, order_id=None, payment_intent_id=None)], [saga(1)]),
    ([payment(1, status="CAPTURED")], [saga(1), delivery(1)]),
    ([payment(1, status="CAPTURED")], [saga(1), delivery(1, Status.STARTED)]),
    ([payment(1)], [saga(1), delivery(1, Status.COMPENSATED), delivery(1, Status.CANCELLED)]),
    ([payment(1)], [saga(1), delivery(1, updated_at=NOW)]),
    ([payment(1, status="REVERTED")], [saga(1, Status.CANCELLED)]),
    ([payment(1, status="REFUNDED")], [saga(1, Status.COMPENSATED)]),
    ([], [saga(1, Status.COMPENSATED)]),
    ([payment(1)], [saga(1, Status.FAILED)]),
    ([payment(1, status="REVERTED")], [resolved(1)]),
    ([], [resolved(1)]),
    ([payment(1, status="CAPTURED")], [resolved(1, accepted=Acceptance(runner_id="r-1"))]),
    ([payment(9, status="REVERTED")], []),
    ([payment(9, status="PENDING")], []),
    ([payment(1), payment(1, payment_id="pay-1b", payment_intent_id="pi-1b", status="REVERTED")], [saga(1)]),
]


@pytest.mark.parametrize(("payments", "sagas"), WELL)
def test_what_agrees_is_no_difference(payments: list[Payment], sagas: list[Instance[OrderData]]) -> None:
    assert kinds(payments, sagas) == []


PLANTED: list[tuple[Kind, int | None, list[Payment], list[Instance[OrderData]]]] = [
    (Kind.NO_SAGA, None, [payment(9)], []),
    (Kind.NO_PAYMENT, 1, [], [saga(1)]),
    (Kind.PAYMENT_GONE, 1, [payment(1, status="REVERTED")], [saga(1)]),
    (Kind.STILL_HELD, 1, [payment(1)], [saga(1, Status.CANCELLED)]),
    (Kind.STILL_CAPTURED, 1, [payment(1, status="CAPTURED")], [saga(1, Status.COMPENSATED)]),
    (Kind.HELD_TWICE, 1, [payment(1), payment(1, payment_id="pay-1b", payment_intent_id="pi-1b")], [saga(1)]),
    (Kind.RESOLVED_HELD, 1, [payment(1)], [resolved(1)]),
    (Kind.NOT_CAPTURED, 101, [payment(1)], [saga(1), delivery(1)]),
    (Kind.OTHER_AMOUNT, 1, [payment(1, amount_cents=1999)], [saga(1)]),
    (Kind.OTHER_ORDER, 1, [payment(1, order_id="order-7")], [saga(1)]),
    (Kind.OTHER_INTENT, 1, [payment(1, payment_intent_id="pi-7")], [saga(1)]),
    (Kind.LISTED_TWICE, None, [payment(1), payment(1)], [saga(1)]),
    (Kind.UNKNOWN_STATUS, None, [payment(1, status="ODD"), payment(1, payment_intent_id=None)], [saga(1)]),
]


@pytest.mark.parametrize(("payments", "sagas"), WELL)
def test_what_agrees_is_no_difference_in_the_archive_neither(
    payments: list[Payment], sagas: list[Instance[OrderData]]
) -> None:
    assert kinds(payments, [], sagas) == []
    assert kinds(payments, sagas, sagas) == [], "one that was moved meanwhile is read twice"


@pytest.mark.parametrize(("kind", "number", "payments", "sagas"), PLANTED, ids=[one[0].value for one in PLANTED])
def test_each_kind_of_difference_is_found_in_the_archive_too(
    kind: Kind, number: int | None, payments: list[Payment], sagas: list[Instance[OrderData]]
) -> None:
    wanted = [(kind, UUID(int=number) if number else None)]
    assert kinds(payments, [], sagas) == wanted
    assert kinds(payments, [], [*sagas[::-1], saga(8, Status.STARTED)]) == wanted
    assert kinds(payments, sagas, sagas) == wanted, "one that was moved meanwhile is said once"


def test_a_payment_is_of_the_archived_saga_that_knows_it_and_not_of_the_one_whose_order_it_names() -> None:
    """In whatever order they are read."""
    payments = [payment(1, order_id="order-7"), payment(7)]
    for archived in ([saga(1), saga(7)], [saga(7), saga(1)]):
        assert kinds(payments, [], archived) == [(Kind.OTHER_ORDER, UUID(int=1))]


def test_a_hold_of_which_nobody_spoke_is_found_by_the_order_of_an_archived_saga() -> None:
    unknown = payment(1, payment_id="nobody spoke of it", payment_intent_id=None)
    assert kinds([unknown], [], [saga(1, Status.CANCELLED)]) == [(Kind.STILL_HELD, UUID(int=1))]


@pytest.mark.parametrize("more", [{}, {"resolved": RESOLVED}])
def test_two_that_stand_for_one_order_are_said_of_a_saga_that_failed_too(more: dict[str, Any]) -> None:
    twice = [payment(1), payment(1, payment_id="pay-1b", payment_intent_id="pi-1b")]
    assert (Kind.HELD_TWICE, UUID(int=1)) in kinds(twice, [saga(1, Status.FAILED, **more)])


def test_what_stands_for_an_order_that_a_person_has_resolved_says_so() -> None:
    (found,) = compare([payment(1)], [resolved(1)], quiet_since=QUIET_SINCE, money=MONEY)
    assert found.said == "payment pay-1 holds 19.98 of an order that is FAILED and that somebody has resolved"


@pytest.mark.parametrize(("kind", "number", "payments", "sagas"), PLANTED, ids=[one[0].value for one in PLANTED])
def test_each_kind_of_difference_is_found(
    kind: Kind, number: int | None, payments: list[Payment], sagas: list[Instance[OrderData]]
) -> None:
    assert kinds(payments, sagas) == [(kind, UUID(int=number) if number else None)]


def test_every_kind_is_planted_once() -> None:
    # A row that is damaged is found when it is read: tests/runtime/test_reconciling.py.
    assert [kind for kind, *_ in PLANTED] == [kind for kind in Kind if kind not in (Kind.SAGA_DAMAGED, Kind.UNSURE)]


@pytest.mark.parametrize("status", [Status.STARTED, Status.COMPENSATING, Status.CANCELLING])
@pytest.mark.parametrize("payments", [[], [payment(1)], [payment(1, status="REVERTED")]])
def test_what_is_under_way_is_left_alone(status: Status, payments: list[Payment]) -> None:
    assert kinds(payments, [saga(1, status)]) == []


def test_what_changed_a_moment_ago_is_left_alone() -> None:
    moved = saga(1, Status.CANCELLED, updated_at=NOW - timedelta(minutes=14))
    assert kinds([payment(1)], [moved]) == []


def test_a_payment_of_a_saga_that_is_not_among_them_is_none_of_theirs() -> None:
    found = compare(
        [payment(9)], [], quiet_since=QUIET_SINCE, is_of_another=lambda one: one.order_id == "order-9", money=MONEY
    )
    assert list(found) == []


def test_an_extra_hold_that_a_saga_knows_is_found_by_its_intent() -> None:
    extra = Effect(ids={"payment_id": "pay-1", "payment_intent_id": "pi-extra"})
    whole = saga(1)
    step = whole.steps["AUTHORIZE_PAYMENT"]
    known = replace(whole, steps={step.name: replace(step, effects=(*step.effects, extra))})
    second = payment(1, payment_id="elsewhere", order_id=None, payment_intent_id="pi-extra")
    assert kinds([payment(1), second], [known]) == [(Kind.HELD_TWICE, UUID(int=1))]


def test_no_status_both_stands_and_is_gone() -> None:
    assert not STANDING & GONE


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.COMPENSATED])
def test_nothing_is_expected_of_a_saga_that_has_nothing_to_do_with_money(status: Status) -> None:
    assert kinds([], [saga(1, status, saga="change_address")]) == []
    assert kinds([payment(1)], [saga(1), saga(2, status, saga="change_address")]) == []
