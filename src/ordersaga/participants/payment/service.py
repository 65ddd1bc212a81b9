"""The payment service: holds money for an order, and lets it go again.

Money is held at a provider (see `payment.provider`), who is asked with one idempotency key per command: whatever
crashes, one command holds money once. A revert that arrives before its authorization is remembered: the authorization
is then refused when it comes, and no money was ever held.
"""

from msgspec.structs import replace

from ordersaga.participants.payment.provider import Authorized, Declined, Released
from ordersaga.participants.service import Asked, Reply, Row, ServiceSpec, not_understood
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant

AMOUNT_CENTS_MIN = 50
NEVER_HELD = "REVERTED_BEFORE_AUTHORIZED"


class PaymentRow(Row, frozen=True, kw_only=True):
    payment_id: str
    order_id: str | None = None
    customer_id: str | None = None
    amount_cents: int = 0
    payment_intent_id: str | None = None
    status: str
    reason: str | None = None


def answer(row: PaymentRow | None, asked: Asked) -> Reply:
    match asked.command:
        case m.AuthorizePayment() as command:
            return authorize(row, asked, command)
        case m.RevertPayment() as command:
            return revert(row, asked, command)
    raise not_understood(asked.command)


def may_be_held(row: PaymentRow | None, command: m.AuthorizePayment) -> bool:
    """Whether the provider is to be asked for money."""
    return row is None and command.order.amount >= AMOUNT_CENTS_MIN


def authorize(row: PaymentRow | None, asked: Asked, command: m.AuthorizePayment) -> Reply:
    if command.order.amount < AMOUNT_CENTS_MIN:
        return Reply(event=m.PaymentFailed(error="INVALID_AMOUNT", message=f"at least {AMOUNT_CENTS_MIN} cents"))
    if row is None:
        return _held(asked, command)
    if row.status == "AUTHORIZED":
        return Reply(event=_authorized(row))
    return Reply(event=m.PaymentFailed(error="INVALID_PAYLOAD", message=f"the payment is {row.status}"))


def _held(asked: Asked, command: m.AuthorizePayment) -> Reply:
    outcome = asked.outcome
    if isinstance(outcome, Declined):
        declined = m.PaymentFailed(error="STRIPE_CARD_ERROR", message="the card was declined", stripe_code=outcome.code)
        return Reply(event=declined)
    assert isinstance(outcome, Authorized), "the provider was asked before"
    row = PaymentRow(
        key=asked.key,
        payment_id=f"pay-{asked.new_id}",
        order_id=command.order_id,
        customer_id=command.customer.clerk_user_id,
        amount_cents=command.order.amount,
        payment_intent_id=outcome.intent_id,
        status="AUTHORIZED",
    )
    return Reply(row=row, event=_authorized(row))


def revert(row: PaymentRow | None, asked: Asked, command: m.RevertPayment) -> Reply:
    if row is None:
        row = PaymentRow(key=asked.key, payment_id=f"pay-{asked.new_id}", order_id=command.order_id, status=NEVER_HELD)
        return Reply(row=row, event=_released(row, "nothing was held"))
    if command.payment_id not in (None, row.payment_id):
        return Reply(event=m.PaymentFailed(error="not_found", payment_id=command.payment_id), remembered=False)
    if row.status in ("REVERTED", NEVER_HELD):
        return Reply(event=_released(row, "released before"))
    assert isinstance(asked.outcome, Released), "the provider was asked before"
    row = replace(row, status="REVERTED", reason=command.reason)
    return Reply(row=row, event=_released(row, "the hold is released"))


def _authorized(row: PaymentRow) -> m.PaymentAuthorized:
    ids = {"payment_id": row.payment_id, "order_id": row.order_id, "payment_intent_id": row.payment_intent_id}
    return m.PaymentAuthorized(status="AUTHORIZED", **ids)  # type: ignore[arg-type]


def _released(row: PaymentRow, message: str) -> m.PaymentReleased:
    return m.PaymentReleased(payment_id=row.payment_id, status="REVERTED", message=message, order_id=row.order_id)


SERVICE = ServiceSpec(
    participant=Participant.PAYMENT,
    row=PaymentRow,
    answer=answer,
    commands=(m.AuthorizePayment, m.RevertPayment),
)
