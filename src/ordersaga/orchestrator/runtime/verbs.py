"""What people may want of sagas: the verbs behind HTTP and the command line. Each takes who asks, in which role, and
why.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordersaga.delivery.clock import Clock, Randomness
from ordersaga.orchestrator.core.inputs import (
    CancelAsked,
    Decision,
    Input,
    Operator,
    ResolveAsked,
    RetryAsked,
    SettleAsked,
)
from ordersaga.orchestrator.core.instance import Instance, Requested, SagaData
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.runtime.noting import note
from ordersaga.orchestrator.runtime.turn import New
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER, Customer, OrderData
from ordersaga.orchestrator.store.audit import Audit, Wish
from ordersaga.orchestrator.store.protocol import KeyTaken, RequestKey, StoreUnavailable
from ordersaga.wire.ids import uuid7

AnyInstance = Instance[Any]
_NOTHING: Mapping[str, str] = {}
Asked = tuple[str, str, bytes]
"""Principal, key and fingerprint: see `RequestKey`."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who asks. `role` is customer, operator, admin or service."""

    name: str
    role: str
    reason: str = ""


class PlacedOrder(Struct, frozen=True, kw_only=True):
    """An order that was checked: `amount_cents` is what its items and its fee come to."""

    customer_id: str
    order_details: dict[str, Any]
    amount_cents: int
    return_url: str
    request: Asked | None = None
    """Where the client has given one."""


class Verbs:
    def __init__(
        self,
        handler: Handler,
        begin: Callable[[New], "Future[AnyInstance]"],
        clock: Clock,
        randomness: Randomness,
        *,
        admit: Callable[[], None] = lambda: None,
        audit: Audit | None = None,
    ) -> None:
        """`begin` is `Beginnings.begin` where many orders come in at once, else `at_once`; `admit` raises `NotAdmitted`
        while no new order is taken; `audit` is told what others than customers wish, and what came of it.
        """
        self._audit = audit
        self._handler = handler
        self._begin = begin
        self._clock = clock
        self._randomness = randomness
        self._admit = admit

    def place(self, order: PlacedOrder, trace: tuple[str | None, str | None] = (None, None)) -> "Future[AnyInstance]":
        """A new saga for `order`, in the database when it is done; else a `StoreError`, `KeyTaken` where the same was
        asked for before. Raises `NotAdmitted`.
        """
        self._admit()
        saga_id = self._new_id()
        customer = Customer(customer_id=order.customer_id, order_details=order.order_details)
        data = OrderData(personal=customer, amount_cents=order.amount_cents, return_url=order.return_url)
        request = _request(order.request, saga_id)
        return self._begin(New(saga=CREATE_ORDER.name, saga_id=saga_id, data=data, trace=trace, request=request))

    def begin(
        self,
        saga: str,
        data: SagaData,
        by: Actor,
        *,
        trace: tuple[str | None, str | None] = (None, None),
        request: Asked | None = None,
        within_seconds: float | None = None,
    ) -> AnyInstance:
        """A new saga of any kind, in the database when this returns; else a `StoreError`, `KeyTaken` where the same was
        asked for before. That no new orders are taken does not hold it up: it ends what was ordered.
        """
        saga_id = self._new_id()
        wish = Wish(
            actor=by.name, role=by.role, verb=f"begin {saga}", reason=by.reason, outcome="begun", saga_id=saga_id
        )
        note(self._audit, wish)
        new = New(saga=saga, saga_id=saga_id, data=data, trace=trace, request=_request(request, saga_id))
        try:
            return self._begin(new).result(within_seconds)
        except KeyTaken:
            note(self._audit, replace(wish, outcome="not begun: somebody else began it in the same moment"))
            raise
        except TimeoutError:
            raise StoreUnavailable(f"it was not begun within {within_seconds:g} s") from None

    def _new_id(self) -> UUID:
        # The id's time only sorts and partitions; whatever is decided by time is decided by the database's clock.
        return uuid7(int(self._clock.now().timestamp() * 1000), self._randomness.bytes(10))

    def cancel(self, saga_id: UUID, by: Actor) -> Decision | None:
        """Ask for a cancel; None where there is no such saga. The verdict says whether it was granted."""
        reason = Reason.CUSTOMER_REQUEST if by.role == "customer" else Reason.OPERATOR_REQUEST
        wish = CancelAsked(Requested(actor=by.name, role=by.role, reason=reason, why=by.reason))
        return self._asked(saga_id, wish, "cancel", by)

    def retry(self, saga_id: UUID, by: Actor) -> Decision | None:
        """Ask again now, or take up again what is stuck."""
        return self._asked(saga_id, RetryAsked(_operator(by)), "retry", by)

    def settle(self, saga_id: UUID, undo: str, by: Actor) -> Decision | None:
        """What `undo` (the name of its command) would take back was taken back by other means; or what a command after
        the point of no return would do was done by other means.
        """
        return self._asked(saga_id, SettleAsked(_operator(by), undo), "settle", by, {"undo": undo})

    def resolve(self, saga_id: UUID, by: Actor) -> Decision | None:
        """A person has seen to it: no alert any more, until there is something new."""
        return self._asked(saga_id, ResolveAsked(_operator(by)), "resolve", by)

    def _asked(
        self, saga_id: UUID, wish: Input, verb: str, by: Actor, more: Mapping[str, str] = _NOTHING
    ) -> Decision | None:
        """What was granted is in the saga's history, with the change itself; the audit has what was refused too."""
        decision = self._handler.ask(saga_id, wish, f"verb.{verb}", {**_told(by), **more})
        if by.role != "customer":
            outcome = "no such saga" if decision is None else f"{decision.verdict.value} {decision.why}".strip()
            said = " ".join((verb, *more.values()))
            wanted = Wish(actor=by.name, role=by.role, verb=said, reason=by.reason, outcome=outcome, saga_id=saga_id)
            note(self._audit, wanted, decision.instance if decision else None)
        return decision


def _request(asked: Asked | None, saga_id: UUID) -> RequestKey | None:
    if asked is None:
        return None
    principal, key, fingerprint = asked
    return RequestKey(principal=principal, key=key, fingerprint=fingerprint, saga_id=saga_id)


def _operator(by: Actor) -> Operator:
    return Operator(actor=by.name, role=by.role, why=by.reason)


def _told(by: Actor) -> dict[str, str]:
    return {"actor": by.name, "role": by.role, "why": by.reason}
