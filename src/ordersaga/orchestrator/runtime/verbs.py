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
from ordersaga.orchestrator.store.protocol import (
    CommitUnknown,
    KeyTaken,
    RequestKey,
    StoreUnavailable,
    UnknownVersion,
)
from ordersaga.wire.ids import uuid7

AnyInstance = Instance[Any]
_NOTHING: Mapping[str, str] = {}
Asked = tuple[str, str, bytes]
"""Principal, key and fingerprint: see `RequestKey`."""
Trace = tuple[str | None, str | None]
NO_TRACE: Trace = (None, None)


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

    def place(self, order: PlacedOrder, trace: Trace = NO_TRACE) -> "Future[AnyInstance]":
        """A new saga for `order`, in the database when it is done; else a `StoreError`, `KeyTaken` where the same was
        asked for before. Raises `NotAdmitted`.
        """
        self._admit()
        customer = Customer(customer_id=order.customer_id, order_details=order.order_details)
        data = OrderData(personal=customer, amount_cents=order.amount_cents, return_url=order.return_url)
        return self._begin(self._new(CREATE_ORDER.name, data, trace, order.request))

    def begin(
        self,
        saga: str,
        data: SagaData,
        by: Actor,
        *,
        trace: Trace = NO_TRACE,
        request: Asked | None = None,
        within_seconds: float | None = None,
    ) -> AnyInstance:
        """A new saga of any kind, in the database when this returns; else a `StoreError`, `KeyTaken` where the same was
        asked for before. That no new orders are taken does not hold it up: it ends what was ordered.

        Who began it is in its history, with the saga itself; the audit has what came of it, once that is known.
        """
        new = self._new(saga, data, trace, request, _told(by))
        wish = _wish(by, f"begin {saga}", new.saga_id)
        try:
            found = _within(within_seconds, self._begin(new))
        except Exception as error:
            self._note(replace(wish, outcome=_why_not(error)))
            raise
        self._note(replace(wish, outcome="begun"), found)
        return found

    def _new(
        self, saga: str, data: SagaData, trace: Trace, request: Asked | None, told: Mapping[str, str] = _NOTHING
    ) -> New:
        # The id's time only sorts and partitions; whatever is decided by time is decided by the database's clock.
        saga_id = uuid7(int(self._clock.now().timestamp() * 1000), self._randomness.bytes(10))
        kept = _request(request, saga_id)
        return New(saga=saga, saga_id=saga_id, data=data, trace=trace, request=kept, told=told)

    def cancel(self, saga_id: UUID, by: Actor) -> Decision | None:
        """Ask for a cancel; None where there is no such saga. The verdict says whether it was granted."""
        reason = Reason.CUSTOMER_REQUEST if by.role == "customer" else Reason.OPERATOR_REQUEST
        wish = CancelAsked(Requested(actor=by.name, role=by.role, reason=reason, why=by.reason))
        return self._asked(saga_id, wish, "cancel", by)

    def retry(self, saga_id: UUID, by: Actor, *, revision: int | None = None) -> Decision | None:
        """Ask again now, or take up again what is stuck. `revision`: as of which the saga was looked at; where it has
        changed since, that is refused. None: however it is by now.
        """
        return self._asked(saga_id, RetryAsked(_operator(by), revision), "retry", by)

    def settle(self, saga_id: UUID, undo: str, by: Actor) -> Decision | None:
        """What `undo` (the name of its command) would take back was taken back by other means; or what a command after
        the point of no return would do was done by other means.
        """
        return self._asked(saga_id, SettleAsked(_operator(by), undo), "settle", by, {"undo": undo})

    def resolve(self, saga_id: UUID, by: Actor, *, revision: int | None = None) -> Decision | None:
        """A person has seen to it: no alert any more, until there is something new. `revision`: as for `retry`; what
        came since has been seen by nobody.
        """
        return self._asked(saga_id, ResolveAsked(_operator(by), revision), "resolve", by)

    def _asked(
        self, saga_id: UUID, wish: Input, verb: str, by: Actor, more: Mapping[str, str] = _NOTHING
    ) -> Decision | None:
        """What was granted is in the saga's history, with the change itself; the audit has what was refused too."""
        wanted = _wish(by, " ".join((verb, *more.values())), saga_id)
        try:
            decision = self._handler.ask(saga_id, wish, f"verb.{verb}", {**_told(by), **more})
        except UnknownVersion:
            self._note(replace(wanted, outcome="not done: it is of a version that is not known here"))
            raise
        outcome = "no such saga" if decision is None else f"{decision.verdict.value} {decision.why}".strip()
        self._note(replace(wanted, outcome=outcome), decision.instance if decision else None)
        return decision

    def _note(self, wish: Wish, after: AnyInstance | None = None) -> None:
        """What customers wish is in the sagas' histories only."""
        if wish.role != "customer":
            note(self._audit, wish, after)


def _wish(by: Actor, verb: str, saga_id: UUID) -> Wish:
    """What came of it is not known yet."""
    return Wish(actor=by.name, role=by.role, verb=verb, reason=by.reason, outcome="", saga_id=saga_id)


def _within(seconds: float | None, begun: "Future[AnyInstance]") -> AnyInstance:
    try:
        return begun.result(seconds)
    except TimeoutError:
        # One that was not taken up yet is not begun behind anybody's back.
        kind = StoreUnavailable if begun.cancel() else CommitUnknown
        raise kind(f"it was not begun within {seconds:g} s") from None


def _why_not(error: Exception) -> str:
    match error:
        case KeyTaken():
            return "not begun: somebody else began it in the same moment"
        case CommitUnknown():
            return "unknown: the database did not say in time whether it is begun"
    return f"not begun: {type(error).__name__}"


def _request(asked: Asked | None, saga_id: UUID) -> RequestKey | None:
    if asked is None:
        return None
    principal, key, fingerprint = asked
    return RequestKey(principal=principal, key=key, fingerprint=fingerprint, saga_id=saga_id)


def _operator(by: Actor) -> Operator:
    return Operator(actor=by.name, role=by.role, why=by.reason)


def _told(by: Actor) -> dict[str, str]:
    return {"actor": by.name, "role": by.role, "why": by.reason}
