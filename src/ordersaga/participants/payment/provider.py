"""The seam to a payment provider, and a sandbox that stands in for one.

A provider is asked with an idempotency key: the same key has one effect and one outcome, whenever and however often it
is asked. Its effects are its own: they stay when the transaction of whoever asked is rolled back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol
from uuid import NAMESPACE_URL, uuid5

import aiosql
from psycopg_pool import ConnectionPool

_SQL = aiosql.from_str((files("ordersaga.participants.payment") / "provider.sql").read_text("utf-8"), "psycopg")
TEST_CARDS = {
    "pm_card_chargeDeclined": "card_declined",
    "pm_card_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "pm_card_chargeDeclinedExpiredCard": "expired_card",
}
"""What the sandbox declines, and with which code, as real providers' test cards do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    idempotency_key: str
    amount_cents: int
    payment_method_id: str


@dataclass(frozen=True, slots=True)
class Authorized:
    intent_id: str


@dataclass(frozen=True, slots=True)
class Declined:
    code: str


@dataclass(frozen=True, slots=True)
class Released:
    intent_id: str


class Provider(Protocol):
    def hold(self, wanted: Sequence[Hold]) -> Mapping[str, Authorized | Declined]:
        """By idempotency key."""

    def release(self, intent_ids: Sequence[str]) -> Mapping[str, Released]:
        """Let holds go; one that is gone already is as good."""


class SandboxProvider:
    """A provider with a ledger of its own, in transactions of its own."""

    def __init__(self, pool: ConnectionPool[Any]) -> None:
        self._pool = pool

    def hold(self, wanted: Sequence[Hold]) -> Mapping[str, Authorized | Declined]:
        codes = [TEST_CARDS.get(hold.payment_method_id) for hold in wanted]
        columns = {
            "keys": [hold.idempotency_key for hold in wanted],
            "intents": [None if code else _intent_id(hold) for hold, code in zip(wanted, codes, strict=True)],
            "amounts": [hold.amount_cents for hold in wanted],
            "methods": [hold.payment_method_id for hold in wanted],
            "codes": codes,
        }
        with self._pool.connection() as connection:
            connection.execute(_SQL.hold.sql, columns)
            found = connection.execute(_SQL.outcomes.sql, {"keys": columns["keys"]}).fetchall()
        return {key: Declined(code) if code else Authorized(intent_id) for key, intent_id, code in found}

    def release(self, intent_ids: Sequence[str]) -> Mapping[str, Released]:
        with self._pool.connection() as connection:
            connection.execute(_SQL.release.sql, {"intents": list(intent_ids)})
        return {intent_id: Released(intent_id) for intent_id in intent_ids}


def _intent_id(hold: Hold) -> str:
    return f"pi_{uuid5(NAMESPACE_URL, hold.idempotency_key).hex}"
