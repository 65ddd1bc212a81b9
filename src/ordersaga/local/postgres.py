"""PostgreSQL on this machine, for the demo, the tests and the benchmarks.

A real server in processes of its own, that can be killed with all its backends, stopped, frozen, and started again on
the same data. It synchronises its log to disk as in production, so what it has confirmed survives `kill`; what the disk
does at a loss of power is not tested here. It listens on 127.0.0.1 only, where everyone on the machine may connect.
"""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import LiteralString, Protocol, Self
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from ordersaga.local.accounts import shared_directory
from ordersaga.local.failures import LocalError
from ordersaga.local.ports import free_port, hold_port, release_ports
from ordersaga.local.postgres_parts import USER, PostgresParts, find_postgres_parts
from ordersaga.local.processes import Process
from ordersaga.local.temporary import make_directory, remove_directory

READY_SECONDS = 60.0
_STOP_SECONDS = 30.0
_CONNECT_SECONDS = 5
_LINKED_FROM = "linked-from"
_CREATE: LiteralString = "CREATE DATABASE {} TEMPLATE {}"
_CREATE_BY_FILES: LiteralString = "CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy"
"""Without 8 MB of log for each; the checkpoint that it takes is no matter on a server that nobody else uses."""


class Postgres(Protocol):
    """A server with databases for the asking: our own, or somebody else's."""

    def url(self, database: str) -> str: ...

    def create_database(self, template: str | None = None) -> str:
        """The URL of a new database: empty, or a copy of the one whose URL is `template`, to which nobody may be
        connected meanwhile.
        """

    def drop_database(self, url: str) -> None:
        """Gone, whoever is connected. Harmless if it is gone already."""

    def stop(self) -> None: ...


def open_postgres(settings: Mapping[str, str] | None = None) -> Postgres:
    """For tests: the server that `DATABASE_URL` names, if it is set, else one of our own."""
    given = os.environ.get("DATABASE_URL")
    return ExternalPostgres(given) if given else PostgresServer.start(settings=settings)


class ExternalPostgres:
    """A server that was there before us: never stopped. The databases made here are dropped at `stop`."""

    def __init__(self, url: str) -> None:
        """The account in `url` must be allowed to create databases."""
        if urlsplit(url).scheme not in ("postgresql", "postgres"):
            raise LocalError("DATABASE_URL does not begin with postgresql://")  # no more: a password may be in it
        self._url = url
        self._created: set[str] = set()

    def url(self, database: str) -> str:
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{database}"))

    def create_database(self, template: str | None = None) -> str:
        created = self.url(_create_database(self._url, _CREATE, template))
        self._created.add(created)
        return created

    def drop_database(self, url: str) -> None:
        _drop_database(self._url, url)
        self._created.discard(url)

    def stop(self) -> None:
        for url in tuple(self._created):
            self.drop_database(url)


