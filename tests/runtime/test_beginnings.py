"""Orders that come in together begin together, and fail alone."""

from threading import Event

import pytest

from ordersaga.delivery.failpoints import armed
from ordersaga.orchestrator.runtime.beginnings import Beginnings
from ordersaga.orchestrator.runtime.handle import BEFORE_COMMIT
from ordersaga.orchestrator.runtime.turn import New
from ordersaga.orchestrator.sagas.create_order import Customer, OrderData
from ordersaga.orchestrator.store.protocol import BadRow, StoreUnavailable
from tests.runtime.stage import Stage, new_saga_id


def new(customer_id: str = "c4n4ry-1") -> New:
    data = OrderData(personal=Customer(customer_id=customer_id, order_details={}), amount_cents=870)
    return New(saga="create_order", saga_id=new_saga_id(), data=data)


def test_orders_that_wait_begin_in_one_transaction(stage: Stage) -> None:
    transactions: list[int] = []
    beginnings = Beginnings(stage.handler)
    wanted = [new() for _ in range(30)]
    begun = [beginnings.begin(one) for one in wanted]
    with armed(BEFORE_COMMIT, lambda: transactions.append(1)):
        beginnings.start()
        ids = {one.result(20).saga_id for one in begun}
    assert beginnings.stop(5)
    assert ids == {one.saga_id for one in wanted}
    assert stage.one("select count(*) from sagas") == 30
    assert len(transactions) == 1


def test_orders_that_come_one_after_the_other_are_waited_for_unless_it_is_to_stop(stage: Stage) -> None:
    """How long is told by the clock alone (test_gathering): here too long to be waited for."""
    transactions: list[int] = []
    beginnings = Beginnings(stage.handler, gather_seconds=30)
    first = [beginnings.begin(new()) for _ in range(5)]
    with armed(BEFORE_COMMIT, lambda: transactions.append(1)):
        beginnings.start()
        for one in first:  # nobody is known to come: at once
            one.result(20)
        later = [beginnings.begin(new()) for _ in range(3)]
        assert beginnings.stop(5)
        assert all(one.result(0) for one in later)
    assert len(transactions) == 2
    assert stage.one("select count(*) from sagas") == 8


def test_an_order_that_waits_for_another_is_begun_before_the_process_stops(stage: Stage) -> None:
    in_hand, go_on = Event(), Event()

    def hold() -> None:
        in_hand.set()
        assert go_on.wait(20)

    beginnings = Beginnings(stage.handler)
    with armed(BEFORE_COMMIT, hold):
        first = beginnings.begin(new())
        beginnings.start()
        assert in_hand.wait(20)
        second = beginnings.begin(new())
        assert not beginnings.stop(0.0)
        go_on.set()
        assert first.result(20).saga_id != second.result(20).saga_id
    assert beginnings.stop(5)
    assert stage.one("select count(*) from sagas") == 2


def test_an_order_that_cannot_be_stored_fails_alone(stage: Stage) -> None:
    beginnings = Beginnings(stage.handler)
    begun = [beginnings.begin(new("c\0" if number == 4 else "c")) for number in range(10)]
    beginnings.start()
    failures = [one.exception(20) for one in begun]
    assert beginnings.stop(5)
    assert [type(failure) for failure in failures if failure] == [BadRow]
    assert stage.one("select count(*) from sagas") == 9


def test_an_order_that_nobody_waits_for_any_more_is_never_begun(stage: Stage) -> None:
    beginnings = Beginnings(stage.handler)
    assert beginnings.begin(new()).cancel()
    waited_for = beginnings.begin(new())
    beginnings.start()
    waited_for.result(20)
    assert beginnings.stop(5)
    assert stage.one("select count(*) from sagas") == 1


def test_whoever_comes_when_the_process_stops_is_told(stage: Stage) -> None:
    beginnings = Beginnings(stage.handler)
    beginnings.start()
    assert beginnings.stop(5)
    with pytest.raises(StoreUnavailable, match="stopping"):
        beginnings.begin(new())


def test_stop_may_come_before_start_and_twice(stage: Stage) -> None:
    beginnings = Beginnings(stage.handler)
    assert beginnings.stop(1)
    assert beginnings.stop(1)
