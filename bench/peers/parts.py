"""What it takes to run the others, each part installed from its registry, once, into the cache, when it is first asked
for. What cannot be had (no program that gets it, no registry, none for this machine) is `CannotHave`, whatever it is.
"""

import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ordersaga.local.cache import built_once

DBOS = ("dbos==3.4.0", "psycopg[binary]==3.3.9")
RESTATE = ("restate_sdk[serde]==1.3.0", "hypercorn==0.18.0", "uvloop==0.23.0")
RESTATE_SERVER = "@restatedev/restate-server@1.7.12"
"""It brings the one for this machine by itself, if there is one."""
TEMPORAL = ("temporalio==1.35.0",)
TEMPORAL_SERVER, TEMPORAL_VERSION = "go.temporal.io/server", "v1.28.0"
_RESTATE_PROGRAMS = "node_modules/@restatedev/restate-server-*/bin/restate-server"


class CannotHave(Exception):
    """The message says what is missing."""


def versions() -> Mapping[str, Sequence[str]]:
    """Of each of the others: what is installed, as its registry names it."""
    restate = (*RESTATE, RESTATE_SERVER)
    temporal = (*TEMPORAL, f"{TEMPORAL_SERVER}@{TEMPORAL_VERSION}")
    return {"dbos": DBOS, "restate": restate, "restate-runs": restate, "temporal": temporal}


def python_with(packages: Sequence[str]) -> str:
    """An interpreter that has them, in an environment of its own. Raises `CannotHave`."""

    def build(root: Path) -> None:
        said(f"installing {packages[0]}, once ...")
        run([sys.executable, "-m", "venv", str(root / "venv")])
        run([str(root / "venv/bin/python"), "-m", "pip", "install", "--quiet", *packages])

    return str(built_once(_named("python", packages), build) / "venv/bin/python")


def restate_server() -> str:
    """The program. Raises `CannotHave`."""

    def build(root: Path) -> None:
        said("installing Restate's server, once ...")
        quiet = ["--loglevel", "error", "--no-audit", "--no-fund", "--ignore-scripts"]
        run(["npm", "install", *quiet, RESTATE_SERVER], directory=root)
        if not list(root.glob(_RESTATE_PROGRAMS)):
            raise CannotHave(f"npm has no server of it for {platform.system()} on {platform.machine()}")

    return str(next(built_once(_named("npm", [RESTATE_SERVER]), build).glob(_RESTATE_PROGRAMS)))


def run(argv: Sequence[str], *, directory: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """What it prints; what it complains of goes to standard error. Raises `CannotHave`."""
    program = Path(argv[0]).name
    if shutil.which(argv[0]) is None:
        raise CannotHave(f"`{program}` is not on the PATH")
    env = dict(environment) if environment is not None else None
    done = subprocess.run(argv, cwd=directory, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise CannotHave(f"`{' '.join([program, *argv[1:4]])} ...` ended with {done.returncode}, see above")
    return done.stdout


def said(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _named(kind: str, what: Sequence[str]) -> str:
    return f"peers-{kind}-{hashlib.sha256(' '.join(what).encode()).hexdigest()[:12]}"
