"""What must hold when the world has come to rest, read from the participants' own ledgers."""

from collections import Counter
from itertools import pairwise
from typing import Any

from ordersaga.bus.protocol import Record
from ordersaga.orchestrator.core.instance import TAKEN_BACK, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.participants.payment.provider import Authorized
from ordersaga.wire import messages as m
from ordersaga.wire.codec import Envelope, decode_command
from ordersaga.wire.ids import message_id
from ordersaga.wire.topics import Participant
from simulation.people import AMOUNT_CENTS
from simulation.world import TOPICS, World

AnyInstance = Any
MAKERS = (m.CreateOrder, m.AuthorizePayment, m.UpdateOrderStatus)
MOVES = {
    None: {Status.STARTED},
    Status.STARTED: {Status.COMPLETED, Status.COMPENSATING, Status.CANCELLING, Status.COMPENSATED, Status.CANCELLED},
    Status.COMPENSATING: {Status.COMPENSATED, Status.FAILED, Status.COMPLETED},
    Status.COMPENSATED: {Status.FAILED},
    Status.COMPLETED: {Status.CANCELLING, Status.CANCELLED, Status.FAILED, Status.COMPLETED},
    Status.CANCELLING: {Status.CANCELLED, Status.COMPLETED, Status.FAILED},
    Status.CANCELLED: {Status.FAILED},
    Status.FAILED: {Status.COMPENSATING, Status.CANCELLING, Status.COMPENSATED, Status.CANCELLED, Status.COMPLETED},
}
"""One input may pass two rows, so a status may be passed without being seen."""
OUTCOME = {
    Status.COMPLETED: "notification.order_confirmed",
    Status.CANCELLED: "notification.order_cancelled",
    Status.COMPENSATED: "notification.order_cancelled",
    Status.FAILED: "notification.order_failed",
}


def broken_rules(world: World) -> list[str]:
    """Each rule that does not hold, with what shows it."""
    sagas = sagas_of(world)
    broken = [f"I10: {one} was accepted and is not there" for one in world.placed if str(one) not in sagas]
    broken += _commands(world, sagas)
    for saga in sagas.values():
        broken += [f"{problem} ({saga.saga_id} {saga.status})" for problem in _of_one(world, saga)]
    return broken


def sagas_of(world: World) -> dict[str, AnyInstance]:
    codec = world.codec
    """In the archive too."""
    store = world.databases.store
    rows = [*store.sagas.values(), *(row for _, row, _ in store.archive.values())]
    return {str(row.saga_id): codec.decode(row.saga, row.version, row.state, row.personal) for row in rows}


def _of_one(world: World, saga: AnyInstance) -> list[str]:
    return [*_history(world, saga), *_at_rest(saga), *world.scene.rules(world, saga)]


def order_rules(world: World, saga: AnyInstance) -> list[str]:
    """What must hold of an order that was placed."""
    return [*_notices(world, saga), *(_bare_effects(world, saga) if world.bare else _full_effects(world, saga))]


def _commands(world: World, sagas: dict[str, AnyInstance]) -> list[str]:
    """I8, and B1: to bare participants nothing that makes something is said twice."""
    topics = {TOPICS.commands_of(one) for one in Participant if one is not Participant.NOTIFICATION}
    found = [_command(record) for topic in topics for record in world.bus.records(topic)]
    strays = {one.correlation_id for one in found} - sagas.keys()
    said = Counter((one.correlation_id, type(one.body)) for one in found if isinstance(one.body, MAKERS))
    twice = [f"{kind.__name__} went out {number} times for {key}" for (key, kind), number in said.items() if number > 1]
    return [
        *(f"I8: a command went out for {stray}, which is no saga" for stray in strays),
        *(f"B1: {problem}" for problem in twice if world.bare),
    ]


def _command(record: Record) -> Envelope:
    envelope = decode_command(record.value)
    assert isinstance(envelope, Envelope)
    return envelope


def _history(world: World, saga: AnyInstance) -> list[str]:
    store = world.databases.store
    _, _, archived = store.archive.get(saga.saga_id, (None, None, []))
    entries = sorted(store.history.get(saga.saga_id, archived), key=lambda entry: entry.revision)
    broken = []
    if [entry.revision for entry in entries] != list(range(1, saga.revision + 1)):
        broken.append(f"I7: the revisions are {[entry.revision for entry in entries]}, the last is {saga.revision}")
    statuses: list[Status | None] = [None, *(Status(entry.body["status"]) for entry in entries)]
    for before, after in pairwise(statuses):
        assert after
        if after is not before and after not in MOVES[before]:
            broken.append(f"I7: from {before} to {after}")
    return broken + _window(saga, [entry for entry in entries if entry.cause == "deadline.window"])


