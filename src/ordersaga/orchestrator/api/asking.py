"""What every route asks with: the parts that answer, and who it is that asks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from ordersaga.orchestrator.api.orders import OrderLimits
from ordersaga.orchestrator.api.views import SagaView, saga_view
from ordersaga.orchestrator.core.definition import Definition
from ordersaga.orchestrator.core.instance import Instance
from ordersaga.orchestrator.runtime.dead_letters import DeadLetters
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.service import Report
from ordersaga.orchestrator.runtime.verbs import Actor, Verbs
from ordersaga.orchestrator.store.board_protocol import Board
from ordersaga.orchestrator.store.protocol import Store
from ordersaga.orchestrator.store.statistics_protocol import Statistics
from ordersaga.web.reading import required_text

AnyRequest = Request[Any, Any, State]


class AskHealth(Protocol):
    def __call__(self) -> Report: ...


@dataclass(frozen=True, kw_only=True)
class Api:
    """What the routes need."""

    verbs: Verbs
    letters: DeadLetters
    store: Store
    board: Board
    statistics: Statistics
    sagas: Sagas
    health: AskHealth
    metrics: Callable[[], bytes]
    limits: OrderLimits
    return_url: str
    version: str
    begun_within_seconds: float = 10.0
    """How long an order waits for its place in the database before its client is told to come again."""

    def view(self, instance: Instance[Any]) -> SagaView:
        known: dict[tuple[str, int], Definition] = {(one.name, one.version): one for one in self.sagas}
        return saga_view(instance, known.get((instance.saga, instance.version)))


TheApi = NamedDependency[SkipValidation[Api]]


def operator_of(wish: dict[str, Any]) -> Actor:
    """Who steps in, as they say it themselves. An operator gives a name and a reason."""
    return Actor(name=required_text(wish, "who", 100), role="operator", reason=required_text(wish, "why", 500))
