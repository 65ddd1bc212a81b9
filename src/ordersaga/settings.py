"""Everything that can be set from outside, with its unit, its limits and the reason for its default.

A setting is read from the environment (`settings_reading.read`), once, when a command starts. `DATABASE_URL` and
`KAFKA_BOOTSTRAP_SERVERS` are the names that the platform uses already; all others begin with `ORDERSAGA_`. There is no
setting that turns the verification of certificates off.

Descriptions say what a setting does, then why its default is what it is; the reference page and the error messages are
made from them.
"""

from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ordersaga.ledger_query import QUERY
from ordersaga.settings_connections import Seconds
from ordersaga.settings_smoke import SmokeSettings

PREFIX = "ORDERSAGA_"
PLATFORM_NAMES = {"database_url": "DATABASE_URL", "kafka_bootstrap_servers": "KAFKA_BOOTSTRAP_SERVERS"}
"""The two settings whose names are older than this service."""

Kind = Literal["bare", "full"]

_KIND = (
    "Whether this service recognises repeats and undoes by saga id (full) or is one that runs in production"
    " and cannot be changed (bare). "
    "Bare, since a full service treated as bare is only asked less often, while a bare one treated as full"
    " loses money."
)
_KIND_OF_NO_EFFECT = (
    f"{_KIND} It changes nothing with the sagas that there are: they ask this service for nothing that must be done"
    " once or can be taken back."
)


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PLATFORM_NAMES.get(field) or PREFIX + field.upper()


