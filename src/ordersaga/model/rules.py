"""What must hold, read from what the participants hold and not from what the saga believes."""

from typing import Any

from ordersaga.model.world import World
from ordersaga.orchestrator.core.instance import TAKEN_BACK, Became, Instance, Status

MOVING = frozenset({Status.STARTED, Status.COMPENSATING, Status.CANCELLING})


def broken_rules(record: Instance[Any], world: World, *, quiet: bool) -> list[str]:
    """The rules that do not hold here; `quiet` where nothing is under way or due any more."""
    broken = [rule.__doc__ or rule.__name__ for rule in ALWAYS if not rule(record, world)]
    if quiet:
        broken += [rule.__doc__ or rule.__name__ for rule in AT_REST if not rule(record, world)]
    return broken


def one_hold(record: Instance[Any], world: World) -> bool:
    """I3: full participants make one authorization for an order at most."""
    return not world.full or len(world.holds) <= 1


def accepted_is_paid(record: Instance[Any], world: World) -> bool:
    """I5: no order is ACCEPTED whose payment was reverted (full participants)."""
    accepted = world.full and world.order("o-1") == "ACCEPTED"
    return not accepted or bool(world.standing()) or world.voided_by_hand


def told_once(record: Instance[Any], world: World) -> bool:
    """I11: one notification for each outcome."""
    return len(set(record.notified)) == len(record.notified)


def never_quiet_half_way(record: Instance[Any], world: World) -> bool:
    """I10: a saga does not go quiet half way."""
    return record.status not in MOVING


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


def failed_says_why(record: Instance[Any], world: World) -> bool:
    """A FAILED saga says what is stuck."""
    return record.status is not Status.FAILED or record.stuck is not None


def nothing_in_between(record: Instance[Any], world: World) -> bool:
    """I6: what was finished or in doubt was undone or settled."""
    if record.status not in TAKEN_BACK or record.attention:
        return True
    undoable = [record.steps.get(name) for name in ("CREATE_ORDER", "AUTHORIZE_PAYMENT", "UPDATE_ORDER_STATUS")]
    return all(step is None or step.became not in (Became.DONE, Became.IN_DOUBT) for step in undoable)


ALWAYS = (one_hold, accepted_is_paid, told_once)
AT_REST = (never_quiet_half_way, taken_back_is_nothing, completed_is_paid_once, failed_says_why, nothing_in_between)
