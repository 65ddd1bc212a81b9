"""A terminal to type at: one bash, in a directory of its own, that keeps its variables and its background jobs.

What it started ends with it.
"""

import os
import select
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self
from uuid import uuid4

import psutil  # type: ignore[import-untyped]

from tests.house_rules import ROOT

COMMAND_SECONDS = 90.0


class Terminal:
    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        """`environment` is all of it, but for what it does not say of PATH: the project's own programs first."""
        path = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={"COLUMNS": "120", "PATH": path, "HOME": os.environ.get("HOME", "/"), **environment},
            start_new_session=True,
        )
        # As at a terminal each job is a group of its own; the trap is for when this process dies and the pipe closes.
        # The environment is set up already, and is not this directory's to set up.
        self.run(
            "set -m; trap 'kill -9 $(jobs -p) 2>/dev/null' EXIT; make() { command make -o .venv/.installed \"$@\"; }"
        )

    def run(self, command: str, timeout_seconds: float = COMMAND_SECONDS) -> tuple[str, int]:
        """What came, and the exit code. Raises `TimeoutError` with what had come by then."""
        end = f"end-{uuid4().hex}"
        assert self._bash.stdin
        self._bash.stdin.write(f"{command}\nprintf '\\n%s %d\\n' {end} $?\n".encode())
        self._bash.stdin.flush()
        came, code = self._read_until(end, timeout_seconds)
        notices = ("[", "bash: line")
        lines = [line for line in came.splitlines() if not line.startswith(notices) or "Killed" not in line]
        return "\n".join(lines), code

    def _read_until(self, end: str, timeout_seconds: float) -> tuple[str, int]:
        assert self._bash.stdout
        out, deadline, came = self._bash.stdout.fileno(), monotonic() + timeout_seconds, b""
        while True:
            left = deadline - monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                raise TimeoutError(f"no end within {timeout_seconds:g} s; it said:\n{came.decode(errors='replace')}")
            more = os.read(out, 65_536)
            came += more
            before, found, rest = came.partition(f"\n{end} ".encode())
            if found and rest.endswith(b"\n"):
                return before.decode(errors="replace"), int(rest)
            if not more:
                raise TimeoutError(f"the shell ended; it said:\n{came.decode(errors='replace')}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        family = psutil.Process(self._bash.pid).children(recursive=True) if self._bash.poll() is None else []
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.terminate()
        _, alive = psutil.wait_procs(family, timeout=15)
        for member in alive:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(alive, timeout=10)
        for stream in (self._bash.stdin, self._bash.stdout):
            if stream:
                with suppress(BrokenPipeError):
                    stream.close()
        self._bash.kill()
        self._bash.wait(10)
