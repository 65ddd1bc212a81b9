"""The payment service: holds money for an order, and gives it back or captures it (see `payment.completing`).

Money is held at a provider (see `payment.provider`), who is asked with one idempotency key per command: whatever
crashes, one command holds money once. An order has one payment. A revert gives back what there is: a hold is let go,
captured money is refunded. A revert that arrives before its authorization is remembered: the authorization is then
refused when it comes. Should a crash have left a hold of it at the provider, that is given up: no authorization but the
one that became the payment leaves anything behind.

While the provider has not answered, nothing is said: the payment is PENDING, asked again under the same key when the
command is repeated, and given up when it is reverted.
"""

from msgspec.structs import replace

from ordersaga.participants.payment import completing
from ordersaga.participants.payment.provider import (
    Authorized,
    Capture,
    Captured,
    Declined,
    GiveUp,
    Hold,
    TakeBack,
    TakenBack,
    Unanswered,
    Wish,
)
from ordersaga.participants.payment.rows import PaymentRow
from ordersaga.participants.service import Asked, Refused, Reply, ServiceSpec, Verb, not_understood
from ordersaga.wire import completing as c
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant

AMOUNT_CENTS_MIN = 50
NEVER_HELD = "REVERTED_BEFORE_AUTHORIZED"
PENDING = "PENDING"
GIVEN_BACK = ("REVERTED", "REFUNDED", NEVER_HELD)


class Void(Verb, frozen=True, kw_only=True):
    """Somebody lets a hold go."""


class CaptureNow(Verb, frozen=True, kw_only=True):
    """The order is delivered: the money changes hands."""


class Refund(Verb, frozen=True, kw_only=True):
    """Somebody gives captured money back."""


def answer(row: PaymentRow | None, asked: Asked) -> Reply:
    match asked.command:
        case m.AuthorizePayment() as command:
            return authorize(row, asked, command)
        case m.RevertPayment() as command:
            return revert(row, asked, command)
        case c.CapturePayment() | c.PayRunner():
            return completing.answer(row, asked)
        case Void() if row and asked.by:
            return give_back_by_hand(row, asked, "AUTHORIZED")
        case Refund() if row and asked.by:
            return give_back_by_hand(row, asked, "CAPTURED")
        case CaptureNow() if row:
            return capture(row, asked)
    raise not_understood(asked.command)


def wish(row: PaymentRow | None, asked: Asked) -> Wish | None:
    """What the provider is to be asked before this is answered."""
    key = str(asked.message_id)
    match asked.command:
        case m.AuthorizePayment() as command if command.order.amount >= AMOUNT_CENTS_MIN:
            if row is None or _is_pending(row, asked, command):
                method = command.customer.user_stripe_card.payment_method_id
                return Hold(idempotency_key=key, amount_cents=command.order.amount, payment_method_id=method)
            return GiveUp(idempotency_key=key, but_not_intent_id=row.payment_intent_id)
        case m.RevertPayment() as command if row and _is_meant(row, command) and row.status == PENDING:
            return GiveUp(idempotency_key=row.hold_key or key, but_not_intent_id=None)
        case m.RevertPayment() as command if row and _is_meant(row, command) and row.status not in GIVEN_BACK:
            return TakeBack(intent_id=row.payment_intent_id or "")
        case Void() if row and row.status == "AUTHORIZED":
            return TakeBack(intent_id=row.payment_intent_id or "")
        case Refund() if row and row.status == "CAPTURED":
            return TakeBack(intent_id=row.payment_intent_id or "")
        case CaptureNow() if row and row.status == "AUTHORIZED":
            return Capture(intent_id=row.payment_intent_id or "")
        case c.CapturePayment() | c.PayRunner():
            return completing.wish(row, asked)
    return None


# --- what the saga asks ---------------------------------------------------------------------------


def authorize(row: PaymentRow | None, asked: Asked, command: m.AuthorizePayment) -> Reply:
    if command.order.amount < AMOUNT_CENTS_MIN:
        return Reply(event=m.PaymentFailed(error="INVALID_AMOUNT", message=f"at least {AMOUNT_CENTS_MIN} cents"))
    if row is None or _is_pending(row, asked, command):
        return _held(row, asked, command)
    if row.status == PENDING and _is_the_same(row, asked, command):
        # Under another id: the first one is to be answered, and what this one may have held is given up.
        return Reply(event=None)
    if _is_authorized_already(row, asked, command):
        return Reply(event=_authorized(row))
    problem = f"the order has a payment that is {row.status}"
    return Reply(event=m.PaymentFailed(error="INVALID_PAYLOAD", message=problem, order_id=command.order_id))


