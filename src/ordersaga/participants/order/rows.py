"""What the order service knows of one order."""

from msgspec import Raw

from ordersaga.participants.service import Row


class OrderRow(Row, frozen=True, kw_only=True):
    order_id: str | None
    customer_id: str | None = None
    status: str
    amount_cents: int | None = None
    details: Raw = Raw(b"null")
    """As they came; nobody here looks into them again."""
    runner_id: str | None = None
    reason: str | None = None
    delivered_for: str | None = None
    """The saga that marked it DELIVERED."""
    delivered_from: str | None = None
    """What it was before."""
    called_off: tuple[str, ...] = ()
    """Sagas that took their mark back, or never made it: theirs is refused if it comes."""
