"""The trail of what operators did, asked for and were refused: `GET /audit`."""

from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from litestar import Response, get
from litestar.params import QueryParameter
from msgspec import Struct

from ordersaga.orchestrator.api.asking import TheApi
from ordersaga.orchestrator.api.documents import documented
from ordersaga.orchestrator.store.audit import Noted
from ordersaga.web.access import FOR_OPERATORS

PAGE_SIZE_MAX = 100
_ID_MAX = 2**63 - 1


class AuditView(Struct, frozen=True, kw_only=True):
    id: int
    at: datetime
    actor: str
    role: str
    verb: str
    saga_id: str | None
    reason: str
    outcome: str
    """What came of it; of what was refused, why."""


@get(
    "/audit",
    opt=FOR_OPERATORS,
    sync_to_thread=True,
    responses=documented(400, 500, 503),
    summary="What operators did, asked for and were refused, newest first",
    description='Nothing in it is ever changed. Where there is more, `Link: <...>; rel="next"` says where.',
    tags=["operators"],
)
def list_audit(
    api: TheApi,
    saga_id: Annotated[UUID | None, QueryParameter(description="Only what was wished for this saga")] = None,
    page_token: Annotated[int | None, QueryParameter(description="From a `Link`", ge=1, le=_ID_MAX)] = None,
    page_size: Annotated[int, QueryParameter(description="At most 100; more is taken as 100", ge=1)] = PAGE_SIZE_MAX,
) -> Response[list[AuditView]]:
    size = min(page_size, PAGE_SIZE_MAX)
    found = api.audit.page(saga_id=saga_id, limit=size, before=page_token)
    headers = {}
    if len(found) == size:
        query = {"page_size": size, "page_token": found[-1].id} | ({"saga_id": saga_id} if saga_id else {})
        headers["Link"] = f'</audit?{urlencode(query)}>; rel="next"'
    return Response([_view(one) for one in found], headers=headers)


def _view(noted: Noted) -> AuditView:
    wish = noted.wish
    return AuditView(
        id=noted.id,
        at=noted.at,
        actor=wish.actor,
        role=wish.role,
        verb=wish.verb,
        saga_id=str(wish.saga_id) if wish.saga_id else None,
        reason=wish.reason,
        outcome=wish.outcome,
    )


ROUTES = [list_audit]
