"""Sagas by what is known of them: `GET /sagas`, page after page, and `GET /sagas/count`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

import structlog
from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter, SkipValidation
from msgspec import Struct

from ordersaga.orchestrator.api.asking import AnyRequest, TheApi, uuid_of
from ordersaga.orchestrator.api.documents import documented
from ordersaga.orchestrator.api.views import SagaView
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.store.search import Search
from ordersaga.web.access import FOR_READERS
from ordersaga.wire.errors import WireError
from ordersaga.wire.times import parse_time

_log = structlog.get_logger(__name__)
PAGE_SIZE_MAX = 100
TEXT_CHARS_MAX = 200
LEFT_OUT = "Sagas-Left-Out"
"""A header of a page: how many more there are that this process does not run: a newer version began
them, or the settings leave them out.
"""
DAMAGED = "Sagas-Damaged"
"""A header of a page: how many more there are whose row is damaged. The log says which."""
_ID = {"format": "uuid"}
_STATUSES = {"items": {"type": "string", "enum": list(Status.__members__)}}
_REASONS = {"enum": list(Reason.__members__)}
_ORDERS = {"enum": ["newest", "oldest"]}
_KEPT = frozenset(
    (
        "status", "saga", "step", "reason", "customer_id", "order_id", "attention", "archived", "since", "until",
        "text", "order",
    )
)  # fmt: skip
"""Of a query, for the next page."""

Statuses = Annotated[list[str] | None, QueryParameter(description="Only these", schema_extra=_STATUSES)]
Kind = Annotated[str | None, QueryParameter(description="Of this kind, such as `create_order`")]
Step = Annotated[str | None, QueryParameter(description="The step that they last went to")]
ItsReason = Annotated[str | None, QueryParameter(description="Why they did not complete", schema_extra=_REASONS)]
Customer = Annotated[str | None, QueryParameter(description="Of this customer")]
Order = Annotated[str | None, QueryParameter(description="Of this order")]
Attention = Annotated[bool, QueryParameter(description="Only those that a person should look at, not resolved yet")]
Archived = Annotated[bool, QueryParameter(description="Those in the archive, and no others")]
Since = Annotated[str | None, QueryParameter(description="Begun then or later, such as 2026-01-31T09:00:00Z")]
Until = Annotated[str | None, QueryParameter(description="Begun before")]
Text = Annotated[str | None, QueryParameter(description="In what is told of their trouble, whatever its case")]


class CountView(Struct, frozen=True, kw_only=True):
    count: int
    is_least: bool
    """There were too many to look at all: perhaps there are more."""


def asked_for(
    *,
    status: Statuses = None,
    saga: Kind = None,
    step: Step = None,
    reason: ItsReason = None,
    customer_id: Customer = None,
    order_id: Order = None,
    attention: Attention = False,
    archived: Archived = False,
    since: Since = None,
    until: Until = None,
    text: Text = None,
) -> Search:
    """From a query."""
    return search_of(
        status or (),
        attention=attention,
        archived=archived,
        conditions={
            "saga": saga,
            "step": step,
            "reason": reason,
            "customer_id": customer_id,
            "order_id": order_id,
            "since": since,
            "until": until,
            "text": text,
        },
    )


_ASKED = {"search": Provide(asked_for, sync_to_thread=False)}
TheSearch = NamedDependency[SkipValidation[Search]]


@get(
    "/sagas",
    opt=FOR_READERS,
    sync_to_thread=True,
    dependencies=_ASKED,
    responses=documented(400, 500, 503),
    summary="Sagas, newest first",
    description="A bare list of those that meet every condition; those in the archive only if asked. Where there is"
    ' more, `Link: <...>; rel="next"` says where the next page is: a page may hold fewer than asked for, or none, and'
    " have a next one, since each looks at 2,000 sagas at most, of the archive at 500. Sagas that this process does"
    " not run (a newer version began them, or its settings leave them out) are left out: `Sagas-Left-Out` says how"
    " many. So are those whose row is damaged: `Sagas-Damaged` says how many, and the log which.",
    tags=["sagas"],
)
def list_sagas(
    request: AnyRequest,
    api: TheApi,
    search: TheSearch,
    *,
    order: Annotated[str, QueryParameter(description="Which come first", schema_extra=_ORDERS)] = "newest",
    before: Annotated[
        str | None, QueryParameter(description="Older than the one with this id", schema_extra=_ID)
    ] = None,
    page_token: Annotated[str | None, QueryParameter(description="From a `Link`", schema_extra=_ID)] = None,
    page_size: Annotated[int, QueryParameter(description="At most 100; more is taken as 100", ge=1)] = PAGE_SIZE_MAX,
) -> Response[list[SagaView]]:
    if order not in ("newest", "oldest"):
        raise WireError("order", "must be newest or oldest")
    if before is not None and order == "oldest":
        raise WireError("before", "goes with order=newest; a `Link` says where the next page of oldest ones is")
    size = min(page_size, PAGE_SIZE_MAX)
    start = _token("page_token", page_token) or _token("before", before)
    page = api.store.page(replace(search, oldest_first=order == "oldest"), limit=size, after=start)
    headers = {}
    if page.next_after is not None:
        same = [(name, value) for name, value in request.query_params.multi_items() if name in _KEPT]
        query = urlencode([*same, ("page_size", size), ("page_token", page.next_after)])
        headers["Link"] = f'</sagas?{query}>; rel="next"'
    if page.unknown_versions:
        headers[LEFT_OUT] = str(len(page.unknown_versions))
    if page.damaged:
        headers[DAMAGED] = str(len(page.damaged))
        _log.error("api.sagas_damaged", count=len(page.damaged), saga_ids=[str(one) for one in page.damaged])
    return Response([api.view(instance) for instance in page.instances], headers=headers)


@get(
    "/sagas/count",
    opt=FOR_READERS,
    sync_to_thread=True,
    dependencies=_ASKED,
    responses=documented(400, 500, 503),
    summary="How many sagas there are",
    description="Of those that meet every condition. Looks at 20,000 sagas at most (of the archive at 5,000) and says"
    " where that was not enough.",
    tags=["sagas"],
)
def count_sagas(api: TheApi, search: TheSearch) -> CountView:
    found = api.store.count(search)
    return CountView(count=found.count, is_least=found.is_least)


def search_of(
    statuses: list[str] | tuple[str, ...],
    *,
    attention: bool = False,
    archived: bool = False,
    oldest_first: bool = False,
    conditions: Mapping[str, str | None],
) -> Search:
    """From texts, as people write them. Raises `WireError`, which names the condition."""
    if unknown := [one for one in statuses if one not in Status.__members__]:
        raise WireError("status", f"must be one of {', '.join(Status)}, not {unknown[0][:40]!r}")
    for name in ("saga", "step", "customer_id", "order_id", "text"):
        value = conditions.get(name)
        if value is not None and not 0 < len(value) <= TEXT_CHARS_MAX:
            raise WireError(name, f"must have 1 to {TEXT_CHARS_MAX} characters")
        if value is not None and "\0" in value:
            raise WireError(name, "holds a character that no database keeps")
    reason, since, until = (conditions.get(name) for name in ("reason", "since", "until"))
    if reason is not None and reason not in Reason.__members__:
        raise WireError("reason", f"must be one of {', '.join(Reason)}")
    return Search(
        statuses=frozenset(map(Status, statuses)),
        saga=conditions.get("saga"),
        step=conditions.get("step"),
        reason=Reason(reason) if reason is not None else None,
        customer_id=conditions.get("customer_id"),
        order_id=conditions.get("order_id"),
        attention=attention,
        archived=archived,
        since=parse_time(since, "since") if since is not None else None,
        until=parse_time(until, "until") if until is not None else None,
        text=conditions.get("text"),
        oldest_first=oldest_first,
    )


def _token(name: str, text: str | None) -> UUID | None:
    if text is None:
        return None
    found = uuid_of(text)
    if found is None:
        raise WireError(name, "must be a saga id")
    return found


ROUTES = [list_sagas, count_sagas]
