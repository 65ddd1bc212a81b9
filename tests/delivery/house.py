"""Processes with relays, one outbox that they share, and a bus that follows a script."""

from collections.abc import Callable
from threading import Event
from typing import Any
from uuid import UUID

from ordersaga.bus.protocol import Outcome, Outgoing
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.outbox_memory import MemoryTable
from ordersaga.delivery.relay import Relay
from ordersaga.delivery.relay_pace import RelayPace

from .stage import ACKNOWLEDGED, MovableClock, OtherClock, ScriptedProducer, SeededRandom, Stage, WatchedOutbox

LEASE_SECONDS = 15.0
QUICK = {"retry_first_seconds": 0.01, "retry_most_seconds": 0.05, "scan_interval_seconds": 0.05}


class Process:
    """One process with a relay: commits rows under its own id and offers them."""

    def __init__(
        self,
        house: "House",
        owner: UUID,
        *,
        was_written: Any = None,
        producer: ScriptedProducer | None = None,
        **pace: Any,
    ) -> None:
        self.house = house
        self.outbox = WatchedOutbox(
            house.table,
            owner,
            lease_seconds=LEASE_SECONDS,
            clock=house.clock,
            randomness=SeededRandom(owner.int),
        )
        self.outbox.stage = house.stage
        self.producer = producer or ScriptedProducer(house.stage)
        self.relay = Relay(
            self.producer,
            self.outbox,
            RelayPace(**{**QUICK, **pace}),
            was_written=was_written,
            clock=house.clock,
            randomness=SeededRandom(1),
        )

    def start(self) -> "Process":
        self.relay.start()
        assert self.relay.wait_until_leased(10.0)
        self.until(lambda: self.outbox.looks > 0, "the relay has looked around")
        return self

    def commit(self, *values: bytes, key: bytes | None = None, topic: str = "t") -> list[OutboxRow]:
        """One transaction. Each value is a record, in a lane of its own unless `key` names one."""
        return self.house.table.write([Outgoing(topic, key or value, value) for value in values], self.outbox.owner)

    def send(self, *values: bytes, key: bytes | None = None, topic: str = "t") -> list[OutboxRow]:
        rows = self.commit(*values, key=key, topic=topic)
        self.relay.offer(rows)
        return rows

    def until(self, holds: Callable[[], bool], what: str = "what the test waits for") -> None:
        self.house.stage.until(holds, what)

    def until_published(self, *values: bytes) -> None:
        self.until(lambda: sorted(self.producer.values) == sorted(values), f"{values!r} are published")

    def pass_scans(self, count: int = 2) -> None:
        """Wait until whole scans have begun and ended from here on."""
        looked = self.outbox.looks
        self.until(lambda: self.outbox.looks >= looked + count + 1, "scans have passed")


class House:
    """What all processes share."""

    def __init__(self, clock: MovableClock | None = None) -> None:
        self.stage = Stage()
        self.clock = clock or MovableClock()
        self.table_clock = OtherClock(self.clock)
        self.table = MemoryTable(clock=self.table_clock)
        self.processes: list[Process] = []

    def process(self, owner: UUID, **options: Any) -> Process:
        process = Process(self, owner, **options)
        self.processes.append(process)
        return process

    def until_empty(self) -> None:
        self.stage.until(lambda: not self.table.rows, "the outbox is empty")


def answers(**by_value: Outcome) -> Callable[[Outgoing], Outcome]:
    return lambda record: by_value.get(record.value.decode(), ACKNOWLEDGED)


class Gate:
    """Holds a producer in the middle of a publication, or an outbox in the middle of a statement."""

    def __init__(self, held: ScriptedProducer | WatchedOutbox) -> None:
        self.entered, self.opened = Event(), Event()
        held.before = self

    def __call__(self) -> None:
        self.entered.set()
        assert self.opened.wait(10.0)
