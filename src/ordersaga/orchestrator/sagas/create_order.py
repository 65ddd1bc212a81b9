"""A customer orders food: the order is created, paid and offered to the runners.

The five steps below run from top to bottom. If one is refused or does not answer, if the customer cancels, or if no
runner accepts within half an hour, what was done is taken back: first the order (so that nobody can accept it any
more), then the money, then the timer.
"""

from ordersaga.orchestrator.core.definition import Ask, Definition, Fact, Money, Notices, Patience, Step, Undo
from ordersaga.orchestrator.sagas.create_order_answers import (
    customer_not_ready,
    hold_gone,
    order_rejected,
    order_stands,
    payment_failed,
    update_refused,
)
from ordersaga.orchestrator.sagas.create_order_commands import (
    Customer,
    OrderData,
    authorize_payment,
    cancel_order,
    cancel_timer,
    create_order,
    get_payment_info,
    remember,
    revert_payment,
    start_order_timer,
    update_order_status,
)
from ordersaga.orchestrator.sagas.create_order_notices import cancellation_refused, cancelled, confirmed, failed
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant

__all__ = ["CREATE_ORDER", "Customer", "OrderData"]

# --- how it is taken back -------------------------------------------------------------------------

CANCEL_ORDER = Undo(
    ask=Ask(to=Participant.ORDER, command=cancel_order, ok=m.OrderCancelled, refused=m.OrderCancellationFailed),
    named_by="order_id",
    stands=order_stands,
    unasked_is_request=True,
)
REVERT_PAYMENT = Undo(
    ask=Ask(
        to=Participant.PAYMENT,
        command=revert_payment,
        ok=m.PaymentReleased,
        refused=m.PaymentFailed,
        expected=lambda event: event.status == "REVERTED",
    ),
    named_by="payment_id",
    gone=hold_gone,
    rules_out_completion=True,
)
CANCEL_TIMER = Undo(
    ask=Ask(to=Participant.TIMER, command=cancel_timer, ok=m.TimerCancelled, refused=m.TimerCancellationFailed),
    named_by="order_id",
    patience=Patience(timeout_seconds=2, attempts_max=3, backoff_seconds=0.5, backoff_seconds_max=2),
    required=False,
    moot_once_expired=True,
)

# --- the saga -------------------------------------------------------------------------------------

CREATE_ORDER = Definition(
    name="create_order",
    version=1,
    data=OrderData,
    steps=(
        Step(
            name="CREATE_ORDER",
            do=Ask(to=Participant.ORDER, command=create_order, ok=m.OrderCreated, refused=m.OrderCreationFailed),
            undo=CANCEL_ORDER,
            effect_ids=("order_id",),
            harmless_to_repeat=False,
            refusal=order_rejected,
        ),
        Step(
            name="GET_USER_DATA",
            do=Ask(
                to=Participant.USER, command=get_payment_info, ok=m.PaymentInfoRetrieved, refused=m.PaymentInfoFailed
            ),
            nothing_to_undo=True,
            refusal=customer_not_ready,
        ),
        Step(
            name="AUTHORIZE_PAYMENT",
            do=Ask(to=Participant.PAYMENT, command=authorize_payment, ok=m.PaymentAuthorized, refused=m.PaymentFailed),
            undo=REVERT_PAYMENT,
            effect_ids=("payment_id", "payment_intent_id"),
            harmless_to_repeat=False,
            refusal=payment_failed,
        ),
        Step(
            name="UPDATE_ORDER_STATUS",
            do=Ask(
                to=Participant.ORDER,
                command=update_order_status,
                ok=m.OrderStatusUpdated,
                refused=m.OrderStatusUpdateFailed,
                expected=lambda event: event.status == "CREATED",
            ),
            undo=CANCEL_ORDER,
            effect_ids=("order_id",),
            harmless_to_repeat=False,
            refusal=update_refused,
            opens_window=True,
        ),
        Step(
            name="START_TIMER",
            do=Ask(to=Participant.TIMER, command=start_order_timer, ok=m.TimerStarted, refused=m.TimerFailed),
            undo=CANCEL_TIMER,
            effect_ids=("order_id",),
            patience=Patience(timeout_seconds=2, attempts_max=1),
            optional=True,
        ),
    ),
    undo_order=(CANCEL_ORDER, REVERT_PAYMENT, CANCEL_TIMER),
    remember=remember,
    facts={
        m.OrderAccepted: Fact.ACCEPTED,
        m.OrderAcceptanceCancelled: Fact.REOPENED,
        m.TimerExpired: Fact.EXPIRED,
        m.OrderCancelledByHand: Fact.CANCELLED_BY_HAND,
    },
    money=Money.HOLDS,
    notices=Notices(completed=confirmed, cancelled=cancelled, failed=failed, cancellation_refused=cancellation_refused),
)
