"""Not a cent is lost or made between a menu's decimal dollars and the integer cents that a card is charged."""

from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.wire.errors import WireError
from ordersaga.wire.money import PRICE_MAX, QUANTITY_MAX, cents, total_cents

NEARLY = Decimal("1e-6")


@pytest.mark.parametrize(
    ("dollars", "expected"),
    [
        *(("0", 0), ("-0", 0), ("0.01", 1), ("4.35", 435), ("4.350", 435), ("16.98", 1698), ("19.999999", 2000)),
        *(("0.30000000000000004", 30), ("4.3499999999999996447", 435), ("1.005e1", 1005), ("1E+2", 10_000)),
        *(("0.009999", 1), ("0.010001", 1), ("1e-400000", 0), ("0.000001", 0), ("1000000000", 100_000_000_000)),
    ],
)
def test_a_price_is_a_whole_number_of_cents(dollars: str, expected: int) -> None:
    assert cents(Decimal(dollars), "price") == expected


@pytest.mark.parametrize(
    "dollars",
    [
        *("1.005", "4.351", "0.0000011", "0.010001000000000001", "0.009998999999999999", "-0.01", "-1e-400000"),
        *("NaN", "sNaN", "Infinity", "-Infinity", "1e400000", "-1e400000", "1000000000.01", "1e999999"),
        "0.001" + "0" * 100_000 + "1",
    ],
)
def test_what_is_no_amount_of_cents_is_refused_with_its_field(dollars: str) -> None:
    with pytest.raises(WireError) as caught:
        cents(Decimal(dollars), "order_details.deliveryFee")
    assert caught.value.field == "order_details.deliveryFee"


def test_every_price_that_a_binary_fraction_stands_for_is_found() -> None:
    for amount in range(100_000):
        assert cents(Decimal(amount / 100), "price") == amount


@given(st.decimals(0, PRICE_MAX, places=9))
def test_a_price_is_rounded_by_a_millionth_of_a_dollar_at_most(dollars: Decimal) -> None:
    try:
        found = cents(dollars, "price")
    except WireError:
        assert min(dollars * 100 % 1, 1 - dollars * 100 % 1) > NEARLY * 100
    else:
        assert abs(dollars - Decimal(found) / 100) <= NEARLY


def test_a_thread_with_a_context_of_its_own_counts_the_same() -> None:
    with localcontext(prec=2):
        assert cents(Decimal("123456.78"), "price") == 12_345_678


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, QUANTITY_MAX)), max_size=5), st.integers(0, 10**6))
def test_a_total_is_the_sum_of_price_times_quantity_and_the_fee(items: list[tuple[int, int]], fee: int) -> None:
    priced = [(Decimal(price) / 100, quantity) for price, quantity in items]
    assert total_cents(priced, Decimal(fee) / 100) == sum(price * quantity for price, quantity in items) + fee
    assert total_cents(priced, None) == sum(price * quantity for price, quantity in items)


@pytest.mark.parametrize("quantity", [0, -1, True, 1.0, "1", None, QUANTITY_MAX + 1, 2**63])
def test_a_quantity_is_a_whole_number_of_things(quantity: Any) -> None:
    with pytest.raises(WireError) as caught:
        total_cents([(Decimal(1), 1), (Decimal(1), quantity)], None)
    assert caught.value.field == "order_details.foodItems[1].quantity"


def test_a_wrong_price_or_fee_or_sum_is_named() -> None:
    good, bad = (Decimal("4.35"), 1), (Decimal("1.005"), 1)
    for items, fee, field in (
        ([good, good, bad], None, "order_details.foodItems[2].price"),
        ([good], Decimal(-1), "order_details.deliveryFee"),
        ([(PRICE_MAX, QUANTITY_MAX)], None, "order_details.foodItems"),
    ):
        with pytest.raises(WireError) as caught:
            total_cents(items, fee)
        assert caught.value.field == field
