"""The participants of one saga, as pure values: what they hold, and what they say to a command.

Full ones recognise a repeat and remember an undo that came first; bare ones do neither, cancel an order that a runner
has, revive a cancelled one, and cannot take back what they are not told the id of. Each function returns the world
after it and the answers, in the order in which they are said.
"""

from collections.abc import Callable, Container
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.wire import messages as m

CARD = m.PaymentInfo(stripe_customer_id="cus_1", payment_method_id="pm_1")


class World(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the participants' own ledgers hold."""

    full: bool
    orders: tuple[tuple[str, str], ...] = ()
    """Each order's id and status."""
    order_tombstone: bool = False
    holds: tuple[tuple[str, str, bool], ...] = ()
    """Each hold: payment id, intent id, whether it stands."""
    payment_tombstone: bool = False
    answers: tuple[tuple[str, m.Event, datetime], ...] = ()
    """Of full participants: what was answered to which command, and when."""
    voided_by_hand: bool = False
    cancelled_by_hand: bool = False
    timer: bool = False

    def order(self, order_id: str | None) -> str | None:
        return dict(self.orders).get(order_id or "")

    def with_order(self, order_id: str, status: str) -> "World":
        return replace(self, orders=tuple({**dict(self.orders), order_id: status}.items()))

    def standing(self) -> tuple[str, ...]:
        return tuple(intent for _, intent, stands in self.holds if stands)


Said = tuple[World, tuple[m.Event, ...]]


def carry_out(world: World, command: m.Command, *, refuse: bool) -> Said:
    """What becomes of the world by a command; `refuse` where the participant may say no, and does."""
    match command:
        case m.CreateOrder():
            return _create(world, refuse)
        case m.GetPaymentInfo():
            said: m.Event = (
                m.PaymentInfoFailed(error="User not found") if refuse else m.PaymentInfoRetrieved(payment_info=CARD)
            )
            return world, (said,)
        case m.AuthorizePayment(order_id=order_id):
            return _authorize(world, order_id, refuse)
        case m.UpdateOrderStatus(order_id=order_id):
            return _open(world, order_id, refuse)
        case m.StartOrderTimer(order_id=order_id):
            failed = m.TimerFailed(error="DOWN", order_id=order_id)
            return (world, (failed,)) if refuse else (replace(world, timer=True), (m.TimerStarted(order_id=order_id),))
        case m.CancelOrder(order_id=order_id):
            return _cancel(world, order_id, refuse)
        case m.RevertPayment(payment_id=payment_id):
            return _revert(world, payment_id, refuse)
        case m.CancelTimer(order_id=order_id):
            return replace(world, timer=False), (m.TimerCancelled(order_id=order_id),)
    raise AssertionError(f"no participant knows {command!r}")


def _create(world: World, refuse: bool) -> Said:
    if world.full and (refuse or world.order_tombstone):
        return world, (m.OrderCreationFailed(error="CLOSED"),)
    order_id = f"o-{len(world.orders) + 1}"
    return world.with_order(order_id, "PENDING"), (m.OrderCreated(order_id=order_id),)


def _authorize(world: World, order_id: str, refuse: bool) -> Said:
    if refuse:
        return world, (m.PaymentFailed(error="STRIPE_CARD_ERROR", stripe_code="card_declined"),)
    if world.full and world.payment_tombstone:
        return world, (m.PaymentFailed(error="INVALID_PAYLOAD"),)
    intent = f"pi-{len(world.holds) + 1}"
    hold = ("p-1", intent, True)
    authorized = m.PaymentAuthorized(payment_id="p-1", order_id=order_id, payment_intent_id=intent, status="AUTHORIZED")
    return replace(world, holds=(*world.holds, hold)), (authorized,)


def _open(world: World, order_id: str, refuse: bool) -> Said:
    status = world.order(order_id)
    if status is None or (world.full and (refuse or status != "PENDING")):
        return (world, (m.OrderStatusUpdateFailed(error="ILLEGAL_STATE"),)) if world.full else (world, ())
    return world.with_order(order_id, "CREATED"), (m.OrderStatusUpdated(order_id=order_id, status="CREATED"),)


def _cancel(world: World, order_id: str | None, refuse: bool) -> Said:
    if order_id is None:
        if not world.full:
            return world, ()
        order_id = next(iter(dict(world.orders)), None)
        if order_id is None:
            return replace(world, order_tombstone=True), (m.OrderCancelled(),)
    status = world.order(order_id)
    if world.full and status == "ACCEPTED":
        return world, (m.OrderCancellationFailed(error="ORDER_ACCEPTED", order_id=order_id, status="ACCEPTED"),)
    if world.full and refuse:
        return world, (m.OrderCancellationFailed(error="DATABASE_ERROR", order_id=order_id),)
    return world.with_order(order_id, "CANCELLED"), (m.OrderCancelled(order_id=order_id),)


def _revert(world: World, payment_id: str | None, refuse: bool) -> Said:
    if refuse:
        return world, (m.PaymentFailed(error="stripe_error"),)
    if payment_id is None and not world.full:
        return world, (m.PaymentFailed(error="INVALID_PAYLOAD"),)
    released = m.PaymentReleased(payment_id=payment_id or "p-1", status="REVERTED")
    if not world.holds:
        return replace(world, payment_tombstone=True), (released,)
    *others, (last, intent, _) = world.holds
    return replace(world, holds=(*others, (last, intent, False))), (released,)


# --- by hand --------------------------------------------------------------------------------------


def accept(world: World) -> Said | None:
    """A runner takes the order."""
    if world.order("o-1") != "CREATED":
        return None
    return world.with_order("o-1", "ACCEPTED"), (m.OrderAccepted(order_id="o-1", runner_id="r-1"),)


def give_back(world: World) -> Said | None:
    if world.order("o-1") != "ACCEPTED":
        return None
    return world.with_order("o-1", "CREATED"), (m.OrderAcceptanceCancelled(order_id="o-1"),)


def cancel_by_hand(world: World) -> Said | None:
    if world.order("o-1") not in ("PENDING", "CREATED"):
        return None
    cancelled = replace(world.with_order("o-1", "CANCELLED"), cancelled_by_hand=True)
    return cancelled, (m.OrderCancelledByHand(order_id="o-1"),)


def void_by_hand(world: World) -> Said | None:
    if not world.standing():
        return None
    holds = (*world.holds[:-1], (*world.holds[-1][:2], False))
    voided = replace(world, holds=holds, voided_by_hand=True)
    return voided, (m.PaymentReleased(payment_id="p-1", status="REVERTED"),)


def stop_timer(world: World) -> Said | None:
    """Nothing else: the saga closes the window by itself."""
    if not world.timer:
        return None
    return replace(world, timer=False), (m.TimerCancelled(order_id="o-1"),)


HANDS: dict[str, Callable[[World], Said | None]] = {
    "a runner accepts": accept,
    "the runner gives the order back": give_back,
    "the order is cancelled by hand": cancel_by_hand,
    "the payment is voided by hand": void_by_hand,
    "the timer is stopped by hand": stop_timer,
}


def timer_expires(world: World) -> Said | None:
    """The timer service fires, once."""
    if not world.timer:
        return None
    return replace(world, timer=False), (m.TimerExpired(order_id="o-1"),)


# --- taken back by an operator, who says so to the orchestrator only ------------------------------


def _orders_cancelled(world: World, order_ids: Container[str | None]) -> World | None:
    meant = {order_id for order_id, _ in world.orders if order_id in order_ids or None in order_ids}
    if any(status == "ACCEPTED" and order_id in meant for order_id, status in world.orders):
        return None
    orders = ((order_id, "CANCELLED" if order_id in meant else status) for order_id, status in world.orders)
    return replace(world, orders=tuple(orders))


def _holds_released(world: World, payment_ids: Container[str | None]) -> World:
    holds = tuple((payment_id, intent, False) for payment_id, intent, _ in world.holds)
    return replace(world, holds=holds, voided_by_hand=True)


def _timer_stopped(world: World, order_ids: Container[str | None]) -> World:
    return replace(world, timer=False)


SETTLED: dict[str, Callable[[World, Container[str | None]], World | None]] = {
    "cancel_order": _orders_cancelled,
    "revert_payment": _holds_released,
    "cancel_timer": _timer_stopped,
}
"""By the name of the undo: the world after it, given the ids that it is about (None: whatever there is); None where
nobody in his senses would.
"""
