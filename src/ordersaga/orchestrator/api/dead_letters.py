"""The routes of what was set aside: looked at, taken in once more, discarded."""

from collections.abc import Callable, Mapping
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from litestar import Response, get, post
from litestar.params import PathParameter, QueryParameter, RawBody

from ordersaga.orchestrator.api.asking import AnyRequest, TheApi, operator_of
from ordersaga.orchestrator.api.documents import OperatorOperation, documented
from ordersaga.orchestrator.api.views import DeadLetterView, OrphanView, dead_letter_view, orphan_view
from ordersaga.orchestrator.runtime.dead_letters import SettledBefore
from ordersaga.orchestrator.runtime.handle import CannotBeUsed
from ordersaga.orchestrator.runtime.verbs import Actor
from ordersaga.orchestrator.store.protocol import StoredDeadLetter
from ordersaga.web.access import FOR_OPERATORS, FOR_READERS
from ordersaga.web.problems import Refused
from ordersaga.web.reading import must_be_json, read_object
from ordersaga.wire.errors import WireError

PAGE_SIZE_MAX = 100
_ID_MAX = 2**63 - 1
_SETTLED = "settled-before", "This cannot be done: it was discarded by mia: rubbish."
LetterId = Annotated[int, PathParameter(description="As the list says", ge=1, le=_ID_MAX)]
PageSize = Annotated[int, QueryParameter(description="At most 100; more is taken as 100", ge=1)]


@get(
    "/dead-letters",
    opt=FOR_READERS,
    sync_to_thread=True,
    responses=documented(400, 500, 503),
    summary="Records that could not be used, newest first",
    description='Open ones only, unless asked. Where there is more, `Link: <...>; rel="next"` says where.',
    tags=["operators"],
)
def list_dead_letters(
    api: TheApi,
    reason: Annotated[str | None, QueryParameter(description="Only these", max_length=100)] = None,
    settled: Annotated[bool, QueryParameter(description="Those that were replayed or discarded too")] = False,
    page_token: Annotated[int | None, QueryParameter(description="From a `Link`", ge=1, le=_ID_MAX)] = None,
    page_size: PageSize = PAGE_SIZE_MAX,
) -> Response[list[DeadLetterView]]:
    if reason is not None and "\0" in reason:
        raise WireError("reason", "must not have the character NUL")
    size = min(page_size, PAGE_SIZE_MAX)
    found = api.store.dead_letters(reason=reason, settled=settled, limit=size, before=page_token)
    more = {"settled": str(settled).lower(), **({"reason": reason} if reason else {})}
    headers = _link("/dead-letters", size, found[-1].id, more) if len(found) == size else {}
    return Response([dead_letter_view(one) for one in found], headers=headers)


@get(
    "/dead-letters/{letter_id:int}",
    opt=FOR_READERS,
    sync_to_thread=True,
    responses=documented(400, 404, 500, 503),
    summary="One of them",
    tags=["operators"],
)
def get_dead_letter(letter_id: LetterId, api: TheApi) -> DeadLetterView:
    return dead_letter_view(_there(api.store.dead_letter(letter_id)))


@post(
    "/dead-letters/{letter_id:int}/replay",
    opt=FOR_OPERATORS,
    status_code=200,
    sync_to_thread=True,
    operation_class=OperatorOperation,
    responses=documented(*(400, 404, 409, 413, 415, 500, 503), conflict=_SETTLED),
    summary="Take it in once more",
    description="Harmless at any time: what is known is recognised. Where it still cannot be used: 409, and why.",
    tags=["operators"],
)
def replay_dead_letter(request: AnyRequest, letter_id: LetterId, body: RawBody, api: TheApi) -> DeadLetterView:
    must_be_json(request)
    return _settled(letter_id, operator_of(request, read_object(body)), api.letters.replay)


@post(
    "/dead-letters/{letter_id:int}/discard",
    opt=FOR_OPERATORS,
    status_code=200,
    sync_to_thread=True,
    operation_class=OperatorOperation,
    responses=documented(*(400, 404, 409, 413, 415, 500, 503), conflict=_SETTLED),
    summary="Nobody needs it",
    description="It is counted no more, and forgotten after 90 days.",
    tags=["operators"],
)
def discard_dead_letter(request: AnyRequest, letter_id: LetterId, body: RawBody, api: TheApi) -> DeadLetterView:
    must_be_json(request)
    return _settled(letter_id, operator_of(request, read_object(body)), api.letters.discard)


@get(
    "/orphans",
    opt=FOR_READERS,
    sync_to_thread=True,
    responses=documented(400, 500, 503),
    summary="Answers for sagas that nobody knows, newest first",
    description="Nothing is ever undone because of one. After a restore they may be of living orders. Open ones only, "
    'unless asked. Where there is more, `Link: <...>; rel="next"` says where.',
    tags=["operators"],
)
def list_orphans(
    api: TheApi,
    saga_id: Annotated[UUID | None, QueryParameter(description="Only those for this saga")] = None,
    settled: Annotated[bool, QueryParameter(description="Those that were discarded too")] = False,
    page_token: Annotated[int | None, QueryParameter(description="From a `Link`", ge=1, le=_ID_MAX)] = None,
    page_size: PageSize = PAGE_SIZE_MAX,
) -> Response[list[OrphanView]]:
    size = min(page_size, PAGE_SIZE_MAX)
    found = api.store.orphans(saga_id=saga_id, settled=settled, limit=size, before=page_token)
    more = {"settled": str(settled).lower(), **({"saga_id": str(saga_id)} if saga_id else {})}
    headers = _link("/orphans", size, found[-1].id, more) if len(found) == size else {}
    return Response([orphan_view(one) for one in found], headers=headers)


@post(
    "/orphans/{orphan_id:int}/discard",
    opt=FOR_OPERATORS,
    status_code=200,
    sync_to_thread=True,
    operation_class=OperatorOperation,
    responses=documented(400, 404, 413, 415, 500, 503),
    summary="Somebody has seen to it",
    description="It is counted no more, and forgotten after 90 days. Nothing is sent because of it.",
    tags=["operators"],
)
def discard_orphan(request: AnyRequest, orphan_id: LetterId, body: RawBody, api: TheApi) -> OrphanView:
    must_be_json(request)
    found = api.letters.discard_orphan(orphan_id, operator_of(request, read_object(body)))
    if found is None:
        raise Refused(404, "no-such-orphan", "There is no orphan with this id.")
    return orphan_view(found)


def _link(path: str, size: int, last: int, more: Mapping[str, str]) -> dict[str, str]:
    """Where a list goes on."""
    return {"Link": f'<{path}?{urlencode({"page_size": size, "page_token": last, **more})}>; rel="next"'}


def _settled(letter_id: int, by: Actor, act: Callable[[int, Actor], StoredDeadLetter | None]) -> DeadLetterView:
    try:
        return dead_letter_view(_there(act(letter_id, by)))
    except CannotBeUsed as error:
        raise Refused(409, "still-unusable", f"It still cannot be used: {error}.") from error
    except SettledBefore as error:
        raise Refused(409, "settled-before", f"This cannot be done: {error}.") from error


def _there(found: StoredDeadLetter | None) -> StoredDeadLetter:
    if found is None:
        raise Refused(404, "no-such-dead-letter", "There is no dead letter with this id.")
    return found


ROUTES = [list_dead_letters, get_dead_letter, replay_dead_letter, discard_dead_letter, list_orphans, discard_orphan]