def _window(saga: AnyInstance, closings: list[Any]) -> list[str]:
    """I12, as far as one saga shows it: after a reopening the window's end is another."""
    if saga.window_reopened or not saga.window_ends_at:
        return []
    early = [entry for entry in closings if entry.at < saga.window_ends_at]
    broken = [f"I12: the window ended at {saga.window_ends_at} and was closed at {entry.at}" for entry in early]
    return [*broken, "I12: the window was closed twice"] if len(closings) > 1 else broken


def _at_rest(saga: AnyInstance) -> list[str]:
    if saga.status in (Status.STARTED, Status.COMPENSATING, Status.CANCELLING):
        return ["I10: it is half way, and nothing is due"]
    if saga.outstanding is not None or saga.resume_at is not None:
        return ["I10: it waits for something, and nothing is due"]
    if saga.status is Status.FAILED and saga.stuck is None:
        return ["I10: it failed, and does not say at what"]
    if saga.status is not Status.COMPLETED and saga.reason is None:
        return ["R11: there is no reason"]
    if saga.reason is Reason.ACCEPTANCE_TIMEOUT and not (saga.expired or saga.window_reopened):
        return ["R11: nobody accepted in time, it says, and the time is not over"]
    return []


def _notices(world: World, saga: AnyInstance) -> list[str]:
    """I11, where a person's wish did not bring several outcomes."""
    rows = world.databases.ledgers[Participant.NOTIFICATION].rows.values()
    told = Counter(row.type for row in rows if row.saga_id == str(saga.saga_id))
    broken = [
        f"I11: {name} went out {number} times" for name, number in told.items() if number > 1 and "refused" not in name
    ]
    if told[OUTCOME[saga.status]] == 0:
        broken.append(f"I11: nobody was told; {dict(told)}")
    return broken


def _full_effects(world: World, saga: AnyInstance) -> list[str]:
    key, broken = str(saga.saga_id), []
    order = world.databases.ledgers[Participant.ORDER].rows.get(key)
    payment = world.databases.ledgers[Participant.PAYMENT].rows.get(key)
    provider = world.databases.provider
    # Whatever the payment service believes: under this key the saga's money was asked for.
    asked = provider.by_key.get(str(message_id(saga.saga_id, "AUTHORIZE_PAYMENT", "do")))
    known = {asked.intent_id if isinstance(asked, Authorized) else None, payment and payment.payment_intent_id}
    held = [one for one, status in provider.statuses.items() if status == "HELD" and one in known]
    state = order.status if order else None
    stands = bool(payment and payment.status == "AUTHORIZED")
    if len(held) > 1:
        broken.append(f"I3: {len(held)} holds")
    if bool(held) is not stands:
        broken.append(f"I2: the payment is {payment and payment.status}, the provider holds {held}")
    if payment and stands and payment.amount_cents != AMOUNT_CENTS:
        broken.append("I1: the hold is of another amount")
    if state in ("CREATED", "ACCEPTED") and not stands and key not in world.voided:
        broken.append(f"I1, I5: the order is {state} and not paid")
    if saga.attention:
        return broken
    if saga.status is Status.COMPLETED and (state != "ACCEPTED" or not stands):
        broken.append(f"I2: completed, with the order {state} and the payment {payment and payment.status}")
    if saga.status in TAKEN_BACK and (state in ("PENDING", "CREATED", "ACCEPTED") or stands):
        broken.append(f"I4: taken back, with the order {state} and the payment {payment and payment.status}")
    if saga.status is Status.FAILED and not (saga.stuck.accepted or state == "ACCEPTED"):
        broken.append(f"R3: it failed at {saga.stuck}, and no runner has the order")
    return broken


def _bare_effects(world: World, saga: AnyInstance) -> list[str]:
    key = str(saga.saga_id)
    orders = [one for one in world.databases.bare.orders.values() if one.saga_id == key and one.shown]
    holds = [one for one in world.databases.bare.holds if one.saga_id == key and one.shown]
    open_orders = [one for one in orders if one.status != "CANCELLED"]
    standing = [one for one in holds if one.stands]
    if saga.attention or saga.status is Status.FAILED:
        return []
    if saga.status is Status.COMPLETED:
        accepted = [one for one in open_orders if one.status == "ACCEPTED"]
        if len(accepted) == 1 == len(open_orders) and len(standing) == 1:
            return []
        return [f"I2: completed, with the orders {open_orders} and the holds {standing}"]
    if open_orders or standing:
        return [f"I4: taken back, with the orders {open_orders} and the holds {standing}"]
    if saga.reason is Reason.COMPENSATION_FAILED:
        return ["R11: COMPENSATION_FAILED is no first cause"]
    return []
