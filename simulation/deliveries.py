"""Afternoons of deliveries: orders that runners have, said to be delivered, and all that goes wrong until they are
completed or with their runners again.

Each order and its hold are there from the beginning, so that all the trouble meets the saga that completes them. Who
presses the button may press it twice, at two processes; an operator may call it off; the provider may let a hold go
before it is captured. The participants are the reference ones: that saga takes no others.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from ordersaga.orchestrator.core.instance import TAKEN_BACK, Status
from ordersaga.orchestrator.runtime.verbs import Actor, Verbs
from ordersaga.orchestrator.sagas.complete_order import COMPLETE_ORDER, Delivery
from ordersaga.orchestrator.sagas.complete_order import People as Persons
from ordersaga.participants.order.rows import OrderRow
from ordersaga.participants.payment.rows import PaymentRow
from ordersaga.wire.topics import Participant
from simulation.faults import KINDS
from simulation.scene import Scene

if TYPE_CHECKING:
    from uuid import UUID

    from simulation.world import World

AMOUNT_CENTS, PAYOUT_CENTS = 870, 200
DISPATCH = Actor(name="dispatch", role="operator", reason="handed over at the door")
OPERATOR = Actor(name="op-7", role="operator", reason="looked into it")
OF_ORDERS = frozenset({"customer_cancels", "accepted", "given_back", "cancelled_by_hand", "voided_by_hand"})
OF_BARE = frozenset({"refused", "deaf", "mute", "handled_twice", "contradicted"})
OWN = {"pressed_twice": 0.3, "called_off": 0.2, "operator_retries": 0.1, "hold_lapses": 0.1}
TOLD = {
    Status.COMPLETED: {"notification.order_delivered": 1, "notification.runner_paid": 1},
    Status.COMPENSATED: {"notification.delivery_called_off": 1},
    Status.CANCELLED: {"notification.delivery_called_off": 1},
}


class Courier:
    """Around one order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random
        self._number = len(world.databases.ledgers[Participant.ORDER].rows)
        self._begun: list[UUID] = []

    def deliver(self) -> None:
        self._hand_over()
        self._wait(0.0, 15.0)
        self._press()
        if self._happens("pressed_twice"):
            self._wait(0.0, self._random.choice((0.01, 1.0, 30.0)))
            self._press()
        for kind, acts in (
            ("called_off", self._call_off),
            ("operator_retries", self._operator),
            ("hold_lapses", self._provider),
        ):
            if self._happens(kind):
                self._world.person(acts)

    def _hand_over(self) -> None:
        """A runner has the order, and its money is held."""
        number, databases = self._number, self._world.databases
        order_id, saga = f"order-{number}", f"placed-{number}"
        intent = databases.provider.hold_by_hand(f"hold-{number}")
        databases.ledgers[Participant.ORDER].rows[saga] = OrderRow(
            key=saga, order_id=order_id, status="ACCEPTED", amount_cents=AMOUNT_CENTS, runner_id="r-1"
        )
        databases.ledgers[Participant.PAYMENT].rows[saga] = PaymentRow(
            key=saga,
            payment_id=f"pay-{number}",
            order_id=order_id,
            amount_cents=AMOUNT_CENTS,
            payment_intent_id=intent,
            status="AUTHORIZED",
        )

    def _press(self) -> None:
        data = Delivery(
            personal=Persons(customer_id="c-1", runner_id="r-1"),
            order_id=f"order-{self._number}",
            payment_id=f"pay-{self._number}",
            amount_cents=AMOUNT_CENTS,
            payout_cents=PAYOUT_CENTS,
        )

        def begin(verbs: Verbs) -> None:
            saga_id = verbs.begin(COMPLETE_ORDER.name, data, DISPATCH).saga_id
            self._begun.append(saga_id)
            self._world.placed.append(saga_id)

        self._world.ask(begin)

    def _call_off(self) -> None:
        self._wait(*self._random.choice(((0.0, 0.2), (0.0, 2.0), (0.0, 30.0))))
        for saga_id in tuple(self._begun):
            self._world.ask(partial(_cancel, saga_id))

    def _operator(self) -> None:
        for _ in range(2):
            self._wait(1.0, 60.0)
            for saga_id in tuple(self._begun):
                self._world.ask(partial(_retry, saga_id))

    def _provider(self) -> None:
        """A hold that was not captured in time runs out by itself."""
        self._wait(0.0, 20.0)
        self._world.databases.provider.lapse(f"hold-{self._number}")

    def _happens(self, kind: str) -> bool:
        return self._world.faults.happens(kind, self._world.scheduler.seconds, f"order-{self._number}")

    def _wait(self, least: float, most: float) -> None:
        self._world.scheduler.sleep(self._random.uniform(least, most))