class Settings(SmokeSettings):
    """Built from keywords alone; `settings_reading.read` is what looks at the environment."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # --- the saga -----------------------------------------------------------------------------------------------

    acceptance_window_seconds: Seconds = Field(
        1800,
        description=(
            "How long an order waits for a runner before it is cancelled. The platform's promise to its"
            " customers: 30 minutes."
        ),
    )
    acceptance_window_after_reopening_seconds: Seconds = Field(
        300,
        description=(
            "The least that is left of the window when a runner gives an order back. Five minutes: enough for"
            " another one to see it."
        ),
    )
    step_timeout_seconds: Seconds = Field(
        30,
        description=(
            "How long a step's answer is waited for. A card payment may take ten seconds; a customer waits no"
            " longer than this."
        ),
    )
    step_attempts_max: int = Field(
        3,
        ge=1,
        le=100,
        description=(
            "How often a step is asked for, where repeating it is harmless. Three: a restart of the service falls"
            " between two of them."
        ),
    )
    undo_timeout_seconds: Seconds = Field(
        30, description="How long the confirmation of an undo is waited for. As long as a step's."
    )
    undo_attempts_max: int = Field(
        20,
        ge=1,
        le=10_000,
        description=(
            "How often an undo is asked for before a person is called. Money depends on it: twenty, which take about"
            " an hour (58 to 74 minutes)."
        ),
    )
    undo_backoff_seconds_max: Seconds = Field(
        300, description="The longest wait between two attempts of an undo. Five minutes: soon enough after an outage."
    )
    circuit_silences_max: int = Field(
        5,
        ge=0,
        le=1_000_000,
        description=(
            "After how many commands in a row without an answer a participant's steps are held; 0: never. Five: an"
            " outage puts few orders in doubt, one slow answer holds nobody."
        ),
    )
    hold_seconds_max: float = Field(
        120,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description=(
            "How long an order waits for a participant that answers nobody before it is given up, with nothing in"
            " doubt. Two minutes: a restart passes unnoticed, a customer does not wait longer."
        ),
    )
    sagas_started_max: int = Field(
        20_000,
        ge=1,
        le=10_000_000,
        description="Sagas on their way forward at once; above it, new orders are answered 503. Minutes of full load.",
    )
    outbox_rows_max: int = Field(
        100_000,
        ge=100,
        le=100_000_000,
        description=(
            "Messages that wait to be published; above it, new orders are answered 503. Hours without a broker at the"
            " platform's rate, and about 100 MB."
        ),
    )
    behind_seconds_max: Seconds = Field(
        1,
        description=(
            "How long an answer may wait in a process until it is read; above it, every process answers new orders 503."
            " A saga waits for five, so one second is an order of five seconds, and as long until all is as before."
        ),
    )
    start_timer: bool = Field(
        True,
        description=(
            "Whether the timer service is asked to keep the window too. On; where there is none, off saves each"
            " order two seconds."
        ),
    )
    participant_order: Kind = Field("bare", description=_KIND)
    participant_user: Kind = Field("bare", description=_KIND_OF_NO_EFFECT)
    participant_payment: Kind = Field("bare", description=_KIND)
    participant_timer: Kind = Field("bare", description=_KIND)
    participant_notification: Kind = Field("bare", description=_KIND_OF_NO_EFFECT)
    return_url: str = Field(
        "",
        max_length=2000,
        pattern=r"^(https?://\S+)?$",
        description=(
            "Where a payment provider sends a customer back to; passed on with each authorization. Empty, where"
            " none is used."
        ),
    )

    # --- which orders are taken ---------------------------------------------------------------------------------

    order_total_cents_max: int = Field(
        99_999,
        ge=50,
        le=10**12,
        description=(
            "The largest order. 999.99 is what the order service's column holds; above it, it says nothing at all."
        ),
    )
    order_address_chars_max: int = Field(
        255,
        ge=1,
        le=10_000,
        description="The longest delivery address or store address. What the order service's column holds.",
    )
    order_customer_id_chars_max: int = Field(
        36, ge=1, le=255, description="The longest customer id. What the order service's column holds."
    )
    order_items_max: int = Field(
        200, ge=1, le=10_000, description="The most kinds of items in one order. Far above what a person orders."
    )

    # --- the engine room ----------------------------------------------------------------------------------------

    worker_batch_max: int = Field(
        500,
        ge=1,
        le=10_000,
        description="Incoming records in one transaction. More gains little and makes a batch that fails dearer.",
    )
    worker_gather_seconds: float = Field(
        0.015,
        ge=0,
        le=1,
        description="How long a batch waits for company, where company is to be expected: at four records in this time"
        " or more. Below that rate nothing waits.",
    )
    orders_gather_seconds: float = Field(
        0.025,
        ge=0,
        le=1,
        description="How long new orders wait for company, to begin in one transaction, where company is to be"
        " expected: at two orders in this time or more. Below that rate none waits.",
    )
    worker_poll_timeout_seconds: Seconds = Field(
        0.5,
        description="How long a poll waits for a record. Records come at once; this bounds how fast a stop is noticed.",
    )
    deadlines_every_seconds: Seconds = Field(
        0.5, description="How often deadlines are looked for. Timeouts are seconds at least."
    )
    deadlines_batch_max: int = Field(
        200,
        ge=1,
        le=10_000,
        description="Deadlines in one transaction. Ten thousand due at once take fifty, and other work gets between.",
    )
    relay_batch_max: int = Field(
        500, ge=1, le=10_000, description="Outgoing records in one batch. The producer's rate hardly grows above it."
    )
    relay_held_max: int = Field(
        10_000,
        ge=100,
        le=1_000_000,
        description=(
            "Outgoing records held in memory; more are fetched again later. Without brokers for ten minutes, a process"
            " that held so many grew by 180 MB."
        ),
    )
    relay_scan_interval_seconds: Seconds = Field(
        3, description="How often rows of dead processes are looked for. Small beside the lease."
    )
    outbox_lease_seconds: float = Field(
        15,
        ge=1,
        le=3600,
        allow_inf_nan=False,
        description=(
            "After how long a silent process counts as dead and others publish its rows. Longer than any pause of"
            " a living one. Above five minutes, the same for all processes at any one time."
        ),
    )
    archive_after_days: float = Field(
        90,
        ge=0,
        le=36_500,
        allow_inf_nan=False,
        description=(
            "How long a saga that has ended stays where it is looked up first; 0: for ever. Ninety days: longer than a"
            " customer complains, and the tables of the running sagas stay small."
        ),
    )
    archive_forget_after_days: float = Field(
        0,
        ge=0,
        le=36_500,
        allow_inf_nan=False,
        description=(
            "How long an archived saga is kept before it is deleted for good; 0: for ever. Nobody's law is the same,"
            " so nothing is deleted unless you say so."
        ),
    )
    archive_directory: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description=(
            "Where the archive's files are, for every process that serves or works; one that all machines share. None:"
            " the archive stays in the database."
        ),
    )
    archive_files_after_days: float = Field(
        30,
        ge=0,
        le=36_500,
        allow_inf_nan=False,
        description=(
            "How long an archived saga stays in the database before it goes into a file. Thirty days: whatever still"
            " comes for it has come."
        ),
    )
    reconcile_every_hours: float = Field(
        0,
        ge=0,
        le=8760,
        allow_inf_nan=False,
        description=(
            "How often payments are compared with sagas, in hours; 0: only by `ordersaga reconcile`. Where the ledger"
            " can be read, 24 is a good number."
        ),
    )
    reconcile_database_url: SecretStr | None = Field(
        None,
        description="Where the payment service's ledger is, for a user that may only read. None: in our own database.",
    )
    reconcile_query: str = Field(
        QUERY,
        min_length=1,
        max_length=10_000,
        description=(
            "How the ledger is asked: columns payment_id, order_id, payment_intent_id, amount_cents, status; it may use"
            " %(since)s. That of the reference payment service."
        ),
    )
    stop_timeout_seconds: Seconds = Field(
        9, description="How long a stop may take. Below the ten seconds after which container runtimes kill."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="The least severe log line. One line for each that a person may want to know of."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="Of log lines on stderr. Auto: text on a terminal, JSON elsewhere."
    )
    tracing: Literal["off", "otlp"] = Field(
        "off",
        description=(
            "Whether spans are sent to a collector, by OTLP; OTEL_EXPORTER_OTLP_ENDPOINT and the other variables of"
            " OpenTelemetry say where to and how many. Off: only what a request brings along is passed on."
        ),
    )
    failpoints: str = Field("", description="Places at which the process fails on purpose, for tests. None.")

    @model_validator(mode="after")
    def _fit_together(self) -> "Settings":
        if self.auth == "none" and self.auth_tokens is not None:
            raise ValueError("ORDERSAGA_AUTH=none and ORDERSAGA_AUTH_TOKENS contradict each other: keep one")
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_sasl_username and self.kafka_sasl_password
        ):
            raise ValueError(
                "ORDERSAGA_KAFKA_SECURITY_PROTOCOL asks for SASL: set ORDERSAGA_KAFKA_SASL_USERNAME and"
                " ORDERSAGA_KAFKA_SASL_PASSWORD too"
            )
        if (self.kafka_tls_certificate_path is None) != (self.kafka_tls_key_path is None):
            raise ValueError(
                "ORDERSAGA_KAFKA_TLS_CERTIFICATE_PATH and ORDERSAGA_KAFKA_TLS_KEY_PATH belong together: set"
                " both or none"
            )
        names = [getattr(self, name) for name in type(self).model_fields if name.startswith("topic_")]
        if len(set(names)) != len(names):
            raise ValueError("two ORDERSAGA_TOPIC_... settings have one value: each topic needs a name of its own")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Keywords only: a test or the demo is not surprised by the environment that it runs in.
        return (init_settings,)
