"""The switch for what the services say: how it stands, and turning it. While it is off, no deadline passes."""

from datetime import datetime

from litestar import get, post
from litestar.params import RawBody
from msgspec import Struct

from ordersaga.orchestrator.api.asking import AnyRequest, Api, TheApi, operator_of
from ordersaga.orchestrator.api.documents import OperatorOperation, documented
from ordersaga.orchestrator.store.board_protocol import Pause
from ordersaga.web.access import FOR_OPERATORS, FOR_READERS
from ordersaga.web.reading import must_be_json, read_object


class ConsumptionView(Struct, frozen=True, kw_only=True):
    """Whether what the services say is read; who said so last, when and why."""

    paused: bool
    by: str | None = None
    why: str | None = None
    at: datetime | None = None


@get(
    "/consumption",
    opt=FOR_READERS,
    sync_to_thread=True,
    responses=documented(500, 503),
    summary="Whether what the services say is read",
    tags=["operators"],
)
def get_consumption(api: TheApi) -> ConsumptionView:
    return _view(api.board.read(most=0).pause)


@post(
    "/consumption/pause",
    opt=FOR_OPERATORS,
    status_code=200,
    sync_to_thread=True,
    operation_class=OperatorOperation,
    responses=documented(400, 413, 415, 500, 503),
    summary="Read nothing that the services say",
    description="In every process within a second or two, and after a restart too. No deadline passes meanwhile.",
    tags=["operators"],
)
def pause_consumption(request: AnyRequest, body: RawBody, api: TheApi) -> ConsumptionView:
    return _turned(request, body, api, paused=True)


@post(
    "/consumption/resume",
    opt=FOR_OPERATORS,
    status_code=200,
    sync_to_thread=True,
    operation_class=OperatorOperation,
    responses=documented(400, 413, 415, 500, 503),
    summary="Read on",
    description="From where it was; deadlines wait until what came meanwhile is read.",
    tags=["operators"],
)
def resume_consumption(request: AnyRequest, body: RawBody, api: TheApi) -> ConsumptionView:
    return _turned(request, body, api, paused=False)


def _turned(request: AnyRequest, body: bytes, api: Api, *, paused: bool) -> ConsumptionView:
    must_be_json(request)
    by = operator_of(request, read_object(body))
    return _view(api.board.set_pause(paused=paused, by=by.name, why=by.reason))


def _view(pause: Pause | None) -> ConsumptionView:
    if pause is None:
        return ConsumptionView(paused=False)
    return ConsumptionView(paused=pause.paused, by=pause.by, why=pause.why, at=pause.at)


ROUTES = [get_consumption, pause_consumption, resume_consumption]
