"""Where the demo plays: all in one process beside an embedded PostgreSQL, or real parts, a process each.

Both stages are processes of this machine on 127.0.0.1, and end with the demo. Whatever servers and settings the
environment names, they have their own: a demo that joined a live cluster would read its answers and do its commands.
What they have in common: `start`, `crash` (SIGKILL to the orchestrator), `restart`, `stop`, and the URL of the
orchestrator's API.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Protocol

from ordersaga.demo.client import Api
from ordersaga.demo.scenes import LONGER_WINDOW_SECONDS, WINDOW_SECONDS
from ordersaga.local.kafka import KafkaCluster
from ordersaga.local.ports import free_ports
from ordersaga.local.postgres import PostgresServer
from ordersaga.local.processes import Process
from ordersaga.settings_reading import without_settings

PARTICIPANTS = ("order", "user", "payment", "timer", "notification")
IMPATIENT = {
    "ORDERSAGA_STEP_TIMEOUT_SECONDS": "3",
    "ORDERSAGA_OUTBOX_LEASE_SECONDS": "2",
    "ORDERSAGA_LOG_LEVEL": "WARNING",
    **{f"ORDERSAGA_PARTICIPANT_{name.upper()}": "full" for name in PARTICIPANTS},
}
"""The reference participants recognise repeats; and nobody wants to wait long until a dead process counts as dead."""
READY_SECONDS = 120.0
STOP_SECONDS = 12.0


class Stage(Protocol):
    title: str

    def start(self) -> None: ...

    def crash(self) -> None:
        """SIGKILL to the orchestrator."""

    def restart(self) -> None:
        """Start the orchestrator again, with the longer window from now on, and wait until it is ready."""

    def stop(self) -> None: ...

    @property
    def url(self) -> str: ...

    @property
    def orders_url(self) -> str:
        """Of the order service, where runners accept."""


class OneProcess:
    """Orchestrator, participants and an in-memory bus in one child process; PostgreSQL from its wheel."""

    title = "embedded PostgreSQL, an in-memory bus, the orchestrator and five participants in one process"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port, self._participants_port = free_ports(2)
        self._database: PostgresServer | None = None
        self._environment: dict[str, str] = {}
        self._child: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def orders_url(self) -> str:
        return f"http://127.0.0.1:{self._participants_port}"

    def start(self) -> None:
        self._database = PostgresServer.start(self._directory / "postgres")
        self._environment = {
            "DATABASE_URL": self._database.create_database(),
            "ORDERSAGA_HTTP_PORT": str(self._port),
            "ORDERSAGA_PARTICIPANTS_HTTP_PORT": str(self._participants_port),
        }
        self._start(WINDOW_SECONDS)

    def crash(self) -> None:
        assert self._child
        self._child.kill()

    def restart(self) -> None:
        self._start(LONGER_WINDOW_SECONDS)

    def _start(self, window_seconds: int) -> None:
        environment = self._environment | _window(window_seconds)
        self._child = _python("ordersaga.demo.child", environment, self._directory / "demo.log")
        self._child.start()
        self._child.wait_ready(Api(self.url).ready, READY_SECONDS)

    def stop(self) -> None:
        _stop(self._database, self._child)


class RealParts:
    """Apache Kafka and PostgreSQL as servers; the orchestrator and each participant a process of its own."""

    title = "Apache Kafka, PostgreSQL, the orchestrator and each of five participants: a process each"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port, *self._participants_ports = free_ports(1 + len(PARTICIPANTS))
        self._database: PostgresServer | None = None
        self._kafka: KafkaCluster | None = None
        self._environment: dict[str, str] = {}
        self._orchestrator: Process | None = None
        self._participants: list[Process] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def orders_url(self) -> str:
        return f"http://127.0.0.1:{self._participants_ports[0]}"

    def start(self) -> None:
        self._kafka = KafkaCluster.start(directory=self._directory / "kafka")
        self._database = PostgresServer.start(self._directory / "postgres")
        self._environment = {
            "DATABASE_URL": self._database.create_database(),
            "KAFKA_BOOTSTRAP_SERVERS": self._kafka.bootstrap_servers,
            "ORDERSAGA_HTTP_PORT": str(self._port),
            # With a name of its own a member that comes back has its partitions at once.
            "ORDERSAGA_INSTANCE_ID": "orchestrator-1",
        }
        self._start(WINDOW_SECONDS)
        for number, name in enumerate(PARTICIPANTS):
            log = self._directory / f"{name}.log"
            # One that runs alone listens at this port plus its number.
            own = {"ORDERSAGA_PARTICIPANTS_HTTP_PORT": str(self._participants_ports[number] - number - 1)}
            process = _python("ordersaga.cli", self._environment | own, log, "participants", name)
            process.start()
            self._participants.append(process)
        for process, port in zip(self._participants, self._participants_ports, strict=True):
            participant = Api(f"http://127.0.0.1:{port}")
            process.wait_ready(partial(participant.ready, "/health"), READY_SECONDS)

    def crash(self) -> None:
        assert self._orchestrator
        self._orchestrator.kill()

    def restart(self) -> None:
        self._start(LONGER_WINDOW_SECONDS)

    def _start(self, window_seconds: int) -> None:
        environment = self._environment | _window(window_seconds)
        self._orchestrator = _python("ordersaga.cli", environment, self._directory / "serve.log", "serve")
        self._orchestrator.start()
        self._orchestrator.wait_ready(Api(self.url).ready, READY_SECONDS)

    def stop(self) -> None:
        _stop(self._kafka, self._database, *reversed(self._participants), self._orchestrator)


def _stop(*begun: KafkaCluster | PostgresServer | Process | None) -> None:
    """The last first, and each, whatever comes of the others."""
    with ExitStack() as ending:
        for one in begun:
            if isinstance(one, Process):
                ending.callback(one.stop, STOP_SECONDS)
            elif one is not None:
                ending.callback(one.stop)


def _window(seconds: int) -> dict[str, str]:
    return {"ORDERSAGA_ACCEPTANCE_WINDOW_SECONDS": str(seconds)}


def _python(module: str, environment: Mapping[str, str], log: Path, *arguments: str) -> Process:
    argv = [sys.executable, "-m", module, *arguments]
    return Process(log.stem, argv, env={**without_settings(os.environ), **IMPATIENT, **environment}, log_path=log)
