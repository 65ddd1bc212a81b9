"""Money: decimal dollars outside, integer cents inside, and nothing lost between."""

from decimal import Decimal

from ordersaga.wire.errors import WireError

_NEARLY = Decimal("1e-6")
PRICE_MAX = Decimal(10) ** 9


def cents(dollars: Decimal, field: str) -> int:
    """Whole cents. A price within 1e-6 of a cent is rounded to it (binary fractions come that close); any other is refused."""
    if not dollars.is_finite() or not 0 <= dollars <= PRICE_MAX or dollars.adjusted() < -12 < 0 < dollars:
        raise WireError(field, f"a price between 0 and {PRICE_MAX} is needed")
    exact = dollars * 100
    whole = exact.to_integral_value()
    if abs(exact - whole) > _NEARLY * 100:
        raise WireError(field, "a price has at most two decimals")
    return int(whole)
