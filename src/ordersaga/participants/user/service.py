"""The user service: who pays, and with what.

It only tells: there is nothing to undo. What it says of an unknown user or a missing card are the sentences that the
platform knows.
"""

from msgspec.structs import replace

from ordersaga.participants.service import Asked, Reply, Row, ServiceSpec, Verb, not_understood
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant


class UserRow(Row, frozen=True, kw_only=True):
    """`key` is the user's id."""

    stripe_customer_id: str | None = None
    payment_method_id: str | None = None


class SetPaymentMethod(Verb, frozen=True, kw_only=True):
    """The user has another card, or (None) none any more."""

    payment_method_id: str | None


def answer(row: UserRow | None, asked: Asked) -> Reply:
    match asked.command:
        case m.GetPaymentInfo():
            return payment_info(row)
        case SetPaymentMethod(payment_method_id=payment_method_id) if row:
            return Reply(row=replace(row, payment_method_id=payment_method_id), event=None)
    raise not_understood(asked.command)


def payment_info(row: UserRow | None) -> Reply:
    """A refusal is not remembered: the user may have a card the next time."""
    if row is None:
        return Reply(event=m.PaymentInfoFailed(error="User not found"), remembered=False)
    if not row.stripe_customer_id:
        return Reply(event=m.PaymentInfoFailed(error="Stripe customer ID not configured for user"), remembered=False)
    if not row.payment_method_id:
        return Reply(event=m.PaymentInfoFailed(error="Default payment method not set for user"), remembered=False)
    info = m.PaymentInfo(stripe_customer_id=row.stripe_customer_id, payment_method_id=row.payment_method_id)
    return Reply(event=m.PaymentInfoRetrieved(payment_info=info))


# --- users for demos, tests and load --------------------------------------------------------------

TEST_CARDS = {
    "declined": "pm_card_chargeDeclined",
    "poor": "pm_card_chargeDeclinedInsufficientFunds",
    "no-card": None,
    "silent": "pm_card_timeout",
    "late": "pm_card_late",
    "twice": "pm_card_twice",
}
"""Whoever is called so (the id begins with it) has this card; everybody else has one that works."""


def made_up(user_id: str, stripe_customer_id: str) -> UserRow | None:
    """A user with the card that the beginning of the id tells; nobody where it says `unknown`."""
    if user_id.startswith("unknown"):
        return None
    prefix = next((prefix for prefix in TEST_CARDS if user_id.startswith(prefix)), None)
    card = TEST_CARDS[prefix] if prefix else "pm_card_visa"
    return UserRow(key=user_id, stripe_customer_id=stripe_customer_id, payment_method_id=card)


def answer_anyone(row: UserRow | None, asked: Asked) -> Reply:
    """Users need not exist first: who is asked for is made up, and stays."""
    if row is not None or not isinstance(asked.command, m.GetPaymentInfo):
        return answer(row, asked)
    row = made_up(asked.key, f"cus_{asked.new_id}")
    reply = payment_info(row)
    return Reply(row=row, event=reply.event, remembered=reply.remembered)


SERVICE = ServiceSpec(
    participant=Participant.USER,
    row=UserRow,
    answer=answer,
    key=lambda correlation_id, command: str(getattr(command, "user_id", "")),
    commands=(m.GetPaymentInfo,),
)
