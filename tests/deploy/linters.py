"""Programs of others that look at the files in deploy/, at the versions of constraints.txt, kept in the cache."""

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from ordersaga.local.cache import built_once
from tests.deploy.files import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
WANTED = [Requirement(one).name for one in PROJECT["project"]["optional-dependencies"]["deploy"]]


def linters() -> Path:
    """The folder that they are installed in; programs are in `bin` below it. Raises where they are not to be had."""
    constraints = ROOT / "constraints.txt"
    lines = constraints.read_text("utf-8").splitlines()
    pinned = sorted(line for line in lines if line.partition("==")[0] in WANTED)
    assert len(pinned) == len(WANTED), f"constraints.txt has not all of {WANTED}"

    def install(directory: Path) -> None:
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(directory), *pinned]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise RuntimeError(f"{', '.join(pinned)} cannot be installed: {done.stderr[-500:]}")

    return built_once(f"linters-{hashlib.sha256(repr(pinned).encode()).hexdigest()[:12]}", install)