def _cancel(saga_id: UUID, verbs: Verbs) -> object:
    return verbs.cancel(saga_id, OPERATOR)


def _retry(saga_id: UUID, verbs: Verbs) -> object:
    return verbs.retry(saga_id, OPERATOR)


# --- what must hold in the end --------------------------------------------------------------------


def delivery_rules(world: World, saga: Any) -> list[str]:
    return [*_notices(world, saga), *_effects(world, saga)]


def _notices(world: World, saga: Any) -> list[str]:
    """I11: each who has to be told is told once, and nobody else."""
    rows = world.databases.ledgers[Participant.NOTIFICATION].rows.values()
    told = Counter(row.type for row in rows if row.saga_id == str(saga.saga_id))
    wanted = TOLD.get(saga.status, {})
    return [] if told == wanted else [f"I11: told {dict(told)}, and not {wanted}"]


def _effects(world: World, saga: Any) -> list[str]:
    order, payment = _rows(world, saga.data)
    provider = world.databases.provider
    money = provider.statuses[payment.payment_intent_id or ""]
    payout = provider.payouts.get(payment.payment_id)
    mine = order.delivered_for == str(saga.saga_id)
    broken = []
    if (payment.status == "CAPTURED") is not (money == "CAPTURED"):
        broken.append(f"the payment is {payment.status}, and at the provider it is {money}")
    if (payout is None) is not (payment.payout_id is None) or (payout and payment.status != "CAPTURED"):
        broken.append(f"the payout is {payment.payout_id}, the provider's {payout}, of a payment {payment.status}")
    if payout and (payout.runner_id, payout.amount_cents) != ("r-1", PAYOUT_CENTS):
        broken.append(f"the payout is {payout}")
    if saga.status is Status.FAILED or saga.attention:
        broken.append(f"R3: {saga.stuck} {saga.attention}, and every service answers in the end")
    if saga.status is Status.COMPLETED and not (mine and order.status == "COMPLETED" and payout):
        broken.append(f"completed, with the order {order.status} for {order.delivered_for}, and the payout {payout}")
    if saga.status in TAKEN_BACK and mine:
        broken.append(f"I4: taken back, and the order is {order.status} for it")
    if order.delivered_for is None and (order.status != "ACCEPTED" or money == "CAPTURED"):
        broken.append(f"I4: nobody has delivered it, with the order {order.status} and the money {money}")
    return broken


def _rows(world: World, data: Delivery) -> tuple[OrderRow, PaymentRow]:
    orders = world.databases.ledgers[Participant.ORDER].rows.values()
    payments = world.databases.ledgers[Participant.PAYMENT].rows.values()
    order = next(row for row in orders if row.order_id == data.order_id)
    return order, next(row for row in payments if row.payment_id == data.payment_id)


DELIVERIES = Scene(
    name=COMPLETE_ORDER.name,
    act=lambda world: Courier(world).deliver,
    rules=delivery_rules,
    kinds={kind: rate for kind, rate in KINDS.items() if kind not in OF_ORDERS | OF_BARE} | OWN,
    may_be_bare=False,
)
