"""A payment provider in memory, for tests and the simulation: it keeps the promises that the sandbox keeps."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ordersaga.participants.payment.provider import (
    TEST_CARDS,
    Authorized,
    Capture,
    Captured,
    Declined,
    GiveUp,
    Hold,
    HoldOutcome,
    Paid,
    PayOut,
    TakeBack,
    TakenBack,
    hold_outcome,
)


@dataclass
class MemoryProvider:
    by_key: dict[str, Authorized | Declined] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    """By intent."""
    asked_at: dict[str, float] = field(default_factory=dict)
    """By key, in seconds of `clock`."""
    payouts: dict[str, PayOut] = field(default_factory=dict)
    """By key."""
    clock: Callable[[], float] = time.monotonic

    def hold(self, wanted: Sequence[Hold]) -> Mapping[str, HoldOutcome]:
        for one in wanted:
            if one.idempotency_key not in self.by_key:
                self.by_key[one.idempotency_key] = self._first_outcome(one)
        return {one.idempotency_key: self._said(one) for one in wanted}

    def _said(self, one: Hold) -> HoldOutcome:
        kept = self.by_key[one.idempotency_key]
        if isinstance(kept, Declined):
            return kept
        first_asked_at = self.asked_at.setdefault(one.idempotency_key, self.clock())
        return hold_outcome(kept.intent_id, one.payment_method_id, None, self.clock() - first_asked_at)

    def _first_outcome(self, one: Hold) -> Authorized | Declined:
        code = TEST_CARDS.get(one.payment_method_id)
        if code:
            return Declined(code)
        intent_id = f"pi_{len(self.statuses)}"
        self.statuses[intent_id] = "HELD"
        return Authorized(intent_id)

    def capture(self, wanted: Sequence[Capture]) -> Mapping[str, Captured]:
        held = [one.intent_id for one in wanted if self.statuses.get(one.intent_id) in ("HELD", "CAPTURED")]
        self.statuses.update(dict.fromkeys(held, "CAPTURED"))
        return {intent_id: Captured() for intent_id in held}

    def take_back(self, wanted: Sequence[TakeBack]) -> Mapping[str, TakenBack]:
        after = {"HELD": "RELEASED", "CAPTURED": "REFUNDED"}
        for one in wanted:
            if one.intent_id in self.statuses:
                self.statuses[one.intent_id] = after.get(self.statuses[one.intent_id], self.statuses[one.intent_id])
        known = [one.intent_id for one in wanted if one.intent_id in self.statuses]
        return {intent_id: TakenBack(self.statuses[intent_id] == "REFUNDED") for intent_id in known}

    def give_up(self, wanted: Sequence[GiveUp]) -> None:
        for one in wanted:
            before = self.by_key.setdefault(one.idempotency_key, Declined("canceled"))
            if not isinstance(before, Authorized) or before.intent_id == one.but_not_intent_id:
                continue
            if self.statuses[before.intent_id] == "HELD":
                self.statuses[before.intent_id] = "RELEASED"

    def pay_out(self, wanted: Sequence[PayOut]) -> Mapping[str, Paid]:
        for one in wanted:
            self.payouts.setdefault(one.idempotency_key, one)
        return {one.idempotency_key: Paid(f"po_{one.idempotency_key}") for one in wanted}

    def hold_by_hand(self, key: str) -> str:
        """A hold that was made some time ago."""
        intent_id = f"pi_{len(self.statuses)}"
        self.by_key[key], self.statuses[intent_id] = Authorized(intent_id), "HELD"
        return intent_id

    def lapse(self, key: str) -> None:
        """A hold that was not captured in time."""
        made = self.by_key[key]
        if isinstance(made, Authorized) and self.statuses[made.intent_id] == "HELD":
            self.statuses[made.intent_id] = "RELEASED"

    def held(self) -> int:
        return list(self.statuses.values()).count("HELD")
