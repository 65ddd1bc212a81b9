"""Runs bare services on a bus: commands in, events out, without keys, headers or order.

Their answers come from several threads: each waits its own time (`plan` says how long) and overtakes whatever it can.
"""

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from threading import Lock

from ordersaga.bus.protocol import Bus, Outgoing, Published, Record
from ordersaga.delivery.background import Loop
from ordersaga.delivery.clock import Clock, Randomness
from ordersaga.delivery.consume import ConsumeLoop
from ordersaga.testing.bare import BareServices, Mishap, Said
from ordersaga.wire.codec import Foreign, decode_command
from ordersaga.wire.errors import WireError
from ordersaga.wire.messages import Message
from ordersaga.wire.topics import Participant, Topics

GROUP = "bare-services"
PLAYED = (Participant.ORDER, Participant.USER, Participant.PAYMENT, Participant.TIMER)
Plan = Callable[[str, Message], tuple[Mishap, float]]
"""What happens to a command of a saga, and after how many seconds it is answered."""


def undisturbed(saga_id: str, command: Message) -> tuple[Mishap, float]:
    return Mishap.NONE, 0.0


class BareHost:
    def __init__(
        self,
        services: BareServices,
        bus: Bus,
        *,
        topics: Topics,
        clock: Clock,
        randomness: Randomness,
        plan: Plan = undisturbed,
        played: Sequence[Participant] = PLAYED,
        expire_every_seconds: float = 0.5,
        group: str = GROUP,
    ) -> None:
        self.services = services
        self.plan = plan
        self._topics = topics
        self._clock = clock
        self._expire_every_seconds = expire_every_seconds
        self._lock = Lock()
        """Guards the services and what waits to be said."""
        self._waiting: list[tuple[float, int, Outgoing]] = []
        self._numbers = count()
        self._producer = bus.producer(client_id=GROUP)
        consumer = bus.consumer(group=group, topics=[topics.commands_of(one) for one in played], client_id=GROUP)
        self._consuming = ConsumeLoop(
            consumer, self._handle, self._park, name=GROUP, clock=clock, randomness=randomness, poll_timeout_seconds=5.0
        )
        self._saying = Loop("bare-answers", self._say_due, clock=clock, randomness=randomness)

    def start(self) -> None:
        self._consuming.start()
        self._saying.start()

    def stop(self, timeout_seconds: float) -> bool:
        ended = [part.stop(timeout_seconds) for part in (self._consuming, self._saying)]
        self._producer.close(timeout_seconds)
        return all(ended)

    def by_hand(self, act: Callable[[BareServices], list[Said]]) -> bool:
        """Let somebody do something; False where it could not be done."""
        with self._lock:
            said = act(self.services)
            self._put(said, 0.0)
        self._saying.wake()
        return bool(said)

    @property
    def quiet(self) -> bool:
        """Whether nothing waits to be said."""
        return not self._waiting and not self.services.timers

    def _handle(self, records: Sequence[Record]) -> None:
        for record in records:
            try:
                envelope = decode_command(record.value)
            except WireError:
                continue
            if isinstance(envelope, Foreign):
                continue
            mishap, delay_seconds = self.plan(envelope.correlation_id, envelope.body)
            with self._lock:
                said = self.services.carry_out(envelope.correlation_id, envelope.body, self._clock.now(), mishap)
                self._put(said, delay_seconds)
        self._saying.wake()

    def _park(self, record: Record, error: Exception) -> None:
        """Silence."""

    def _put(self, said: Sequence[Said], delay_seconds: float) -> None:
        due = self._clock.monotonic() + delay_seconds
        for one in said:
            record = Outgoing(self._topics.events_of(one.by), b"", one.value)
            heapq.heappush(self._waiting, (due, next(self._numbers), record))

    def _say_due(self) -> None:
        now = self._clock.monotonic()
        with self._lock:
            self._put(self.services.expire(self._clock.now()), 0.0)
            due = []
            while self._waiting and self._waiting[0][0] <= now:
                due.append(heapq.heappop(self._waiting)[2])
        if due:
            self._publish(due)
        next_at = self._waiting[0][0] if self._waiting else None
        pause = self._expire_every_seconds if self.services.timers else None
        if next_at is not None:
            pause = min(next_at - now, pause or next_at - now)
        self._saying.pause(pause)

    def _publish(self, due: Sequence[Outgoing]) -> None:
        """What is not acknowledged is said again."""
        outcomes = self._producer.publish(due, 10.0)
        again = [one for one, outcome in zip(due, outcomes, strict=True) if outcome.published is Published.UNKNOWN]
        with self._lock:
            for record in again:
                heapq.heappush(self._waiting, (self._clock.monotonic() + 0.1, next(self._numbers), record))
