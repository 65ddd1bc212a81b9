"""Free ports on 127.0.0.1, never handed out twice at one time.

They lie below 32768, where the kernel does not take ports for outgoing connections: a broker that is restarted must
find its port free. A port is held, against every other process that asks here, by a lock on a file named after it,
until it is released or this process ends. It is not held against programs that do not ask here.
"""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from threading import Lock

from ordersaga.local.failures import LocalError

FIRST_PORT = 21_000
LAST_PORT = 23_999

_held: dict[int, int] = {}
_guard = Lock()


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> tuple[int, ...]:
    """Ports in no particular order, each held until `release_ports`."""
    found: list[int] = []
    candidates = list(range(FIRST_PORT, LAST_PORT + 1))
    random.shuffle(candidates)
    for port in candidates:
        if len(found) == count:
            break
        if _hold(port):
            found.append(port)
    if len(found) < count:
        release_ports(found)
        raise LocalError(f"no {count} ports are free between {FIRST_PORT} and {LAST_PORT} on 127.0.0.1")
    return tuple(found)


def hold_port(port: int) -> None:
    """Hold a port that was chosen elsewhere. Raises `LocalError` if something else has it."""
    if not _hold(port):
        raise LocalError(f"port {port} on 127.0.0.1 is taken: stop what listens there, or choose another")


def release_ports(ports: Iterable[int]) -> None:
    with _guard:
        for port in ports:
            lock = _held.pop(port, None)
            if lock is not None:
                os.close(lock)


def _hold(port: int) -> bool:
    with _guard:
        if port in _held:
            return False
        lock = os.open(_lock_directory() / str(port), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        if not _is_free(port):
            os.close(lock)
            return False
        _held[port] = lock
        return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a closing connection is no owner
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _lock_directory() -> Path:
    directory = Path(tempfile.gettempdir()) / f"ordersaga-ports-{os.geteuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory
