"""The same page as `bootstrap` for single commands, without a process of their own: what they send is published by
whichever process runs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ordersaga.as_set import sagas_of, topic_specs, topics_of
from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.protocol import Access, Bus, BusRefused
from ordersaga.connecting import Database, database_url, kafka_bus, reconciliation_of
from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.orchestrator.core.reconcile import Difference
from ordersaga.orchestrator.runtime.beginnings import at_once
from ordersaga.orchestrator.runtime.circuits import AsPosted
from ordersaga.orchestrator.runtime.counting import Counting
from ordersaga.orchestrator.runtime.dead_letters import DeadLetters
from ordersaga.orchestrator.runtime.doctor import Doctor
from ordersaga.orchestrator.runtime.doctor_access import BrokerDoor, DatabaseDoor
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.runtime.retracing import Retraced, Retracing
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.verbs import Verbs
from ordersaga.orchestrator.store import migrate as migrations
from ordersaga.orchestrator.store.archive_check import Checked
from ordersaga.orchestrator.store.archive_protocol import Archive
from ordersaga.orchestrator.store.audit import PostgresAudit, Wish
from ordersaga.orchestrator.store.board_protocol import Board
from ordersaga.orchestrator.store.erasure import PostgresErasure
from ordersaga.orchestrator.store.filing import PostgresFiling
from ordersaga.orchestrator.store.probe import probe
from ordersaga.orchestrator.store.protocol import Store, StoreError
from ordersaga.orchestrator.store.statistics_protocol import Statistics
from ordersaga.redaction import Redaction, secrets_of
from ordersaga.settings import Settings
from ordersaga.settings_reading import SettingsError
from ordersaga.smoke.asking import Service
from ordersaga.smoke.run import Smoke


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFound:
    name: str
    partitions: int | None
    """None: it is missing."""
    wanted: int
    """Partitions that it is created with."""
    created: bool
    """Now."""


def topics(settings: Settings, *, create: bool) -> Iterator[TopicFound]:
    """Every topic that there has to be. Raises `BusError`."""
    bus = kafka_bus(settings)
    try:
        created = set(bus.create_topics(topic_specs(settings))) if create else set()
        found = bus.partitions()
    finally:
        bus.close(2.0)
    for name in topics_of(settings).all():
        partitions, wanted = found.get(name), settings.kafka_partitions
        yield TopicFound(name=name, partitions=partitions, wanted=wanted, created=name in created)


def check_nobody_reads(settings: Settings) -> None:
    """Raises `BusRefused` while an orchestrator runs, `BusUnavailable`."""
    bus = kafka_bus(settings)
    try:
        found = bus.members(settings.kafka_group)
    finally:
        bus.close(2.0)
    if found:
        names = ", ".join(sorted(one.client_id for one in found))
        raise BusRefused(f"the group {settings.kafka_group} cannot go back while somebody reads for it: stop {names}")


def retrace(settings: Settings, since: datetime, *, by: str, why: str) -> Retraced:
    """Lead the sagas that are STARTED along what the log has of them since then. Raises `BusError`, `StoreError`."""
    _, store, sagas, handler = _handling(settings)
    bus = kafka_bus(settings)
    try:
        retracing = Retracing(store, handler, sagas, bus, topics_of(settings))
        return retracing.run(int(since.timestamp() * 1000), by=by, why=why)
    finally:
        bus.close(2.0)


def read_again(settings: Settings, since: datetime) -> Mapping[str, int]:
    """How many records of each topic the orchestrators read once more, which were written since then. Raises `BusError`
    while one of them runs.
    """
    bus = kafka_bus(settings)
    try:
        found = bus.read_again(settings.kafka_group, int(since.timestamp() * 1000))
    finally:
        bus.close(2.0)
    again = dict.fromkeys(topics_of(settings).answers(), 0)
    for (topic, _), count in found.items():
        again[topic] = again.get(topic, 0) + count
    return again


def migrate(settings: Settings) -> Iterator[str]:
    """A line for each migration that was applied. Raises `StoreError`."""
    applied = migrations.migrate(database_url(settings), settings.database_schema)
    yield from (f"applied {name}" for name in applied)
    yield f"the schema {settings.database_schema} is up to date"


def letters(settings: Settings) -> tuple[Store, DeadLetters]:
    """What was set aside, without a process of its own: what a replay sends is published by whichever process runs."""
    database, store, _, handler = _handling(settings)
    return store, DeadLetters(store, handler, audit=database.audit())


def at_a_terminal(settings: Settings) -> tuple[Store, Sagas, Verbs]:
    """Sagas and what people may want of them, without a process of its own; what is sent is published by another."""
    database, store, sagas, handler = _handling(settings)
    return store, sagas, Verbs(handler, at_once(handler), SystemClock(), SystemRandom(), audit=database.audit())


def _handling(settings: Settings) -> tuple[Database, Store, Sagas, Handler]:
    # The second connection is for the board, which is read while a transaction has the first.
    sagas, database = sagas_of(settings), Database(settings, "command line", connections_max=2)
    store, board = database.store(sagas), database.board()
    store.check(settings.database_timeout_seconds, to_write=False)
    gate = AsPosted(lambda: board.read(most=0).silences, silences_max=settings.circuit_silences_max)
    handler = Handler(store, sagas, lambda rows: None, topics=topics_of(settings), counting=Counting(), gate=gate)
    return database, store, sagas, handler


def doctor(settings: Settings, bus: Bus) -> Doctor:
    return _doctor(settings, bus, Database(settings, "doctor", connections_max=1))


def _doctor(settings: Settings, bus: Bus, database: Database) -> Doctor:
    return Doctor(
        store=database.store(sagas_of(settings)),
        outbox=database.outbox,
        board=database.board(),
        bus=bus,
        topics=topics_of(settings).all(),
        group=settings.kafka_group,
        read=topics_of(settings).answers(),
        at_the_database=_database_door(settings).findings,
        at_the_brokers=_broker_door(settings, bus).findings,
        redact=Redaction(secrets_of(settings)).text,
    )


def _database_door(settings: Settings) -> DatabaseDoor:
    url, schema = database_url(settings), settings.database_schema
    return DatabaseDoor(look=lambda: probe(url, schema), newest_schema=migrations.NEWEST)


def _broker_door(settings: Settings, bus: Bus) -> BrokerDoor:
    topics, group = topics_of(settings), settings.kafka_group
    read = topics.answers()
    return BrokerDoor(
        describe=bus.describe,
        access=lambda: bus.access(group) if isinstance(bus, KafkaBus) else Access({}, None),
        read=read,
        written=sorted(set(topics.all()) - set(read)),
        group=group,
        partitions=settings.kafka_partitions,
        protocol=settings.kafka_security_protocol,
    )


def smoke(settings: Settings, bus: Bus, *, orders: bool) -> Smoke:
    """Raises `SettingsError`."""
    database = Database(settings, "smoke", connections_max=2)
    token, topics = settings.smoke_token, topics_of(settings)
    return Smoke(
        doctor=_doctor(settings, bus, database),
        bus=bus,
        outbox=database.outbox,
        statistics=database.statistics(),
        topics=topics,
        group=settings.kafka_group,
        addresses=[one.strip() for one in (settings.kafka_bootstrap_servers or "").split(",") if one.strip()],
        api=Service(settings.smoke_api_url or _own_url(settings), token.get_secret_value() if token else ""),
        payments=Service(settings.smoke_payment_url) if settings.smoke_payment_url else None,
        customer_id=settings.smoke_customer_id,
        patience_seconds=settings.smoke_timeout_seconds,
        orders=orders,
    )


def _own_url(settings: Settings) -> str:
    """Who listens on every address is asked on this machine's own."""
    if not settings.http_port:
        raise SettingsError(["ORDERSAGA_HTTP_PORT is 0: say where the API is with ORDERSAGA_SMOKE_API_URL"])
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.http_host, settings.http_host)  # noqa: S104 (not listened on)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http_port}"


