"""Checks an order where it comes in, so that no participant is sent what it cannot handle.

Some of them answer nothing at all to what does not fit their tables (a total over 999.99, an address over 255
characters), and the customer would wait for a timeout. So the limits of the narrowest are kept here; they are settings.

Promise: the amount is exactly the sum of price times quantity and the delivery fee, in integer cents. Everything in
`order_details` that we do not know is passed on as it came.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from msgspec import Struct

from ordersaga.wire.errors import WireError
from ordersaga.wire.money import cents
from ordersaga.wire.strict_json import INT_MAX, INT_MIN, shown

TOTAL_CENTS_MIN = 50
"""The least that the payment provider takes."""
QUANTITY_MAX = 10_000
NAME_CHARS_MAX = 1000


@dataclass(frozen=True, kw_only=True)
class OrderLimits:
    total_cents_max: int = 99_999
    address_chars_max: int = 255
    customer_id_chars_max: int = 36
    items_max: int = 200


class CheckedOrder(Struct, frozen=True, kw_only=True):
    customer_id: str
    order_details: dict[str, Any]
    amount_cents: int


def check_order(body: dict[str, Any], limits: OrderLimits) -> CheckedOrder:
    """What `web.reading.read_object` returned, as an order. Raises `WireError`."""
    customer_id = _text(body, "customer_id", "customer_id", limits.customer_id_chars_max)
    details = body.get("order_details")
    if not isinstance(details, dict):
        raise WireError("order_details", "is required: an object with foodItems and deliveryLocation")
    amount_cents = _items_cents(details.get("foodItems"), limits) + _fee_cents(details.get("deliveryFee"))
    _text(details, "deliveryLocation", "order_details.deliveryLocation", limits.address_chars_max)
    if details.get("storeLocation") is not None:
        _text(details, "storeLocation", "order_details.storeLocation", limits.address_chars_max)
    if not TOTAL_CENTS_MIN <= amount_cents <= limits.total_cents_max:
        allowed = f"from {_dollars(TOTAL_CENTS_MIN)} to {_dollars(limits.total_cents_max)}"
        raise WireError("order_details", f"the total is {_dollars(amount_cents)}; it must be {allowed}")
    _check_numbers(details, "order_details")
    return CheckedOrder(customer_id=customer_id, order_details=details, amount_cents=amount_cents)


def _items_cents(items: Any, limits: OrderLimits) -> int:
    where = "order_details.foodItems"
    if not isinstance(items, list) or not items:
        raise WireError(where, "is required: a list of at least one item with name, price and quantity")
    if len(items) > limits.items_max:
        raise WireError(where, f"has {len(items)} items; the most is {limits.items_max}")
    return sum(_item_cents(item, f"{where}[{index}]") for index, item in enumerate(items))


def _item_cents(item: Any, where: str) -> int:
    if not isinstance(item, dict):
        raise WireError(where, "must be an object with name, price and quantity")
    name = "item_name" if item.get("name") is None and item.get("item_name") is not None else "name"
    _text(item, name, f"{where}.{name}", NAME_CHARS_MAX)
    quantity = item.get("quantity")
    if type(quantity) is not int or not 1 <= quantity <= QUANTITY_MAX:
        raise WireError(f"{where}.quantity", f"must be a whole number from 1 to {QUANTITY_MAX}")
    return _cents(item.get("price"), f"{where}.price") * quantity


def _fee_cents(fee: Any) -> int:
    return 0 if fee is None else _cents(fee, "order_details.deliveryFee")


def _cents(dollars: Any, field: str) -> int:
    if type(dollars) not in (int, float):
        raise WireError(field, "must be a number of dollars, such as 4.35")
    # A float's own text is the shortest that means it: up to 15 digits, what the customer's browser wrote.
    return cents(Decimal(str(dollars)), field)


def _check_numbers(value: Any, field: str) -> None:
    """PostgreSQL writes a float without its exponent: beyond 64 bits it would come back as a whole number that most
    readers refuse.
    """
    if type(value) is float and not INT_MIN <= value <= INT_MAX:
        raise WireError(field, "is a number beyond 64 bits")
    if isinstance(value, dict):
        for name, one in value.items():
            _check_numbers(one, f"{field}.{shown(name)}")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            _check_numbers(one, f"{field}[{index}]")


def _text(parent: dict[str, Any], name: str, field: str, chars_max: int) -> str:
    text = parent.get(name)
    if not isinstance(text, str) or not text.strip():
        raise WireError(field, "is required" if text is None else "must be a text that is not empty")
    if len(text) > chars_max:
        raise WireError(field, f"has {len(text)} characters; the most is {chars_max}")
    return text


def _dollars(amount_cents: int) -> str:
    return f"{amount_cents // 100}.{amount_cents % 100:02}"
