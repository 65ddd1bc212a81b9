"""Child processes that can be started, awaited, killed, frozen and restarted, each with a log of its own.

The promise: every wait has a bound; a process that dies says so with the end of its log; a signal reaches the process
and all that it started; and no process outlives this one, not even when this one is killed with SIGKILL.

The last is the Linux kernel's doing. It watches the *thread* that started the child, so all children are started by one
thread that never ends. On other systems a child ends when this process exits in good order, and only then.
"""

import atexit
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Self

import psutil  # type: ignore[import-untyped]

from ordersaga.local.accounts import Account, popen_arguments
from ordersaga.local.failures import NotReady

_POLL_SECONDS = 0.02
_SIGNAL_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


class Process:
    """One command, started as often as asked; each run appends to the same log."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        directory: Path | None = None,
        account: Account | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """`env` replaces the whole environment; without it the child has ours. `account`: whom it runs as, ours if
        None.
        """
        self.name = name
        self.argv = tuple(argv)
        self.log_path = log_path
        self.env = dict(env) if env is not None else None
        """Of the next start; None: ours."""
        self._directory = directory
        self._account = account
        self._stop_signal = stop_signal
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._started().pid

    @property
    def is_running(self) -> bool:
        """Frozen counts as running."""
        return self._child is not None and self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of the latest run; negative is the signal that ended it; None before the end."""
        return self._child.poll() if self._child is not None else None

    def start(self) -> Self:
        """Returns when the child exists; see `wait_ready`."""
        if self.is_running:
            raise RuntimeError(f"{self.name} is running already")
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._child = _STARTER.run(self._spawn)
        atexit.register(self.kill)
        return self

    def wait_ready(self, is_ready: Callable[[], bool], timeout_seconds: float) -> Self:
        """Ask `is_ready` until it says yes. Raises `NotReady`. `is_ready` itself must not block for long."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            if not self.is_running:
                raise NotReady(f"{self.name} ended with exit code {self.exit_code}\n{self.log_tail()}")
            if is_ready():
                return self
            if time.monotonic() > deadline:
                raise NotReady(f"{self.name} was not ready within {timeout_seconds:g} s\n{self.log_tail()}")
            time.sleep(_POLL_SECONDS)

    def wait_ended(self, timeout_seconds: float) -> int:
        """The exit code. Raises `NotReady` when it is still running after the timeout."""
        try:
            return self._started().wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise NotReady(f"{self.name} did not end within {timeout_seconds:g} s\n{self.log_tail()}") from None

    def ask_to_stop(self) -> None:
        """Send the signal for an orderly end, thawing it first so that it can obey; see `wait_ended`."""
        if self.is_running:
            self.thaw()
            self._started().send_signal(self._stop_signal)

    def stop(self, timeout_seconds: float = 30.0) -> int | None:
        """Ask it to end, and kill it when it has not within the timeout. Its exit code; None if it never ran."""
        self.ask_to_stop()
        if self._child is not None:
            with suppress(NotReady):
                self.wait_ended(timeout_seconds)
        self.kill()
        return self.exit_code

    def kill(self) -> None:
        """SIGKILL, to it and to all that it started; returns when none is left. Harmless when it has ended."""
        atexit.unregister(self.kill)
        if self._child is None:
            return
        family = self._family()
        _signal_all(family, signal.SIGKILL)
        self._child.wait(_SIGNAL_SECONDS)
        _wait_gone(family[1:], _SIGNAL_SECONDS)

    def freeze(self) -> None:
        """SIGSTOP: alive, holding its connections, and silent. Returns when every thread stands still."""
        deadline = time.monotonic() + _SIGNAL_SECONDS
        while moving := [member for member in self._family() if not _is_frozen(member)]:
            if time.monotonic() > deadline:
                raise NotReady(f"{self.name} was not frozen within {_SIGNAL_SECONDS:g} s")
            _signal_all(moving, signal.SIGSTOP)
            time.sleep(_POLL_SECONDS)

    def thaw(self) -> None:
        _signal_all(self._family(), signal.SIGCONT)

    def restart(self, timeout_seconds: float = 30.0) -> Self:
        """Stop if running, then start. Does not wait until it is ready."""
        self.stop(timeout_seconds)
        return self.start()

    def log_tail(self, lines: int = 30) -> str:
        try:
            text = self.log_path.read_text(errors="replace")
        except FileNotFoundError:
            return f"(no log at {self.log_path})"
        return "\n".join([f"the end of {self.log_path}:", *text.splitlines()[-lines:]])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise RuntimeError(f"{self.name} has not been started")
        return self._child

    def _family(self) -> list[psutil.Process]:
        """It and its descendants, itself first so that it cannot start more once signalled; empty when it has ended."""
        if not self.is_running:
            return []
        try:
            parent = psutil.Process(self.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                cwd=self._directory,
                start_new_session=True,  # Ctrl-C is for us; we then stop our children in our own order
                preexec_fn=_die_with(os.getpid()) if _LIBC is not None else None,  # noqa: PLW1509 (it only calls the kernel)
                **popen_arguments(self._account),
            )


class _Starter:
    """Runs calls on one thread that lasts as long as the process; another one in a forked child."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._calls: SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]]
        self._pid = 0

    def run(self, call: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._guard:
            if self._pid != os.getpid():
                self._pid, self._calls = os.getpid(), SimpleQueue()
                Thread(target=self._serve, name="starter-of-processes", daemon=True).start()
        result: Future[subprocess.Popen[bytes]] = Future()
        self._calls.put((call, result))
        return result.result()

    def _serve(self) -> None:
        while True:
            call, result = self._calls.get()
            try:
                result.set_result(call())
            except BaseException as failure:  # noqa: BLE001 (raised again for who waits)
                result.set_exception(failure)
            del call, result


_STARTER = _Starter()
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with(parent_pid: int) -> Callable[[], None]:
    """To run in the child just before it becomes the command: after the change of account, which would undo it."""
    assert _LIBC is not None
    prctl = _LIBC.prctl

    def prepare() -> None:
        # The parent may have died before the kernel was told.
        if prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0 or os.getppid() != parent_pid:
            os._exit(127)

    return prepare


def _signal_all(family: Sequence[psutil.Process], number: signal.Signals) -> None:
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.send_signal(number)


def _is_frozen(member: psutil.Process) -> bool:
    try:
        if sys.platform != "linux":
            return bool(member.status() == psutil.STATUS_STOPPED)
        threads = [path.read_text() for path in Path(f"/proc/{member.pid}/task").glob("*/stat")]
    except (OSError, psutil.NoSuchProcess):  # it is ending, or one of its threads is: look again
        return not _is_alive(member)
    return all(stat.rpartition(")")[2].split()[0] in "TZX" for stat in threads)


def _wait_gone(family: Sequence[psutil.Process], timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while any(_is_alive(member) for member in family):
        if time.monotonic() > deadline:
            raise NotReady(f"processes {[member.pid for member in family]} have not ended after SIGKILL")
        time.sleep(_POLL_SECONDS)


def _is_alive(member: psutil.Process) -> bool:
    try:
        return bool(member.is_running() and member.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
