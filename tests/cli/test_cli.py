"""The command line as a person or a service manager meets it: quick help, errors in a line, signals obeyed."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Self

import psycopg
import pytest

from ordersaga import __version__
from ordersaga.tokens import Role, Tokens
from tests.canaries import PASSWORD

HEAVY = ("litestar", "kafka", "psycopg", "pydantic", "uvicorn", "structlog", "msgspec", "rich", "asyncio")
HELP_SECONDS_MAX = 0.4
COMMANDS = (
    "serve",
    "participants",
    "migrate",
    "topics",
    "settings",
    "token",
    "version",
    "demo",
    "conformance",
    "orphans",
    "dead-letters",
)


def environment(**more: str) -> dict[str, str]:
    """Ours, without any setting that the tests themselves run under."""
    platform = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORDERSAGA_")}
    return {name: value for name, value in kept.items() if name not in platform} | more


def ordersaga(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ordersaga.cli", *arguments]
    return subprocess.run(argv, env=environment(**settings), capture_output=True, text=True, timeout=60)


def test_help_imports_nothing_that_is_only_needed_to_work() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['ordersaga', '--help']\n"
        "from ordersaga.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60)
    assert found.stderr.strip() == "[]"
    assert "serve" in found.stdout


def test_help_answers_at_once() -> None:
    def cpu_seconds() -> float:
        """Of the processor, not of the clock: the machine may be busy with something else."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert ordersaga("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu_seconds() for _ in range(3)) < HELP_SECONDS_MAX


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example(command: str) -> None:
    found = ordersaga(command, "--help")
    assert found.returncode == 0
    assert re.search(rf"Example:.*ordersaga {command}", found.stdout)


def test_the_version_is_said() -> None:
    assert ordersaga("version").stdout.strip() == __version__


@pytest.mark.parametrize("command", ["serve", "participants", "migrate", "topics", "settings", "config"])
def test_an_unknown_setting_ends_each_command_with_a_line_that_suggests_the_near_one(command: str) -> None:
    found = ordersaga(command, ORDERSAGA_STRAT_TIMER="off")
    assert found.returncode == 2
    assert "did you mean ORDERSAGA_START_TIMER?" in found.stderr
    assert "Traceback" not in found.stderr


def test_what_is_missing_is_said_all_at_once() -> None:
    found = ordersaga("serve")
    assert found.returncode == 2
    lines = found.stderr.splitlines()
    assert [line.split(" ")[1] for line in lines] == ["DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"]


def test_a_wrong_value_says_what_it_may_be_and_never_a_secret() -> None:
    found = ordersaga("serve", ORDERSAGA_HTTP_PORT="eighty", DATABASE_URL="postgresql://u:canary@h/x")
    assert found.returncode == 2
    assert "ORDERSAGA_HTTP_PORT='eighty'" in found.stderr
    assert "a whole number from 0 up to 65535" in found.stderr
    assert "canary" not in found.stdout + found.stderr


UNREADABLE = (
    f"postgresql+psycopg://saga:{PASSWORD}@127.0.0.1:1/saga",
    f"postgresql://saga:{PASSWORD}%@127.0.0.1:1/saga",
)


