"""The stage of the complete-order saga: its participants as pure values, and what must hold of it.

The payment service is a full one always: a capture and a payout must not be made twice, so the definition takes no
other. A bare order service sets what it is told to, whatever came before, and remembers nothing.
"""

import re
from collections.abc import Callable, Container, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.model.stage import Said, Stage, few_attempts
from ordersaga.orchestrator.core.definition import Definition, Kind
from ordersaga.orchestrator.core.inputs import CancelAsked
from ordersaga.orchestrator.core.instance import GOING_BACK, TAKEN_BACK, Became, Instance, Requested, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.sagas.complete_order import COMPLETE_ORDER, Delivery, People
from ordersaga.wire import completing as m
from ordersaga.wire.messages import PaymentReleased
from ordersaga.wire.payloads import Command, Event
from ordersaga.wire.topics import Participant

BROUGHT = Delivery(
    personal=People(customer_id="c-1", runner_id="r-1"),
    order_id="o-1",
    payment_id="p-1",
    amount_cents=870,
    payout_cents=200,
)
CALLED_OFF = CancelAsked(Requested(actor="night-shift", role="operator", reason=Reason.OPERATOR_REQUEST))

MAY_FOLLOW = re.compile("MARK_DELIVERED was asked for [0-9]+ times, and may be done after mark_completed was settled")
"""What a person is told where a bare order service may still make the mark."""


