"""The services that run in production, in memory, one at a time, each with its ledger and a desk for its runners."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from ordersaga.bus.memory import MemoryBus
from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.testing.bare import BareServices, Habits, Said
from ordersaga.testing.bare_host import BareHost
from ordersaga.testing.conformance import Case, Effect, Kind, MeansFailed, Report, Samples, Subject, examine
from ordersaga.wire.topics import Participant, Topics

TOPICS = Topics()
ANSWER_SECONDS = 5.0


class BareInMemory:
    def __init__(self, participant: Participant, play: Callable[..., BareServices] = BareServices) -> None:
        numbers = count(1)
        self.participant = participant
        habits = Habits(users_unknown=frozenset({Samples().unknown_customer_id}))
        self.services = play(new_id=lambda: f"{next(numbers):06d}", habits=habits)
        self._bus = MemoryBus(topics=TOPICS.all())
        self._clock = SystemClock()
        self._host = BareHost(
            self.services,
            self._bus,
            topics=TOPICS,
            clock=self._clock,
            randomness=SystemRandom(),
            played=[participant],
            expire_every_seconds=0.1,
        )
        self._host.start()

    def examined(self, *only: str, **means: Any) -> Report:
        """As a bare one; and stopped."""
        subject = Subject(
            participant=self.participant,
            bus=self._bus,
            answer_seconds=ANSWER_SECONDS,
            **{"ledger": self, "desk": self, **means},
        )
        try:
            return examine(subject, kind=Kind.BARE, only=only)
        finally:
            self._host.stop(5.0)

    def effects(self, case: Case) -> Sequence[Effect]:
        if self.participant is Participant.PAYMENT:
            holds = [one for one in list(self.services.holds) if one.saga_id == case.saga_id]
            return [Effect(effect_id=one.intent_id, stands=one.stands, amount_cents=one.amount_cents) for one in holds]
        if self.participant is Participant.TIMER:
            return [Effect(effect_id=one, stands=True) for one in list(self.services.timers) if one == case.order_id]
        orders = [one for one in list(self.services.orders.values()) if one.saga_id == case.saga_id]
        return [Effect(effect_id=one.order_id, stands=one.status != "CANCELLED") for one in orders]

    @property
    def standing(self) -> set[str]:
        """Ids of all that stands, of whatever saga."""
        orders = {one.order_id for one in self.services.orders.values() if one.status != "CANCELLED"}
        return orders | {one.intent_id for one in self.services.holds if one.stands} | set(self.services.timers)

    def accept(self, order_id: str) -> None:
        self._by_hand(lambda services: services.accept(order_id, "r-1", self._clock.now()))

    def give_back(self, order_id: str) -> None:
        self._by_hand(lambda services: services.give_back(order_id, self._clock.now()))

    def _by_hand(self, act: Callable[[BareServices], list[Said]]) -> None:
        if not self._host.by_hand(act):
            raise MeansFailed("409: it is not open")
