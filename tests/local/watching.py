"""Waiting for what other processes do, always with a bound; and a program of ours that can be killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import psutil  # type: ignore[import-untyped]

_WAIT_SECONDS = 20.0


def until(condition: Callable[[], bool], what: str, timeout_seconds: float = _WAIT_SECONDS) -> None:
    deadline = time.monotonic() + timeout_seconds
    pause = Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_seconds:g} s: {what}"
        pause.wait(0.02)


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_frozen(pid: int) -> bool:
    return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)


def children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def number_of_threads(pid: int) -> int:
    return int(psutil.Process(pid).num_threads())


@contextmanager
def program(text: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """Runs `text` as Python in a process of its own, until it has printed a line of JSON; yields both. Its `sys.argv`
    holds the arguments, which the list of processes does not show: there may be a password among them.
    """
    code = f"import os, sys\nsys.argv += os.environ['ARGUMENTS'].splitlines()\n{text}"
    environment = {**os.environ, "ARGUMENTS": "\n".join(arguments)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            assert line, f"the program ended with exit code {child.wait(_WAIT_SECONDS)}"
            yield child, json.loads(line)
        finally:
            child.kill()