class World(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the participants' own ledgers hold."""

    full: bool
    """Whether the order service is."""
    order: str = "ACCEPTED"
    called_off: bool = False
    """A full order service remembers that the mark is taken back, whether it was made or not."""
    payment: str = "AUTHORIZED"
    payouts: int = 0
    paid_by_hand: bool = False
    answers: tuple[tuple[str, Event, datetime], ...] = ()


def definition_of(kind: Kind) -> Definition:
    return few_attempts(COMPLETE_ORDER, {Participant.ORDER: kind, Participant.PAYMENT: Kind.FULL})


def stage_of(kind: Kind, definition: Definition | None = None) -> Stage:
    """With an order service of this kind."""
    return Stage(
        definition=definition or definition_of(kind),
        data=BROUGHT,
        world=World(full=kind is Kind.FULL),
        carry_out=carry_out,
        forgets=_forgets,
        hands=HANDS,
        settled={"undo_delivery": _given_back},
        done_by_hand=DONE_BY_HAND,
        cancel=CALLED_OFF,
        cancels="an operator calls it off",
        begins="the runner has delivered",
        always=(paid_once_and_out_of_captured_money, completed_is_paid_for, nothing_is_taken_back_past_the_point),
        at_rest=(completed_is_whole, taken_back_is_nothing, nothing_in_between),
        broken_by_commands=_undone_past_the_point,
    )


def carry_out(world: World, command: Command, refuse: bool) -> Said:
    if isinstance(command, m.CapturePayment | m.PayRunner):
        return _at_the_payment_service(world, command, refuse=refuse)
    return _at_the_order_service(world, command, refuse=refuse)


def _at_the_order_service(world: World, command: Command, *, refuse: bool) -> Said:
    match command:
        case m.MarkDelivered(order_id=order_id):
            if refuse or (world.full and (world.called_off or world.order != "ACCEPTED")):
                return world, (m.OrderDeliveryFailed(error="ILLEGAL_STATE", order_id=order_id),)
            return replace(world, order="DELIVERED"), (m.OrderDelivered(order_id=order_id),)
        case m.UndoDelivery(order_id=order_id):
            if refuse:
                return world, (m.OrderDeliveryUndoFailed(error="DATABASE_ERROR", order_id=order_id),)
            return replace(world, order="ACCEPTED", called_off=world.full), (m.OrderDeliveryUndone(order_id=order_id),)
        case m.MarkCompleted(order_id=order_id):
            if refuse or (world.full and world.order not in ("DELIVERED", "COMPLETED")):
                return world, (m.OrderCompletionFailed(error="ILLEGAL_STATE", order_id=order_id),)
            return replace(world, order="COMPLETED"), (m.OrderCompleted(order_id=order_id),)
    raise AssertionError(f"no participant knows {command!r}")


def _at_the_payment_service(world: World, command: m.CapturePayment | m.PayRunner, *, refuse: bool) -> Said:
    match command:
        case m.CapturePayment(payment_id=payment_id):
            if refuse or world.payment not in ("AUTHORIZED", "CAPTURED"):
                return world, (m.PaymentCaptureFailed(error="NOTHING_HELD", payment_id=payment_id),)
            return replace(world, payment="CAPTURED"), (m.PaymentCaptured(payment_id=payment_id),)
        case m.PayRunner(payment_id=payment_id):
            if refuse or world.payment != "CAPTURED":
                return world, (m.RunnerPayoutFailed(error="PROVIDER_REFUSED", payment_id=payment_id),)
            return replace(world, payouts=world.payouts + 1), (m.RunnerPaid(payout_id=f"po-{world.payouts + 1}"),)


def _forgets(command: Command, said: Sequence[Event]) -> bool:
    forgotten = (m.OrderDeliveryUndoFailed, m.RunnerPayoutFailed, m.OrderCompletionFailed)
    return any(isinstance(one, forgotten) for one in said)


# --- by hand --------------------------------------------------------------------------------------


def _void(world: World) -> Said | None:
    """The provider lets a hold go that was not captured in time; the payment service says so."""
    if world.payment != "AUTHORIZED":
        return None
    return replace(world, payment="REVERTED"), (PaymentReleased(payment_id="p-1", status="REVERTED"),)


def _undo_by_hand(world: World) -> Said | None:
    """A bare order service lets anybody set any status."""
    if world.full or world.order != "DELIVERED":
        return None
    return replace(world, order="ACCEPTED"), (m.OrderDeliveryUndone(order_id="o-1"),)


HANDS: dict[str, Callable[[World], Said | None]] = {
    "the hold runs out": _void,
    "the mark is taken back at the order service": _undo_by_hand,
}


def _given_back(world: World, order_ids: Container[str | None]) -> World:
    return replace(world, order="ACCEPTED", called_off=world.full)


DONE_BY_HAND: dict[str, Callable[[World], World]] = {
    "capture_payment": lambda world: replace(world, payment="CAPTURED"),
    "pay_runner": lambda world: replace(world, paid_by_hand=True),
    "mark_completed": lambda world: replace(world, order="COMPLETED"),
}


# --- what must hold -------------------------------------------------------------------------------


def paid_once_and_out_of_captured_money(record: Instance[Any], world: World) -> bool:
    """The runner is paid once at most, and never before the customer has paid."""
    return world.payouts <= 1 and (not world.payouts or world.payment == "CAPTURED")


def completed_is_paid_for(record: Instance[Any], world: World) -> bool:
    """No order is COMPLETED that is not paid for, or whose runner is not paid."""
    return world.order != "COMPLETED" or _paid_for(world)


def _paid_for(world: World) -> bool:
    return world.payment == "CAPTURED" and bool(world.payouts or world.paid_by_hand)


def nothing_is_taken_back_past_the_point(record: Instance[Any], world: World) -> bool:
    """A saga that is past its point of no return does not go back, but for what a person is told of."""
    return not (record.committed and record.status in GOING_BACK | TAKEN_BACK) or bool(record.attention)


def _undone_past_the_point(world: World, commands: Sequence[Command]) -> list[str]:
    undone = any(isinstance(command, m.UndoDelivery) for command in commands)
    paid = undone and world.payouts
    return ["a delivery is not undone whose runner is paid"] if paid else []


def completed_is_whole(record: Instance[Any], world: World) -> bool:
    """COMPLETED: the order is, the money is captured, and the runner is paid; but for a mark that may come after all
    else, where a person is told of that.
    """
    if record.status is not Status.COMPLETED:
        return True
    marked_last = world.order == "DELIVERED" and any(MAY_FOLLOW.match(why) for why in record.attention)
    return (world.order == "COMPLETED" or marked_last) and _paid_for(world)


def taken_back_is_nothing(record: Instance[Any], world: World) -> bool:
    """I4: of what was taken back nothing stands, neither a mark nor a capture, but for what a person is told of."""
    if record.status not in TAKEN_BACK or record.attention:
        return True
    return world.order == "ACCEPTED" and world.payment != "CAPTURED" and not world.payouts


def nothing_in_between(record: Instance[Any], world: World) -> bool:
    """I6: what was finished or in doubt was undone or settled."""
    if record.status not in TAKEN_BACK or record.attention:
        return True
    return all(step.became not in (Became.DONE, Became.IN_DOUBT) for step in record.steps.values())
