"""Free ports on 127.0.0.1, never handed out twice at one time.

They lie below 32768, where the kernel does not take ports for outgoing connections: a broker that is restarted must
find its port free. A port is held, against every other process that asks here, by a lock on one byte of a file, until
it is released or this process ends. It is not held against programs that do not ask here.
"""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from threading import Lock

from ordersaga.local.failures import LocalError

FIRST_PORT = 21_000
LAST_PORT = 23_999

_held: set[int] = set()
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
        for port in _held.intersection(ports):
            _held.remove(port)
            fcntl.lockf(_lock_file(), fcntl.LOCK_UN, 1, port)


def _hold(port: int) -> bool:
    with _guard:
        if port in _held:
            return False
        try:
            fcntl.lockf(_lock_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:  # another process has this byte
            return False
        if not _is_free(port):
            fcntl.lockf(_lock_file(), fcntl.LOCK_UN, 1, port)
            return False
        _held.add(port)
        return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a closing connection is no owner
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@lru_cache(maxsize=1)
def _lock_file() -> int:
    """Open as long as this process lives: closing it once would give up all its locks."""
    return os.open(Path(tempfile.gettempdir()) / f"ordersaga-ports-{os.geteuid()}.lock", os.O_RDWR | os.O_CREAT, 0o600)
