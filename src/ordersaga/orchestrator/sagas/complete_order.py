"""A runner has delivered: the order is marked, the money captured, the runner paid, and the order completed.

The four steps below run from top to bottom. The capture is the point of no return: if it is refused, the mark is taken
back and the runner told; once it is done, the runner is paid and the order completed, however long that takes.
"""

from ordersaga.orchestrator.core.definition import Ask, Definition, Kind, Money, Notices, Patience, Step, Undo
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.sagas.complete_order_commands import (
    Delivery,
    People,
    called_off,
    capture_failed,
    capture_payment,
    delivered,
    delivery_rejected,
    failed,
    mark_completed,
    mark_delivered,
    pay_runner,
    remember,
    runner_paid,
    undo_delivery,
)
from ordersaga.wire import completing as m
from ordersaga.wire.topics import Participant

__all__ = ["COMPLETE_ORDER", "Delivery", "People"]

PATIENT = Patience(timeout_seconds=30, attempts_max=10, backoff_seconds=2, backoff_seconds_max=300)
"""From the capture on: about a quarter of an hour of tries before a person is told, and then on and on."""

# --- how it is taken back -------------------------------------------------------------------------

UNDO_DELIVERY = Undo(
    ask=Ask(to=Participant.ORDER, command=undo_delivery, ok=m.OrderDeliveryUndone, refused=m.OrderDeliveryUndoFailed),
    named_by="order_id",
)

# --- the saga -------------------------------------------------------------------------------------

COMPLETE_ORDER = Definition(
    name="complete_order",
    version=1,
    data=Delivery,
    steps=(
        Step(
            name="MARK_DELIVERED",
            do=Ask(to=Participant.ORDER, command=mark_delivered, ok=m.OrderDelivered, refused=m.OrderDeliveryFailed),
            undo=UNDO_DELIVERY,
            effect_ids=("order_id",),
            nameless=True,
            refusal=delivery_rejected,
        ),
        Step(
            name="CAPTURE_PAYMENT",
            do=Ask(
                to=Participant.PAYMENT,
                command=capture_payment,
                ok=m.PaymentCaptured,
                refused=m.PaymentCaptureFailed,
            ),
            point_of_no_return=True,
            effect_ids=("payment_id",),
            harmless_to_repeat=False,
            refusal=capture_failed,
            patience=PATIENT,
        ),
        Step(
            name="PAY_RUNNER",
            do=Ask(to=Participant.PAYMENT, command=pay_runner, ok=m.RunnerPaid, refused=m.RunnerPayoutFailed),
            effect_ids=("payout_id",),
            harmless_to_repeat=False,
            patience=PATIENT,
        ),
        Step(
            name="MARK_COMPLETED",
            do=Ask(to=Participant.ORDER, command=mark_completed, ok=m.OrderCompleted, refused=m.OrderCompletionFailed),
            patience=PATIENT,
        ),
    ),
    remember=remember,
    notices=Notices(completed=(delivered, runner_paid), cancelled=called_off, failed=failed),
    explanations={
        Reason.STEP_TIMED_OUT: "A service did not answer in time, so the delivery is not recorded yet.",
        Reason.OPERATOR_REQUEST: "The delivery was called off by our support team.",
        Reason.COMPENSATION_FAILED: "The delivery could not be called off. Our support team is looking into it.",
    },
    customer_may_cancel=False,
    money=Money.CAPTURES,
    kinds={Participant.PAYMENT: Kind.FULL},
)
