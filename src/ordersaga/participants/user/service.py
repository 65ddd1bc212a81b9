"""The user service: who pays, and with what.

It only tells: there is nothing to undo. What it says to an unknown user or a missing card are the sentences that the
platform knows.
"""

from ordersaga.participants.service import Asked, Reply, Row, ServiceSpec, not_understood
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant


class UserRow(Row, frozen=True, kw_only=True):
    """`key` is the user's id."""

    stripe_customer_id: str | None = None
    payment_method_id: str | None = None
    is_known: bool = True


def answer(row: UserRow | None, asked: Asked) -> Reply:
    if not isinstance(asked.command, m.GetPaymentInfo):
        raise not_understood(asked.command)
    if row is None or not row.is_known:
        return Reply(event=m.PaymentInfoFailed(error="User not found"), remembered=False)
    if not row.stripe_customer_id:
        return Reply(event=m.PaymentInfoFailed(error="Stripe customer ID not configured for user"), remembered=False)
    if not row.payment_method_id:
        return Reply(event=m.PaymentInfoFailed(error="Default payment method not set for user"), remembered=False)
    info = m.PaymentInfo(stripe_customer_id=row.stripe_customer_id, payment_method_id=row.payment_method_id)
    return Reply(event=m.PaymentInfoRetrieved(payment_info=info))


TEST_CARDS = {
    "declined": "pm_card_chargeDeclined",
    "poor": "pm_card_chargeDeclinedInsufficientFunds",
    "no-card": None,
}
"""Whoever is called so (the id begins with it) has this card; everybody else has one that works."""


def answer_anyone(row: UserRow | None, asked: Asked) -> Reply:
    """For demos and load: users need not exist first. The beginning of an id says what is wrong with its user."""
    if row is None and not asked.key.startswith("unknown"):
        prefix = next((prefix for prefix in TEST_CARDS if asked.key.startswith(prefix)), None)
        card = TEST_CARDS[prefix] if prefix else "pm_card_visa"
        row = UserRow(key=asked.key, stripe_customer_id=f"cus_{asked.new_id}", payment_method_id=card)
        reply = answer(row, asked)
        return Reply(row=row, event=reply.event, remembered=reply.remembered)
    return answer(row, asked)


SERVICE = ServiceSpec(
    participant=Participant.USER,
    row=UserRow,
    answer=answer,
    key=lambda correlation_id, command: str(getattr(command, "user_id", "")),
    commands=(m.GetPaymentInfo,),
)
