"""How to reach Kafka, and how its clients are set up.

Typed where it is configured, so that a misspelt option is found before a client repeats its value in an error.
"""

import socket
import ssl
import struct
from dataclasses import dataclass, field
from typing import Any, Literal

from ordersaga.bus.kafka_selector import KafkaSelector


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
    heartbeat_interval_ms: int = 1_000
    """A member learns of a change of the group by it: with 3 s each change stops partitions for longer."""
    poll_interval_max_ms: int = 300_000
    stalled_seconds: float = 30.0
    """A consumer that has records to read and delivers none for so long is replaced."""
    stuck_seconds: float = 60.0
    """A producer with a record unacknowledged for so long is replaced."""


def common_settings(bootstrap_servers: str, security: KafkaSecurity, timings: KafkaTimings) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in bootstrap_servers.split(",")],
        "bootstrap_timeout_ms": timings.bootstrap_timeout_ms,
        "reconnect_backoff_max_ms": 1_000,
        "metadata_max_age_ms": 60_000,
        "security_protocol": security.protocol,
        "selector": KafkaSelector,
    }
    if security.protocol.endswith("SSL"):
        settings["ssl_context"] = security.ssl_context
    if security.protocol.startswith("SASL"):
        settings["sasl_mechanism"] = security.mechanism
        settings["sasl_plain_username"] = security.username
        settings["sasl_plain_password"] = security.password
    return settings


def producer_settings(compression: Literal["gzip"] | None, record_bytes_max: int) -> dict[str, Any]:
    return {
        "enable_idempotence": True,
        "acks": "all",
        # A batch that outlives it after a first try wedges the client for ever: outlast any outage instead.
        "delivery_timeout_ms": 3_600_000,
        # Records wait for company; what publishes ends that as soon as all of a call are there.
        "linger_ms": 5,
        "batch_size": 256 * 1024,
        # Some of those who read know no other compression.
        "compression_type": compression,
        "max_request_size": max(1_048_576, record_bytes_max + 1_000),
        "max_block_ms": 2_000,
        # A client that is cut off takes back what waits in its sockets: a network that heals would deliver it.
        "socket_options": [
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
        ],
        "metrics_enabled": False,
    }


def consumer_settings(group: str, instance_id: str | None, timings: KafkaTimings) -> dict[str, Any]:
    return {
        "group_id": group,
        "group_instance_id": instance_id,
        # The library's default skips what was written before the group's first member came.
        "auto_offset_reset": "earliest",
        # What a participant takes back it has not said.
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "session_timeout_ms": timings.session_timeout_ms,
        "heartbeat_interval_ms": timings.heartbeat_interval_ms,
        "max_poll_interval_ms": timings.poll_interval_max_ms,
        "metrics_enabled": False,
    }
