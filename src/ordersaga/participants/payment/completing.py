"""Money of an order that was delivered: captured, and the runner's share of it paid out, each once.

Captured is captured, whoever asked for it. The provider pays under one key per payment, so whatever crashes, and
whoever asks again, a runner is paid once for an order.
"""

from msgspec.structs import replace

from ordersaga.participants.payment.provider import Capture, Captured, Paid, PayOut, Wish
from ordersaga.participants.payment.rows import PaymentRow
from ordersaga.participants.service import Asked, Reply, not_understood
from ordersaga.wire import completing as m


def answer(row: PaymentRow | None, asked: Asked) -> Reply:
    match asked.command:
        case m.CapturePayment() as command:
            return capture(row, asked, command)
        case m.PayRunner() as command:
            return pay_runner(row, asked, command)
    raise not_understood(asked.command)


def wish(row: PaymentRow | None, asked: Asked) -> Wish | None:
    """What the provider is to be asked before this is answered."""
    match asked.command:
        case m.CapturePayment() as command if row and row.status == "AUTHORIZED" and _fits(row, command):
            return Capture(intent_id=row.payment_intent_id or "")
        case m.PayRunner() as command if row and row.payout_id is None and _unpayable(row, command) is None:
            return PayOut(
                idempotency_key=row.payment_id, runner_id=command.runner_id, amount_cents=command.amount_cents
            )
    return None


def capture(row: PaymentRow | None, asked: Asked, command: m.CapturePayment) -> Reply:
    if row is None or not _fits(row, command):
        error = "NOT_FOUND" if row is None else "OTHER_PAYMENT"
        return Reply(event=_capture_failed(error, command))
    if row.status == "CAPTURED":
        return Reply(event=m.PaymentCaptured(payment_id=row.payment_id, order_id=row.order_id))
    if row.status != "AUTHORIZED":
        return Reply(event=_capture_failed("ILLEGAL_STATE", command, f"the payment is {row.status}"))
    if not isinstance(asked.outcome, Captured):
        return Reply(event=_capture_failed("NOTHING_HELD", command, "the provider holds no money for it any more"))
    captured = m.PaymentCaptured(payment_id=row.payment_id, order_id=row.order_id)
    return Reply(row=replace(row, status="CAPTURED"), event=captured)


def pay_runner(row: PaymentRow | None, asked: Asked, command: m.PayRunner) -> Reply:
    """A refusal is not remembered: asked again, it is tried again."""
    problem = "there is no such payment" if row is None else _unpayable(row, command)
    if row is None or problem is not None:
        return Reply(event=_payout_failed("ILLEGAL_STATE", command, problem), remembered=False)
    if row.payout_id is not None:
        return Reply(event=_paid(row))
    if not isinstance(asked.outcome, Paid):
        return Reply(event=_payout_failed("PROVIDER_REFUSED", command), remembered=False)
    row = replace(
        row, runner_id=command.runner_id, payout_cents=command.amount_cents, payout_id=asked.outcome.payout_id
    )
    return Reply(row=row, event=_paid(row))


# --- small print ----------------------------------------------------------------------------------


def _fits(row: PaymentRow, command: m.CapturePayment) -> bool:
    found = (row.payment_id, row.order_id, row.amount_cents)
    return found == (command.payment_id, command.order_id, command.amount_cents)


def _unpayable(row: PaymentRow, command: m.PayRunner) -> str | None:
    """Why nothing is paid out of this payment, or not this."""
    if (row.payment_id, row.order_id) != (command.payment_id, command.order_id):
        return "the payment is of another order"
    if row.status != "CAPTURED":
        return f"the payment is {row.status}"
    if command.amount_cents > row.amount_cents:
        return "it is more than the customer paid"
    if row.payout_id and (row.runner_id, row.payout_cents) != (command.runner_id, command.amount_cents):
        return "another payout was made of this payment"
    return None


def _paid(row: PaymentRow) -> m.RunnerPaid:
    assert row.payout_id
    return m.RunnerPaid(payout_id=row.payout_id, payment_id=row.payment_id, order_id=row.order_id)


def _capture_failed(error: str, command: m.CapturePayment, problem: str | None = None) -> m.PaymentCaptureFailed:
    return m.PaymentCaptureFailed(
        error=error, message=problem, payment_id=command.payment_id, order_id=command.order_id
    )


def _payout_failed(error: str, command: m.PayRunner, problem: str | None = None) -> m.RunnerPayoutFailed:
    return m.RunnerPayoutFailed(error=error, message=problem, payment_id=command.payment_id, order_id=command.order_id)
