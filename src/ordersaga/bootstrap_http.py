"""HTTP of the orchestrator, as set: who may ask, where it listens, and what is asked there."""

import ipaddress

from litestar.types import ASGIApp

from ordersaga.orchestrator.api.app import AppSettings, cors_of, create_app, create_status_app
from ordersaga.orchestrator.api.asking import Api, Watched
from ordersaga.orchestrator.api.orders import OrderLimits
from ordersaga.settings import Settings
from ordersaga.settings_http import token_lines
from ordersaga.settings_reading import SettingsError
from ordersaga.tokens import Tokens
from ordersaga.tracing import Tracing
from ordersaga.tracing.http import TracedHttp
from ordersaga.web.gate import TurnedAway, Unwanted
from ordersaga.web.origins import Origins
from ordersaga.web.rate import Rate
from ordersaga.web.server import HttpServer, ServerSettings


def http_of(
    settings: Settings,
    api: Api,
    tokens: Tokens | None,
    *,
    read_only: bool,
    tracing: Tracing | None,
    door: Unwanted,
    turned_away: TurnedAway,
) -> HttpServer:
    """Everything. `door`: whom it does not let in; `turned_away` is told of those."""
    app: ASGIApp = create_app(api, _served(settings, tokens, read_only=read_only))
    app = TracedHttp(app, tracing) if tracing else app
    return HttpServer(app, listening_on(settings), unwanted=door, turned_away=turned_away, origins=_origins(settings))


def status_http_of(settings: Settings, watched: Watched, tokens: Tokens | None) -> HttpServer:
    """How the process is and what it did, and nothing else."""
    app = create_status_app(watched, _served(settings, tokens, read_only=True))
    return HttpServer(app, listening_on(settings), origins=_origins(settings))


def _served(settings: Settings, tokens: Tokens | None, *, read_only: bool) -> AppSettings:
    return AppSettings(
        cors_origins=settings.http_cors_origins,
        body_bytes_max=settings.http_body_bytes_max,
        tokens=tokens,
        read_only=read_only,
    )


def _origins(settings: Settings) -> Origins:
    return Origins(cors_of(settings.http_cors_origins))


def orders_by_customer(settings: Settings) -> Rate | None:
    a_minute = settings.orders_per_customer_per_minute_max
    return Rate(a_minute / 60, a_minute) if a_minute else None


def order_limits(settings: Settings) -> OrderLimits:
    return OrderLimits(
        total_cents_max=settings.order_total_cents_max,
        address_chars_max=settings.order_address_chars_max,
        customer_id_chars_max=settings.order_customer_id_chars_max,
        items_max=settings.order_items_max,
    )


def who_may_ask(settings: Settings) -> Tokens | None:
    """None: nobody is asked who they are. Raises `SettingsError` where that would let strangers in."""
    tokens = Tokens(token_lines(settings.auth_tokens))
    if tokens:
        return tokens
    must_be_private(
        settings,
        "set ORDERSAGA_AUTH_TOKENS (`ordersaga token` makes one), or say that this is meant with ORDERSAGA_AUTH=none",
    )
    return None


def must_be_private(settings: Settings, cures: str) -> None:
    """For what asks nobody who they are. Raises `SettingsError` with the cures where strangers can reach it."""
    if settings.auth != "none" and not _is_this_machine(settings.http_host):
        raise SettingsError(
            [
                (
                    f"ORDERSAGA_HTTP_HOST={settings.http_host} is listened to by more than this machine, and nobody"
                    f" would be asked who they are: {cures}"
                )
            ]
        )


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listening_on(settings: Settings) -> ServerSettings:
    return ServerSettings(
        host=settings.http_host,
        port=settings.http_port,
        connections_max=settings.http_connections_max,
        requests_at_once_max=settings.http_requests_at_once_max,
        read_timeout_seconds=settings.http_read_timeout_seconds,
        idle_timeout_seconds=settings.http_idle_timeout_seconds,
    )
