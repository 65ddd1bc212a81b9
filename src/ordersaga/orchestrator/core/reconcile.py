"""Compares what a payment service says it holds with what the sagas say it should: pure.

What is under way is left alone, and so is what changed a moment ago: the ledger and the sagas are not read at the same
instant. A saga that is FAILED waits for a person anyway. Everything else has one right answer: a completed order has
one standing payment, of its amount and of its order; one that was taken back has none; of one that was delivered and
paid out it is captured.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordersaga.orchestrator.core.definition import Money
from ordersaga.orchestrator.core.instance import TAKEN_BACK, Instance, Status

AnyInstance = Instance[Any]

STANDING = frozenset({"AUTHORIZED", "HELD", "SUCCEEDED", "CAPTURED", "PAID"})
"""Money is held, or has changed hands."""
CAPTURED = frozenset({"SUCCEEDED", "CAPTURED", "PAID"})
GONE = frozenset(
    {"REVERTED", "REVERTED_BEFORE_AUTHORIZED", "RELEASED", "VOIDED", "REFUNDED", "CANCELED", "CANCELLED", "FAILED"}
    | {"DECLINED", "PENDING"}
)
"""Nothing is held, or nobody knows yet: a payment that is PENDING is the payment service's to settle."""


class Payment(Struct, frozen=True, kw_only=True):
    """One row of the ledger."""

    payment_id: str
    amount_cents: int
    status: str
    order_id: str | None = None
    payment_intent_id: str | None = None


class Kind(StrEnum):
    NO_SAGA = "no_saga"
    NO_PAYMENT = "no_payment"
    PAYMENT_GONE = "payment_gone"
    STILL_HELD = "still_held"
    STILL_CAPTURED = "still_captured"
    HELD_TWICE = "held_twice"
    NOT_CAPTURED = "not_captured"
    OTHER_AMOUNT = "other_amount"
    OTHER_ORDER = "other_order"
    OTHER_INTENT = "other_intent"
    LISTED_TWICE = "listed_twice"
    UNKNOWN_STATUS = "unknown_status"
    SAGA_DAMAGED = "saga_damaged"


class Difference(Struct, frozen=True, kw_only=True):
    kind: Kind
    said: str
    """In words, with ids and nothing personal."""
    saga_id: UUID | None = None
    order_id: str | None = None
    payment_id: str | None = None


def compare(
    payments: Iterable[Payment],
    sagas: Iterable[AnyInstance],
    *,
    quiet_since: datetime,
    is_of_another: Callable[[Payment], bool] = lambda payment: False,
    money: Mapping[str, Money],
) -> Iterator[Difference]:
    """Every difference. `quiet_since`: a saga that changed later is left alone. `is_of_another`: whether a payment that
    none of `sagas` knows is of one that is not among them. `money`: what sagas of a name do with it; nothing is
    expected of others.
    """
    sagas = list(sagas)
    known = _Sagas(saga for saga in sagas if money.get(saga.saga) is Money.HOLDS)
    capturing = [saga for saga in sagas if money.get(saga.saga) is Money.CAPTURES]
    quiet = [saga for saga in capturing if (saga.updated_at or saga.created_at) < quiet_since]
    captured = {saga.data.payment_id: saga for saga in quiet if saga.status is Status.COMPLETED}
    found: dict[UUID, list[Payment]] = {}
    listed: set[tuple[str, str | None]] = set()
    for payment in payments:
        if (payment.payment_id, payment.payment_intent_id) in listed:
            yield _of(Kind.LISTED_TWICE, payment, None, "is listed twice")
            continue
        listed.add((payment.payment_id, payment.payment_intent_id))
        if payment.status not in STANDING | GONE:
            yield _of(Kind.UNKNOWN_STATUS, payment, None, f"has the status {payment.status[:50]!r}, which is not known")
            continue
        if (captor := captured.get(payment.payment_id)) is not None and payment.status not in CAPTURED:
            yield _of(
                Kind.NOT_CAPTURED, payment, captor, f"is {payment.status}, and its order is delivered and paid out"
            )
        saga = known.of(payment)
        if saga is not None:
            found.setdefault(saga.saga_id, []).append(payment)
        elif payment.status in STANDING and not is_of_another(payment):
            yield _of(Kind.NO_SAGA, payment, None, f"holds {_money(payment.amount_cents)} and no saga knows of it")
    for saga in known.all:
        if (saga.updated_at or saga.created_at) < quiet_since:
            yield from _compared(saga, found.get(saga.saga_id, []))


