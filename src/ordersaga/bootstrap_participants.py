"""The same page as `bootstrap`, for the reference participants: each a schema, a relay and a consumer of its own."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from time import monotonic

from litestar.types import ASGIApp

from ordersaga.as_set import topics_of
from ordersaga.bootstrap import preparations
from ordersaga.bootstrap_http import listening_on, must_be_private
from ordersaga.bus.protocol import Bus
from ordersaga.connecting import collector, database_url
from ordersaga.delivery.background import Health
from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.participants.everyone import host_of
from ordersaga.participants.host import Host
from ordersaga.participants.http import create_app as participants_app
from ordersaga.preparing import Prepared
from ordersaga.redaction import Redaction, secrets_of
from ordersaga.settings import Settings
from ordersaga.tracing.http import TracedHttp
from ordersaga.tracing.otlp import Collector
from ordersaga.web.server import HttpServer, seconds_to_answer
from ordersaga.wire.topics import Participant

_CURES = (
    "participants know no tokens. Set ORDERSAGA_HTTP_HOST=127.0.0.1, or ORDERSAGA_PARTICIPANTS_HTTP_PORT=0 to serve"
    " nobody, or say that this is meant with ORDERSAGA_AUTH=none, and then no ORDERSAGA_AUTH_TOKENS"
)


class Participants:
    """Some of the reference participants in one process, each with its own schema, relay and consumer."""

    def __init__(
        self,
        hosts: Mapping[Participant, Host],
        prepared: Sequence[Prepared],
        redaction: Redaction,
        spans: Collector | None = None,
    ) -> None:
        self.http: HttpServer | None = None
        self._redaction = redaction
        self._spans = spans
        self._hosts = hosts
        self._prepared = prepared

    def start(self) -> None:
        """Returns at once: what is not there yet is waited for in the background. Raises `CannotListen`."""
        if self.http is not None:
            self.http.start()
        for one in self._prepared:
            one.start()

    def stop(self, timeout_seconds: float) -> bool:
        end = monotonic() + timeout_seconds
        served = self.http is None or self.http.stop(seconds_to_answer(timeout_seconds))
        ended = [one.stop(max(0.1, end - monotonic())) for one in self._prepared]
        if self._spans is not None:
            self._spans.stop(max(0.1, end - monotonic()))
        return served and all(ended)

    def health(self) -> Sequence[Health]:
        """Of what is not ready yet, why; of the rest, how it is. Anybody may ask: no secret is in it."""
        found = [_how(*pair) for pair in zip(self._prepared, self._hosts.values(), strict=True)]
        return [replace(one, detail=self._redaction.text(one.detail)) for one in found]


def _how(prepared: Prepared, host: Host) -> Health:
    waits = next((one for one in (prepared.health(), prepared.besides()) if not one.healthy), None)
    return replace(waits, name=host.spec.participant.value) if waits else host.health()


def participants(
    settings: Settings,
    bus: Bus,
    *,
    names: Collection[str] = tuple(Participant),
    migrate: bool = True,
    create_topics: bool = True,
) -> Participants:
    listens = they_listen(settings)
    spans = collector(settings)

    def host(name: str) -> Host:
        return host_of(
            Participant(name),
            bus,
            database_url(settings),
            topics=topics_of(settings),
            clock=SystemClock(),
            randomness=SystemRandom(),
            lease_seconds=settings.outbox_lease_seconds,
            timeout_seconds=settings.database_timeout_seconds,
            instance_id=settings.instance_id or None,
            tracing=spans.tracing(f"{name}-service") if spans else None,
        )

    hosts = {Participant(name): host(name) for name in names}
    prepared = [
        Prepared(preparations(settings, bus, one.create_tables if migrate else None, create_topics), one)
        for one in hosts.values()
    ]
    built = Participants(hosts, prepared, Redaction(secrets_of(settings)), spans)
    if listens:
        listening = replace(listening_on(settings), port=participants_port(settings, list(hosts)))
        app: ASGIApp = participants_app(hosts, built.health)
        app = TracedHttp(app, spans.tracing("ordersaga-participants")) if spans else app
        built.http = HttpServer(app, listening)
    return built


def they_listen(settings: Settings) -> bool:
    """Whether people can ask them over HTTP. Raises `SettingsError` where strangers could, too."""
    if settings.participants_http_port:
        must_be_private(settings, _CURES)
    return bool(settings.participants_http_port)


def participants_port(settings: Settings, names: Sequence[Participant]) -> int:
    """One that runs alone has a port of its own, so that five processes need no settings."""
    alone = list(Participant).index(names[0]) + 1 if len(names) == 1 else 0
    return settings.participants_http_port + alone
