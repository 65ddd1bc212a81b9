"""The routes: each one reads the request, calls one verb or one query, and says what came of it."""

from typing import Annotated, Any
from uuid import UUID

from litestar import get, post
from litestar.params import PathParameter, RawBody

from ordersaga.orchestrator.api import auditing, completing, dead_letters, searching, stats, status, switches
from ordersaga.orchestrator.api.asking import (
    AnyRequest,
    Api,
    TheApi,
    no_such_saga,
    operator_of,
    said_by,
    uuid_or_404,
)
from ordersaga.orchestrator.api.documents import (
    WHO_CHARS_MAX,
    CancelOperation,
    SeenOperation,
    SettleOperation,
    documented,
)
from ordersaga.orchestrator.api.views import (
    CancelTaken,
    SagaDetail,
    VerbTaken,
    for_customers,
    saga_detail,
)
from ordersaga.orchestrator.core.inputs import Decision, Verdict
from ordersaga.orchestrator.runtime.verbs import Actor
from ordersaga.tokens import Principal, Role
from ordersaga.web.access import FOR_ALL_ROLES, FOR_CUSTOMERS, FOR_OPERATORS, principal_of
from ordersaga.web.problems import Refused
from ordersaga.web.reading import must_be_json, optional_number, optional_text, read_object, required_text
from ordersaga.wire.errors import WireError

SagaId = Annotated[str, PathParameter(description="A UUID, as `POST /orders` answered it")]


@get(
    "/sagas/{saga_id:str}",
    opt=FOR_ALL_ROLES,
    sync_to_thread=True,
    responses=documented(400, 404, 500, 503),
    summary="One saga, with its history",
    description="With a customer's token without what services said (`refusal` is null, `attention` empty), and without"
    " who of the staff stepped in.",
    tags=["sagas"],
)
def get_saga(request: AnyRequest, saga_id: SagaId, api: TheApi) -> SagaDetail:
    instance = api.store.get(uuid_or_404(saga_id))
    if instance is None:
        raise no_such_saga()
    found, by = saga_detail(api.view(instance), api.store.history(instance.saga_id)), principal_of(request)
    return for_customers(found) if by is not None and by.role is Role.CUSTOMER else found


@post(
    "/sagas/{saga_id:str}/cancel",
    opt=FOR_CUSTOMERS,
    status_code=202,
    sync_to_thread=True,
    operation_class=CancelOperation,
    responses=documented(
        *(400, 404, 409, 413, 415, 500, 503),
        conflict=("cannot-be-cancelled", "This cannot be cancelled: it is COMPENSATED."),
    ),
    summary="Cancel an order",
    description="Granted while no runner has accepted the order. Asking again is harmless.",
    tags=["sagas"],
)
def cancel_saga(request: AnyRequest, saga_id: SagaId, body: RawBody, api: TheApi) -> CancelTaken:
    if body:
        must_be_json(request)
    wanted, wish = uuid_or_404(saga_id), read_object(body) if body else {}
    by = _actor(principal_of(request), wish)
    if by.role == Role.CUSTOMER and (customer := optional_text(wish, "who", WHO_CHARS_MAX)):
        _must_be_theirs(api, wanted, customer)
    decision = api.verbs.cancel(wanted, by)
    if decision is None:
        raise no_such_saga()
    if decision.verdict is Verdict.REFUSED:
        status = decision.instance.status.value
        why = f"This cannot be cancelled: {_cannot(decision)}."
        raise Refused(409, "cannot-be-cancelled", why, saga_status=status)
    return CancelTaken(message="The order is being cancelled.")


@post(
    "/sagas/{saga_id:str}/retry",
    opt=FOR_OPERATORS,
    status_code=202,
    sync_to_thread=True,
    operation_class=SeenOperation,
    responses=documented(400, 404, 409, 413, 415, 500, 503),
    summary="Ask again now",
    description="What is under way is asked for at once, what is stuck is taken up again; never what may be done twice,"
    " nor a step whose service answers nobody. With the `revision` as of which it was looked at only if nothing has"
    " become of it since.",
    tags=["operators"],
)
def retry_saga(request: AnyRequest, saga_id: SagaId, body: RawBody, api: TheApi) -> VerbTaken:
    must_be_json(request)
    wish = read_object(body)
    by, revision = operator_of(request, wish), optional_number(wish, "revision")
    return _taken(api.verbs.retry(uuid_or_404(saga_id), by, revision=revision), "It is tried again.")


