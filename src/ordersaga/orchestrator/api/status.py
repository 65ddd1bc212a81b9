"""How this process is, and what it did: asked by a supervisor, a load balancer, Prometheus, a person."""

from collections.abc import Sequence

from litestar import MediaType, Response, get

from ordersaga.delivery.background import Health
from ordersaga.orchestrator.api.asking import TheWatched, Watched
from ordersaga.orchestrator.api.documents import NOT_READY, documented
from ordersaga.orchestrator.api.views import HealthView, LiveView, PartView
from ordersaga.orchestrator.runtime.measuring import MEDIA_TYPE
from ordersaga.web.access import FOR_ANYBODY, FOR_READERS
from ordersaga.wire.strict_json import shown


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
    "/readyz", opt=FOR_ANYBODY, sync_to_thread=True, responses=NOT_READY, summary="Whether it can work", tags=["health"]
)
def readyz(watched: TheWatched) -> Response[HealthView]:
    return _health(watched, watched.health().parts)


@get(
    "/readyz/api",
    opt=FOR_ANYBODY,
    sync_to_thread=True,
    responses=NOT_READY,
    summary="Whether it can take orders and tell of them",
    description="What a load balancer goes by: brokers may be away meanwhile, what was taken waits for them.",
    tags=["health"],
)
def ready_to_answer(watched: TheWatched) -> Response[HealthView]:
    return _health(watched, watched.health().answering)


@get(
    "/health",
    opt=FOR_ANYBODY,
    sync_to_thread=True,
    responses=NOT_READY,
    summary="The same, for people",
    tags=["health"],
)
def health(watched: TheWatched) -> Response[HealthView]:
    return _health(watched, watched.health().parts)


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


def _health(watched: Watched, parts: Sequence[Health]) -> Response[HealthView]:
    ready = all(part.healthy for part in parts)
    told = [PartView(name=part.name, healthy=part.healthy, detail=shown(part.detail, 500)) for part in parts]
    view = HealthView(status="ready" if ready else "not ready", version=watched.version, parts=told)
    return Response(view, status_code=200 if ready else 503, headers={"Cache-Control": "no-store"})


ROUTES = [livez, readyz, health, metrics]
