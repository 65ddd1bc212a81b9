"""The one page that knows every concrete class: plain constructor calls, top to bottom. Nothing here connects, and who
makes a bus closes it.

A process that writes rows publishes them itself, so each gets a relay beside whatever else it runs; a relay alone only
takes over what dead processes left.
"""

import os
import socket
import ssl
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from threading import Lock
from time import monotonic
from uuid import uuid4

import structlog

from ordersaga import __version__
from ordersaga.as_set import sagas_of, topic_specs, topics_of
from ordersaga.bus.kafka import KafkaBus, KafkaSecurity
from ordersaga.bus.protocol import Bus
from ordersaga.delivery.background import Background, Chore
from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.delivery.consume import ConsumeLoop
from ordersaga.delivery.outbox import PostgresOutbox
from ordersaga.delivery.outbox_protocol import Outbox
from ordersaga.delivery.relay import Relay
from ordersaga.delivery.relay_pace import RelayPace
from ordersaga.orchestrator.api.app import AppSettings, create_app
from ordersaga.orchestrator.api.asking import Api
from ordersaga.orchestrator.api.orders import OrderLimits
from ordersaga.orchestrator.runtime.admission import Admission, AdmissionLimits
from ordersaga.orchestrator.runtime.archiving import Archiver, ArchiveSettings
from ordersaga.orchestrator.runtime.beginnings import Beginnings
from ordersaga.orchestrator.runtime.bulletin import Bulletin
from ordersaga.orchestrator.runtime.circuits import Circuits
from ordersaga.orchestrator.runtime.counting import Counting
from ordersaga.orchestrator.runtime.dead_letters import DeadLetters
from ordersaga.orchestrator.runtime.deadlines import Deadlines, DeadlineSettings
from ordersaga.orchestrator.runtime.doctor import Doctor
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.runtime.measuring import Measures, Standing, exposition
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.service import Report, Service
from ordersaga.orchestrator.runtime.topic_watch import TopicWatch
from ordersaga.orchestrator.runtime.verbs import Verbs
from ordersaga.orchestrator.store import migrate as migrations
from ordersaga.orchestrator.store.archive import PostgresArchive
from ordersaga.orchestrator.store.archive_protocol import Archive
from ordersaga.orchestrator.store.board import PostgresBoard
from ordersaga.orchestrator.store.board_protocol import Board
from ordersaga.orchestrator.store.codec import Codec
from ordersaga.orchestrator.store.postgres import PostgresStore, open_pool
from ordersaga.orchestrator.store.protocol import Store
from ordersaga.orchestrator.store.statistics import PostgresStatistics
from ordersaga.orchestrator.store.statistics_protocol import Statistics
from ordersaga.preparing import Prepared
from ordersaga.preparing import Step as Preparation
from ordersaga.settings import Settings
from ordersaga.settings_reading import SettingsError
from ordersaga.web.server import HttpServer, ServerSettings

ALL_PARTS = frozenset({"api", "worker", "relay", "deadlines"})
HEALTH_SECONDS = 0.5
UPKEEP_EVERY_SECONDS, FOLD_EVERY_SECONDS, TRY_PARKED_EVERY_SECONDS = 24 * 3600.0, 5.0, 60.0
"""What is missed is made good the next time. Partitions are made weeks ahead; a newer version that knows what was
parked may run by now.
"""
_log = structlog.get_logger(__name__)


class App:
    """The orchestrator, or some of its parts: something to start, to stop and to ask how it is."""

    def __init__(self, service: Service, preparation: Prepared, store: PostgresStore, counting: Counting) -> None:
        self.http: HttpServer | None = None
        self._service = service
        self._counting = counting
        self._preparation = preparation
        self._store = store
        self._asking = Lock()
        self._report: tuple[float, Report] | None = None

    def start(self) -> None:
        """Returns at once: what is not there yet is waited for in the background. Raises `CannotListen`."""
        if self.http is not None:
            self.http.start()
        self._preparation.start()

    def stop(self, timeout_seconds: float) -> bool:
        end = monotonic() + timeout_seconds
        ended = self.http is None or self.http.stop(min(2.0, timeout_seconds))
        ended = self._preparation.stop(max(0.1, end - monotonic() - 0.5)) and ended
        self._store.close()
        _log.info("orchestrator.counted", **self._counting.sums())
        return ended

    def health(self) -> Report:
        """At most half a second old, so that many who ask are no burden."""
        with self._asking:
            if self._report is None or monotonic() - self._report[0] > HEALTH_SECONDS:
                found = self._service.health()
                parts = [self._preparation.health(), *found.parts]
                self._report = monotonic(), Report(ready=all(part.healthy for part in parts), parts=parts)
            return self._report[1]