@post(
    "/sagas/{saga_id:str}/settle",
    opt=FOR_OPERATORS,
    status_code=202,
    sync_to_thread=True,
    operation_class=SettleOperation,
    responses=documented(400, 404, 409, 413, 415, 500, 503),
    summary="Mark an undo as done by other means",
    description="For what was taken back by hand, where no service says so. The saga goes on with what is left.",
    tags=["operators"],
)
def settle_saga(request: AnyRequest, saga_id: SagaId, body: RawBody, api: TheApi) -> VerbTaken:
    must_be_json(request)
    wish = read_object(body)
    undo = required_text(wish, "undo", 50)
    return _taken(api.verbs.settle(uuid_or_404(saga_id), undo, operator_of(request, wish)), "It is marked as settled.")


@post(
    "/sagas/{saga_id:str}/resolve",
    opt=FOR_OPERATORS,
    status_code=202,
    sync_to_thread=True,
    operation_class=SeenOperation,
    responses=documented(400, 404, 409, 413, 415, 500, 503),
    summary="Mark as seen to",
    description="The status stays, whatever it is. Something new to take back, a new `attention` or a failure lifts the"
    " mark. With the `revision` as of which it was looked at only if nothing has become of it since: else it is 409,"
    " and what is new stays alerted.",
    tags=["operators"],
)
def resolve_saga(request: AnyRequest, saga_id: SagaId, body: RawBody, api: TheApi) -> VerbTaken:
    must_be_json(request)
    wish = read_object(body)
    by, revision = operator_of(request, wish), optional_number(wish, "revision")
    return _taken(api.verbs.resolve(uuid_or_404(saga_id), by, revision=revision), "It is marked as resolved.")


def _actor(principal: Principal | None, wish: dict[str, Any]) -> Actor:
    """Who cancels: a customer, or a front end for one, or an operator."""
    if principal is not None:
        if principal.role is Role.CUSTOMER:
            return Actor(
                name=required_text(wish, "who", WHO_CHARS_MAX),
                role=principal.role,
                reason=optional_text(wish, "why", 500),
            )
        return said_by(principal, wish)
    who = optional_text(wish, "who", WHO_CHARS_MAX) or "customer"
    role = optional_text(wish, "role", 20) or "customer"
    if role not in ("customer", "operator"):
        raise WireError("role", "must be customer or operator")
    return Actor(name=who, role=role, reason=optional_text(wish, "why", 500))


def _cannot(decision: Decision) -> str:
    if decision.instance.committed:
        return "it is past the point of no return"
    if decision.instance.closed:
        return "a runner has accepted it"
    return decision.why if decision.why.startswith("not for") else f"it is {decision.instance.status.value}"


def _taken(decision: Decision | None, message: str) -> VerbTaken:
    if decision is None:
        raise no_such_saga()
    status = decision.instance.status
    if decision.verdict is Verdict.REFUSED:
        why = f"This cannot be done: {decision.why}; the saga is {status.value}."
        raise Refused(409, "cannot-be-done", why, saga_status=status.value)
    return VerbTaken(message=message, status=status)


def _must_be_theirs(api: Api, saga_id: UUID, customer: str) -> None:
    instance = api.store.get(saga_id)
    if instance is None:
        raise no_such_saga()
    personal = instance.data.personal
    if personal is None or personal.customer_id != customer:
        raise Refused(403, "not-your-order", "Only the customer who ordered it can cancel it.")


ROUTES = [
    *(get_saga, cancel_saga, retry_saga, settle_saga, resolve_saga),
    *completing.ROUTES,
    *searching.ROUTES,
    *dead_letters.ROUTES,
    *switches.ROUTES,
    *stats.ROUTES,
    *auditing.ROUTES,
    *status.ROUTES,
]
