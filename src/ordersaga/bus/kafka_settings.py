"""How to reach Kafka. Typed here, so that a misspelt option is found before a client repeats its value in an error."""

import ssl
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class KafkaSecurity:
    """Default: no encryption and no password. Certificates go into `ssl_context`, host name check included."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str = ""
    password: str = field(default="", repr=False)
    ssl_context: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        if self.protocol.startswith("SASL") and not (self.username and self.password):
            raise ValueError(f"{self.protocol} needs a user name and a password")
        if self.protocol.endswith("SSL") and self.ssl_context is None:
            raise ValueError(f"{self.protocol} needs an ssl_context")


@dataclass(frozen=True, kw_only=True, slots=True)
class KafkaTimings:
    """Defaults for production; tests of failures use shorter ones."""

    bootstrap_timeout_ms: int = 5_000
    """One attempt to connect. Others follow."""
    session_timeout_ms: int = 10_000
    """After this, the partitions of a killed member move. The library's 45 s would be felt by customers."""
    heartbeat_interval_ms: int = 3_000
    poll_interval_max_ms: int = 300_000
    stalled_seconds: float = 30.0
    """A consumer that has records to read and delivers none for so long is replaced."""
    stuck_seconds: float = 60.0
    """A producer with a record unacknowledged for so long is replaced."""