def orchestrator(
    settings: Settings, bus: Bus, *, only: Collection[str] = ALL_PARTS, migrate: bool = True, create_topics: bool = True
) -> App:
    topics = topics_of(settings)
    sagas = sagas_of(settings)
    name = settings.instance_id or f"{socket.gethostname()}-{os.getpid()}"
    database = _Database(settings, name)
    outbox, store = database.outbox, database.store(sagas)
    relay = _relay(settings, bus, outbox, name)
    measures = Measures()
    counting = Counting(measures.facts)
    circuits = Circuits(silences_max=settings.circuit_silences_max)
    admission = Admission(
        AdmissionLimits(started_max=settings.sagas_started_max, outbox_rows_max=settings.outbox_rows_max)
    )
    board = database.board()
    handler = Handler(store, sagas, relay.offer, topics=topics, counting=counting, gate=circuits)
    beginnings = Beginnings(handler)
    letters = DeadLetters(store, handler)
    bulletin = Bulletin(board, circuits, admission)
    parts: list[Background] = [relay, bulletin]
    if "api" in only:
        parts.append(beginnings)
    worker = _worker(settings, bus, handler, relay, name) if "worker" in only else None
    if "deadlines" in only:
        has_heard = (lambda: worker.caught_up) if worker else None
        parts += _by_the_clock(settings, database, store, handler, letters=letters, has_heard=has_heard)
    if worker is not None:
        parts += [TopicWatch(bus, topics.all()), worker]
    service = Service(store, bus, parts, besides=(circuits.health, admission.health, bulletin.people_needed))
    url, schema = database_url(settings), settings.database_schema
    steps = preparations(settings, bus, (lambda: migrations.migrate(url, schema)) if migrate else None, create_topics)
    app = App(service, Prepared(steps, service), store, counting)
    if "api" in only:
        verbs = Verbs(handler, beginnings.begin, SystemClock(), SystemRandom(), admit=admission.check)
        standing = _standing(settings, bus, store=store, outbox=outbox, counting=counting)
        api = Api(
            store=store,
            board=board,
            statistics=database.statistics(),
            sagas=sagas,
            letters=letters,
            verbs=verbs,
            metrics=exposition(measures, standing),
            health=app.health,
            limits=_order_limits(settings),
            return_url=settings.return_url,
            version=__version__,
        )
        app.http = _http(settings, api)
    return app


def _relay(settings: Settings, bus: Bus, outbox: Outbox, name: str) -> Relay:
    pace = RelayPace(
        batch_max=settings.relay_batch_max,
        held_max=settings.relay_held_max,
        scan_interval_seconds=settings.relay_scan_interval_seconds,
    )
    # Rows of a dead process are looked for in the log first: a bare participant would do a repeated command twice.
    return Relay(bus.producer(client_id=f"ordersaga-{name}"), outbox, pace, was_written=bus.written_since)


def _by_the_clock(
    settings: Settings,
    database: "_Database",
    store: Store,
    handler: Handler,
    *,
    letters: DeadLetters,
    has_heard: Callable[[], bool] | None,
) -> list[Background]:
    """`has_heard`: None for a process that reads no answers: it goes by the clock alone."""
    looking = DeadlineSettings(every_seconds=settings.deadlines_every_seconds, batch_max=settings.deadlines_batch_max)
    return [
        Deadlines(store, handler, looking, has_heard=has_heard or (lambda: True)),
        Archiver(database.archive(), archive_settings(settings)),
        Chore("upkeep", store.upkeep, every_seconds=UPKEEP_EVERY_SECONDS),
        Chore("statistics", database.statistics().fold, every_seconds=FOLD_EVERY_SECONDS),
        Chore("parked", letters.try_parked, every_seconds=TRY_PARKED_EVERY_SECONDS),
    ]


