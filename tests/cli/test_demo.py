"""`ordersaga demo` plays on servers of its own, whatever the environment of whoever starts it names, and leaves nothing
behind, whatever ends it.
"""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ordersaga.demo import run
from ordersaga.demo.stage import OneProcess, RealParts, Stage
from ordersaga.local.failures import NotReady
from ordersaga.local.kafka import KafkaCluster
from ordersaga.local.postgres import PostgresServer
from ordersaga.local.processes import Process
from ordersaga.settings_reading import read
from tests.cli.test_cli import environment

SOMEBODY_ELSES = {
    "DATABASE_URL": "postgresql://saga@127.0.0.1:1/live",
    "DATABASE_URL_FILE": "/run/secrets/database",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "ORDERSAGA_KAFKA_GROUP": "live-orchestrators",
    "ORDERSAGA_TOPIC_ORDER_COMMANDS": "live_orders",
    "ordersaga_http_port": "1",
}
OWN_DATABASE, OWN_BROKER = "postgresql://ordersaga@127.0.0.1:2/demo", "127.0.0.1:2"


class OwnPostgres:
    def create_database(self) -> str:
        return OWN_DATABASE


class OwnKafka:
    bootstrap_servers = OWN_BROKER


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """Every process that a stage starts, none of which really is."""
    started: list[Process] = []

    def start(process: Process) -> Process:
        started.append(process)
        return process

    def server(own: type[Any]) -> Callable[..., Any]:
        return lambda *_, **__: own()

    monkeypatch.setattr(KafkaCluster, "start", server(OwnKafka))
    monkeypatch.setattr(PostgresServer, "start", server(OwnPostgres))
    monkeypatch.setattr(Process, "start", start)
    monkeypatch.setattr(Process, "wait_ready", lambda process, *_: process)
    for name, value in SOMEBODY_ELSES.items():
        monkeypatch.setenv(name, value)
    return started


@pytest.mark.parametrize(("stage_of", "count", "brokers"), [(OneProcess, 1, ""), (RealParts, 6, OWN_BROKER)])
def test_the_demo_has_servers_and_settings_of_its_own_whatever_the_environment_names(
    stage_of: Callable[[Path], Stage], count: int, brokers: str, children: list[Process], tmp_path: Path
) -> None:
    stage_of(tmp_path).start()
    assert len(children) == count
    for child in children:
        environment = child.env or {}
        assert not environment.items() & SOMEBODY_ELSES.items()
        settings = read(environment=environment, needs=("database_url",))
        assert settings.database_url and settings.database_url.get_secret_value() == OWN_DATABASE
        assert (settings.kafka_bootstrap_servers or "") == brokers


class CannotStart:
    """A stage of which nothing comes."""

    title = "a stage"
    url = orders_url = "http://127.0.0.1:1"
    stops = True
    ended: Path | None = None

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def start(self) -> None:
        raise NotReady("PostgreSQL ended with exit code 1")

    def stop(self) -> None:
        type(self).ended = self.directory
        if not self.stops:
            raise NotReady("it does not end")


@pytest.mark.parametrize("stops", [True, False])
def test_where_the_servers_do_not_start_that_is_said_and_nothing_stays(
    stops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CannotStart, "stops", stops)
    monkeypatch.setattr(CannotStart, "ended", None)
    monkeypatch.setattr(run, "OneProcess", CannotStart)
    with pytest.raises(NotReady, match="exit code 1" if stops else "does not end"):
        run.main(exits=True)
    assert CannotStart.ended and not CannotStart.ended.exists()


WAITS = """
import signal
import sys
from threading import Event
from ordersaga.demo import run

class Waits:
    title = "a stage"
    url = orders_url = "http://127.0.0.1:1"

    def __init__(self, directory):
        pass

    def start(self):
        print("starting", flush=True)
        Event().wait(60)

    def stop(self):
        print("stopped", flush=True)

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it is ignored where the tests run under nohup
run.OneProcess = Waits
sys.exit(run.main(exits=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_whoever_ends_it_finds_nothing_left(number: signal.Signals, tmp_path: Path) -> None:
    argv, given = [sys.executable, "-c", WAITS], environment(TMPDIR=str(tmp_path))
    with subprocess.Popen(argv, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout and child.stderr
            assert child.stdout.readline() == "starting\n"
            child.send_signal(number)
            code, told = child.wait(30), child.stdout.read()
            assert (code, told) == (1, "stopped\n"), child.stderr.read()
        finally:
            child.kill()
    assert list(tmp_path.iterdir()) == []
