"""The seam to a payment provider, and a sandbox that stands in for one.

A provider is asked with an idempotency key: the same key has one effect and one outcome, whenever and however often it
is asked. Its effects are its own: they stay when the transaction of whoever asked is rolled back. A provider that is
away raises an exception with `retriable`; the batch is then tried again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol
from uuid import NAMESPACE_URL, uuid5

import aiosql
from psycopg_pool import ConnectionPool

from ordersaga.delivery.arrays import Array, Bigints, Texts
from ordersaga.delivery.deadline import Deadline
from ordersaga.delivery.pool import lent
from ordersaga.delivery.round_trip import round_trip

_SQL = aiosql.from_str((files("ordersaga.participants.payment") / "provider.sql").read_text("utf-8"), "psycopg")
TEST_CARDS = {
    "pm_card_chargeDeclined": "card_declined",
    "pm_card_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "pm_card_insufficientFunds": "insufficient_funds",
    "pm_card_chargeDeclinedExpiredCard": "expired_card",
}
"""What the sandbox declines, and with which code, as real providers' test cards do."""
SILENT_SECONDS = {"pm_card_timeout": float("inf"), "pm_card_late": 8.0}
"""How long after it was first asked the sandbox says nothing of a hold that it has made."""
TWICE_CARD = "pm_card_twice"
"""What the sandbox says of it comes twice."""

# --- what a provider may be asked, and what it says -----------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Reserve money."""

    idempotency_key: str
    amount_cents: int
    payment_method_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Take what is held."""

    intent_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBack:
    """Let a hold go, or refund what was captured."""

    intent_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Let go what was held under a key, if anything was; nothing new is held under it from now on."""

    idempotency_key: str
    but_not_intent_id: str | None
    """This one stays, should it be of that key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayOut:
    """Pay somebody."""

    idempotency_key: str
    runner_id: str
    amount_cents: int


Wish = Hold | Capture | TakeBack | GiveUp | PayOut


@dataclass(frozen=True, slots=True)
class Authorized:
    intent_id: str
    twice: bool = False
    """Whether it is said twice."""


@dataclass(frozen=True, slots=True)
class Declined:
    code: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer in time: money may be held."""


@dataclass(frozen=True, slots=True)
class Captured:
    pass


@dataclass(frozen=True, slots=True)
class TakenBack:
    refunded: bool
    """False where a hold was let go."""


@dataclass(frozen=True, slots=True)
class Paid:
    payout_id: str


HoldOutcome = Authorized | Declined | Unanswered


class Provider(Protocol):
    def hold(self, wanted: Sequence[Hold]) -> Mapping[str, HoldOutcome]:
        """By idempotency key."""

    def capture(self, wanted: Sequence[Capture]) -> Mapping[str, Captured]:
        """By intent; one that is not held any more is missing. What is captured already is as good."""

    def take_back(self, wanted: Sequence[TakeBack]) -> Mapping[str, TakenBack]:
        """By intent; one that is unknown is missing. What is taken back already is as good."""

    def give_up(self, wanted: Sequence[GiveUp]) -> None: ...

    def pay_out(self, wanted: Sequence[PayOut]) -> Mapping[str, Paid]:
        """By idempotency key; one that is refused is missing."""


# --- the sandbox ----------------------------------------------------------------------------------


class SandboxProvider:
    """A provider with a ledger of its own, in transactions of its own."""

    def __init__(self, pool: ConnectionPool[Any], *, timeout_seconds: float = 10.0) -> None:
        """`timeout_seconds`: after which a question is cut off, by a clock on our side."""
        self._pool = pool
        self._deadline = Deadline(timeout_seconds)

    def hold(self, wanted: Sequence[Hold]) -> Mapping[str, HoldOutcome]:
        wanted = sorted(wanted, key=lambda hold: hold.idempotency_key)
        codes = [TEST_CARDS.get(hold.payment_method_id) for hold in wanted]
        columns = {
            "keys": Texts([hold.idempotency_key for hold in wanted]),
            "intents": Texts([None if code else _intent_id(hold) for hold, code in zip(wanted, codes, strict=True)]),
            "amounts": Bigints([hold.amount_cents for hold in wanted]),
            "methods": Texts([hold.payment_method_id for hold in wanted]),
            "codes": Texts(codes),
        }
        found = self._ask("hold", columns)
        return {key: hold_outcome(intent_id, card, code, age) for key, intent_id, card, code, age in found}

    def capture(self, wanted: Sequence[Capture]) -> Mapping[str, Captured]:
        found = self._ask("capture", {"intents": Texts([one.intent_id for one in wanted])})
        return {intent_id: Captured() for (intent_id,) in found}

    def take_back(self, wanted: Sequence[TakeBack]) -> Mapping[str, TakenBack]:
        found = self._ask("take_back", {"intents": Texts([one.intent_id for one in wanted])})
        return {intent_id: TakenBack(refunded=status == "REFUNDED") for intent_id, status in found}

    def give_up(self, wanted: Sequence[GiveUp]) -> None:
        wanted = sorted(wanted, key=lambda one: one.idempotency_key)
        columns = {
            "keys": Texts([one.idempotency_key for one in wanted]),
            "keep": Texts([one.but_not_intent_id for one in wanted if one.but_not_intent_id]),
        }
        self._ask("give_up", columns)

    def pay_out(self, wanted: Sequence[PayOut]) -> Mapping[str, Paid]:
        wanted = sorted(wanted, key=lambda one: one.idempotency_key)
        columns = {
            "keys": Texts([one.idempotency_key for one in wanted]),
            "payouts": Texts([f"po_{uuid5(NAMESPACE_URL, one.idempotency_key).hex}" for one in wanted]),
            "runners": Texts([one.runner_id for one in wanted]),
            "amounts": Bigints([one.amount_cents for one in wanted]),
        }
        return {key: Paid(payout_id) for key, payout_id in self._ask("pay_out", columns)}

    def _ask(self, name: str, columns: Mapping[str, Array]) -> list[tuple[Any, ...]]:
        """BEGIN, the statement and COMMIT travel together."""
        with lent(self._pool, self._deadline) as connection, round_trip(connection):
            cursor = connection.execute(getattr(_SQL, name).sql, columns)
            connection.commit()
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def hold_outcome(intent_id: str, card: str, decline_code: str | None, age_seconds: float) -> HoldOutcome:
    """What the sandbox says of a hold that was first asked for so long ago."""
    if decline_code:
        return Declined(decline_code)
    if age_seconds < SILENT_SECONDS.get(card, 0.0):
        return Unanswered()
    return Authorized(intent_id, twice=card == TWICE_CARD)


def _intent_id(hold: Hold) -> str:
    return f"pi_{uuid5(NAMESPACE_URL, hold.idempotency_key).hex}"
