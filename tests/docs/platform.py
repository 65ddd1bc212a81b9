"""What most pages are typed at: an orchestrator, the five services, and three orders."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ordersaga.demo.client import FINAL, Api
from ordersaga.demo.scenes import order_of
from ordersaga.local.kafka import KafkaCluster
from ordersaga.local.postgres import Postgres
from ordersaga.local.postgres_parts import find_postgres_parts
from ordersaga.local.processes import Process
from ordersaga.wire.topics import Participant
from tests.docs.playing import Ports
from tests.house_rules import ROOT
from tests.waiting import until

ALONE = ("docs/tutorial.md",)
"""Pages that begin with nothing."""
CUSTOMERS = ("alice", "declined-dora", "carol")
"""Who has ordered: confirmed, taken back, and confirmed to be cancelled."""


@dataclass(frozen=True, kw_only=True)
class Platform:
    environment: Mapping[str, str]
    ports: Ports


@contextmanager
def running(postgres: Postgres, directory: Path) -> Iterator[Platform]:
    """On brokers of its own: pages show the topics' own names."""
    ports, database_url = Ports.free(), postgres.create_database()
    try:
        with KafkaCluster.start() as kafka:
            environment = _environment(ports, database_url, kafka.bootstrap_servers)
            with _processes(environment, directory) as serve:
                _place_orders(Api(f"http://127.0.0.1:{ports.of['8080']}"), serve)
                yield Platform(environment=environment, ports=ports)
    finally:
        ports.release()
        postgres.drop_database(database_url)


def _environment(ports: Ports, database_url: str, bootstrap_servers: str) -> Mapping[str, str]:
    """All of it: what is set on the machine of whoever runs this is not on the page."""
    return {
        "PATH": f"{ROOT / '.venv' / 'bin'}:{find_postgres_parts().programs}:/usr/local/bin:/usr/bin:/bin",
        # Without the password, which local servers do not ask for: pages hand it to programs as an argument.
        "DATABASE_URL": f"postgresql://ordersaga@{database_url.rpartition('@')[2]}",
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "ORDERSAGA_INSTANCE_ID": "first",
        **{f"ORDERSAGA_PARTICIPANT_{one.name}": "full" for one in Participant},
        **ports.settings(),
    }


@contextmanager
def _processes(environment: Mapping[str, str], directory: Path) -> Iterator[Process]:
    program = str(ROOT / ".venv/bin/ordersaga")
    started = [
        Process(name, [program, name], log_path=directory / f"{name}.log", env=environment)
        for name in ("participants", "serve")
    ]
    try:
        for process in started:
            process.start()
        yield started[-1]
    finally:
        for process in reversed(started):
            process.stop(12)


def _place_orders(api: Api, serve: Process) -> None:
    serve.wait_ready(api.ready, 60)
    for customer in CUSTOMERS:
        saga_id = api.place(order_of(customer))
        until(_ended(api, saga_id), f"the order of {customer} has ended", within_seconds=60)


def _ended(api: Api, saga_id: str) -> Callable[[], bool]:
    return lambda: api.saga(saga_id)["status"] in FINAL
