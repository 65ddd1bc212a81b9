"""What is examined: one running participant, and the means that its owner gives to look at it.

A bus is needed, nothing else: the examination talks over topics, as the orchestrator does. Each further means lets more
be tried: a ledger, so that effects are counted where they are kept and not in what the participant says; a desk, where
a runner accepts an order by hand; a restart, which has to kill it without warning.

An examination makes orders, holds money and starts timers, and takes them back at its end as far as it is let. It
belongs on a test environment.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from ordersaga.bus.protocol import Bus
from ordersaga.wire.topics import Participant, Topics


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Something that a participant did for a saga, as its own ledger has it."""

    effect_id: str
    stands: bool
    """Whether it still holds: an order that is not cancelled, money that is held, a timer that runs."""
    amount_cents: int | None = None
    """Of money; None where the ledger does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One saga of an examination: the ids that it goes by."""

    saga_id: str
    order_id: str
    customer_id: str
    named: list[str] = field(default_factory=list)
    """Ids that the participant has given to what it did."""
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    """From when its times are counted, so that a command of it is the same whenever it is made."""


@dataclass(frozen=True, slots=True)
class Made:
    """Something that a participant did for a saga of an examination, as its answer has it."""

    saga_id: str
    ids: tuple[str, ...]
    """The one that an undo names first; empty where the answer did not say."""
    why: str = ""
    """It may still stand."""

    def __str__(self) -> str:
        return f"saga {self.saga_id}: {' '.join(one for one in self.ids if one) or 'without an id'}"


class Ledger(Protocol):
    def effects(self, case: Case) -> Sequence[Effect]:
        """All that was done for one saga, standing or not. Raises `MeansFailed`."""


class Desk(Protocol):
    """Where people meet an order service. Each raises `MeansFailed`, also where the service would not have it done."""

    def accept(self, order_id: str) -> None:
        """A runner takes the order."""

    def give_back(self, order_id: str) -> None:
        """The runner cannot deliver after all. Raises `NotOffered` where runners cannot do that."""


class MeansFailed(Exception):
    """A ledger, a desk or a restart did not do what it is there for."""

    retriable = False


class NotOffered(MeansFailed):
    """There is no such thing there, for any order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What commands are filled with. A service that looks customers or cards up needs some that it knows."""

    customer_id: str = "conformance"
    unknown_customer_id: str = "unknown-to-everybody"
    stripe_customer_id: str = "cus_conformance"
    payment_method_id: str = "pm_card_visa"
    amount_cents: int = 1020
    order_details: dict[str, Any] = field(
        default_factory=lambda: {
            "foodItems": [{"name": "burrito", "price": 4.35, "quantity": 2}],
            "deliveryFee": 1.5,
            "storeLocation": "Mensa",
            "deliveryLocation": "Library",
        }
    )


@dataclass(frozen=True, kw_only=True)
class Subject:
    participant: Participant
    bus: Bus
    topics: Topics = field(default_factory=Topics)
    ledger: Ledger | None = None
    desk: Desk | None = None
    restart: Callable[[], None] | None = None
    """Kills it as `kill -9` does and starts it again. Raises `MeansFailed`."""
    samples: Samples = field(default_factory=Samples)
    greeting_seconds: float = 60.0
    """How long the very first answer may take: it may only just be starting."""
    answer_seconds: float = 10.0
    """How long any other may take, of one that was not killed."""
    quiet_seconds: float = 1.0
    """How long nothing has to come until it is believed that nothing will."""
    restart_seconds: float = 180.0
    """How long it may take after a restart until it answers everywhere: brokers give its partitions away when the
    session of the killed one has run out.
    """
    recovery_seconds: float = 60.0
    """How long it may take from then on until what the kill cut off is told: some wait for a lease to run out."""
    one_at_a_time: bool = False
    """Whether no two checks run at once: slower, and what was seen belongs to one check."""
