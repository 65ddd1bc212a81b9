"""How Kafka's brokers and the database are reached, as the settings have it. Nothing here connects, and who makes a bus
closes it.
"""

import ssl
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from ordersaga.bus.kafka import KafkaBus, KafkaSecurity
from ordersaga.delivery.outbox import PostgresOutbox
from ordersaga.delivery.pool import Share
from ordersaga.delivery.vacuum import Vacuum
from ordersaga.orchestrator.core.reconcile import Payment
from ordersaga.orchestrator.runtime.reconciling import Reconciliation
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.sagas import EVERY
from ordersaga.orchestrator.store.archive import PostgresArchive
from ordersaga.orchestrator.store.archive_check import Checked, check_all
from ordersaga.orchestrator.store.archive_files import Directory
from ordersaga.orchestrator.store.archive_files_check import check_files
from ordersaga.orchestrator.store.audit import PostgresAudit
from ordersaga.orchestrator.store.board import PostgresBoard
from ordersaga.orchestrator.store.codec import Codec
from ordersaga.orchestrator.store.erasure import PostgresErasure
from ordersaga.orchestrator.store.filing import PostgresFiling
from ordersaga.orchestrator.store.ledger import from_database, from_file
from ordersaga.orchestrator.store.postgres import PostgresStore, open_pool
from ordersaga.orchestrator.store.protocol import Store
from ordersaga.orchestrator.store.statistics import PostgresStatistics
from ordersaga.settings import Settings
from ordersaga.settings_reading import SettingsError
from ordersaga.tracing.otlp import Collector, NoSdk


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


KEPT_FOR_WORK = 6
"""Connections that those who look never have: for worker, relay, deadlines, new orders, what goes on beside them, and
`/readyz`.
"""
BUSY_TABLES = ("outbox", "deadlines", "statistics_added", "in_flight_added")
"""Rows come and go in them with each step of a saga."""


class Database:
    """One pool, and what is built on it."""

    def __init__(self, settings: Settings, name: str, *, connections_max: int | None = None) -> None:
        pooled, seconds = settings.database_pooler == "transaction", settings.database_timeout_seconds
        self._timeout_seconds = seconds
        self._schema = settings.database_schema if pooled else None
        most = connections_max or settings.database_connections_max
        self.pool = open_pool(
            database_url(settings),
            None if pooled else settings.database_schema,
            size_max=most,
            prepares=not pooled,
            timeout_seconds=seconds,
        )
        self._readers = Share(self.pool, max(1, most - KEPT_FOR_WORK))
        self._directory = Directory(Path(settings.archive_directory)) if settings.archive_directory else None
        lease_seconds = settings.outbox_lease_seconds
        self.outbox = PostgresOutbox(self.pool, uuid4(), lease_seconds=lease_seconds, name=name, schema=self._schema)

    def vacuum(self) -> Vacuum:
        return Vacuum(self.pool, BUSY_TABLES, schema=self._schema)

    def store(self, sagas: Sagas) -> PostgresStore:
        codec = Codec(sagas.data_types())
        return PostgresStore(
            self.pool,
            codec,
            self.outbox,
            timeout_seconds=self._timeout_seconds,
            schema=self._schema,
            directory=self._directory,
            readers=self._readers,
        )

    def archive(self) -> PostgresArchive:
        return PostgresArchive(
            self.pool, timeout_seconds=self._timeout_seconds, schema=self._schema, directory=self._directory
        )

    def filing(self) -> PostgresFiling | None:
        """None where the archive has no files."""
        if self._directory is None:
            return None
        return PostgresFiling(self.pool, self._directory, timeout_seconds=self._timeout_seconds, schema=self._schema)

    def check_archive(self, sagas: Sagas) -> Iterator[Checked]:
        codec, seconds = Codec(sagas.data_types()), self._timeout_seconds
        yield from check_all(self.pool, codec, timeout_seconds=seconds, schema=self._schema)
        yield from check_files(self.pool, self._directory, codec, timeout_seconds=seconds, schema=self._schema)

    def audit(self) -> PostgresAudit:
        return PostgresAudit(
            self.pool, timeout_seconds=self._timeout_seconds, schema=self._schema, readers=self._readers
        )

    def erasure(self) -> PostgresErasure:
        return PostgresErasure(
            self.pool, timeout_seconds=self._timeout_seconds, schema=self._schema, directory=self._directory
        )

    def statistics(self) -> PostgresStatistics:
        return PostgresStatistics(
            self.pool, timeout_seconds=self._timeout_seconds, schema=self._schema, readers=self._readers
        )

    def board(self) -> PostgresBoard:
        return PostgresBoard(self.pool, timeout_seconds=self._timeout_seconds, schema=self._schema)


def must_leave_some_to_look(settings: Settings) -> None:
    """For who serves the API. Raises `SettingsError` where the work itself needs every connection that is allowed."""
    most, at_once = settings.database_connections_max, settings.http_requests_at_once_max
    if most <= KEPT_FOR_WORK:
        raise SettingsError(
            [
                (
                    f"ORDERSAGA_DATABASE_CONNECTIONS_MAX={most} leaves none to requests that look at sagas, of which"
                    f" ORDERSAGA_HTTP_REQUESTS_AT_ONCE_MAX={at_once} lets so many in: {KEPT_FOR_WORK} are for the work"
                    f" itself, so give {KEPT_FOR_WORK + 1} or more"
                )
            ]
        )


def reconciliation_of(
    settings: Settings, database: Database, store: Store, ledger: Path | None = None
) -> Reconciliation:
    """`ledger`: a file that is read and not what the settings name."""
    own = settings.reconcile_database_url
    url = own.get_secret_value() if own else database_url(settings)

    def payments(since: datetime) -> Iterator[Payment]:
        return from_file(ledger) if ledger else from_database(url, settings.reconcile_query, since=since)

    money = {one.name: one.money for one in EVERY if one.money}
    return Reconciliation(store=store, archive=database.archive(), payments=payments, money=money)


def collector(settings: Settings) -> Collector | None:
    """Where spans go to. Raises `SettingsError`."""
    try:
        return Collector() if settings.tracing == "otlp" else None
    except NoSdk as error:
        raise SettingsError([f"ORDERSAGA_TRACING=otlp: {error}"]) from None


def database_url(settings: Settings) -> str:
    assert settings.database_url, "the command said that it needs it"
    return settings.database_url.get_secret_value()
