"""Compares what a payment service says it holds with what the sagas say it should: pure.

What is under way is left alone, and so is what changed a moment ago: the ledger and the sagas are not read at the same
instant. A saga that is FAILED waits for a person anyway, until one has resolved it; it holds money twice in no case.
Everything else has one right answer: a completed order has one standing payment, of its amount and of its order; one
that was taken back has none; of one that was delivered and paid out it is captured.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
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
    RESOLVED_HELD = "resolved_held"
    NOT_CAPTURED = "not_captured"
    OTHER_AMOUNT = "other_amount"
    OTHER_ORDER = "other_order"
    OTHER_INTENT = "other_intent"
    LISTED_TWICE = "listed_twice"
    UNKNOWN_STATUS = "unknown_status"
    SAGA_DAMAGED = "saga_damaged"
    UNSURE = "unsure"
    """No saga knows of it, of those that can be read here."""


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
    archived: Iterable[AnyInstance] = (),
    quiet_since: datetime,
    is_of_another: Callable[[Payment], bool] = lambda payment: False,
    money: Mapping[str, Money],
) -> Iterator[Difference]:
    """Every difference. `archived`: more of them, read once, after `sagas`, and not kept; one that is among `sagas` too
    is passed over. `quiet_since`: a saga that changed later is left alone. `is_of_another`: whether a payment that none
    of both knows is, or may be, of one that is not among them. `money`: what sagas of a name do with it; nothing is
    expected of others.
    """
    listed: list[Payment] = []
    yield from _sorted_out(payments, listed)
    comparison, sagas = _Comparison(listed, money, quiet_since), list(sagas)
    yield from comparison.live(sagas)
    live = {saga.saga_id for saga in sagas}
    for saga in archived:
        if saga.saga_id not in live:
            yield from comparison.archived(saga)
    for payment in (yield from comparison.rest()):
        if payment.status in STANDING and not is_of_another(payment):
            yield _of(Kind.NO_SAGA, payment, None, f"{_does(payment)} and no saga knows of it")


def _sorted_out(payments: Iterable[Payment], listed: list[Payment]) -> Iterator[Difference]:
    """What is odd about the ledger itself; the rest goes into `listed`."""
    seen: set[tuple[str, str | None]] = set()
    for payment in payments:
        if (payment.payment_id, payment.payment_intent_id) in seen:
            yield _of(Kind.LISTED_TWICE, payment, None, "is listed twice")
            continue
        seen.add((payment.payment_id, payment.payment_intent_id))
        if payment.status not in STANDING | GONE:
            yield _of(Kind.UNKNOWN_STATUS, payment, None, f"has the status {payment.status[:50]!r}, which is not known")
            continue
        listed.append(payment)


def _not_captured(saga: AnyInstance, payments: Sequence[Payment]) -> Iterator[Difference]:
    for payment in payments:
        if saga.status is Status.COMPLETED and payment.status not in CAPTURED:
            said = f"is {payment.status}, and its order is delivered and paid out"
            yield _of(Kind.NOT_CAPTURED, payment, saga, said)


def _compared(saga: AnyInstance, payments: Sequence[Payment]) -> Iterator[Difference]:
    standing = [payment for payment in payments if payment.status in STANDING]
    if saga.status in TAKEN_BACK:
        for payment in standing:
            kind = Kind.STILL_CAPTURED if payment.status in CAPTURED else Kind.STILL_HELD
            yield _of(kind, payment, saga, f"{_does(payment)} of an order that is {saga.status}")
    elif saga.status is Status.COMPLETED:
        yield from _completed(saga, payments, standing)
    elif saga.status is Status.FAILED:
        yield from _failed(saga, standing)


def _failed(saga: AnyInstance, standing: Sequence[Payment]) -> Iterator[Difference]:
    """It waits for a person, until one has resolved it: then for nobody any more."""
    yield from _twice(saga, standing)
    for payment in standing:
        is_paid = saga.accepted is not None and payment.status in CAPTURED
        if saga.resolved is not None and not is_paid:
            said = f"{_does(payment)} of an order that is FAILED and that somebody has resolved"
            yield _of(Kind.RESOLVED_HELD, payment, saga, said)


def _twice(saga: AnyInstance, standing: Sequence[Payment]) -> Iterator[Difference]:
    if len(standing) > 1:
        yield _of(Kind.HELD_TWICE, standing[1], saga, f"is one of {len(standing)} that stand for one order")


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
    yield from _twice(saga, standing)
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
        self._by: dict[tuple[str, str], AnyInstance] = {}
        for saga in sagas:
            self._by.update(dict.fromkeys(_ids_of(saga), saga))

    def of(self, payment: Payment) -> AnyInstance | None:
        for name in _NAMES:
            saga = self._by.get((name, getattr(payment, name) or ""))
            if saga is not None:
                return saga
        return None


class _Comparison:
    """Live sagas first, all at once. Then archived ones come by, one after the other, and take what is theirs of the
    payments that no live one knows; only those that know a payment by nothing but its order are kept to the end.
    """

    def __init__(self, listed: Sequence[Payment], money: Mapping[str, Money], quiet_since: datetime) -> None:
        self._money, self._quiet_since = money, quiet_since
        self._listed = listed
        self._by: dict[tuple[str, str], list[int]] = {}
        for place, payment in enumerate(listed):
            for name in _NAMES:
                if value := getattr(payment, name):
                    self._by.setdefault((name, value), []).append(place)
        self._taken: set[int] = set()
        self._waiting: list[tuple[AnyInstance, set[int], set[int]]] = []

    def live(self, sagas: Sequence[AnyInstance]) -> Iterator[Difference]:
        known = _Sagas(saga for saga in sagas if self._money.get(saga.saga) is Money.HOLDS)
        found: dict[UUID, set[int]] = {}
        for place, payment in enumerate(self._listed):
            if (holder := known.of(payment)) is not None:
                found.setdefault(holder.saga_id, set()).add(place)
        for saga in sagas:
            yield from self._said_of(saga, found.get(saga.saga_id, set()))

    def archived(self, saga: AnyInstance) -> Iterator[Difference]:
        own, perhaps = set[int](), set[int]()
        if self._money.get(saga.saga) is Money.HOLDS:
            for name, value in _ids_of(saga):
                (perhaps if name == "order_id" else own).update(self._by.get((name, value), ()))
        if perhaps - own - self._taken:
            self._taken |= own
            self._waiting.append((saga, own, perhaps))
        else:
            yield from self._said_of(saga, own)

    def rest(self) -> Generator[Difference, None, Sequence[Payment]]:
        """What is left to say; then the payments that none of them knows."""
        for saga, own, perhaps in self._waiting:
            yield from self._said_of(saga, own | (perhaps - self._taken))
        return [payment for place, payment in enumerate(self._listed) if place not in self._taken]

    def _said_of(self, saga: AnyInstance, places: set[int]) -> Iterator[Difference]:
        self._taken |= places
        if (saga.updated_at or saga.created_at) >= self._quiet_since:
            return
        if self._money.get(saga.saga) is Money.HOLDS:
            yield from _compared(saga, [self._listed[place] for place in sorted(places)])
        elif self._money.get(saga.saga) is Money.CAPTURES:
            named = self._by.get(("payment_id", saga.data.payment_id), ())
            yield from _not_captured(saga, [self._listed[place] for place in named])


_NAMES = ("payment_id", "payment_intent_id", "order_id")


def _ids_of(saga: AnyInstance) -> set[tuple[str, str]]:
    named = [effect.ids for step in saga.steps.values() for effect in step.effects]
    named.append({name: value for name in _NAMES if (value := getattr(saga.data, name, None))})
    return {(name, ids[name]) for ids in named for name in _NAMES if name in ids}


def _intent(saga: AnyInstance) -> str | None:
    for step in saga.steps.values():
        if step.effects and "payment_intent_id" in step.effects[0].ids:
            return step.effects[0].ids["payment_intent_id"]
    return None


def _does(payment: Payment) -> str:
    return f"{'has taken' if payment.status in CAPTURED else 'holds'} {_money(payment.amount_cents)}"


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