def reconcile(settings: Settings, *, ledger: Path | None, days: float) -> Iterator[Difference]:
    """What differs. Raises `StoreError`, `LedgerUnreadable`."""
    database = _checked(settings)
    found = reconciliation_of(settings, database, database.store(sagas_of(settings)), ledger)
    return found.differences(of=timedelta(days=days))


def board(settings: Settings) -> Board:
    """Without a process of its own."""
    return _checked(settings).board()


def statistics(settings: Settings) -> Statistics:
    """Without a process of its own."""
    return _checked(settings).statistics()


def archive(settings: Settings) -> Archive:
    """Without a process of its own."""
    return _checked(settings).archive()


def filing(settings: Settings) -> PostgresFiling | None:
    """Without a process of its own; None where the archive has no files."""
    return _checked(settings).filing()


def audit(settings: Settings) -> PostgresAudit:
    """Without a process of its own."""
    return _checked(settings).audit()


def noted(settings: Settings, *, verb: str, by: str, why: str, outcome: str) -> str:
    """In the audit, where there is one yet: why it is not there, or an empty text."""
    wish = Wish(actor=by, role="operator", verb=verb, reason=why, outcome=outcome)
    try:
        audit(settings).note(wish)
    except StoreError as error:
        return " ".join(str(error).split())
    return ""


def erasure(settings: Settings) -> PostgresErasure:
    """Without a process of its own."""
    return _checked(settings).erasure()


def check_archive(settings: Settings) -> Iterator[Checked]:
    """Raises `StoreError`."""
    return _checked(settings).check_archive(sagas_of(settings))


def _checked(settings: Settings) -> Database:
    database = Database(settings, "command line", connections_max=1)
    database.store(sagas_of(settings)).check(settings.database_timeout_seconds, to_write=False)
    return database
