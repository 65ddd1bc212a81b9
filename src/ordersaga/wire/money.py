"""Money: decimal dollars outside, integer cents inside, and nothing lost between.

Binary fractions come close to a cent without meeting it: a price within a millionth of a dollar of one is rounded to
it, any other is refused. Whether a total is too small or too large for an order is not decided here.
"""

from collections.abc import Iterable
from decimal import Context, Decimal

from ordersaga.wire.errors import WireError

PRICE_MAX = Decimal(10) ** 9
QUANTITY_MAX = 10_000
TOTAL_CENTS_MAX = 10**12

_CENT = Decimal("0.01")
_NEARLY = Decimal("1e-6")
_EXACT = Context(prec=60)
"""Our own, since the thread's context belongs to whoever changed it last."""


def cents(dollars: Decimal, field: str) -> int:
    """Whole cents. Raises `WireError` naming `field` for what is no amount of them from 0 to `PRICE_MAX` dollars."""
    if not dollars.is_finite() or not 0 <= dollars <= PRICE_MAX:  # before any arithmetic: 1e400000 is three words long
        raise WireError(field, f"a price between 0 and {PRICE_MAX} is needed")
    nearest = dollars.quantize(_CENT, context=_EXACT)
    if abs(_EXACT.subtract(dollars, nearest)) > _NEARLY:
        raise WireError(field, "a price has at most two decimals")
    return int(nearest.scaleb(2, context=_EXACT))


def total_cents(items: Iterable[tuple[Decimal, int]], delivery_fee: Decimal | None) -> int:
    """What an order costs: price times quantity of each of `items`, and the delivery fee. Raises `WireError`."""
    total = 0 if delivery_fee is None else cents(delivery_fee, "order_details.deliveryFee")
    for index, (price, quantity) in enumerate(items):
        where = f"order_details.foodItems[{index}]"
        total += cents(price, f"{where}.price") * _counted(quantity, f"{where}.quantity")
    if total > TOTAL_CENTS_MAX:
        raise WireError("order_details.foodItems", f"cost more than {TOTAL_CENTS_MAX} cents")
    return total


def _counted(quantity: object, field: str) -> int:
    if isinstance(quantity, bool) or not isinstance(quantity, int) or not 1 <= quantity <= QUANTITY_MAX:
        raise WireError(field, f"a whole number from 1 to {QUANTITY_MAX} is needed")
    return quantity
