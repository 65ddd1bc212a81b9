"""What the rest of ordersaga may ask of a message bus.

A bus has topics with partitions, records with offsets, and consumer groups. It promises *at least once*: a record is delivered
again until its offset is committed, and may be delivered again after. It keeps the order of records with one key on one topic.
It does not promise that a record is delivered once, nor that an outcome is always known: a publication may be `UNKNOWN`.

Two implementations: `bus.kafka` (Apache Kafka) and `bus.memory` (one process, lost with it). One suite of tests runs over both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it came in. `key`, `value` and `headers` are bytes of strangers: nothing about them is trusted."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to publish. Records with one `key` on one `topic` keep the order in which they were handed over."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers = ()


class Published(Enum):
    """What became of one outgoing record."""

    ACKNOWLEDGED = "acknowledged"
    """Written by the broker (`acks=all`)."""
    REFUSED = "refused"
    """Will never be written as it is: too large, unknown topic, not allowed. Another attempt fares no better until someone acts."""
    UNKNOWN = "unknown"
    """Not acknowledged in time, or the connection broke: it may be in the log, it may be yet to come."""


@dataclass(frozen=True, slots=True)
class Outcome:
    published: Published
    error: str = ""
    """Empty when acknowledged; else one line for a log, free of secrets."""


class Consumer(Protocol):
    """One member of a consumer group. Used by one thread, except `wake` and `close`."""

    def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """Up to `max_records` next records, as soon as there is one; empty after `timeout_seconds`.

        Raises `BusUnavailable` while no broker answers, `FencedMember` when another live process has this member's id.
        A paused consumer returns nothing but keeps its membership.
        """

    def commit(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """Remember, for the group, the next offset to read of each (topic, partition).

        Never raises for an outage or a rebalance: what is not committed is delivered again, which the database recognises.
        Raises `FencedMember`.
        """

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def rewind(self) -> None:
        """Deliver again, from the last committed offset of each assigned partition."""

    def lag(self) -> Mapping[tuple[str, int], int]:
        """Records not yet delivered, per assigned (topic, partition), as far as known without asking a broker."""

    def close(self, timeout_seconds: float) -> None:
        """Leave the group. Idempotent; returns within the timeout whatever the brokers do."""


class Producer(Protocol):
    def publish(self, records: Sequence[Outgoing], timeout_seconds: float) -> Sequence[Outcome]:
        """Write all, wait for all: one outcome per record, in the order given. Never raises for what a broker says or does not say.

        After an `UNKNOWN` outcome the caller may publish the same record again; whether it is then in the log twice is up to the
        implementation (see `bus.kafka`) and readers must bear it.
        """

    def close(self, timeout_seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class TopicSpec:
    name: str
    partitions: int
    config: Mapping[str, str]


class Bus(Protocol):
    """Constructors connect lazily: building a bus, a consumer or a producer never fails because a broker is away."""

    def consumer(self, *, group: str, topics: Sequence[str], client_id: str, instance_id: str | None = None) -> Consumer:
        """A member of `group` over `topics`, from the earliest record where the group has no offset yet.

        `instance_id` asks for static membership; it must be unique among live processes.
        """

    def producer(self, *, client_id: str) -> Producer: ...

    def partitions(self) -> Mapping[str, int]:
        """Partition count of each topic that exists. Raises `BusUnavailable`."""

    def create_topics(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        """Create those that are missing and return their names; those that exist are left as they are. Raises `BusUnavailable`, `BusRefused`."""

    def check(self, timeout_seconds: float) -> None:
        """Return if a broker answers now. Raises `BusUnavailable` with the cause (wrong password, refused, no answer)."""

    def close(self, timeout_seconds: float) -> None: ...


class BusError(Exception):
    """The bus could not do what was asked.

    BusError
    ├── BusUnavailable   no broker answers, or none that lets us in: try again later (retriable)
    ├── BusRefused       a broker answered no: asking again does not help
    └── FencedMember     another live process uses this member's id: stop at once
    """

    retriable = False


class BusUnavailable(BusError):
    retriable = True


class BusRefused(BusError):
    pass


class FencedMember(BusError):
    pass
