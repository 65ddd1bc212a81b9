"""What the payment service knows of one payment."""

from ordersaga.participants.service import Row


class PaymentRow(Row, frozen=True, kw_only=True):
    payment_id: str
    order_id: str | None = None
    customer_id: str | None = None
    amount_cents: int = 0
    payment_intent_id: str | None = None
    status: str
    reason: str | None = None
    hold_key: str | None = None
    """Under which key the provider was asked, while it has not answered."""
    runner_id: str | None = None
    payout_id: str | None = None
    payout_cents: int | None = None
    """What its runner got of it, and under which id of the provider's."""
