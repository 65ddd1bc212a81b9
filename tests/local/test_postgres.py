"""A real PostgreSQL on this machine: killed with its backends, frozen, and started again with all that it confirmed."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from ordersaga.local.failures import LocalError, PartMissing
from ordersaga.local.postgres import ExternalPostgres, PostgresServer, open_postgres
from ordersaga.local.postgres_parts import find_postgres_parts

from .watching import children, is_alive, program, until

PARENT = """
import json, signal
from ordersaga.local.postgres import PostgresServer
server = PostgresServer.start()
print(json.dumps([server.pid, server.url("postgres")]), flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Each test leaves it ready."""
    with PostgresServer.start() as started:
        yield started


def fill(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'this' AS text")


def kept(url: str) -> list[tuple[str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT text FROM kept").fetchall()


def exists(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError as failure:
        if "does not exist" not in str(failure):
            raise
        return False
    return True


def test_what_was_confirmed_survives_kill(server: PostgresServer) -> None:
    url = server.create_database()
    fill(url)
    server.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    server.restart()
    assert kept(url) == [("this",)]


def test_kill_reaches_the_backends(server: PostgresServer) -> None:
    with psycopg.connect(server.url("postgres")) as connection:
        backend = connection.info.backend_pid
        assert backend in children(server.pid)
        server.kill()
        assert not is_alive(backend)
    server.restart()


def test_a_frozen_server_neither_answers_nor_lets_in_until_it_is_thawed(server: PostgresServer) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        server.freeze()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(server.url("postgres"), connect_timeout=2)
        asked = Thread(target=connection.execute, args=("SELECT 1",))
        asked.start()
        asked.join(0.3)
        assert asked.is_alive()
        server.thaw()
        asked.join(20)
        assert not asked.is_alive()


def test_an_orderly_restart_does_not_wait_for_clients(server: PostgresServer) -> None:
    with psycopg.connect(server.url("postgres")) as connection:
        server.restart()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_the_log_is_synchronised_to_disk_unless_the_caller_says_otherwise(server: PostgresServer) -> None:
    with psycopg.connect(server.url("postgres")) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
    with PostgresServer.start(settings={"fsync": "off"}) as quick, psycopg.connect(quick.url("postgres")) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("off",)


def test_a_database_can_be_copied(server: PostgresServer) -> None:
    original = server.create_database()
    fill(original)
    assert kept(server.create_database(template=original)) == [("this",)]


def test_a_database_is_dropped_under_its_users(server: PostgresServer) -> None:
    url = server.create_database()
    with psycopg.connect(url):
        server.drop_database(url)
    assert not exists(url)
    server.drop_database(url)


def test_two_processes_have_a_server_each_and_a_killed_one_leaves_none_behind(server: PostgresServer) -> None:
    with program(PARENT) as (parent, (other_pid, other_url)):
        assert str(server.port) not in other_url
        with psycopg.connect(other_url) as connection:
            backend = connection.info.backend_pid
            parent.kill()
            until(lambda: not is_alive(other_pid), "the server has gone with its parent")
            until(lambda: not is_alive(backend), "and so has its backend")
    server.wait_ready()


def test_data_are_thrown_away_unless_they_were_given_a_place(tmp_path: Path) -> None:
    with PostgresServer.start() as thrown_away:
        assert thrown_away.directory.is_dir()
    assert not thrown_away.directory.exists()
    thrown_away.stop()


def test_data_last_in_a_directory_that_only_its_owner_may_enter(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with PostgresServer.start(private / "server") as first:
        url = first.create_database()
        fill(url)
    with PostgresServer.start(private / "server", port=first.port) as second:
        assert kept(second.url(url.rsplit("/", 1)[1])) == [("this",)]


def test_data_go_when_the_directory_that_they_were_given_is_removed(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    PostgresServer.start(private / "server").stop()
    data = (private / "server" / "data").resolve()
    shutil.rmtree(private)
    private.mkdir(mode=0o700)
    PostgresServer.start(private / "server").stop()
    assert not data.is_dir() or data == private / "server" / "data"


def test_a_directory_is_served_by_one_server_at_a_time(tmp_path: Path) -> None:
    with PostgresServer.start(tmp_path) as first:
        with pytest.raises(LocalError, match=r"postmaster\.pid"):
            PostgresServer.start(tmp_path)
        first.wait_ready()


def test_data_of_another_version_are_refused_by_name(tmp_path: Path) -> None:
    PostgresServer.start(tmp_path).stop()
    (tmp_path / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(LocalError, match=r"made by PostgreSQL 9.*remove"):
        PostgresServer.start(tmp_path)


def test_the_machines_own_postgresql_is_taken_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_POSTGRES", "system")
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")) and shutil.which("pg_config") is None:
        with pytest.raises(PartMissing, match="apt-get install postgresql"):
            PostgresServer.start()
        return
    parts = find_postgres_parts()
    with PostgresServer.start() as server, psycopg.connect(server.url("postgres")) as connection:
        assert connection.execute("SHOW server_version_num").fetchone() is not None
        assert connection.info.server_version // 10_000 == int(parts.major)


def test_a_server_that_is_given_is_used_and_never_stopped(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", server.url("postgres") + "?connect_timeout=5")
    given = open_postgres()
    assert isinstance(given, ExternalPostgres)
    first, second = given.create_database(), given.create_database()
    fill(first)
    assert first.endswith("?connect_timeout=5")
    given.drop_database(first)
    assert not exists(first)
    given.stop()
    assert not exists(second)
    assert exists(server.url("postgres"))


def test_the_address_of_a_given_server_must_be_a_url_and_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "host=localhost password=secret")
    with pytest.raises(LocalError) as refusal:
        open_postgres()
    assert "postgresql://" in str(refusal.value)
    assert "secret" not in str(refusal.value)
