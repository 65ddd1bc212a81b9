"""The switch for new orders: how it stands, and turning it. What is under way is never touched by it."""

from datetime import UTC, datetime

from litestar import get, post
from litestar.params import RawBody
from msgspec import Struct

from ordersaga.orchestrator.api.asking import AnyRequest, Api, TheApi, operator_of
from ordersaga.orchestrator.api.documents import OperatorOperation, documented
from ordersaga.orchestrator.store.board_protocol import Switch
from ordersaga.web.access import FOR_OPERATORS, FOR_READERS
from ordersaga.web.reading import must_be_json, read_object

_COUNTED_MAX = 100_000
_NEVER = datetime.min.replace(tzinfo=UTC)


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


@get(
    "/admission",
    opt=FOR_READERS,
    sync_to_thread=True,
    responses=documented(500, 503),
    summary="Whether new orders are taken",
    tags=["operators"],
)
def get_admission(api: TheApi) -> AdmissionView:
    return _view(api)


@post(
    "/admission/stop",
    opt=FOR_OPERATORS,
    status_code=200,
    sync_to_thread=True,
    operation_class=OperatorOperation,
    responses=documented(400, 413, 415, 500, 503),
    summary="Take no new orders",
    description="They are answered 503 within a second or two, by every process. What is under way goes on.",
    tags=["operators"],
)
def stop_orders(request: AnyRequest, body: RawBody, api: TheApi) -> AdmissionView:
    return _turned(request, body, api, taken=False)


@post(
    "/admission/resume",
    opt=FOR_OPERATORS,
    status_code=200,
    sync_to_thread=True,
    operation_class=OperatorOperation,
    responses=documented(400, 413, 415, 500, 503),
    summary="Take new orders again",
    tags=["operators"],
)
def resume_orders(request: AnyRequest, body: RawBody, api: TheApi) -> AdmissionView:
    return _turned(request, body, api, taken=True)


def _turned(request: AnyRequest, body: bytes, api: Api, *, taken: bool) -> AdmissionView:
    must_be_json(request)
    by = operator_of(request, read_object(body))
    api.board.set_switch(taken=taken, by=by.name, why=by.reason)
    return _view(api)


def _view(api: Api) -> AdmissionView:
    posted = api.board.read(most=_COUNTED_MAX)
    switch = posted.switch or Switch(taken=True, by="", why="", at=_NEVER)
    return AdmissionView(
        taken=switch.taken,
        by=switch.by or None,
        why=switch.why or None,
        at=switch.at if posted.switch else None,
        sagas_under_way=posted.under_way,
        messages_under_way=posted.outbox_rows,
    )


ROUTES = [get_admission, stop_orders, resume_orders]