def _compared(saga: AnyInstance, payments: Sequence[Payment]) -> Iterator[Difference]:
    standing = [payment for payment in payments if payment.status in STANDING]
    if saga.status in TAKEN_BACK:
        for payment in standing:
            captured = payment.status in CAPTURED
            kind = Kind.STILL_CAPTURED if captured else Kind.STILL_HELD
            does = "has taken" if captured else "holds"
            yield _of(kind, payment, saga, f"{does} {_money(payment.amount_cents)} of an order that is {saga.status}")
    elif saga.status is Status.COMPLETED:
        yield from _completed(saga, payments, standing)


def _completed(saga: AnyInstance, payments: Sequence[Payment], standing: Sequence[Payment]) -> Iterator[Difference]:
    amount_cents = getattr(saga.data, "amount_cents", 0)
    if not standing:
        kind, said = (
            (Kind.PAYMENT_GONE, f"is {payments[0].status}, and its order is completed")
            if payments
            else (Kind.NO_PAYMENT, f"is in no ledger, and its order of {_money(amount_cents)} is completed")
        )
        yield _of(kind, payments[0] if payments else None, saga, said)
        return
    if len(standing) > 1:
        yield _of(Kind.HELD_TWICE, standing[1], saga, f"is one of {len(standing)} that stand for one order")
    intent = _intent(saga)
    for payment in standing:
        if payment.amount_cents != amount_cents:
            said = f"holds {_money(payment.amount_cents)} for an order of {_money(amount_cents)}"
            yield _of(Kind.OTHER_AMOUNT, payment, saga, said)
        if payment.order_id and payment.order_id != getattr(saga.data, "order_id", None):
            yield _of(Kind.OTHER_ORDER, payment, saga, "is for another order than its saga's")
    if len(standing) == 1 and intent and standing[0].payment_intent_id not in (None, intent):
        yield _of(Kind.OTHER_INTENT, standing[0], saga, f"has another intent at the provider than {intent}")


class _Sagas:
    """By every id that a payment may name."""

    def __init__(self, sagas: Iterable[AnyInstance]) -> None:
        self.all = list(sagas)
        self._by: dict[tuple[str, str], AnyInstance] = {}
        for saga in self.all:
            named = [effect.ids for step in saga.steps.values() for effect in step.effects]
            named.append({name: value for name in _NAMES if (value := getattr(saga.data, name, None))})
            for ids in named:
                self._by.update({(name, ids[name]): saga for name in _NAMES if name in ids})

    def of(self, payment: Payment) -> AnyInstance | None:
        for name in _NAMES:
            saga = self._by.get((name, getattr(payment, name) or ""))
            if saga is not None:
                return saga
        return None


_NAMES = ("payment_id", "payment_intent_id", "order_id")


def _intent(saga: AnyInstance) -> str | None:
    for step in saga.steps.values():
        if step.effects and "payment_intent_id" in step.effects[0].ids:
            return step.effects[0].ids["payment_intent_id"]
    return None


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


def _of(kind: Kind, payment: Payment | None, saga: AnyInstance | None, said: str) -> Difference:
    order_id = getattr(saga.data, "order_id", None) if saga else None
    payment_id = payment.payment_id if payment else getattr(saga.data, "payment_id", None) if saga else None
    return Difference(
        kind=kind,
        said=f"payment {payment_id or '?'} {said}",
        saga_id=saga.saga_id if saga else None,
        order_id=order_id or (payment.order_id if payment else None),
        payment_id=payment_id,
    )
