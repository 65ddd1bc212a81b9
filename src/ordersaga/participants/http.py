"""What people can do at the reference participants, and look at: one table, served over HTTP.

An act is idempotent: done already, it is answered like the first time. What the state does not allow is 409, with the
state in words. Who asks, as what and why is kept with what was done.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from litestar import Litestar, Response, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import PathParameter, QueryParameter, RawBody
from msgspec import Struct

from ordersaga.delivery.background import Health
from ordersaga.participants.host import Host
from ordersaga.participants.ledger_protocol import BadAnswer, LedgerError
from ordersaga.participants.order.service import Accept, GiveBack
from ordersaga.participants.order.service import Cancel as CancelOrder
from ordersaga.participants.payment.service import CaptureNow, Refund, Void
from ordersaga.participants.service import By, Refused, Verb
from ordersaga.participants.timer.service import Cancel as CancelTimer
from ordersaga.participants.user.service import SetPaymentMethod
from ordersaga.web.problems import HANDLERS, AnyRequest, passing_trouble, unexpected
from ordersaga.web.problems import Refused as Problem
from ordersaga.web.reading import must_be_json, optional_text, read_object, required_text
from ordersaga.wire.errors import WireError
from ordersaga.wire.ids import ID_CHARS_MAX, may_be_an_id
from ordersaga.wire.topics import Participant

ROLE = "operator"
Wish = dict[str, Any]
RowName = Annotated[str, PathParameter(description="The id that the service gave it")]
CustomerId = Annotated[str, QueryParameter(description="Whose", min_length=1, max_length=ID_CHARS_MAX)]


@dataclass(frozen=True)
class Act:
    """Something that a person may do to the row that the path names."""

    path: str
    verb: Callable[[Wish], Verb]
    changes: Callable[..., Any] = post


@dataclass(frozen=True)
class Desk:
    """What one participant offers."""

    thing: str
    """What its rows are, for whoever asks for one that is not there."""
    look: str
    """The path of one row."""
    acts: Sequence[Act] = ()


def _accept(wish: Wish) -> Accept:
    return Accept(runner_id=required_text(wish, "runner_id", ID_CHARS_MAX))


def _payment_method(wish: Wish) -> SetPaymentMethod:
    if "payment_method_id" not in wish:
        raise WireError("payment_method_id", "is required: a text, or null for none")
    return SetPaymentMethod(payment_method_id=optional_text(wish, "payment_method_id", ID_CHARS_MAX) or None)


DESKS: Mapping[Participant, Desk] = {
    Participant.ORDER: Desk(
        "order",
        "/orders/{name:str}",
        (
            Act("/orders/{name:str}/accept", _accept),
            Act("/orders/{name:str}/give-back", lambda wish: GiveBack()),
            Act("/orders/{name:str}/cancel", lambda wish: CancelOrder()),
        ),
    ),
    Participant.PAYMENT: Desk(
        "payment",
        "/payments/{name:str}",
        (
            Act("/payments/{name:str}/void", lambda wish: Void()),
            Act("/payments/{name:str}/refund", lambda wish: Refund()),
            Act("/payments/{name:str}/capture", lambda wish: CaptureNow()),
        ),
    ),
    Participant.TIMER: Desk(
        "timer", "/timers/{name:str}", (Act("/timers/{name:str}/cancel", lambda wish: CancelTimer()),)
    ),
    Participant.USER: Desk(
        "user", "/users/{name:str}", (Act("/users/{name:str}/payment-method", _payment_method, put),)
    ),
}


class PartOf(Struct, frozen=True):
    name: str
    healthy: bool
    detail: str


class HealthView(Struct, frozen=True):
    """Of the participants of one process."""

    status: str
    parts: list[PartOf]


def create_app(hosts: Mapping[Participant, Host], health: Callable[[], Sequence[Health]]) -> Litestar:
    """`health` says how each of them is."""
    routes = [handler for participant, host in hosts.items() for handler in _routes(participant, host)]
    return Litestar(
        route_handlers=[*routes, _health(health)],
        exception_handlers={**HANDLERS, LedgerError: passing_trouble, BadAnswer: unexpected},
        openapi_config=None,
        request_max_body_size=65_536,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )


def _routes(participant: Participant, host: Host) -> list[HTTPRouteHandler]:
    if participant is Participant.NOTIFICATION:
        return [_inbox(host)]
    desk = DESKS[participant]
    return [_look(desk, host), *(_act(desk, act, host) for act in desk.acts)]


def _look(desk: Desk, host: Host) -> HTTPRouteHandler:
    @get(desk.look, sync_to_thread=True, name=f"look at a {desk.thing}")
    def look(name: RowName) -> Response[bytes]:
        return _row(desk, host.look_up(name) if may_be_an_id(name) else None)

    return look


def _act(desk: Desk, act: Act, host: Host) -> HTTPRouteHandler:
    def do(request: AnyRequest, name: RowName, body: RawBody) -> Response[bytes]:
        if body:
            must_be_json(request)
        wish = read_object(body) if body else {}
        verb = act.verb(wish)
        if not may_be_an_id(name):
            return _row(desk, None)
        try:
            return _row(desk, host.act(name, verb, _by(wish)))
        except Refused as error:
            raise Problem(409, "cannot-be-done", f"This cannot be done: {error}.") from None

    handler: HTTPRouteHandler = act.changes(act.path, status_code=200, sync_to_thread=True, name=act.path)(do)
    return handler


def _inbox(host: Host) -> HTTPRouteHandler:
    @get("/notifications", sync_to_thread=True)
    def inbox(customer_id: CustomerId) -> Response[bytes]:
        rows = host.inbox(customer_id) if may_be_an_id(customer_id) else ()
        return _json([_view(row) for row in rows])

    return inbox


def _health(parts: Callable[[], Sequence[Health]]) -> HTTPRouteHandler:
    @get("/health", sync_to_thread=True)
    def health() -> Response[bytes]:
        found = [PartOf(one.name, one.healthy, one.detail) for one in parts()]
        ready = all(one.healthy for one in found)
        view = HealthView("ready" if ready else "not ready", found)
        return _json(view, status_code=200 if ready else 503)

    return health


def _by(wish: Wish) -> By:
    """Who asks, as they say it themselves."""
    actor = optional_text(wish, "who", 100) or "somebody"
    return By(actor=actor, role=ROLE, reason=optional_text(wish, "why", 500) or "by hand")


def _row(desk: Desk, row: Any | None) -> Response[bytes]:
    if row is None:
        raise Problem(404, f"no-such-{desk.thing}", f"There is no {desk.thing} with this id.")
    return _json(_view(row))


def _view(row: Any) -> dict[str, Any]:
    """The columns of a row; what others call the key is called so here."""
    fields = {name: getattr(row, name) for name in row.__struct_fields__ if name != "key"}
    return {"id": row.key, **fields}


def _json(content: Any, *, status_code: int = 200) -> Response[bytes]:
    return Response(msgspec.json.encode(content), status_code=status_code, media_type="application/json")
