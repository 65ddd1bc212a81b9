"""The whole platform as processes on real Kafka and PostgreSQL, with proxies in front of both, where every part can be
killed, frozen, cut off and started again on the same data.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

from bench.stage import Stage
from ordersaga.demo.client import Api
from ordersaga.demo.stage import PARTICIPANTS
from ordersaga.local.ports import free_ports
from ordersaga.local.processes import Process
from tests.faults.proxy import FaultProxy

IMPATIENT = {
    "ORDERSAGA_STEP_TIMEOUT_SECONDS": "3",
    "ORDERSAGA_UNDO_TIMEOUT_SECONDS": "3",
    "ORDERSAGA_UNDO_BACKOFF_SECONDS_MAX": "3",
    "ORDERSAGA_UNDO_ATTEMPTS_MAX": "1000",
    "ORDERSAGA_OUTBOX_LEASE_SECONDS": "3",
    "ORDERSAGA_DATABASE_TIMEOUT_SECONDS": "5",
}
"""Nobody waits half a minute for a timeout; and an outage, however long, gives no saga up that is being taken back."""


class Deployment(Stage):
    """Two or more of everything, if asked. Faults on `databases` and `brokers` hit clients only."""

    def __init__(
        self,
        directory: Path,
        *,
        orchestrators: int = 1,
        participants_each: int = 1,
        participants_alone: bool = False,
        kinds: str = "full",
        nodes: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`participants_each`: how many of each participant; 0 where the caller plays them. `participants_alone`: a
        process for each of them, instead of one for all five.
        """
        super().__init__(
            directory,
            participants="none",
            orchestrators=orchestrators,
            kinds=kinds,
            nodes=nodes,
            settings={**IMPATIENT, "ORDERSAGA_LOG_LEVEL": "INFO", **(settings or {})},
        )
        self._participants_each = participants_each
        self._participants_alone = participants_alone
        self._desks = free_ports(1 + max(1, participants_each))
        self.databases: dict[str, FaultProxy] = {}
        """By who connects through it: orchestrators or participants."""
        self.brokers: list[FaultProxy] = []

    @property
    def participants(self) -> list[Process]:
        return self._processes.get("participants", [])

    @property
    def visitors(self) -> list[Process]:
        return self._processes.get("visitors", [])

    @property
    def orders_url(self) -> str:
        """Where runners accept: at the first process that has all participants."""
        return f"http://127.0.0.1:{self._desks[0]}"

    def connect(self) -> None:
        super().connect()
        for node in self.kafka.nodes:
            proxy = FaultProxy(node.ports.behind_proxy, port=node.ports.proxy, name=f"broker {node.node_id}")
            self.brokers.append(proxy)
        for name in ("orchestrators", "participants"):
            self.databases[name] = FaultProxy(self.postgres.port, name=f"database of {name}")
        self._environment["KAFKA_BOOTSTRAP_SERVERS"] = self.kafka.proxied_bootstrap_servers

    def through(self, name: str) -> str:
        """The database's URL through a proxy."""
        parts = urlsplit(self.database_url)
        account = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{account}@127.0.0.1:{self.databases[name].port}"))

    def start_orchestrator(self, number: int) -> None:
        own = {
            "DATABASE_URL": self.through("orchestrators"),
            "ORDERSAGA_HTTP_PORT": str(self._ports[number]),
            "ORDERSAGA_INSTANCE_ID": f"orchestrator-{number}",
        }
        self._start("orchestrator", "ordersaga.cli", "serve", environment=own)

    def start_participants(self) -> None:
        for number in range(self._participants_each):
            for names in ([name] for name in PARTICIPANTS) if self._participants_alone else [list(PARTICIPANTS)]:
                own = {
                    "DATABASE_URL": self.through("participants"),
                    "ORDERSAGA_INSTANCE_ID": f"participants-{number}",
                    "ORDERSAGA_PARTICIPANTS_HTTP_PORT": "0" if self._participants_alone else str(self._desks[number]),
                }
                self._start("participants", "ordersaga.cli", "participants", *names, environment=own)

    def start_visitor(self, number: int) -> Process:
        """One more worker, for a while: nobody starts it again."""
        own = {"DATABASE_URL": self.through("orchestrators"), "ORDERSAGA_INSTANCE_ID": ""}
        self._start("visitors", "ordersaga.cli", "serve", "--only", "worker", environment=own)
        return self._processes["visitors"][-1]

    def armed(self, process: Process, failpoints: str) -> None:
        """From its next start on, this process dies, fails or dawdles where `failpoints` say."""
        process.env = {**(process.env or {}), "ORDERSAGA_FAILPOINTS": failpoints}

    def takes_orders(self, number: int) -> bool:
        """Whether orchestrator `number` does, ready or not."""
        return Api(f"http://127.0.0.1:{self._ports[number]}").ready("/readyz/api")

    def heal(self) -> None:
        for proxy in [*self.brokers, *self.databases.values()]:
            proxy.heal()

    def stop(self) -> None:
        self.__exit__(None, None, None)
        for proxy in [*self.brokers, *self.databases.values()]:
            proxy.close()


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """One that servers which run as somebody else can enter."""
    with TemporaryDirectory(prefix="ordersaga-faults-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
