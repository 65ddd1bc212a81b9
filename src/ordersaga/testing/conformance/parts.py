"""What each participant is asked in an examination, and in which words it may answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from ordersaga.testing.conformance.subject import Case, Samples
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant

WHY = "CUSTOMER_REQUEST"
"""The reason that undos give."""
Making = Callable[[Case, Samples], m.Message]
Undoing = Callable[[Case, str | None], m.Command]
"""With the id of the effect, or without it."""


@dataclass(frozen=True, kw_only=True)
class Part:
    do: Making
    done: type[m.Event] | None
    """None: it does not answer."""
    effect_ids: tuple[str, ...] = ()
    """Fields of `done` that tell one effect from another: the one that an undo names first."""
    never: Making | None = None
    """What it has to refuse."""
    undo: Undoing | None = None
    undone: type[m.Event] | None = None
    undo_by_order: bool = False
    """Whether its undo names the order, which is always known, and never an id of its own."""

    def words_for(self, command: m.Message) -> tuple[str, ...]:
        """The types of an answer to `command`: the good one first."""
        return tuple(m.TYPE_OF[event] for event in _WORDS.get(type(command), ()))


_WORDS: Mapping[type[m.Message], tuple[type[m.Event], ...]] = {
    m.CreateOrder: (m.OrderCreated, m.OrderCreationFailed),
    m.UpdateOrderStatus: (m.OrderStatusUpdated, m.OrderStatusUpdateFailed),
    m.CancelOrder: (m.OrderCancelled, m.OrderCancellationFailed),
    m.GetPaymentInfo: (m.PaymentInfoRetrieved, m.PaymentInfoFailed),
    m.AuthorizePayment: (m.PaymentAuthorized, m.PaymentFailed),
    m.RevertPayment: (m.PaymentReleased, m.PaymentFailed),
    m.StartOrderTimer: (m.TimerStarted, m.TimerFailed),
    m.CancelTimer: (m.TimerCancelled, m.TimerCancellationFailed),
}


def opening(order_id: str) -> m.UpdateOrderStatus:
    """The order is paid: runners may see it."""
    return m.UpdateOrderStatus(order_id=order_id, status="CREATED")


def timer(case: Case, seconds: float) -> m.StartOrderTimer:
    """One that runs out so long after the case was made."""
    timeout_at = case.made_at + timedelta(seconds=seconds)
    return m.StartOrderTimer(order_id=case.order_id, customer_id=case.customer_id, timeout_at=timeout_at)


def _create(case: Case, samples: Samples) -> m.Message:
    return m.CreateOrder(customer_id=case.customer_id, order_details=samples.order_details, saga_id=case.saga_id)


def _create_nothing(case: Case, samples: Samples) -> m.Message:
    details = {**samples.order_details, "foodItems": []}
    return m.CreateOrder(customer_id=case.customer_id, order_details=details, saga_id=case.saga_id)


def _payment(case: Case, samples: Samples, amount_cents: int) -> m.Message:
    customer = m.PayingCustomer(
        clerk_user_id=case.customer_id,
        stripe_customer_id=samples.stripe_customer_id,
        user_stripe_card=m.Card(payment_method_id=samples.payment_method_id),
    )
    order = m.PayableOrder(amount=amount_cents, description="a conformance run")
    return m.AuthorizePayment(order_id=case.order_id, customer=customer, order=order, return_url="")


def _notice(case: Case, samples: Samples) -> m.Message:
    return m.OrderConfirmedNotice(
        saga_id=case.saga_id,
        customer_id=case.customer_id,
        order_id=case.order_id,
        status="COMPLETED",
        title="Your order is confirmed",
        explanation="A runner will take it.",
        money="It is held until the order is delivered.",
        amount_cents=samples.amount_cents,
    )


PARTS: Mapping[Participant, Part] = {
    Participant.ORDER: Part(
        do=_create,
        done=m.OrderCreated,
        effect_ids=("order_id",),
        never=_create_nothing,
        undo=lambda case, known: m.CancelOrder(reason=WHY, order_id=known, saga_id=case.saga_id),
        undone=m.OrderCancelled,
    ),
    Participant.USER: Part(
        do=lambda case, samples: m.GetPaymentInfo(user_id=samples.customer_id),
        done=m.PaymentInfoRetrieved,
        never=lambda case, samples: m.GetPaymentInfo(user_id=samples.unknown_customer_id),
    ),
    Participant.PAYMENT: Part(
        do=lambda case, samples: _payment(case, samples, samples.amount_cents),
        done=m.PaymentAuthorized,
        effect_ids=("payment_id", "payment_intent_id"),
        never=lambda case, samples: _payment(case, samples, 10),
        undo=lambda case, known: m.RevertPayment(reason=WHY, payment_id=known, order_id=case.order_id),
        undone=m.PaymentReleased,
    ),
    Participant.TIMER: Part(
        do=lambda case, samples: timer(case, 1800),
        done=m.TimerStarted,
        effect_ids=("order_id", "timer_id"),
        undo=lambda case, known: m.CancelTimer(order_id=case.order_id, reason=WHY),
        undone=m.TimerCancelled,
        undo_by_order=True,
    ),
    Participant.NOTIFICATION: Part(do=_notice, done=None),
}
