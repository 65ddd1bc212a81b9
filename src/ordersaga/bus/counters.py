"""Plain counts of what went wrong and was put right, by name: for metrics to read."""

from collections.abc import Iterable, Iterator, Mapping
from threading import Lock


class Counters(Mapping[str, int]):
    """A name that was never counted reads as 0. Adding is thread-safe."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """`names` are there from the beginning."""
        self._counts = dict.fromkeys(names, 0)
        self._lock = Lock()

    def add(self, name: str, count: int = 1) -> None:
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + count

    def __getitem__(self, name: str) -> int:
        return self._counts.get(name, 0)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._counts))

    def __len__(self) -> int:
        return len(self._counts)