def _held(row: PaymentRow | None, asked: Asked, command: m.AuthorizePayment) -> Reply:
    outcome = asked.outcome
    if isinstance(outcome, Declined):
        declined = m.PaymentFailed(error="STRIPE_CARD_ERROR", message="the card was declined", stripe_code=outcome.code)
        return Reply(row=replace(row, status=NEVER_HELD, hold_key=None) if row else None, event=declined)
    pending = row or PaymentRow(
        key=asked.key,
        payment_id=f"pay-{asked.new_id}",
        order_id=command.order_id,
        customer_id=command.customer.clerk_user_id,
        amount_cents=command.order.amount,
        status=PENDING,
        hold_key=str(asked.message_id),
    )
    if isinstance(outcome, Unanswered):
        return Reply(row=pending, event=None)
    assert isinstance(outcome, Authorized), "the provider was asked before"
    held = replace(pending, status="AUTHORIZED", payment_intent_id=outcome.intent_id, hold_key=None)
    return Reply(row=held, event=_authorized(held), twice=outcome.twice)


def revert(row: PaymentRow | None, asked: Asked, command: m.RevertPayment) -> Reply:
    if row is None and command.payment_id is None:
        row = PaymentRow(key=asked.key, payment_id=f"pay-{asked.new_id}", order_id=command.order_id, status=NEVER_HELD)
        return Reply(row=row, event=_released(row, "nothing was held"))
    if row is None or not _is_meant(row, command):
        # An id that was never given out here is somebody's mistake: nobody is told that its money is free.
        return Reply(event=m.PaymentFailed(error="not_found", payment_id=command.payment_id), remembered=False)
    if row.status in GIVEN_BACK:
        return Reply(event=_released(row, "given back before"))
    if row.status == PENDING:
        row = replace(row, status="REVERTED", reason=command.reason, hold_key=None)
        return Reply(row=row, event=_released(row, "given up before the provider had answered"))
    return _given_back(row, asked, command.reason)


# --- what people do at the payment service --------------------------------------------------------


def give_back_by_hand(row: PaymentRow, asked: Asked, needed: str) -> Reply:
    assert asked.by
    if row.status in GIVEN_BACK:
        return Reply(event=None)
    if row.status != needed:
        raise Refused(f"the payment is {row.status}; only one that is {needed} can be taken back so")
    reply = _given_back(row, asked, asked.by.reason)
    if reply.row is None:
        raise Refused("the provider does not know this payment")
    return reply


def capture(row: PaymentRow, asked: Asked) -> Reply:
    if row.status == "CAPTURED":
        return Reply(event=None)
    if row.status != "AUTHORIZED":
        raise Refused(f"the payment is {row.status}; only one that is AUTHORIZED can be captured")
    if not isinstance(asked.outcome, Captured):
        raise Refused("the provider holds no money for this payment any more")
    return Reply(row=replace(row, status="CAPTURED"), event=None)


# --- small print ----------------------------------------------------------------------------------


def _is_authorized_already(row: PaymentRow, asked: Asked, command: m.AuthorizePayment) -> bool:
    return _is_the_same(row, asked, command) and row.status in ("AUTHORIZED", "CAPTURED")


def _is_pending(row: PaymentRow, asked: Asked, command: m.AuthorizePayment) -> bool:
    """The provider did not answer; it is asked again under the same key."""
    return row.status == PENDING and row.hold_key == str(asked.message_id) and _is_the_same(row, asked, command)


def _is_the_same(row: PaymentRow, asked: Asked, command: m.AuthorizePayment) -> bool:
    """The same saga asks for the same money again, maybe under another id."""
    return (row.key, row.order_id, row.amount_cents) == (asked.key, command.order_id, command.order.amount)


def _is_meant(row: PaymentRow, command: m.RevertPayment) -> bool:
    return command.payment_id in (None, row.payment_id)


def _given_back(row: PaymentRow, asked: Asked, reason: str) -> Reply:
    if not isinstance(asked.outcome, TakenBack):
        failed = m.PaymentFailed(error="missing_intent_id", payment_id=row.payment_id, order_id=row.order_id)
        return Reply(event=failed, remembered=False)
    refunded = asked.outcome.refunded
    row = replace(row, status="REFUNDED" if refunded else "REVERTED", reason=reason)
    return Reply(row=row, event=_released(row, "the money is refunded" if refunded else "the hold is released"))


def _authorized(row: PaymentRow) -> m.PaymentAuthorized:
    return m.PaymentAuthorized(
        payment_id=row.payment_id, order_id=row.order_id, payment_intent_id=row.payment_intent_id, status="AUTHORIZED"
    )


def _released(row: PaymentRow, message: str) -> m.PaymentReleased:
    return m.PaymentReleased(payment_id=row.payment_id, status="REVERTED", message=message, order_id=row.order_id)


SERVICE = ServiceSpec(
    participant=Participant.PAYMENT,
    row=PaymentRow,
    answer=answer,
    names=("payment_id", "order_id"),
    commands=(m.AuthorizePayment, m.RevertPayment, c.CapturePayment, c.PayRunner),
)
