"""What `kafka_producer` needs of a client, and what a record that was sent with one may come to."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ordersaga.bus.protocol import Outgoing


class Future(Protocol):
    is_done: bool
    exception: BaseException | None


class Session(Protocol):
    """One client. Its own clock runs: what was sent is retried until acknowledged, refused, or the client dropped."""

    @property
    def fatal(self) -> bool:
        """It will acknowledge nothing any more."""

    def partition_count(self, topic: str) -> int:
        """Raises `BusUnavailable`."""

    def gathering(self) -> AbstractContextManager[None]:
        """What is sent within may stay here until `wait`."""

    def send(self, record: Outgoing, partition: int | None) -> Future:
        """Raises `BusError` where nothing was sent."""

    def wait(self, futures: Sequence[Future], until: float) -> None:
        """Send at once what waits for company, and return when all are done or `until` (monotonic) has passed."""

    def refusal(self, future: Future) -> "Refusal | None":
        """What a broker said for good about this record, or about another that was with this client."""

    def cut_off(self) -> None:
        """Write nothing more. Does not block."""

    def close(self, timeout_seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: str
    topic: str | None = None
    """Set where no record of this topic would fare better."""


def succeeded(future: Future) -> bool:
    return future.is_done and future.exception is None


def one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
