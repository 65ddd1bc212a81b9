"""The ASGI application: routes, problems, cross-origin rules, limits, and the OpenAPI document at `/schema`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from litestar import Litestar, Response, Router
from litestar.config.cors import CORSConfig
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import ControllerRouterHandler

from ordersaga.orchestrator.api import searching, status
from ordersaga.orchestrator.api.asking import Api, Watched
from ordersaga.orchestrator.api.placing import place_order_of
from ordersaga.orchestrator.api.routes import ROUTES
from ordersaga.orchestrator.store.archive_files import ArchiveUnreadable
from ordersaga.orchestrator.store.protocol import BadRow, DamagedRow, StoreError, UnknownVersion
from ordersaga.tokens import Tokens
from ordersaga.web.access import FOR_ALL_ROLES, Access
from ordersaga.web.problems import (
    HANDLERS,
    RETRY_AFTER_SECONDS,
    AnyRequest,
    Refused,
    passing_trouble,
    refused,
    unexpected,
)


@dataclass(frozen=True, kw_only=True)
class AppSettings:
    cors_origins: Sequence[str] = ()
    body_bytes_max: int = 65_536
    tokens: Tokens | None = None
    """None: nobody is asked who they are."""
    read_only: bool = False


def create_app(api: Api, settings: AppSettings) -> Litestar:
    routes = [place_order_of(api, settings.body_bytes_max), status.ready_to_answer, *ROUTES]
    return _app(routes, {"api": _always(api), "watched": _always(api)}, settings, api.version)


def create_status_app(watched: Watched, settings: AppSettings) -> Litestar:
    """For a process that answers nothing but how it is."""
    return _app(status.ROUTES, {"watched": _always(watched)}, settings, watched.version)


def _always(what: Watched) -> Provide:
    return Provide(lambda: what, sync_to_thread=False)


def _app(
    routes: Sequence[ControllerRouterHandler], provided: Mapping[str, Provide], settings: AppSettings, version: str
) -> Litestar:
    return Litestar(
        route_handlers=routes,
        guards=[Access(settings.tokens, read_only=settings.read_only)],
        dependencies=provided,
        exception_handlers={
            **HANDLERS,
            StoreError: passing_trouble,
            UnknownVersion: _of_another_version,
            BadRow: unexpected,
            DamagedRow: unexpected,
            ArchiveUnreadable: passing_trouble,
        },
        cors_config=cors_of(settings.cors_origins),
        openapi_config=_openapi(version),
        request_max_body_size=settings.body_bytes_max,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )


def _of_another_version(request: AnyRequest, _: Exception) -> Response[bytes]:
    """While versions are changed, another process may know it: whoever comes again may meet that one."""
    why = "This is of a version that this process does not run. Please try again in a few seconds."
    return refused(request, Refused(503, "unknown-version", why, retry_after_seconds=RETRY_AFTER_SECONDS))


def cors_of(origins: Sequence[str]) -> CORSConfig | None:
    """None where no origin is let in: then browsers of other origins are told nothing."""
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "OPTIONS"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "traceparent", "tracestate"],
        expose_headers=["Location", "Link", "Retry-After", searching.LEFT_OUT, searching.DAMAGED],
    )


def _openapi(version: str) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Order saga orchestrator",
        version=version,
        summary="Takes orders and says what becomes of them",
        openapi_router=Router("/schema", route_handlers=[], include_in_schema=False, opt=dict(FOR_ALL_ROLES)),
        # The pages that the framework offers fetch their scripts from other sites.
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        use_handler_docstrings=False,
        create_examples=False,
    )
