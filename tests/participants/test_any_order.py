"""One saga at each service that has something to undo, asked in any order: repeats, undos before and after, late
commands, people in between, crashes between the provider and our own record.

Whatever happens there is at most one effect, a repeat is answered the same, and once an undo is confirmed nothing
stands any more, however late a command comes.
"""

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from uuid import UUID, uuid5

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ordersaga.participants.order import service as order
from ordersaga.participants.payment import service as payment
from ordersaga.participants.payment.consult import ConsultProvider
from ordersaga.participants.payment.provider_memory import MemoryProvider
from ordersaga.participants.service import Asked, Refused, Verb
from ordersaga.participants.timer import service as timer
from ordersaga.wire import messages as m
from tests.participants.stage import CANCEL, CANCEL_TIMER, CREATE, NOON, REVERT, SAGA, START, Pure, authorize

Commands = dict[str, m.Message | Verb]


@dataclass
class Play:
    """One service, and what may be asked of it."""

    service: Pure
    do: m.Message
    undo: m.Message
    done: type[m.Event]
    undone: type[m.Event]
    effect_id: Callable[[Any], str | None]
    stands: Callable[[], int]
    more: Callable[[str], Commands] = lambda effect_id: {}
    """What can be asked once the id of the effect is known."""


def orders() -> Play:
    service = Pure(order.SERVICE)

    def more(order_id: str) -> Commands:
        return {
            "open": m.UpdateOrderStatus(order_id=order_id, status="CREATED"),
            "undo by id": m.CancelOrder(order_id=order_id, saga_id=str(SAGA), reason="r"),
            "accept": order.Accept(runner_id="r-1"),
            "give back": order.GiveBack(),
            "cancel by hand": order.Cancel(),
        }

    def stands() -> int:
        return int(bool(service.row) and service.row.status not in order.CANCELLED)

    return Play(service, CREATE, CANCEL, m.OrderCreated, m.OrderCancelled, lambda event: event.order_id, stands, more)


def payments(card: str = "pm_card_visa") -> Play:
    ticks = itertools.count()
    provider = MemoryProvider(clock=lambda: 2.0 * next(ticks))
    service = Pure(payment.SERVICE, consult=ConsultProvider(provider))

    def more(payment_id: str) -> Commands:
        return {
            "undo by id": m.RevertPayment(payment_id=payment_id, order_id="o-1", reason="r"),
            "capture": payment.CaptureNow(),
            "void": payment.Void(),
            "refund": payment.Refund(),
        }

    def stands() -> int:
        return sum(status in ("HELD", "CAPTURED") for status in provider.statuses.values())

    return Play(
        service,
        authorize(card=card),
        REVERT,
        m.PaymentAuthorized,
        m.PaymentReleased,
        lambda event: event.payment_intent_id,
        stands,
        more,
    )


def timers() -> Play:
    service = Pure(timer.SERVICE)

    def stands() -> int:
        return int(bool(service.row) and service.row.status == "STARTED")

    return Play(service, START, CANCEL_TIMER, m.TimerStarted, m.TimerCancelled, lambda event: event.timer_id, stands)


class AnyOrder(RuleBasedStateMachine):
    begin: ClassVar[Callable[[], Play]]

    def __init__(self) -> None:
        super().__init__()
        self.play = type(self).begin()
        self.memory: dict[UUID, m.Event] = {}
        """As the host keeps it."""
        self.effects: set[str | None] = set()
        self.crashed: dict[UUID, m.Message] = {}
        """Commands whose offsets were not committed: they come again."""
        self.undone = False

    @rule(name=st.sampled_from(["do", "do under another id", "undo", "undo under another id"]))
    def ask(self, name: str) -> None:
        self._ask(name, self.play.do if name.startswith("do") else self.play.undo)

    @rule(data=st.data())
    def ask_more(self, data: st.DataObject) -> None:
        row = self.play.service.row
        known = getattr(row, "payment_id", None) or getattr(row, "order_id", None)
        more = self.play.more(known) if known else {}
        if more:
            name = data.draw(st.sampled_from(sorted(more)))
            self._ask(name, more[name])

    @rule(name=st.sampled_from(["do", "do under another id"]))
    def crash_after_the_provider(self, name: str) -> None:
        asked_id = _id(name)
        if self.play.service.consult and asked_id not in self.memory:
            asked = Asked(key=str(SAGA), command=self.play.do, message_id=asked_id, now=NOON, new_id="lost")
            self.play.service.consult([(self.play.service.row, asked)])
            self.crashed[asked_id] = self.play.do

    @invariant()
    def one_effect_at_most(self) -> None:
        assert len(self.effects) <= 1
        if not self.crashed:
            assert self.play.stands() <= 1

    @invariant()
    def nothing_stands_once_an_undo_is_confirmed(self) -> None:
        if self.undone and not self.crashed:
            assert self.play.stands() == 0

    def teardown(self) -> None:
        for asked_id, command in list(self.crashed.items()):
            self._deliver(asked_id, command)
        self.one_effect_at_most()
        self.nothing_stands_once_an_undo_is_confirmed()

    def _ask(self, name: str, command: m.Message | Verb) -> None:
        if isinstance(command, Verb):
            with suppress(Refused):
                self.play.service.ask(command)
        else:
            self._deliver(_id(name), command)

    def _deliver(self, asked_id: UUID, command: m.Message) -> None:
        self.crashed.pop(asked_id, None)
        if asked_id in self.memory:
            return
        reply = self.play.service.reply(command, asked_id=asked_id)
        if reply.event is not None and reply.remembered:
            self.memory[asked_id] = reply.event
        if isinstance(reply.event, self.play.done):
            assert not self.undone, "what was undone is not done again"
            self.effects.add(self.play.effect_id(reply.event))
        self.undone = self.undone or isinstance(reply.event, self.play.undone)


def _id(name: str) -> UUID:
    return uuid5(SAGA, name)


ENOUGH = settings(max_examples=150, stateful_step_count=15, deadline=None)


class OrdersInAnyOrder(AnyOrder):
    begin = staticmethod(orders)


class PaymentsInAnyOrder(AnyOrder):
    begin = staticmethod(payments)


class SlowPaymentsInAnyOrder(AnyOrder):
    """The provider answers some time after it was first asked."""

    begin = staticmethod(partial(payments, "pm_card_late"))


class TimersInAnyOrder(AnyOrder):
    begin = staticmethod(timers)


@pytest.mark.parametrize("machine", [OrdersInAnyOrder, PaymentsInAnyOrder, SlowPaymentsInAnyOrder, TimersInAnyOrder])
def test_in_any_order_there_is_one_effect_and_none_after_an_undo(machine: type[AnyOrder]) -> None:
    run_state_machine_as_test(machine, settings=ENOUGH)
