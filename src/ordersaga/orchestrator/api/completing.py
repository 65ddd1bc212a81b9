"""The route that completes an order: its runner has delivered.

Who pays and who is paid is taken from the order's own saga, not from whoever asks. Asked again, the answer is the saga
that is under way or done, though it be in the archive by now. Of those who ask in the same moment one begins it: a
request key names the order and the saga before, and the database lets one transaction have it.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from litestar import post
from litestar.params import PathParameter, RawBody

from ordersaga.orchestrator.api.asking import AnyRequest, Api, TheApi, operator_of
from ordersaga.orchestrator.api.documents import CompleteOperation, documented
from ordersaga.orchestrator.api.views import OrderTaken
from ordersaga.orchestrator.core.instance import ERASED, TAKEN_BACK, Instance, Status
from ordersaga.orchestrator.runtime.verbs import Actor, Asked
from ordersaga.orchestrator.sagas.complete_order import COMPLETE_ORDER, Delivery, People
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.orchestrator.store.protocol import KeyTaken, StoreUnavailable
from ordersaga.web.access import FOR_OPERATORS
from ordersaga.web.problems import Refused
from ordersaga.web.reading import must_be_json, optional_text, read_object
from ordersaga.wire.errors import WireError
from ordersaga.wire.headers import trace_of
from ordersaga.wire.ids import may_be_an_id

TRIES = 5
Trace = tuple[str | None, str | None]
OrderId = Annotated[str, PathParameter(description="The order service's id, as its saga tells it")]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked for."""

    payout_cents: int
    runner_id: str | None


@post(
    "/orders/{order_id:str}/completion",
    opt=FOR_OPERATORS,
    status_code=202,
    sync_to_thread=True,
    operation_class=CompleteOperation,
    responses=documented(
        *(400, 404, 409, 413, 415, 500, 503),
        conflict=("cannot-be-completed", "No runner has this order: it is CANCELLED."),
    ),
    summary="Complete an order that was delivered",
    description="Marks it delivered, captures the payment, pays the runner, marks it completed. Until the capture is"
    " asked for it can be cancelled like any saga. Asking again is harmless.",
    tags=["orders"],
)
def complete_order(request: AnyRequest, order_id: OrderId, body: RawBody, api: TheApi) -> OrderTaken:
    must_be_json(request)
    wish = read_object(body)
    by = operator_of(request, wish)
    wanted = _wanted(wish)
    if not may_be_an_id(order_id):
        raise _no_such_order()
    if not api.sagas.knows(COMPLETE_ORDER.name):
        full = " and ".join(sorted(one.value for one in COMPLETE_ORDER.full_only))
        raise Refused(409, "not-offered", f"Orders are not completed here: the {full} service is not set to be full.")
    trace = trace_of([(name.decode(), value) for name, value in request.scope["headers"]])
    begun = _under_way_or_begun(api, order_id, wanted, by, trace)
    return OrderTaken(success=True, message=_said(begun), saga_id=str(begun.saga_id), status=begun.status)


def _wanted(wish: dict[str, Any]) -> Wanted:
    """Raises `WireError`."""
    payout_cents = wish.get("payout_cents")
    if type(payout_cents) is not int or payout_cents < 1:
        raise WireError("payout_cents", "must be a whole number, 1 at least and at most what the customer pays")
    return Wanted(payout_cents=payout_cents, runner_id=optional_text(wish, "runner_id", 100) or None)


def _under_way_or_begun(api: Api, order_id: str, wanted: Wanted, by: Actor, trace: Trace) -> Instance[Any]:
    for _ in range(TRIES):
        # First the key, then what there is: whoever began it in between has taken this key.
        request = _next_request(api, order_id)
        looked = [api.store.get(saga_id) for saga_id in api.store.of_order(order_id)]
        found = [one for one in looked if one is not None]
        if len(found) < len(looked):
            # It was moved into the archive or back in this moment, and may be the one that completes the order.
            continue
        begun = next((one for one in found if one.saga == COMPLETE_ORDER.name and one.status not in TAKEN_BACK), None)
        if begun is not None:
            _must_be_alike(begun, wanted)
            return begun
        data = _delivery(next((one for one in found if one.saga == CREATE_ORDER.name), None), wanted)
        with suppress(KeyTaken):
            return api.verbs.begin(
                COMPLETE_ORDER.name, data, by, trace=trace, request=request, within_seconds=api.begun_within_seconds
            )
    raise StoreUnavailable(
        f"others began to complete this order, or moved its sagas, {TRIES} times meanwhile, and nothing came of it"
    )


def _next_request(api: Api, order_id: str) -> Asked:
    """The key of the saga that comes after the last one of this order, as far back as keys are kept."""
    principal, last = hashlib.sha256(f"completion of {order_id}".encode()).hexdigest(), "first"
    while (known := api.store.request(principal, last)) is not None:
        last = str(known.saga_id)
    return principal, last, b""


def _must_be_alike(begun: Instance[Any], wanted: Wanted) -> None:
    """Whoever asks for something else must not take it for granted. Raises `Refused`."""
    data = begun.data
    is_its_runner = data.personal is None or wanted.runner_id in (None, data.personal.runner_id)
    if data.payout_cents != wanted.payout_cents or not is_its_runner:
        to = "its runner" if is_its_runner else "another runner"
        why = f"This order is completed with {data.payout_cents} cents for {to}: see its saga {begun.saga_id}."
        raise Refused(409, "completed-otherwise", why, saga_status=begun.status.value)


def _delivery(placed: Instance[Any] | None, wanted: Wanted) -> Delivery:
    """What the saga has to know. Raises `Refused` where the order cannot be completed, `WireError` for the rest."""
    if placed is None:
        raise _no_such_order()
    data, personal = placed.data, placed.data.personal
    if not placed.closed or not data.payment_id:
        status = placed.status.value
        raise Refused(409, "cannot-be-completed", f"No runner has this order: it is {status}.", saga_status=status)
    if wanted.payout_cents > data.amount_cents:
        raise WireError("payout_cents", f"must be at most {data.amount_cents}, what the customer pays")
    return Delivery(
        # Nobody is named in what is told of an erased customer, and the runner is paid all the same.
        personal=People(customer_id=personal.customer_id if personal else ERASED, runner_id=_runner(placed, wanted)),
        order_id=data.order_id,
        payment_id=data.payment_id,
        amount_cents=data.amount_cents,
        payout_cents=wanted.payout_cents,
    )


def _runner(placed: Instance[Any], wanted: Wanted) -> str:
    accepted = placed.accepted.runner_id if placed.accepted else None
    if accepted and wanted.runner_id and accepted != wanted.runner_id:
        raise Refused(409, "another-runner", "Another runner has accepted this order.")
    runner_id = accepted or wanted.runner_id
    if not runner_id:
        raise WireError("runner_id", "is required: the acceptance did not say who the runner is")
    return runner_id


def _no_such_order() -> Refused:
    return Refused(404, "no-such-order", "There is no order with this id, or it is no longer kept.")


def _said(begun: Instance[Any]) -> str:
    if begun.status is Status.FAILED:
        return "Completing the order has failed: a person has to look at its saga."
    return "The order is completed." if begun.status is Status.COMPLETED else "The order is being completed."


ROUTES = [complete_order]
