"""`ordersaga smoke` against the platform as processes of their own on Apache Kafka (three brokers) and on PostgreSQL,
once with nothing wrong, then with one thing wrong at a time, each mended before the next.

    python -m tests.smoke.rounds [--image DIRECTORY]

Prints each round's output, as a person would see it. `--image`: the program is run inside the file system that
`tools/image.py build` made there, as its user and read-only.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.protocol import BusUnavailable
from ordersaga.demo.client import Api
from ordersaga.demo.stage import PARTICIPANTS
from ordersaga.local.ports import free_ports
from ordersaga.local.processes import Process
from ordersaga.orchestrator.store.migrate import NEWEST
from ordersaga.tokens import Role, new_token
from tests.faults.deployment import Deployment, temporary_directory
from tests.waiting import until

GROUP, DEAD_LETTERS = "create-order-saga-orchestrator", "saga_dead_letters"
IMAGE = Path(__file__).parents[2] / "tools" / "image.py"
PATIENCE_SECONDS = 6
SECONDS_MAX = 120.0


class Services(Deployment):
    """Two orchestrators, and each participant by itself, the payment service where it can be asked."""

    def start_participants(self) -> None:
        self.payment_port, *self.spare_ports = free_ports(4)
        for name in PARTICIPANTS:
            # One that runs alone listens at this port plus its number.
            port = self.payment_port - PARTICIPANTS.index(name) - 1 if name == "payment" else 0
            own = {"DATABASE_URL": self.through("participants"), "ORDERSAGA_PARTICIPANTS_HTTP_PORT": str(port)}
            self._start("participants", "ordersaga.cli", "participants", name, environment=own)

    def start_api(self, *arguments: str, port: int, **settings: str) -> Process:
        """One more process, with its own arguments; returns when it is ready."""
        own = {"DATABASE_URL": self.through("orchestrators"), "ORDERSAGA_HTTP_PORT": str(port), **settings}
        self._start("visitors", "ordersaga.cli", "serve", *arguments, environment=own)
        process = self.visitors[-1]
        return process.wait_ready(Api(f"http://127.0.0.1:{port}").ready, 60.0)

    def stop_orchestrators(self) -> None:
        for process in self.orchestrators:
            process.stop(12.0)

    def restart_orchestrators(self) -> None:
        for number, process in enumerate(self.orchestrators):
            process.start()
            self.wait_ready(number)

    def participant(self, name: str) -> Process:
        return self.participants[PARTICIPANTS.index(name)]


@dataclass
class Told:
    """What one round printed."""

    title: str
    code: int
    text: str


@dataclass
class Rounds:
    services: Services
    image: Path | None = None

    def smoke(self, title: str, **more: str) -> Told:
        given = self.services.environment
        environment = {name: value for name, value in given.items() if name.startswith("ORDERSAGA_")} | {
            "KAFKA_BOOTSTRAP_SERVERS": self.services.kafka.bootstrap_servers,
            "DATABASE_URL": self.services.database_url,
            "ORDERSAGA_SMOKE_API_URL": self.services.urls[0],
            "ORDERSAGA_SMOKE_PAYMENT_URL": f"http://127.0.0.1:{self.services.payment_port}",
            "ORDERSAGA_SMOKE_TIMEOUT_SECONDS": str(PATIENCE_SECONDS),
            **more,
        }
        done = subprocess.run(
            self._command(environment),
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
        )
        return Told(title, done.returncode, done.stdout + done.stderr)

    def _command(self, environment: Mapping[str, str]) -> list[str]:
        if self.image is None:
            return [sys.executable, "-m", "ordersaga.cli", "smoke"]
        return [sys.executable, str(IMAGE), "run", str(self.image), *environment, "--", "ordersaga", "smoke"]

    def all(self) -> Iterator[Told]:
        yield self.smoke("nothing wrong")
        for title, round_of in ROUNDS.items():
            with round_of(self) as more:
                yield self.smoke(title, **more)
        self._until_all_is_taken_back()
        yield self.smoke("nothing wrong any more")
        with _topic_gone(self) as more:
            yield self.smoke("a topic is missing", **more)

    def _until_all_is_taken_back(self) -> None:
        """What a round left open, since a service was silent, is taken back once it answers."""
        with psycopg.connect(self.services.database_url, autocommit=True) as connection:

            def open_ones() -> int:
                query = "SELECT count(*) FROM ordersaga.sagas WHERE status NOT IN ('CANCELLED', 'COMPENSATED')"
                ((count,),) = connection.execute(query).fetchall()
                return int(count)

            until(lambda: not open_ones(), "every order is taken back", within_seconds=90)


# --- the rounds: each breaks one thing, says what settings the program needs to meet it, and mends it ---------------

Round = Callable[[Rounds], AbstractContextManager[Mapping[str, str]]]


@contextmanager
def _database_away(rounds: Rounds) -> Iterator[Mapping[str, str]]:
    rounds.services.postgres.kill()
    yield {}
    rounds.services.postgres.restart()
    until(Api(rounds.services.urls[0]).ready, "the orchestrator is ready again")


@contextmanager
def _wrong_password(rounds: Rounds) -> Iterator[Mapping[str, str]]:
    url = rounds.services.database_url
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SHOW hba_file").fetchone()
        assert found
        rules = Path(found[0])
        before = rules.read_text()
        rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{before}")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CREATE ROLE guarded LOGIN PASSWORD 'the-right-one'")
    parts = urlsplit(url)
    yield {"DATABASE_URL": urlunsplit(parts._replace(netloc=f"guarded:a-wrong-one@127.0.0.1:{parts.port}"))}
    rules.write_text(before)


@contextmanager
def _schema_behind(rounds: Rounds) -> Iterator[Mapping[str, str]]:
    with psycopg.connect(rounds.services.database_url, autocommit=True) as connection:
        query = "DELETE FROM ordersaga.schema_migrations WHERE version = %s RETURNING version, name"
        version, name = connection.execute(query, [NEWEST]).fetchall()[0]
        yield {}
        connection.execute("INSERT INTO ordersaga.schema_migrations VALUES (%s, %s)", [version, name])
    until(Api(rounds.services.urls[0]).ready, "the orchestrator is ready again")


@contextmanager
def _broker_away(rounds: Rounds) -> Iterator[Mapping[str, str]]:
    node = rounds.services.kafka.nodes[2]
    bus = KafkaBus(rounds.services.kafka.bootstrap_servers)
    node.kill()
    until(lambda: bool(_behind(bus)), "the others have noticed")
    yield {}
    node.start()
    node.wait_ready()
    until(lambda: _behind(bus) == 0, "every copy is in step again", within_seconds=60)
    bus.close(2.0)


@contextmanager
def _no_worker(rounds: Rounds) -> Iterator[Mapping[str, str]]:
    with _instead(rounds, "--only", "api", "--only", "deadlines") as more:
        yield more


@contextmanager
def _nobody_folds(rounds: Rounds) -> Iterator[Mapping[str, str]]:
    with _instead(rounds, "--only", "api", "--only", "worker") as more:
        yield more


@contextmanager
def _instead(rounds: Rounds, *arguments: str) -> Iterator[Mapping[str, str]]:
    """Members that have a name keep their partitions for a while after they have ended."""
    services, port = rounds.services, rounds.services.spare_ports[0]
    services.stop_orchestrators()
    bus = KafkaBus(services.kafka.bootstrap_servers)
    until(lambda: _is_empty(bus), "the group has lost its members", within_seconds=60)
    bus.close(2.0)
    process = services.start_api(*arguments, port=port)
    yield {"ORDERSAGA_SMOKE_API_URL": f"http://127.0.0.1:{port}"}
    process.stop(12.0)
    services.restart_orchestrators()


def _silent(name: str) -> Round:
    @contextmanager
    def frozen(rounds: Rounds) -> Iterator[Mapping[str, str]]:
        rounds.services.participant(name).freeze()
        yield {}
        rounds.services.participant(name).thaw()

    return frozen


@contextmanager
def _stopped(rounds: Rounds) -> Iterator[Mapping[str, str]]:
    _ordersaga(rounds, "orders", "stop", "--who", "night shift", "--why", "the kitchen is on fire")
    yield {}
    _ordersaga(rounds, "orders", "resume", "--who", "night shift", "--why", "it is out")


@contextmanager
def _api_away(rounds: Rounds) -> Iterator[Mapping[str, str]]:
    yield {"ORDERSAGA_SMOKE_API_URL": f"http://127.0.0.1:{rounds.services.spare_ports[1]}"}


@contextmanager
def _token_refused(rounds: Rounds) -> Iterator[Mapping[str, str]]:
    port = rounds.services.spare_ports[0]
    _, line = new_token("front-end", Role.CUSTOMER)
    process = rounds.services.start_api("--only", "api", port=port, ORDERSAGA_AUTH_TOKENS=line)
    yield {"ORDERSAGA_SMOKE_API_URL": f"http://127.0.0.1:{port}", "ORDERSAGA_SMOKE_TOKEN": "somebody-elses"}
    process.stop(12.0)


@contextmanager
def _only_looking(rounds: Rounds) -> Iterator[Mapping[str, str]]:
    port = rounds.services.spare_ports[0]
    process = rounds.services.start_api("--read-only", port=port)
    yield {"ORDERSAGA_SMOKE_API_URL": f"http://127.0.0.1:{port}"}
    process.stop(12.0)


@contextmanager
def _topic_gone(rounds: Rounds) -> Iterator[Mapping[str, str]]:
    """The last: who notices that a topic was deleted says so until it is started again."""
    bus = KafkaBus(rounds.services.kafka.bootstrap_servers)
    bus._admin.get(10.0)._client.delete_topics([DEAD_LETTERS])
    until(lambda: DEAD_LETTERS not in bus.partitions(), "the topic is gone")
    yield {}
    bus.close(2.0)


ROUNDS: Mapping[str, Round] = {
    "the database is away": _database_away,
    "a wrong password": _wrong_password,
    "the schema is behind": _schema_behind,
    "one of three brokers is away": _broker_away,
    "the order service is silent": _silent("order"),
    "the user service is silent": _silent("user"),
    "the payment service is silent": _silent("payment"),
    "orders are stopped": _stopped,
    "the API is away": _api_away,
    "the token is refused": _token_refused,
    "the API only looks": _only_looking,
    "no worker is alive": _no_worker,
    "nobody folds the statistics": _nobody_folds,
}


def _ordersaga(rounds: Rounds, *arguments: str) -> None:
    argv = [sys.executable, "-m", "ordersaga.cli", *arguments]
    environment = {**rounds.services.environment, "DATABASE_URL": rounds.services.database_url}
    subprocess.run(argv, env=environment, check=True, capture_output=True, timeout=60)


@contextmanager
def rounds(image: Path | None = None) -> Iterator[Rounds]:
    with ExitStack() as stack:
        directory = stack.enter_context(temporary_directory())
        services = Services(directory, orchestrators=2, participants_alone=True, nodes=3)
        stack.callback(services.stop)
        services.__enter__()
        for name in ("order", "user", "payment", "timer"):
            until(lambda name=name: _is_read(services, name), f"the {name} service reads")  # type: ignore[misc]
        yield Rounds(services, image)


def _is_read(services: Services, name: str) -> bool:
    """Until the group's coordinator is there, nobody can say."""
    bus = KafkaBus(services.kafka.bootstrap_servers)
    try:
        return bool(bus.members(f"{name}-service"))
    except BusUnavailable:
        return False
    finally:
        bus.close(1.0)


def _behind(bus: KafkaBus) -> int | None:
    """Partitions that lack a copy; None while nobody says."""
    try:
        return sum(one.behind for one in bus.describe().topics.values())
    except BusUnavailable:
        return None


def _is_empty(bus: KafkaBus) -> bool:
    try:
        return not bus.members(GROUP)
    except BusUnavailable:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.smoke.rounds", description=__doc__)
    parser.add_argument("--image", type=Path, help="a directory that tools/image.py has built")
    asked = parser.parse_args()
    with rounds(asked.image) as found:
        for told in found.all():
            sys.stdout.write(f"\n# {told.title} (exit code {told.code})\n{told.text}")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
