"""The route that takes orders. Of all routes it is asked most, by far, so it spares what the framework does for the
others: it reads headers and body itself, waits on no thread, and answers with bytes that are ready.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from uuid import UUID

import msgspec
import structlog
from litestar.concurrency import sync_to_thread
from litestar.handlers import HTTPRouteHandler
from litestar.types import HTTPScope

from ordersaga.orchestrator.api.asking import AnyRequest, Api
from ordersaga.orchestrator.api.documents import PlaceOperation, documented
from ordersaga.orchestrator.api.orders import CheckedOrder, check_order
from ordersaga.orchestrator.api.request_keys import IN_FLIGHT, InHand, known, request_of
from ordersaga.orchestrator.api.views import OrderTaken
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.runtime.admission import TOO_BUSY, NotAdmitted
from ordersaga.orchestrator.runtime.verbs import Asked, PlacedOrder
from ordersaga.orchestrator.store.protocol import CommitUnknown, KeyTaken, StoreUnavailable
from ordersaga.web.access import FOR_CUSTOMERS
from ordersaga.web.gate import TurnedAway, Unwanted
from ordersaga.web.landing import Landing, StillRunning
from ordersaga.web.prepared import Prepared
from ordersaga.web.problems import Problem, Refused, as_problem
from ordersaga.web.reading import body_of, must_be_json, read_object
from ordersaga.wire.headers import trace_of
from ordersaga.wire.ids import text_of

Trace = tuple[str | None, str | None]
_encode = msgspec.json.Encoder().encode
_TRACE = (b"traceparent", b"tracestate")
_JSON = (b"content-type", b"application/json")


class _Post(HTTPRouteHandler):
    """The framework hands each guard a copy of the handler, made anew for each request. Ours only reads it."""

    def __copy__(self) -> "_Post":
        return self


def place_order_of(api: Api, body_bytes_max: int) -> HTTPRouteHandler:
    """`POST /orders` for one application."""
    landing, in_hand = Landing(api.begun_within_seconds), InHand()

    @_Post(
        "/orders",
        http_method="POST",
        opt=FOR_CUSTOMERS,
        status_code=202,
        operation_class=PlaceOperation,
        responses=documented(*(400, 409, 413, 415, 422, 429, 500, 503), conflict=IN_FLIGHT),
        summary="Place an order",
        description="The order is in the database when this answers. Follow `Location` for what becomes of it. With an"
        " `Idempotency-Key` it may be asked for again, for two days, and is placed once; while the first is still being"
        " answered, the answer is 409.",
        tags=["orders"],
    )
    async def place_order(request: AnyRequest) -> Prepared[OrderTaken]:
        must_be_json(request)
        read = read_object(await body_of(request, body_bytes_max))
        order = check_order(read, api.limits)
        asked = request_of(request, order.customer_id, read)
        with in_hand.taken(asked):
            return _taken(await saga_of(order, read, asked, _trace_of(request)))

    async def saga_of(order: CheckedOrder, read: dict[str, Any], asked: Asked | None, trace: Trace) -> UUID:
        if asked is not None and (before := await sync_to_thread(known, api, asked)) is not None:
            return before.saga_id
        _not_too_often(api, order.customer_id)
        try:
            begun = await landing.wait(api.verbs.place(_placed(api, order, asked), trace))
        except KeyTaken:
            # The same request came to two processes at the same time.
            if asked is None or (before := await sync_to_thread(known, api, asked)) is None:
                raise
            return before.saga_id
        except TimeoutError:
            raise StoreUnavailable(f"the order was not begun within {api.begun_within_seconds:g} s") from None
        except (CommitUnknown, StillRunning) as error:
            _log.warning("orders.outcome_unknown", error=f"{type(error).__name__}: {error}")
            raise Refused(503, "outcome-unknown", PERHAPS_PLACED) from error
        except NotAdmitted as error:
            raise Refused(503, error.kind, str(error), retry_after_seconds=error.retry_after_seconds) from error
        api.twins.placed(read, begun.saga_id)
        return begun.saga_id

    return place_order


_log = structlog.get_logger(__name__)
PERHAPS_PLACED = "It is not known whether the order was placed. Please look before you order again."
"""Without `Retry-After`: who comes again without a key orders twice."""
_BUSY = as_problem(503, "too-busy", TOO_BUSY)


def orders_while(falls_behind: Callable[[], bool]) -> Unwanted:
    """New orders are turned away at the door while that is so, before anything of them is read."""

    def unwanted(scope: HTTPScope) -> Problem | None:
        return _BUSY if is_an_order(scope) and falls_behind() else None

    return unwanted


def orders_turned_away(told: Callable[[str], None]) -> TurnedAway:
    """`told` hears the kind of the answer for each new order that is to come again."""

    def turned_away(scope: HTTPScope, problem: Problem) -> None:
        if is_an_order(scope) and problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
            told(problem.type.rpartition(":")[2])

    return turned_away


def is_an_order(scope: HTTPScope) -> bool:
    return scope["path"] == "/orders" and scope["method"] == "POST"


def _placed(api: Api, order: CheckedOrder, asked: Asked | None) -> PlacedOrder:
    return PlacedOrder(
        customer_id=order.customer_id,
        order_details=order.order_details,
        amount_cents=order.amount_cents,
        return_url=api.return_url,
        request=asked,
    )


def _not_too_often(api: Api, customer_id: str) -> None:
    wait = api.orders_by_customer.take(customer_id) if api.orders_by_customer else 0
    if wait:
        why = "That is a lot of orders in a short time. Please try again later."
        raise Refused(429, "too-many-requests", why, retry_after_seconds=wait)


def _trace_of(request: AnyRequest) -> Trace:
    found = [(name.decode(), value) for name, value in request.scope["headers"] if name in _TRACE]
    return trace_of(found) if found else (None, None)


def _taken(saga_id: UUID) -> Prepared[OrderTaken]:
    """The same, however often it is asked for."""
    known_as = text_of(saga_id)
    taken = OrderTaken(success=True, message="Your order is being processed.", saga_id=known_as, status=Status.STARTED)
    return Prepared(202, _encode(taken), [_JSON, (b"location", f"/sagas/{known_as}".encode())])
