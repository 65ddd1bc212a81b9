"""The one page that knows every concrete class: plain constructor calls, top to bottom. Nothing here connects, and who
makes a bus closes it.

A process that writes rows publishes them itself, so each gets a relay beside whatever else it runs; a relay alone only
takes over what dead processes left.
"""

import os
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from time import monotonic

import structlog

from ordersaga import __version__
from ordersaga.as_set import archive_settings, sagas_of, topic_specs, topics_of
from ordersaga.bootstrap_http import http_of, order_limits, orders_by_customer, status_http_of, who_may_ask
from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.protocol import Bus
from ordersaga.connecting import Database, collector, database_url, must_leave_some_to_look, reconciliation_of
from ordersaga.delivery.background import Background, Chore
from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.delivery.consume import ConsumeLoop
from ordersaga.delivery.outbox_protocol import Outbox
from ordersaga.delivery.relay import Relay
from ordersaga.delivery.relay_pace import RelayPace
from ordersaga.delivery.vacuum import VACUUM_EVERY_SECONDS
from ordersaga.orchestrator.api.asking import Api, Watched
from ordersaga.orchestrator.api.placing import orders_turned_away, orders_while
from ordersaga.orchestrator.runtime.admission import Admission, AdmissionLimits
from ordersaga.orchestrator.runtime.archiving import Archiver
from ordersaga.orchestrator.runtime.beginnings import Beginnings
from ordersaga.orchestrator.runtime.bulletin import Bulletin
from ordersaga.orchestrator.runtime.circuits import Circuits
from ordersaga.orchestrator.runtime.counting import Counting
from ordersaga.orchestrator.runtime.dead_letters import DeadLetters
from ordersaga.orchestrator.runtime.deadlines import Deadlines, DeadlineSettings
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.runtime.hearing import Hearing
from ordersaga.orchestrator.runtime.measuring import Measures, Standing, exposition
from ordersaga.orchestrator.runtime.pausing import Pausing
from ordersaga.orchestrator.runtime.reconciling import Reconciler
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.service import Report, Service
from ordersaga.orchestrator.runtime.step_spans import StepSpans
from ordersaga.orchestrator.runtime.topic_watch import TopicWatch
from ordersaga.orchestrator.runtime.twins import Twins
from ordersaga.orchestrator.runtime.verbs import Verbs
from ordersaga.orchestrator.store import migrate as migrations
from ordersaga.orchestrator.store.postgres import PostgresStore
from ordersaga.orchestrator.store.protocol import Store
from ordersaga.preparing import Prepared
from ordersaga.preparing import Step as Preparation
from ordersaga.redaction import Redaction, secrets_of
from ordersaga.settings import Settings
from ordersaga.tracing import Tracing
from ordersaga.web.server import HttpServer, seconds_to_answer

ALL_PARTS = frozenset({"api", "worker", "relay", "deadlines", "status"})
HEALTH_SECONDS = 0.5
LOOK_SECONDS = 2.0
"""For the database to say that it is there, before the worker joins its group again."""
UPKEEP_EVERY_SECONDS, FOLD_EVERY_SECONDS, TRY_PARKED_EVERY_SECONDS = 24 * 3600.0, 5.0, 60.0
"""What is missed is made good the next time. Partitions are made weeks ahead; a newer version that knows what was
parked may run by now.
"""
_log = structlog.get_logger(__name__)


