"""The stage of the create-order saga, and what must hold of it."""

from collections.abc import Sequence
from typing import Any

from ordersaga.model.stage import Stage, few_attempts
from ordersaga.model.world import HANDS, SETTLED, World, carry_out, timer_expires
from ordersaga.orchestrator.core.definition import Definition, Kind
from ordersaga.orchestrator.core.instance import TAKEN_BACK, Became, Instance, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER, Customer, OrderData
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant

PLACED = OrderData(personal=Customer(customer_id="c-1", order_details={}), amount_cents=870)


def definition_of(kind: Kind) -> Definition:
    return few_attempts(CREATE_ORDER, dict.fromkeys(Participant, kind))


def stage_of(kind: Kind, definition: Definition | None = None) -> Stage:
    """With participants of this kind."""
    return Stage(
        definition=definition or definition_of(kind),
        data=PLACED,
        world=World(full=kind is Kind.FULL),
        carry_out=lambda world, command, refuse: carry_out(world, command, refuse=refuse),
        forgets=_forgets,
        hands=HANDS,
        time_over=timer_expires,
        settled=SETTLED,
        always=(one_hold, accepted_is_paid),
        at_rest=(taken_back_is_nothing, completed_is_paid_once, nothing_in_between, the_reason_is_true),
        broken_by_commands=_money_first,
    )


def _forgets(command: m.Command, said: Sequence[m.Event]) -> bool:
    """Refused undos are not remembered."""
    return any(isinstance(one, m.OrderCancellationFailed) for one in said) or (
        isinstance(command, m.RevertPayment) and any(isinstance(one, m.PaymentFailed) for one in said)
    )


def _money_first(world: World, commands: Sequence[m.Command]) -> list[str]:
    given_back = any(isinstance(command, m.RevertPayment) for command in commands)
    if world.full and given_back and world.order("o-1") in ("CREATED", "ACCEPTED"):
        return ["I6: the money goes back after the order is cancelled"]
    return []


def one_hold(record: Instance[Any], world: World) -> bool:
    """I3: full participants make one authorization for an order at most."""
    return not world.full or len(world.holds) <= 1


def accepted_is_paid(record: Instance[Any], world: World) -> bool:
    """I5: no order is ACCEPTED whose payment was reverted (full participants)."""
    accepted = world.full and world.order("o-1") == "ACCEPTED"
    return not accepted or bool(world.standing()) or world.voided_by_hand


def taken_back_is_nothing(record: Instance[Any], world: World) -> bool:
    """I2, I4: of what was taken back nothing stands, neither an order nor a hold, but for what a person is told of."""
    if record.status not in TAKEN_BACK or record.attention:
        return True
    standing = [status for _, status in world.orders if status != "CANCELLED"]
    return not standing and not world.standing()


def completed_is_paid_once(record: Instance[Any], world: World) -> bool:
    """I1, I2: a COMPLETED order is open or accepted, and exactly one hold stands."""
    if record.status is not Status.COMPLETED or record.attention:
        return True
    orders = [status for _, status in world.orders if status in ("CREATED", "ACCEPTED")]
    return len(orders) == 1 and len(world.standing()) == 1


def nothing_in_between(record: Instance[Any], world: World) -> bool:
    """I6: what was finished or in doubt was undone or settled."""
    if record.status not in TAKEN_BACK or record.attention:
        return True
    undoable = [record.steps.get(name) for name in ("CREATE_ORDER", "AUTHORIZE_PAYMENT", "UPDATE_ORDER_STATUS")]
    return all(step is None or step.became not in (Became.DONE, Became.IN_DOUBT) for step in undoable)


def the_reason_is_true(record: Instance[Any], world: World) -> bool:
    """R11: that nobody accepted in time is not said where the time was not over, nor that somebody at a service took it
    back where nobody did.
    """
    if record.reason is Reason.OPERATOR_REQUEST:
        return world.voided_by_hand or world.cancelled_by_hand
    return record.reason is not Reason.ACCEPTANCE_TIMEOUT or record.expired or record.window_reopened
