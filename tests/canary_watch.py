"""Looks for canaries while the tests run: in what is printed and logged, in the logs and the arguments of the processes
that are started, in answers that say what is wrong, in metrics, and in spans.

Passwords, tokens and customers of the tests bear a mark (`tests/canaries.py`). Where one is found, the test fails that
it was found in. What it cannot see: what a program writes to a file that is no log, and what `capture_logs` takes.
"""

import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from typer.testing import CliRunner

from ordersaga.local.postgres import PostgresServer
from ordersaga.local.processes import Process
from tests.canaries import MARK, PASSWORD

SAMPLE_EVERY_SECONDS = 0.5
EXCERPT_CHARS = 60


class Watch:
    """What was searched, and what was found."""

    def __init__(self) -> None:
        self.words = {MARK.encode()}
        self.found: list[str] = []
        self.texts: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self._lock = threading.Lock()

    def also(self, secret: str) -> None:
        """A secret that was drawn and bears no mark."""
        with self._lock:
            self.words.add(secret.encode())

    def look(self, kind: str, text: str | bytes, where: str = "") -> None:
        content = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
        with self._lock:
            self.texts[kind] += 1
            self.bytes[kind] += len(content)
            for word in self.words:
                if (at := content.find(word)) >= 0:
                    excerpt = content[max(0, at - EXCERPT_CHARS) : at + len(word) + EXCERPT_CHARS]
                    self.found.append(f"{kind} {where}: {excerpt!r}")

    def news(self) -> list[str]:
        """What was found since the last look."""
        with self._lock:
            found, self.found = self.found, []
        return found

    def told(self) -> str:
        kinds = ", ".join(f"{self.texts[kind]} of {kind} ({self.bytes[kind]:,} bytes)" for kind in sorted(self.texts))
        return f"canaries were looked for in: {kinds}"


WATCH = Watch()


class Plugin:
    """Where pytest and the world are looked at."""

    def __init__(self, watch: Watch = WATCH) -> None:
        self._watch = watch
        self._stop = threading.Event()
        self._late: list[str] = []

    def pytest_sessionstart(self) -> None:
        listen(self._watch)
        threading.Thread(target=self._sample, name="canary-watch", daemon=True).start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        report = yield
        if report.when == "teardown":
            said = "\n".join(f"{name}: {text}" for name, text in report.sections)
            self._watch.look("output of tests", said, item.nodeid)
            self._blame(report)
        return report

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._stop.set()
        self._late += self._watch.news()
        if (worker := getattr(session.config, "workeroutput", None)) is not None:
            worker["canaries"] = {
                "late": self._late,
                "texts": dict(self._watch.texts),
                "bytes": dict(self._watch.bytes),
            }
        elif self._late:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """One of several processes that share the tests has ended."""
        seen = getattr(node, "workeroutput", {}).get("canaries", {})
        self._late += seen.get("late", [])
        self._watch.texts.update(seen.get("texts", {}))
        self._watch.bytes.update(seen.get("bytes", {}))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.write_line(self._watch.told())
        for one in self._late:
            terminalreporter.write_line(f"CANARY {one}", red=True)

    def _blame(self, report: Any) -> None:
        found = self._watch.news()
        if found:
            report.outcome = "failed"
            report.longrepr = "\n".join(["a canary was found where it does not belong:", *found])

    def _sample(self) -> None:
        """Arguments of processes that our processes start."""
        known: set[tuple[int, float]] = set()
        while not self._stop.wait(SAMPLE_EVERY_SECONDS):
            with suppress(psutil.Error):
                for one in psutil.Process().children(recursive=True):
                    with suppress(psutil.Error):
                        if (key := (one.pid, one.create_time())) not in known:
                            known.add(key)
                            self._watch.look("arguments", "\0".join(one.cmdline()), f"process {one.pid}")


def listen(watch: Watch) -> None:
    """For good: what is wrapped stays wrapped until the process ends."""
    _wrap(subprocess.Popen, "__init__", before=lambda popen, argv, *_, **__: _arguments(watch, argv))
    _wrap(subprocess, "run", after=lambda done: watch.look("errors of commands", _text(done.stderr)))
    _wrap(CliRunner, "invoke", after=lambda done: watch.look("errors of commands", done.stderr))
    _wrap(httpx.Client, "send", after=lambda answer: _answer(watch, answer))
    _wrap_reading(watch)
    _wrap_logs(watch)
    _wrap_tokens(watch)
    _give_password()


# --- small print ----------------------------------------------------------------------------------


def _wrap(
    owner: Any, name: str, *, before: Callable[..., Any] = lambda *_, **__: None, after: Callable[[Any], Any] = id
) -> None:
    inner = getattr(owner, name)

    def wrapped(*arguments: Any, **more: Any) -> Any:
        before(*arguments, **more)
        result = inner(*arguments, **more)
        after(result)
        return result

    setattr(owner, name, wrapped)


def _arguments(watch: Watch, argv: Any) -> None:
    texts = [argv] if isinstance(argv, str | bytes) else argv
    watch.look("arguments", b"\0".join(_bytes(one) for one in texts), "of a process that was started")


def _answer(watch: Watch, answer: httpx.Response) -> None:
    metrics = answer.request.url.path == "/metrics"
    if metrics or answer.status_code >= 400:
        with suppress(httpx.ResponseNotRead):
            where = f"{answer.request.method} {answer.request.url.path}: {answer.status_code}"
            watch.look("metrics" if metrics else "errors of requests", answer.content, where)


def _wrap_reading(watch: Watch) -> None:
    inner = HTTPResponse.read

    def read(self: HTTPResponse, *arguments: Any) -> bytes:
        content = inner(self, *arguments)
        if self.status >= 400:
            watch.look("errors of requests", content, f"answer {self.status}")
        elif "version=0.0.4" in (self.headers.get("content-type") or ""):
            watch.look("metrics", content)
        return content

    HTTPResponse.read = read  # type: ignore[method-assign,assignment]


def _wrap_logs(watch: Watch) -> None:
    read_to: dict[Path, int] = {}

    def look(process: Process, *_: Any) -> None:
        with suppress(OSError), process.log_path.open("rb") as log:
            log.seek(read_to.get(process.log_path, 0))
            content = log.read()
            read_to[process.log_path] = log.tell()
            watch.look("logs of processes", content, str(process.log_path))

    inner = Process.kill

    def kill(self: Process) -> None:
        inner(self)
        look(self)

    Process.kill = kill  # type: ignore[method-assign]


def _wrap_tokens(watch: Watch) -> None:
    from ordersaga import tokens

    _wrap(tokens, "new_token", after=lambda made: watch.also(made[0]))


def _give_password() -> None:
    """Servers of the tests take any password: so each address has one that would be seen."""
    inner = PostgresServer.url

    def url(self: PostgresServer, database: str) -> str:
        parts = urlsplit(inner(self, database))
        account, _, place = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{account.partition(':')[0]}:{PASSWORD}@{place}"))

    PostgresServer.url = url  # type: ignore[method-assign]


def _bytes(one: Any) -> bytes:
    return one if isinstance(one, bytes) else str(one).encode("utf-8", "replace")


def _text(stderr: Any) -> Any:
    return stderr if stderr is not None else ""
