"""How this process is, and what it did: asked by a supervisor, a load balancer, Prometheus, a person.

Anybody may know which part is not well. Why is for those who may read: it names operators, their reasons, and machines.
"""

from collections.abc import Sequence

from litestar import MediaType, Response, get

from ordersaga.delivery.background import Health
from ordersaga.orchestrator.api.asking import AnyRequest, TheWatched, Watched
from ordersaga.orchestrator.api.documents import NOT_READY, documented
from ordersaga.orchestrator.api.views import HealthView, LiveView, PartView
from ordersaga.orchestrator.runtime.measuring import MEDIA_TYPE
from ordersaga.web.access import FOR_ANYBODY, FOR_READERS, may_read
from ordersaga.wire.strict_json import shown

_WHO_IS_TOLD = "`detail` says why. Where tokens are set, it is empty but for viewers, operators and admins."


@get(
    "/livez",
    opt=FOR_ANYBODY,
    sync_to_thread=False,
    summary="Whether the process lives; asks nothing else",
    tags=["health"],
)
def livez() -> LiveView:
    return LiveView()


@get(
    "/readyz",
    opt=FOR_ANYBODY,
    sync_to_thread=True,
    responses=NOT_READY,
    summary="Whether it can work",
    description=_WHO_IS_TOLD,
    tags=["health"],
)
def readyz(request: AnyRequest, watched: TheWatched) -> Response[HealthView]:
    return _health(request, watched, watched.health().parts)


@get(
    "/readyz/api",
    opt=FOR_ANYBODY,
    sync_to_thread=True,
    responses=NOT_READY,
    summary="Whether it can take orders and tell of them",
    description="What a load balancer goes by: brokers may be away meanwhile, what was taken waits for them. "
    + _WHO_IS_TOLD,
    tags=["health"],
)
def ready_to_answer(request: AnyRequest, watched: TheWatched) -> Response[HealthView]:
    return _health(request, watched, watched.health().answering)


@get(
    "/health",
    opt=FOR_ANYBODY,
    sync_to_thread=True,
    responses=NOT_READY,
    summary="The same, for people",
    description=_WHO_IS_TOLD,
    tags=["health"],
)
def health(request: AnyRequest, watched: TheWatched) -> Response[HealthView]:
    return _health(request, watched, watched.health().parts)


@get(
    "/metrics",
    opt=FOR_READERS,
    sync_to_thread=True,
    responses=documented(500, 503),
    summary="For Prometheus",
    description="Counters and histograms are of this process; gauges are of the whole: take their maximum.",
    tags=["health"],
    media_type=MediaType.TEXT,
)
def metrics(watched: TheWatched) -> Response[bytes]:
    return Response(watched.metrics(), media_type=MEDIA_TYPE)


def _health(request: AnyRequest, watched: Watched, parts: Sequence[Health]) -> Response[HealthView]:
    ready = all(part.healthy for part in parts)
    told = [_told(part, why=may_read(request)) for part in parts]
    view = HealthView(status="ready" if ready else "not ready", version=watched.version, parts=told)
    return Response(view, status_code=200 if ready else 503, headers={"Cache-Control": "no-store"})


def _told(part: Health, *, why: bool) -> PartView:
    return PartView(name=part.name, healthy=part.healthy, detail=shown(part.detail, 500) if why else "")


ROUTES = [livez, readyz, health, metrics]
