"""The two switches of operators, how each stands, and turning it: whether new orders are taken, which touches nothing
that is under way, and whether what the services say is read. While that is off, no deadline passes.
"""

from datetime import datetime

from litestar import get, post
from litestar.params import RawBody
from msgspec import Struct

from ordersaga.orchestrator.api.asking import AnyRequest, Api, TheApi, operator_of
from ordersaga.orchestrator.api.documents import OperatorOperation, documented
from ordersaga.orchestrator.runtime.verbs import Actor
from ordersaga.orchestrator.store.board_protocol import Pause
from ordersaga.web.access import FOR_OPERATORS, FOR_READERS
from ordersaga.web.reading import must_be_json, read_object

_COUNTED_MAX = 100_000


class AdmissionView(Struct, frozen=True, kw_only=True):
    """Whether new orders are taken; who said so last, when and why; and what is still under way."""

    taken: bool
    by: str | None = None
    why: str | None = None
    at: datetime | None = None
    sagas_under_way: int
    """Counted to 100,000."""
    messages_under_way: int
    """Counted likewise."""


class ConsumptionView(Struct, frozen=True, kw_only=True):
    """Whether what the services say is read; who said so last, when and why."""

    paused: bool
    by: str | None = None
    why: str | None = None
    at: datetime | None = None


def _look(path: str, summary: str) -> get:
    return get(
        path, opt=FOR_READERS, sync_to_thread=True, responses=documented(500, 503), summary=summary, tags=["operators"]
    )


def _turn(path: str, summary: str, description: str | None = None) -> post:
    return post(
        path,
        opt=FOR_OPERATORS,
        status_code=200,
        sync_to_thread=True,
        operation_class=OperatorOperation,
        responses=documented(400, 413, 415, 500, 503),
        summary=summary,
        description=description,
        tags=["operators"],
    )


# --- new orders -----------------------------------------------------------------------------------


@_look("/admission", "Whether new orders are taken")
def get_admission(api: TheApi) -> AdmissionView:
    return _admission(api)


@_turn(
    "/admission/stop",
    "Take no new orders",
    "They are answered 503 within a second or two, by every process that reaches the database. What is under way goes"
    " on, and completions are not held up.",
)
def stop_orders(request: AnyRequest, body: RawBody, api: TheApi) -> AdmissionView:
    return _taken(api, _operator(request, body), taken=False)


@_turn("/admission/resume", "Take new orders again")
def resume_orders(request: AnyRequest, body: RawBody, api: TheApi) -> AdmissionView:
    return _taken(api, _operator(request, body), taken=True)


def _taken(api: Api, by: Actor, *, taken: bool) -> AdmissionView:
    api.board.set_switch(taken=taken, by=by.name, role=by.role, why=by.reason)
    return _admission(api)


def _admission(api: Api) -> AdmissionView:
    posted = api.board.read(most=_COUNTED_MAX)
    switch = posted.switch
    return AdmissionView(
        taken=switch is None or switch.taken,
        by=switch.by if switch else None,
        why=switch.why if switch else None,
        at=switch.at if switch else None,
        sagas_under_way=api.board.under_way(_COUNTED_MAX),
        messages_under_way=posted.outbox_rows,
    )


# --- what the services say ------------------------------------------------------------------------


@_look("/consumption", "Whether what the services say is read")
def get_consumption(api: TheApi) -> ConsumptionView:
    return _consumption(api.board.read(most=0).pause)


@_turn(
    "/consumption/pause",
    "Read nothing that the services say",
    "In every process within a second or two, and after a restart too. No deadline passes meanwhile.",
)
def pause_consumption(request: AnyRequest, body: RawBody, api: TheApi) -> ConsumptionView:
    return _paused(api, _operator(request, body), paused=True)


@_turn("/consumption/resume", "Read on", "From where it was; deadlines wait until what came meanwhile is read.")
def resume_consumption(request: AnyRequest, body: RawBody, api: TheApi) -> ConsumptionView:
    return _paused(api, _operator(request, body), paused=False)


def _paused(api: Api, by: Actor, *, paused: bool) -> ConsumptionView:
    return _consumption(api.board.set_pause(paused=paused, by=by.name, role=by.role, why=by.reason))


def _consumption(pause: Pause | None) -> ConsumptionView:
    if pause is None:
        return ConsumptionView(paused=False)
    return ConsumptionView(paused=pause.paused, by=pause.by, why=pause.why, at=pause.at)


def _operator(request: AnyRequest, body: bytes) -> Actor:
    must_be_json(request)
    return operator_of(request, read_object(body))


ROUTES = [get_admission, stop_orders, resume_orders, get_consumption, pause_consumption, resume_consumption]
