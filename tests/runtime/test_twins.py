"""The same order again within seconds is noticed, and nothing else is."""

from typing import Any
from uuid import UUID

from structlog.testing import capture_logs

from ordersaga.orchestrator.runtime.twins import Twins
from tests.api.conftest import order

A, B, C = (UUID(int=number) for number in (1, 2, 3))


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def twins(clock: Clock, noticed: list[int] | None = None, **more: Any) -> Twins:
    found = noticed if noticed is not None else []
    return Twins(lambda: found.append(1), within_seconds=20, monotonic=clock, **more)


def test_the_same_order_again_is_noticed_with_the_saga_before() -> None:
    clock, noticed = Clock(), list[int]()
    seen = twins(clock, noticed)
    assert seen.placed(order(), A) is None
    clock.seconds = 19.0
    with capture_logs() as logs:
        assert seen.placed(order(), B) == A
    assert noticed == [1]
    assert (logs[0]["saga_id"], logs[0]["before"], logs[0]["seconds"]) == (str(B), str(A), 19.0)
    assert "Burrito" not in repr(logs) and "c4n4ry-user-1" not in repr(logs)


def test_another_customer_or_another_meal_is_another_order() -> None:
    seen = twins(Clock())
    assert seen.placed(order(), A) is None
    assert seen.placed(order() | {"customer_id": "user-2"}, B) is None
    assert seen.placed(order(deliveryFee=1.0), C) is None


def test_the_order_of_the_fields_does_not_matter() -> None:
    seen, one = twins(Clock()), order()
    seen.placed(one, A)
    assert seen.placed(dict(reversed(one.items())), B) == A


def test_later_it_is_a_new_wish() -> None:
    clock = Clock()
    seen = twins(clock)
    seen.placed(order(), A)
    clock.seconds = 20.5
    assert seen.placed(order(), B) is None


def test_a_repeat_that_found_its_order_is_no_second_one() -> None:
    seen = twins(Clock())
    seen.placed(order(), A)
    assert seen.placed(order(), A) is None


def test_memory_is_bounded() -> None:
    seen = twins(Clock(), kept_max=2)
    for number, saga_id in ((1, A), (2, B), (3, C)):
        seen.placed(order(deliveryFee=number), saga_id)
    assert seen.placed(order(deliveryFee=1), A) is None, "it was forgotten"