class App:
    """The orchestrator, or some of its parts: something to start, to stop and to ask how it is."""

    def __init__(
        self,
        service: Service,
        preparation: Prepared,
        store: PostgresStore,
        counting: Counting,
        *,
        redaction: Redaction,
        tracing: Tracing | None = None,
    ) -> None:
        self.http: HttpServer | None = None
        self._redaction = redaction
        self._tracing = tracing
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
        ended = self.http is None or self.http.stop(seconds_to_answer(timeout_seconds))
        ended = self._preparation.stop(max(0.1, end - monotonic() - 0.5)) and ended
        self._store.close()
        if self._tracing is not None:
            self._tracing.stop(max(0.1, end - monotonic()))
        _log.info("orchestrator.counted", **self._counting.sums())
        return ended

    def health(self) -> Report:
        """At most half a second old, so that many who ask are no burden. Anybody may ask: no secret is in it."""
        with self._asking:
            if self._report is None or monotonic() - self._report[0] > HEALTH_SECONDS:
                found = self._service.health()
                parts = [self._preparation.health(), self._preparation.besides(), *found.parts]
                told = [replace(part, detail=self._redaction.text(part.detail)) for part in parts]
                self._report = monotonic(), Report(parts=told)
            return self._report[1]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What of it runs in one process."""

    only: Collection[str] = ALL_PARTS
    migrate: bool = True
    create_topics: bool = True
    changes: bool = True
    """Otherwise nothing is sent, and who asks for a change is refused."""


EVERYTHING = Run()
LOOKING = Run(only=("api",), migrate=False, create_topics=False, changes=False)


def orchestrator(settings: Settings, bus: Bus, run: Run = EVERYTHING) -> App:
    only = frozenset(run.only)
    tokens = who_may_ask(settings) if only & {"api", "status"} else None
    if "api" in only:
        must_leave_some_to_look(settings)
    topics, sagas, tracing = topics_of(settings), sagas_of(settings), _tracing(settings)
    name = settings.instance_id or f"{socket.gethostname()}-{os.getpid()}"
    database = Database(settings, name)
    outbox, store = database.outbox, database.store(sagas)
    spans = StepSpans(tracing) if tracing else None
    relay = _relay(settings, bus, outbox, name, tracing=tracing)
    measures = Measures()
    counting = Counting(measures.facts)
    circuits, hearing = _circuits(settings), _hearing(settings, bus)
    pausing = _pausing(hearing, measures)
    handler = Handler(store, sagas, relay.offer, topics=topics, counting=counting, gate=circuits, spans=spans)
    beginnings = Beginnings(handler, gather_seconds=settings.orders_gather_seconds)
    letters = DeadLetters(store, handler, audit=database.audit())
    reads = partial(_worker, settings, bus, handler, relay, name, pausing=pausing, tracing=tracing, measures=measures)
    worker = reads(reachable=partial(store.check, LOOK_SECONDS, remembered=False)) if "worker" in only else None
    admission = _admission(settings, worker)
    bulletin = Bulletin(database.board(), circuits, admission, pausing, process=name, takes_orders="api" in only)
    parts: list[Background] = [relay, bulletin, *([beginnings] if "api" in only else [])] if run.changes else []
    if "deadlines" in only:
        parts += _by_the_clock(
            settings, database, store, handler, letters=letters, worker=worker, pausing=pausing, hearing=hearing
        )
        parts += _reconciler(settings, database, store, measures)
    if worker is not None:
        parts += [TopicWatch(bus, topics.all()), worker]
    besides = [circuits.health, pausing.health, bulletin.people_needed, *([admission.health] if run.changes else [])]
    service = Service(store, bus, parts, besides=besides, changes=run.changes)
    preparation, redaction = _prepared(settings, bus, run, service), Redaction(secrets_of(settings))
    app = App(service, preparation, store, counting, redaction=redaction, tracing=tracing)
    standing = _standing(settings, bus, database, store=store, counting=counting, changes=run.changes)
    standing = replace(standing, relay=relay.figures, worker=worker.figures if worker else None)
    metrics = exposition(measures, standing)
    watched = Watched(health=app.health, metrics=metrics, version=__version__)
    if "api" in only:
        admit = measures.admitting(admission.check)
        verbs = Verbs(handler, beginnings.begin, SystemClock(), SystemRandom(), admit=admit, audit=database.audit())
        twins = Twins(measures.same_again)
        api = _api(settings, database, watched, store=store, sagas=sagas, letters=letters, verbs=verbs, twins=twins)
        door, told = orders_while(admission.falls_behind), orders_turned_away(measures.refused)
        app.http = http_of(
            settings, api, tokens, read_only=not run.changes, tracing=tracing, door=door, turned_away=told
        )
    elif "status" in only:
        app.http = status_http_of(settings, watched, tokens)
    return app


def _api(
    settings: Settings,
    database: Database,
    watched: Watched,
    *,
    store: Store,
    sagas: Sagas,
    letters: DeadLetters,
    verbs: Verbs,
    twins: Twins,
) -> Api:
    return Api(
        store=store,
        board=database.board(),
        statistics=database.statistics(),
        audit=database.audit(),
        sagas=sagas,
        letters=letters,
        verbs=verbs,
        metrics=watched.metrics,
        health=watched.health,
        limits=order_limits(settings),
        return_url=settings.return_url,
        orders_by_customer=orders_by_customer(settings),
        twins=twins,
        version=watched.version,
    )


def _prepared(settings: Settings, bus: Bus, run: Run, service: Service) -> Prepared:
    url, schema = database_url(settings), settings.database_schema
    migrate = (lambda: migrations.migrate(url, schema)) if run.migrate else None
    return Prepared(preparations(settings, bus, migrate, run.create_topics), service)


def _relay(settings: Settings, bus: Bus, outbox: Outbox, name: str, *, tracing: Tracing | None) -> Relay:
    pace = RelayPace(
        batch_max=settings.relay_batch_max,
        held_max=settings.relay_held_max,
        scan_interval_seconds=settings.relay_scan_interval_seconds,
    )
    # Rows of a dead process are looked for in the log first: a bare participant would do a repeated command twice.
    producer = bus.producer(client_id=f"ordersaga-{name}")
    producer = tracing.producer(producer) if tracing else producer
    return Relay(producer, outbox, pace, was_written=bus.written_since)


def _tracing(settings: Settings) -> Tracing | None:
    spans = collector(settings)
    return spans.tracing("ordersaga") if spans else None


def _circuits(settings: Settings) -> Circuits:
    return Circuits(silences_max=settings.circuit_silences_max)


def _admission(settings: Settings, worker: ConsumeLoop | None) -> Admission:
    limits = AdmissionLimits(
        started_max=settings.sagas_started_max,
        outbox_rows_max=settings.outbox_rows_max,
        behind_seconds_max=settings.behind_seconds_max,
    )
    return Admission(limits, (lambda: worker.behind_seconds) if worker else (lambda: 0.0))


def _hearing(settings: Settings, bus: Bus) -> Hearing:
    read = topics_of(settings).answers()
    return Hearing(lambda: bus.group_reads(settings.kafka_group, read))


def _pausing(hearing: Hearing, measures: Measures) -> Pausing:
    pausing = Pausing(hearing.heard_at)
    measures.paused_while(lambda: pausing.wanted)
    return pausing


def _by_the_clock(
    settings: Settings,
    database: Database,
    store: Store,
    handler: Handler,
    *,
    letters: DeadLetters,
    worker: ConsumeLoop | None,
    pausing: Pausing,
    hearing: Hearing,
) -> list[Background]:
    """`worker`: None for a process that reads no answers: how far the others are the brokers tell it."""
    has_heard = (lambda: worker.caught_up) if worker else hearing.is_up_to_date
    is_crowded = (lambda: worker.crowded) if worker else (lambda: False)
    looking = DeadlineSettings(every_seconds=settings.deadlines_every_seconds, batch_max=settings.deadlines_batch_max)
    return [
        hearing,
        Deadlines(
            store,
            handler,
            looking,
            has_heard=has_heard,
            is_cut_off=(lambda: worker.cut_off) if worker else (lambda: False),
            is_crowded=is_crowded,
            is_held=pausing.holds_deadlines,
            hearing=hearing,
        ),
        Archiver(database.archive(), archive_settings(settings), filing=database.filing()),
        Chore("upkeep", store.upkeep, every_seconds=UPKEEP_EVERY_SECONDS),
        Chore("statistics", database.statistics().fold, every_seconds=FOLD_EVERY_SECONDS),
        Chore("vacuum", database.vacuum().run, every_seconds=VACUUM_EVERY_SECONDS),
        Chore("parked", letters.try_parked, every_seconds=TRY_PARKED_EVERY_SECONDS),
    ]


def _reconciler(settings: Settings, database: Database, store: Store, measures: Measures) -> list[Background]:
    if not settings.reconcile_every_hours:
        return []
    reconciliation = reconciliation_of(settings, database, store)
    every_seconds = settings.reconcile_every_hours * 3600
    measures.reconciles(every_seconds)
    return [Reconciler(reconciliation, every_seconds=every_seconds, told=measures.reconciled)]


def _worker(
    settings: Settings,
    bus: Bus,
    handler: Handler,
    relay: Relay,
    name: str,
    *,
    pausing: Pausing,
    tracing: Tracing | None,
    measures: Measures,
    reachable: Callable[[], object],
) -> ConsumeLoop:
    handle = tracing.handling(handler.records, settings.kafka_group) if tracing else handler.records
    consumer = bus.consumer(
        group=settings.kafka_group,
        topics=topics_of(settings).answers(),
        client_id=f"ordersaga-{name}",
        instance_id=settings.instance_id or None,
    )
    return ConsumeLoop(
        consumer,
        measures.timed(handle),
        handler.park,
        name="worker",
        hold_back=lambda: relay.full or pausing.paused,
        reachable=reachable,
        batch_max=settings.worker_batch_max,
        gather_seconds=settings.worker_gather_seconds,
        poll_timeout_seconds=settings.worker_poll_timeout_seconds,
    )


def _standing(
    settings: Settings, bus: Bus, database: Database, *, store: Store, counting: Counting, changes: bool
) -> Standing:
    kafka = bus.counters if isinstance(bus, KafkaBus) else {}
    return Standing(
        counting=counting,
        store=store,
        outbox=database.outbox,
        bus=bus,
        group=settings.kafka_group,
        topics=topics_of(settings).answers(),
        kafka=kafka,
        changes=changes,
    )


def preparations(
    settings: Settings, bus: Bus, migrate: Callable[[], object] | None, create_topics: bool
) -> list[Preparation]:
    specs = topic_specs(settings)
    steps = [Preparation(name="migrate", do=migrate)] if migrate else []
    if create_topics:
        steps.append(Preparation(name="topics", do=lambda: bus.create_topics(specs), required=False))
    return steps
