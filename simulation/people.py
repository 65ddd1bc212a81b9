"""Who takes part in an order, and acts past the saga: customers, runners, operators, and hands at other services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from ordersaga.orchestrator.runtime.verbs import Actor, PlacedOrder, Verbs
from ordersaga.participants.order import service as order_service
from ordersaga.participants.payment import service as payment_service
from ordersaga.participants.service import Verb
from ordersaga.testing.bare import BareServices, Said
from ordersaga.wire.topics import Participant

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from simulation.world import World

OPERATOR = Actor(name="op-7", role="operator", reason="looked into it")
CUSTOMER = Actor(name="c", role="customer", reason="changed my mind")
NAMES = ("alice", "bob", "carol", "alice", "bob", "carol", "declined-dora", "no-card-nick", "unknown-uma")
SLOW_NAMES = ("late-lara", "silent-sam", "twice-tina")
"""Whose cards make the payment provider dawdle."""
AMOUNT_CENTS = 870
DETAILS: dict[str, Any] = {
    "foodItems": [{"name": "burrito", "price": 4.35, "quantity": 2}],
    "deliveryLocation": "Dorm 7",
}


class People:
    """Around one order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random
        self._placed: list[UUID] = []

    def order(self) -> None:
        """A customer orders; others take part if the seed says so."""
        self._wait(0.0, 15.0)
        name = self._random.choice(NAMES + SLOW_NAMES)
        wanted = PlacedOrder(customer_id=name, order_details=DETAILS, amount_cents=AMOUNT_CENTS, return_url="")

        def place(verbs: Verbs) -> None:
            saga_id = verbs.place(wanted).result().saga_id
            self._placed.append(saga_id)
            self._world.placed.append(saga_id)

        self._world.ask(place)
        self._wait(0.0, 0.5)
        # Whoever was not told that the order is placed leaves it at that.
        for saga_id in self._placed[:1]:
            self._around(saga_id)

    def _around(self, saga_id: UUID) -> None:
        for kind, acts in (
            ("customer_cancels", self._customer),
            ("operator_retries", self._operator),
            ("accepted", self._runner),
            ("cancelled_by_hand", self._order_desk),
            ("voided_by_hand", self._payment_desk),
            ("hold_lapses", self._provider),
        ):
            if self._happens(kind, saga_id):
                self._world.person(lambda acts=acts: acts(saga_id))  # type: ignore[misc]

    def _customer(self, saga_id: UUID) -> None:
        self._wait(*self._random.choice(((0.0, 2.0), (0.0, 20.0), (40.0, 80.0))))
        for _ in range(self._random.choice((1, 1, 2))):
            self._world.ask(lambda verbs: verbs.cancel(saga_id, CUSTOMER))
            self._wait(0.0, 3.0)

    def _operator(self, saga_id: UUID) -> None:
        for _ in range(2):
            self._wait(5.0, 60.0)
            self._world.ask(lambda verbs: verbs.retry(saga_id, OPERATOR))

    def _runner(self, saga_id: UUID) -> None:
        """Takes the order once it is open; may give it back, for another to take."""
        for _ in range(6):
            self._wait(0.5, 15.0)
            if self._accept(saga_id, "r-1"):
                break
        else:
            return
        while self._happens("given_back", saga_id):
            self._wait(0.5, 30.0)
            self._at_the_order(saga_id, order_service.GiveBack(), BareServices.give_back)
            self._wait(0.5, 10.0)
            self._accept(saga_id, "r-2")

    def _accept(self, saga_id: UUID, runner_id: str) -> bool:
        verb = order_service.Accept(runner_id=runner_id)
        return self._at_the_order(saga_id, verb, lambda bare, order_id, now: bare.accept(order_id, runner_id, now))

    def _order_desk(self, saga_id: UUID) -> None:
        self._wait(0.0, 40.0)
        self._at_the_order(saga_id, order_service.Cancel(), BareServices.cancel)

    def _payment_desk(self, saga_id: UUID) -> None:
        self._wait(0.0, 40.0)
        world = self._world
        world.voided.add(str(saga_id))
        if world.bare_host is not None:
            world.bare_host.by_hand(lambda bare: _each_hold(bare, saga_id, bare.void, world.scheduler.now))
            return
        world.act(Participant.PAYMENT, self._name(Participant.PAYMENT, "payment_id", saga_id), payment_service.Void())

    def _provider(self, saga_id: UUID) -> None:
        """A hold runs out by itself."""
        self._wait(0.0, 40.0)
        world = self._world
        if world.bare_host is not None:
            world.bare_host.by_hand(lambda bare: _each_hold(bare, saga_id, bare.lapse, world.scheduler.now))

    def _at_the_order(
        self, saga_id: UUID, verb: Verb, bare: Callable[[BareServices, str, datetime], list[Said]]
    ) -> bool:
        world = self._world
        if world.bare_host is not None:
            return world.bare_host.by_hand(lambda one: _each_order(one, saga_id, bare, world.scheduler.now))
        return world.act(Participant.ORDER, self._name(Participant.ORDER, "order_id", saga_id), verb)

    def _name(self, participant: Participant, field: str, saga_id: UUID) -> Callable[[], str | None]:
        rows = self._world.databases.ledgers[participant].rows
        return lambda: getattr(rows.get(str(saga_id)), field, None)

    def _happens(self, kind: str, saga_id: UUID) -> bool:
        return self._world.faults.happens(kind, self._world.scheduler.seconds, str(saga_id))

    def _wait(self, least: float, most: float) -> None:
        self._world.scheduler.sleep(self._random.uniform(least, most))


def _each_order(
    bare: BareServices, saga_id: UUID, act: Callable[[BareServices, str, datetime], list[Said]], now: datetime
) -> list[Said]:
    mine = [order.order_id for order in bare.orders.values() if order.saga_id == str(saga_id)]
    return [said for order_id in mine for said in act(bare, order_id, now)]


def _each_hold(
    bare: BareServices, saga_id: UUID, act: Callable[[Any, datetime], list[Said]], now: datetime
) -> list[Said]:
    return [said for hold in bare.holds if hold.saga_id == str(saga_id) for said in act(hold, now)]