def _worker(settings: Settings, bus: Bus, handler: Handler, relay: Relay, name: str) -> ConsumeLoop:
    consumer = bus.consumer(
        group=settings.kafka_group,
        topics=topics_of(settings).answers(),
        client_id=f"ordersaga-{name}",
        instance_id=settings.instance_id or None,
    )
    return ConsumeLoop(
        consumer,
        handler.records,
        handler.park,
        name="worker",
        hold_back=lambda: relay.full,
        batch_max=settings.worker_batch_max,
        poll_timeout_seconds=settings.worker_poll_timeout_seconds,
    )


def _standing(settings: Settings, bus: Bus, *, store: Store, outbox: Outbox, counting: Counting) -> Standing:
    rebuilds = bus.counters if isinstance(bus, KafkaBus) else {}
    return Standing(
        counting=counting, store=store, outbox=outbox, bus=bus, group=settings.kafka_group, rebuilds=rebuilds
    )


def _order_limits(settings: Settings) -> OrderLimits:
    return OrderLimits(
        total_cents_max=settings.order_total_cents_max,
        address_chars_max=settings.order_address_chars_max,
        customer_id_chars_max=settings.order_customer_id_chars_max,
        items_max=settings.order_items_max,
    )


def _http(settings: Settings, api: Api) -> HttpServer:
    served = AppSettings(cors_origins=settings.http_cors_origins, body_bytes_max=settings.http_body_bytes_max)
    return HttpServer(create_app(api, served), listening_on(settings))


def listening_on(settings: Settings) -> ServerSettings:
    return ServerSettings(
        host=settings.http_host,
        port=settings.http_port,
        connections_max=settings.http_connections_max,
        requests_at_once_max=settings.http_requests_at_once_max,
        read_timeout_seconds=settings.http_read_timeout_seconds,
        idle_timeout_seconds=settings.http_idle_timeout_seconds,
    )


def preparations(
    settings: Settings, bus: Bus, migrate: Callable[[], object] | None, create_topics: bool
) -> list[Preparation]:
    specs = topic_specs(settings)
    steps = [Preparation(name="migrate", do=migrate)] if migrate else []
    if create_topics:
        steps.append(Preparation(name="topics", do=lambda: bus.create_topics(specs), required=False))
    return steps


# --- Kafka and the database ---------------------------------------------------------------------------------------


def kafka_bus(settings: Settings) -> KafkaBus:
    assert settings.kafka_bootstrap_servers, "the command said that it needs it"
    password = settings.kafka_sasl_password
    security = KafkaSecurity(
        protocol=settings.kafka_security_protocol,
        mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_sasl_username or "",
        password=password.get_secret_value() if password else "",
        ssl_context=_ssl_context(settings) if settings.kafka_security_protocol.endswith("SSL") else None,
    )
    return KafkaBus(
        settings.kafka_bootstrap_servers,
        security=security,
        compression="gzip" if settings.kafka_compression == "gzip" else None,
    )


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    password = settings.kafka_tls_key_password
    try:
        context = ssl.create_default_context(cafile=settings.kafka_tls_ca_path)
        if settings.kafka_tls_certificate_path:
            context.load_cert_chain(
                settings.kafka_tls_certificate_path,
                settings.kafka_tls_key_path,
                # Without a password OpenSSL would ask for one at the terminal, and wait.
                password.get_secret_value() if password else "",
            )
    except (OSError, ssl.SSLError) as error:
        raise SettingsError([f"the certificates in ORDERSAGA_KAFKA_TLS_... cannot be used: {error}"]) from None
    return context


def topics(settings: Settings, *, create: bool) -> Iterator[tuple[str, int | None, bool]]:
    """Each topic, its partitions (None: missing), whether it was created now. Raises `BusError`."""
    bus = kafka_bus(settings)
    try:
        created = set(bus.create_topics(topic_specs(settings))) if create else set()
        found = bus.partitions()
    finally:
        bus.close(2.0)
    for name in topics_of(settings).all():
        yield name, found.get(name), name in created


