"""What is downloaded or computed once and kept between runs, in `$XDG_CACHE_HOME/ordersaga` or `~/.cache/ordersaga`.

An entry is a directory that is either complete or absent: it is built beside its place and renamed into it. Two
processes that want the same entry at once build it once; the second waits. The cache may be deleted whenever nothing
runs from it.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ordersaga.local.terminal import say


def cache_directory() -> Path:
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "ordersaga"


def built_once(name: str, build: Callable[[Path], None], *, within: Path | None = None) -> Path:
    """The entry `name`, built by `build(empty_directory)` if it is not there yet. What `build` raises leaves nothing
    behind.
    """
    root = within if within is not None else cache_directory()
    entry = root / name
    if entry.is_dir():
        return entry
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / f".{name}.lock"):
        if not entry.is_dir():
            _build(entry, build)
    return entry


def _build(entry: Path, build: Callable[[Path], None]) -> None:
    for abandoned in entry.parent.glob(f".{entry.name}.building-*"):
        shutil.rmtree(abandoned, ignore_errors=True)  # of a build that was killed: we have the lock, so nobody builds
    scratch = Path(tempfile.mkdtemp(prefix=f".{entry.name}.building-", dir=entry.parent))
    try:
        scratch.chmod(0o755)
        build(scratch)
        scratch.rename(entry)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """As long as the other process takes, whose own waits are bounded; the lock goes when it ends, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that makes {path.stem.lstrip('.')}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