class PostgresServer:
    """`kill`, `freeze` and `thaw` reach the backends too."""

    def __init__(self, process: Process, directory: Path, port: int, *, is_temporary: bool) -> None:
        """Use `start`."""
        self.process = process
        self.directory = directory
        self.port = port
        self._is_temporary = is_temporary

    @classmethod
    def start(
        cls, directory: Path | None = None, settings: Mapping[str, str] | None = None, port: int | None = None
    ) -> "PostgresServer":
        """A server that is ready. `directory` keeps its data for the next start; without it the data go when the server
        stops. `settings`: as in postgresql.conf.

        Raises `PartMissing`, `NotReady`.
        """
        parts = find_postgres_parts()
        home = directory.absolute() if directory is not None else make_directory("postgres")
        data = _data_directory(home, parts)
        if port is None:
            port = free_port()
        else:
            hold_port(port)
        process = Process(
            "PostgreSQL",
            [str(parts.programs / "postgres"), "-D", str(data), *_options({**_settings(port), **(settings or {})})],
            log_path=home / "postgres.log",
            directory=Path("/"),
            account=parts.account,
            stop_signal=signal.SIGINT,  # does not wait until clients have gone
        )
        server = cls(process, home, port, is_temporary=directory is None)
        atexit.register(server._end)
        try:
            process.start()
            server.wait_ready()
        except BaseException:
            server._end()
            raise
        return server

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def data(self) -> Path:
        """Where its files really are."""
        return (self.directory / "data").resolve()

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str | None = None) -> str:
        return self.url(_create_database(self.url("postgres"), _CREATE_BY_FILES, template))

    def drop_database(self, url: str) -> None:
        _drop_database(self.url("postgres"), url)

    def wait_ready(self, timeout_seconds: float = READY_SECONDS) -> None:
        self.process.wait_ready(self._is_ready, timeout_seconds)

    def kill(self) -> None:
        self.process.kill()

    def freeze(self) -> None:
        self.process.freeze()

    def thaw(self) -> None:
        self.process.thaw()

    def restart(self) -> None:
        """On the same data and port; an orderly end first, if it is running. Returns when it is ready."""
        self.process.restart(_STOP_SECONDS)
        self.wait_ready()

    def stop(self) -> None:
        """Orderly. Idempotent; temporary data go with it."""
        if not self._is_temporary:
            self.process.stop(_STOP_SECONDS)
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _is_ready(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=_CONNECT_SECONDS).close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self) -> None:
        atexit.unregister(self._end)
        self.process.kill()
        release_ports([self.port])
        if self._is_temporary:
            remove_directory(self.directory)


def _settings(port: int) -> dict[str, str]:
    return {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "dynamic_shared_memory_type": "mmap",  # in the data directory: a killed server leaves nothing elsewhere
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",
        "log_line_prefix": "%m [%p] %d ",
        # Otherwise the server quotes each row that it refuses.
        "log_error_verbosity": "terse",
    }


def _options(settings: Mapping[str, str]) -> list[str]:
    return [argument for key, value in settings.items() for argument in ("-c", f"{key}={value}")]


def _data_directory(home: Path, parts: PostgresParts) -> Path:
    """`home/data`, filled from the template if it is new. Where the server's account cannot reach it, `data` is a link
    to where it can.
    """
    home.mkdir(parents=True, exist_ok=True)
    data = home / "data"
    if not (data / "PG_VERSION").exists():
        _fill(data, parts)
    major = (data / "PG_VERSION").read_text().strip()
    if major != parts.major:
        raise LocalError(f"{data} was made by PostgreSQL {major}, this is {parts.version}: remove {home}")
    return data.resolve()


def _fill(data: Path, parts: PostgresParts) -> None:
    """The data appear under their name complete or not at all."""
    account = parts.account
    place = data.parent
    if account is not None and not account.can_enter(place):
        _sweep_unlinked(shared_directory())
        place = Path(tempfile.mkdtemp(prefix="postgres-", dir=shared_directory()))
        place.chmod(0o755)
    scratch = place / ".data"
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(parts.template, scratch, symlinks=True)
    if account is not None:
        account.own(scratch)
    if place == data.parent:
        scratch.rename(data)
    else:
        _link(data, scratch.rename(place / "data"))


def _link(data: Path, target: Path) -> None:
    data.unlink(missing_ok=True)  # a link to data that are gone
    data.symlink_to(target)
    (target.parent / _LINKED_FROM).write_text(str(data))


def _sweep_unlinked(shared: Path) -> None:
    """Remove data whose link has been deleted."""
    for note in shared.glob(f"*/{_LINKED_FROM}"):
        if Path(note.read_text()).resolve() != (note.parent / "data").resolve():
            shutil.rmtree(note.parent, ignore_errors=True)


def _create_database(server_url: str, statement: LiteralString, template: str | None) -> str:
    name = f"ordersaga_{uuid4().hex[:16]}"
    original = _database(template) if template is not None else "template0"
    _execute(server_url, statement, name, original)
    return name


def _drop_database(server_url: str, url: str) -> None:
    _execute(server_url, "DROP DATABASE IF EXISTS {} WITH (FORCE)", _database(url))


def _database(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


def _execute(server_url: str, statement: LiteralString, *names: str) -> None:
    with psycopg.connect(server_url, autocommit=True, connect_timeout=_CONNECT_SECONDS) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
