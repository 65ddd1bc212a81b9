"""What every route asks with: the parts that answer, and who it is that asks."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from ordersaga.orchestrator.api.orders import OrderLimits
from ordersaga.orchestrator.api.views import SagaView, saga_view
from ordersaga.orchestrator.core.instance import Instance
from ordersaga.orchestrator.runtime.dead_letters import DeadLetters
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.service import Report
from ordersaga.orchestrator.runtime.twins import Twins
from ordersaga.orchestrator.runtime.verbs import Actor, Verbs
from ordersaga.orchestrator.store.audit import Audit
from ordersaga.orchestrator.store.board_protocol import Board
from ordersaga.orchestrator.store.protocol import Store
from ordersaga.orchestrator.store.statistics_protocol import Statistics
from ordersaga.tokens import Principal, Role
from ordersaga.web.access import principal_of
from ordersaga.web.problems import Refused
from ordersaga.web.rate import Rate
from ordersaga.web.reading import optional_text, required_text

BEGUN_WITHIN_SECONDS = 10.0
AnyRequest = Request[Any, Any, State]
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class AskHealth(Protocol):
    def __call__(self) -> Report: ...


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What the routes need that say how the process is and what it did."""

    health: AskHealth
    metrics: Callable[[], bytes]
    version: str


@dataclass(frozen=True, kw_only=True)
class Api(Watched):
    """What the routes need."""

    verbs: Verbs
    letters: DeadLetters
    store: Store
    board: Board
    statistics: Statistics
    audit: Audit
    sagas: Sagas
    limits: OrderLimits
    return_url: str
    orders_by_customer: Rate | None = None
    """How often one customer may order; None: as often as they like."""
    twins: Twins = field(default_factory=Twins)
    begun_within_seconds: float = BEGUN_WITHIN_SECONDS
    """How long an order waits for its place in the database before its client is told to come again."""

    def view(self, instance: Instance[Any]) -> SagaView:
        return saga_view(instance, self.sagas.find(instance.saga, instance.version))


TheApi = NamedDependency[SkipValidation[Api]]
TheWatched = NamedDependency[SkipValidation[Watched]]


def operator_of(request: AnyRequest, wish: dict[str, Any]) -> Actor:
    """Who steps in: whose token it is, or else as they say themselves. An operator gives a name and a reason."""
    principal = principal_of(request)
    if principal is not None:
        return said_by(principal, wish)
    return Actor(name=required_text(wish, "who", 100), role=Role.OPERATOR, reason=required_text(wish, "why", 500))


def said_by(principal: Principal, wish: dict[str, Any]) -> Actor:
    """Several people may share a token: the name that one gives stands beside it."""
    who = optional_text(wish, "who", 100)
    name = f"{who} ({principal.name})" if who else principal.name
    return Actor(name=name, role=principal.role, reason=required_text(wish, "why", 500))


def uuid_or_404(text: str) -> UUID:
    found = uuid_of(text)
    if found is None:
        raise no_such_saga()
    return found


def uuid_of(text: str) -> UUID | None:
    """In its usual form only, of the many that Python takes."""
    return UUID(text) if _UUID.fullmatch(text) else None


def no_such_saga() -> Refused:
    return Refused(404, "no-such-saga", "There is no saga with this id.")
