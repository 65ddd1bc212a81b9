"""Directories for the data of servers that are thrown away.

They go when their owner removes them. If it was killed before it could, they go when the next one is made; that is safe
because no server outlives its owner (see `processes`).
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_LOCK = "owner.lock"

_owned: dict[Path, int] = {}


def make_directory(purpose: str) -> Path:
    """A new directory that others may pass through but not list."""
    base = Path(tempfile.gettempdir()) / f"ordersaga-{purpose}-{os.geteuid()}"
    base.mkdir(mode=0o711, exist_ok=True)
    gate = os.open(base / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)  # else another process might take a directory without a lock yet for abandoned
        _sweep(base)
        directory = Path(tempfile.mkdtemp(dir=base))
        directory.chmod(0o711)
        _owned[directory] = _lock(directory)
    finally:
        os.close(gate)
    return directory


def remove_directory(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    lock = _owned.pop(directory, None)
    if lock is not None:
        os.close(lock)


def _sweep(base: Path) -> None:
    for directory in base.iterdir():
        if not directory.is_dir() or directory in _owned:
            continue
        try:
            lock = _lock(directory)
        except BlockingIOError:
            continue
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _lock(directory: Path) -> int:
    """Held as long as the result is open, at most as long as this process lives."""
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    return lock
