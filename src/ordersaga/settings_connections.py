"""What this service is connected to: the database, Kafka, and the names of its topics. See `settings`."""

from typing import Annotated, Literal

from pydantic import Field, FilePath, SecretStr, field_validator
from pydantic_settings import BaseSettings

from ordersaga.delivery.database_address import problem_of

TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class ConnectionSettings(BaseSettings):
    """The first part of `Settings`."""

    # --- what it is connected to --------------------------------------------------------------------------------

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL, as postgresql://user:password@host:port/name. Needed to serve; no default fits."
    )
    database_schema: str = Field(
        "ordersaga",
        pattern=r"^[a-z_][a-z0-9_]{0,62}$",
        description=(
            "Schema of the orchestrator's tables. Its own, since the database may be shared with other services."
        ),
    )
    database_pooler: Literal["none", "transaction"] = Field(
        "none",
        description=(
            "Whether something like pgbouncer in transaction mode stands before the database: then nothing is prepared,"
            " and limits are set in each transaction. None: prepared statements save a tenth of the database's work."
        ),
    )
    database_connections_max: int = Field(
        12,
        ge=2,
        le=500,
        description=(
            "Connections of this process. Six are for its own work; the rest for requests that look at many rows, of"
            " which more wait, and an API needs one at least. PostgreSQL allows 100 in all."
        ),
    )
    database_timeout_seconds: Seconds = Field(
        10,
        description=(
            "How long one transaction may take before its connection is dropped. Work takes milliseconds; a"
            " frozen server is noticed no other way."
        ),
    )
    kafka_bootstrap_servers: str | None = Field(
        None, description="host:port of some brokers, separated by commas. Needed to serve; no default fits."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        description="How brokers are spoken to. Kafka's own default; use SASL_SSL or SSL outside of a private network.",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512",
        description="How user and password are proven, with SASL. The strongest that the client speaks.",
    )
    kafka_sasl_username: str | None = Field(None, description="User, with SASL.")
    kafka_sasl_password: SecretStr | None = Field(None, description="Password, with SASL.")
    kafka_tls_ca_path: FilePath | None = Field(
        None,
        description="PEM file of the authorities that sign the brokers' certificates. The system's, where not given.",
    )
    kafka_tls_certificate_path: FilePath | None = Field(
        None, description="PEM file of this client's certificate, for mutual TLS."
    )
    kafka_tls_key_path: FilePath | None = Field(
        None, description="PEM file of this client's private key, for mutual TLS."
    )
    kafka_tls_key_password: SecretStr | None = Field(None, description="Password of the private key, where it has one.")
    kafka_compression: Literal["none", "gzip"] = Field(
        "none",
        description="Of records. None: they are small, and some existing services read nothing but none and gzip.",
    )
    kafka_group: str = Field(
        "create-order-saga-orchestrator",
        min_length=1,
        max_length=249,
        description="Consumer group of the orchestrators. The platform's name for it.",
    )
    kafka_partitions: int = Field(
        6,
        ge=1,
        le=1000,
        description=(
            "Partitions of a topic that we create; existing ones are taken as they are. Also the most"
            " orchestrators that can share the work."
        ),
    )
    instance_id: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,100}$",
        description=(
            "Name of this process, unique among living ones (a pod's ordinal), so that a restart keeps its"
            " partitions. Empty: none is kept, which is always safe."
        ),
    )  # fmt: skip

    # --- topics -------------------------------------------------------------------------------------------------

    topic_order_commands: TopicName = Field(
        "order_commands", description="Commands to the order service. The platform's name, as with all topics."
    )
    topic_user_commands: TopicName = Field("user_commands", description="Commands to the user service.")
    topic_payment_commands: TopicName = Field("payment_commands", description="Commands to the payment service.")
    topic_timer_commands: TopicName = Field("timer_commands", description="Commands to the timer service.")
    topic_order_events: TopicName = Field("order_events", description="What the order service says.")
    topic_user_events: TopicName = Field("user_events", description="What the user service says.")
    topic_payment_events: TopicName = Field("payment_events", description="What the payment service says.")
    topic_timer_events: TopicName = Field("timer_events", description="What the timer service says.")
    topic_notification_events: TopicName = Field("notification_events", description="What customers are to be told.")
    topic_saga_events: TopicName = Field("saga_events", description="Each change of a saga's status, for anyone.")
    topic_saga_dead_letters: TopicName = Field(
        "saga_dead_letters", description="Incoming records that could not be used, with the reason."
    )

    @field_validator("database_url", "reconcile_database_url", check_fields=False)
    @classmethod
    def _is_an_address(cls, value: SecretStr | None) -> SecretStr | None:
        """Whatever tried to connect with one that is none would say the password in its error."""
        if value is not None and (problem := problem_of(value.get_secret_value())):
            raise ValueError(problem)
        return value