@pytest.mark.parametrize("command", ["serve", "participants", "migrate", "doctor", "reconcile"])
@pytest.mark.parametrize("address", UNREADABLE, ids=["of a driver", "with a raw sign"])
def test_an_address_that_cannot_be_read_is_a_wrong_setting_and_its_password_is_told_nowhere(
    command: str, address: str
) -> None:
    """Whoever connected with it would quote it: in the log, at the terminal, and to anybody who asks for the health."""
    found = ordersaga(command, DATABASE_URL=address, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("ordersaga: DATABASE_URL (from the environment): ") and found.stderr.count("\n") == 1
    assert PASSWORD not in found.stderr


@pytest.mark.parametrize("command", ["serve", "reconcile"])
@pytest.mark.parametrize("address", UNREADABLE, ids=["of a driver", "with a raw sign"])
def test_the_address_of_the_ledger_is_looked_at_alike(command: str, address: str) -> None:
    nowhere = {"DATABASE_URL": "postgresql://saga@127.0.0.1:1/saga", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    found = ordersaga(command, ORDERSAGA_RECONCILE_DATABASE_URL=address, **nowhere)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("ordersaga: ORDERSAGA_RECONCILE_DATABASE_URL") and PASSWORD not in found.stderr


def test_what_a_command_says_went_wrong_holds_no_secret() -> None:
    code = (
        "import sys, typer\n"
        "from ordersaga.cli_errors import read_settings, told_in_one_line\n"
        "from ordersaga.orchestrator.store.protocol import StoreUnavailable\n"
        "try:\n"
        "    with told_in_one_line():\n"
        "        url = read_settings(None, needs=()).database_url.get_secret_value()\n"
        "        raise StoreUnavailable(f'nobody is at {url}')\n"
        "except typer.Exit as done:\n"
        "    sys.exit(done.exit_code)\n"
    )
    settings = environment(DATABASE_URL=f"postgresql://saga:{PASSWORD}@db/saga")
    found = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (1, "ordersaga: nobody is at ***\n")


def test_an_unknown_part_is_refused_with_those_that_there_are() -> None:
    found = ordersaga("serve", "--only", "console")
    assert found.returncode == 2
    assert "deadlines" in found.stderr


def test_a_failpoint_that_is_none_is_refused_with_those_that_there_are() -> None:
    settings = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    found = ordersaga("serve", "--only", "relay", ORDERSAGA_FAILPOINTS="relay.nowhere=kill", **settings)
    assert found.returncode == 2
    assert "relay.after_publish" in found.stderr
    assert "Traceback" not in found.stderr


def test_the_settings_are_listed_with_their_values_and_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("ORDERSAGA_HTTP_PORT=27001\nDATABASE_URL=postgresql://u:canary@h/x\n")
    found = ordersaga("settings", "--env-file", str(file))
    assert found.returncode == 0
    assert "ORDERSAGA_HTTP_PORT=27001\n" in found.stdout
    assert "DATABASE_URL=(secret)\n" in found.stdout
    assert "canary" not in found.stdout


def test_a_database_that_is_away_is_a_line_and_not_a_traceback(unused_port: int) -> None:
    found = ordersaga("migrate", DATABASE_URL=f"postgresql://saga:canary@127.0.0.1:{unused_port}/saga")
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 1
    assert "canary" not in found.stderr


def test_brokers_that_are_away_are_a_line_and_not_a_traceback(unused_port: int) -> None:
    found = ordersaga("topics", KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{unused_port}", ORDERSAGA_LOG_LEVEL="ERROR")
    assert found.returncode == 1
    assert "ordersaga: " in found.stderr
    assert "Traceback" not in found.stderr


def test_a_schema_is_migrated_once(database_url: str) -> None:
    first = ordersaga("migrate", DATABASE_URL=database_url)
    second = ordersaga("migrate", DATABASE_URL=database_url)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "applied" in first.stdout
    assert second.stdout == "the schema ordersaga is up to date\n"


def test_importing_everything_opens_no_connection() -> None:
    code = (
        "import socket, threading\n"
        "def forbidden(*args, **kwargs):\n    raise AssertionError('a connection at import')\n"
        "socket.socket.connect = forbidden\n"
        "socket.create_connection = forbidden\n"
        "import pkgutil, importlib, ordersaga\n"
        "for found in pkgutil.walk_packages(ordersaga.__path__, 'ordersaga.'):\n"
        "    importlib.import_module(found.name)\n"
        "print([thread.name for thread in threading.enumerate()])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60)
    assert found.stdout.strip() == "['MainThread']", found.stderr


class Serving:
    """`ordersaga serve` as a process, without brokers."""

    def __init__(self, database_url: str, broker_port: int, log: Path, *arguments: str) -> None:
        self.port = free_port()
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ordersaga.cli", "serve", *arguments],
            env=environment(
                DATABASE_URL=database_url,
                KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{broker_port}",
                ORDERSAGA_HTTP_PORT=str(self.port),
            ),
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)
        self._log.close()

    def ask(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def wait_live(self) -> None:
        end, again = time.monotonic() + 30, threading.Event()
        while True:
            try:
                assert self.ask("/livez")[0] == 200
                return
            except OSError:
                assert self._process.poll() is None, "it ended before it was live"
                assert time.monotonic() < end, "it was not live within half a minute"
                again.wait(0.05)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait_ended(self, timeout_seconds: float) -> int:
        return self._process.wait(timeout_seconds)


def free_port() -> int:
    with socket.socket() as one:
        for port in range(27_100, 27_900):
            try:
                one.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no port is free")


@pytest.fixture
def unused_port() -> int:
    """Nobody listens on it."""
    return free_port()


def test_without_brokers_it_is_alive_and_not_ready_and_a_signal_ends_it_within_ten_seconds(
    database_url: str, tmp_path: Path
) -> None:
    with Serving(database_url, 1, tmp_path / "log") as serving:
        serving.wait_live()
        status, body = serving.ask("/readyz")
        assert status == 503
        assert '"status":"not ready"' in body
        serving.signal(signal.SIGTERM)
        assert serving.wait_ended(10) == 0


def test_a_second_signal_ends_it_at_once(database_url: str, tmp_path: Path) -> None:
    with Serving(database_url, 1, tmp_path / "log") as serving:
        serving.wait_live()
        for one in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
            serving.signal(one)  # both are there when it goes on, and of one kind they would be one
        assert serving.wait_ended(60) == 130


def test_a_port_that_is_taken_is_a_line_that_names_it(database_url: str, tmp_path: Path) -> None:
    with Serving(database_url, 1, tmp_path / "log") as serving:
        serving.wait_live()
        found = ordersaga(
            "serve",
            DATABASE_URL=database_url,
            KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1",
            ORDERSAGA_HTTP_PORT=str(serving.port),
        )
        assert found.returncode == 1
        assert f"ordersaga: cannot listen on 127.0.0.1 port {serving.port}" in found.stderr
        assert "Traceback" not in found.stderr


@pytest.mark.parametrize(("host", "command"), [("0.0.0.0", "serve"), ("::", "serve"), ("0.0.0.0", "participants")])
def test_strangers_are_not_listened_to_by_mistake(host: str, command: str, unused_port: int) -> None:
    nowhere = {"DATABASE_URL": f"postgresql://u@127.0.0.1:{unused_port}/x", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    found = ordersaga(command, ORDERSAGA_HTTP_HOST=host, **nowhere)
    assert found.returncode == 2
    assert f"ORDERSAGA_HTTP_HOST={host}" in found.stderr
    assert "ORDERSAGA_AUTH=none" in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_token_is_made_with_the_line_that_makes_it_known() -> None:
    found = ordersaga("token", "grafana", "--role", "viewer")
    assert found.returncode == 0
    token, line = (said.split()[1] for said in found.stdout.splitlines())
    principal = Tokens([line]).whose(token)
    assert principal is not None
    assert (principal.name, principal.role) == ("grafana", Role.VIEWER)
    assert token not in line


def test_a_token_of_no_role_or_without_a_name_is_refused() -> None:
    assert ordersaga("token", "grafana", "--role", "chief").returncode == 2
    assert ordersaga("token", "a:b").returncode == 2


def test_what_was_changed_is_listed_alone() -> None:
    found = ordersaga("config", "--changed", ORDERSAGA_HTTP_PORT="8090", DATABASE_URL="postgresql://u:canary@h/x")
    assert found.stdout.splitlines() == [
        "DATABASE_URL=(secret)  (the environment)",
        "ORDERSAGA_HTTP_PORT=8090  (the environment)",
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_commands(shell: str) -> None:
    program, settings = Path(sys.executable).with_name("ordersaga"), environment(_ORDERSAGA_COMPLETE=f"source_{shell}")
    found = subprocess.run([program], env=settings, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    assert "_ORDERSAGA_COMPLETE" in found.stdout


def test_with_read_only_it_answers_and_touches_nothing(database_url: str, unused_port: int, tmp_path: Path) -> None:
    assert ordersaga("migrate", DATABASE_URL=database_url).returncode == 0
    with Serving(database_url, unused_port, tmp_path / "log", "--read-only") as serving:
        serving.wait_live()
        assert serving.ask("/sagas") == (200, "[]")
        serving.signal(signal.SIGTERM)
        assert serving.wait_ended(15) == 0
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT count(*) FROM ordersaga.outbox_owners").fetchone()
    assert found == (0,), "nobody may publish"