class _Database:
    """One pool, and what is built on it."""

    def __init__(self, settings: Settings, name: str, *, connections_max: int | None = None) -> None:
        pooled, seconds = settings.database_pooler == "transaction", settings.database_timeout_seconds
        self._timeout_seconds = seconds
        self._schema = settings.database_schema if pooled else None
        self._pool = open_pool(
            database_url(settings),
            None if pooled else settings.database_schema,
            size_max=connections_max or settings.database_connections_max,
            prepares=not pooled,
            timeout_seconds=seconds,
        )
        lease_seconds = settings.outbox_lease_seconds
        self.outbox = PostgresOutbox(self._pool, uuid4(), lease_seconds=lease_seconds, name=name, schema=self._schema)

    def store(self, sagas: Sagas) -> PostgresStore:
        codec = Codec(sagas.data_types())
        return PostgresStore(self._pool, codec, self.outbox, timeout_seconds=self._timeout_seconds, schema=self._schema)

    def archive(self) -> PostgresArchive:
        return PostgresArchive(self._pool, timeout_seconds=self._timeout_seconds, schema=self._schema)

    def statistics(self) -> PostgresStatistics:
        return PostgresStatistics(self._pool, timeout_seconds=self._timeout_seconds, schema=self._schema)

    def board(self) -> PostgresBoard:
        return PostgresBoard(self._pool, timeout_seconds=self._timeout_seconds, schema=self._schema)


def letters(settings: Settings) -> tuple[Store, DeadLetters]:
    """What was set aside, without a process of its own: what a replay sends is published by whichever process runs."""
    sagas = sagas_of(settings)
    store = _Database(settings, "command line", connections_max=1).store(sagas)
    store.check(settings.database_timeout_seconds)
    handler = Handler(store, sagas, lambda rows: None, topics=topics_of(settings), counting=Counting())
    return store, DeadLetters(store, handler)


def at_a_terminal(settings: Settings) -> tuple[Store, Sagas, Verbs]:
    """Sagas and what people may want of them, without a process of its own; what is sent is published by another."""
    sagas = sagas_of(settings)
    store = _Database(settings, "command line", connections_max=1).store(sagas)
    store.check(settings.database_timeout_seconds)
    handler = Handler(store, sagas, lambda rows: None, topics=topics_of(settings), counting=Counting())
    return store, sagas, Verbs(handler, handler.begin, SystemClock(), SystemRandom())


def doctor(settings: Settings, bus: Bus) -> Doctor:
    database = _Database(settings, "doctor", connections_max=1)
    return Doctor(
        store=database.store(sagas_of(settings)),
        outbox=database.outbox,
        board=database.board(),
        bus=bus,
        topics=topics_of(settings).all(),
        group=settings.kafka_group,
    )


def board(settings: Settings) -> Board:
    """Without a process of its own."""
    return _checked(settings).board()


def statistics(settings: Settings) -> Statistics:
    """Without a process of its own."""
    return _checked(settings).statistics()


def archive(settings: Settings) -> Archive:
    """Without a process of its own."""
    return _checked(settings).archive()


def _checked(settings: Settings) -> _Database:
    database = _Database(settings, "command line", connections_max=1)
    database.store(sagas_of(settings)).check(settings.database_timeout_seconds)
    return database


def archive_settings(settings: Settings, older_than: timedelta | None = None) -> ArchiveSettings:
    after, forget = settings.archive_after_days, settings.archive_forget_after_days
    return ArchiveSettings(
        older_than=older_than if older_than is not None else timedelta(days=after) if after else None,
        forget_after=timedelta(days=forget) if forget else None,
    )


def migrate(settings: Settings) -> Iterator[str]:
    """A line for each migration that was applied. Raises `StoreError`."""
    applied = migrations.migrate(database_url(settings), settings.database_schema)
    yield from (f"applied {name}" for name in applied)
    yield f"the schema {settings.database_schema} is up to date"


def database_url(settings: Settings) -> str:
    assert settings.database_url, "the command said that it needs it"
    return settings.database_url.get_secret_value()
