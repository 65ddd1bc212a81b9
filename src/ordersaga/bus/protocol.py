"""What the rest of ordersaga may ask of a message bus.

A bus has topics with partitions, records with offsets, and consumer groups. It promises *at least once*: a record is
delivered again until its offset is committed, and may be delivered again after. It keeps the order of records with
one key on one topic. It does not promise that a record is delivered once, nor that an outcome is always known: a
publication may be `UNKNOWN`.

Two implementations: `bus.kafka` (Apache Kafka) and `bus.memory` (one process, lost with it). One suite of tests runs
over both.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from msgspec import Struct

Headers = tuple[tuple[str, bytes], ...]


class Record(Struct, frozen=True):
    """One record as it came in. `key`, `value` and `headers` are bytes of strangers: nothing about them is trusted. A
    header that came without a value has an empty one.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


class Outgoing(Struct, frozen=True):
    """One record to publish. Records with one `key` on one `topic`, a lane, keep the order in which they were handed
    over. An empty key means none: such a record goes to any partition, in no order.
    """

    topic: str
    key: bytes
    value: bytes
    headers: Headers = ()
    tombstone: bool = False
    """Whether it goes without any value, as one that marks its key as gone: it has a key, and `value` is empty."""

    @property
    def sent(self) -> bytes | None:
        """What the record has as its value."""
        return None if self.tombstone else self.value


class Published(Enum):
    """What became of one outgoing record."""

    ACKNOWLEDGED = "acknowledged"
    """Written by the broker (`acks=all`)."""
    REFUSED = "refused"
    """Will never be written as it is: too large, unknown topic, not allowed. Another attempt fares no better until
    someone acts.
    """
    UNKNOWN = "unknown"
    """Not acknowledged in time, or the connection broke: it may be in the log, it may be yet to come."""


class Outcome(Struct, frozen=True):
    published: Published
    error: str = ""
    """Empty when acknowledged; else one line for a log, free of secrets."""


class Consumer(Protocol):
    """One member of a consumer group. Used by one thread, except `wake` and `close`."""

    def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """Up to `max_records` next records, as soon as there is one; empty after `timeout_seconds`.

        Raises `BusUnavailable` while no broker answers, `FencedMember` when another live process has this member's id.
        Raises `BusUnavailable` while a topic does not exist, too: it may be created yet. A paused consumer returns
        nothing but keeps its membership. Poll often: a member that does not poll for minutes loses its partitions.
        """

    def wake(self) -> None:
        """Let a `poll` that waits return soon, or the next one. For other threads."""

    def commit(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """Remember, for the group, the next offset to read of each (topic, partition).

        Never raises for an outage or a rebalance: what is not committed is delivered again, which the database
        recognises. Does not wait for the answer, so a `FencedMember` may be raised by a later call. Offsets of
        partitions that are no longer this member's are left out: their new owner's count.
        """

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def rewind(self) -> None:
        """Deliver again, from the last committed offset of each assigned partition."""

    def assigned(self) -> Collection[tuple[str, int]]:
        """The (topic, partition) pairs that are this member's, as far as it knows."""

    def lag(self, since: float | None = None) -> Mapping[tuple[str, int], int]:
        """Records not yet delivered, per assigned (topic, partition), as far as known without waiting for a broker. Not
        of those that are `unreadable`.

        `since`, on the clock of `time.monotonic`: only of those partitions of which a broker was asked after that
        moment where they end, and has answered. Asking is begun by any call.
        """

    def unreadable(self) -> Mapping[tuple[str, int], str]:
        """Assigned (topic, partition) pairs of which the next record cannot be read, or may not, each with the offset
        and the cause. They are tried again by themselves; the others are read meanwhile.
        """

    def leave(self, timeout_seconds: float) -> None:
        """Let others of the group have what is assigned, until the next `poll`, which joins it again: from the last
        committed offsets. With an instance id they wait for the session to end, as after a crash. Never raises, and
        returns within the timeout whatever the brokers do.
        """

    def close(self, timeout_seconds: float) -> None:
        """Leave the group. Idempotent, and from any thread; returns within the timeout whatever the brokers do. A
        closed consumer raises `BusError` when it is polled.
        """


class Producer(Protocol):
    def publish(self, records: Sequence[Outgoing], timeout_seconds: float) -> Sequence[Outcome]:
        """Write all, wait for all: one outcome per record, in the order given. Never raises for what a broker says or
        does not say. Calls of several threads wait for each other.

        After a record that was not acknowledged, later ones of its lane in the same call are held back (`UNKNOWN`),
        so that they do not overtake it.

        After an `UNKNOWN` outcome the caller may publish the same record (same topic, key, value and headers) again,
        through the same producer, which then does its best not to have it in the log twice: see `bus.kafka`. A new
        producer, as after a crash, knows nothing of it: ask `Bus.written_since` first where a repeat is not harmless.
        """

    def partition(self, topic: str, key: bytes) -> int | None:
        """Where records with this key go, as far as is known without asking a broker. None: not known, or to any."""

    def cut_off(self) -> bool:
        """Write nothing more of what was handed over and not acknowledged, and say whether there is such. What was on
        its way already may still arrive.

        Does not block, and from any thread: a `publish` that waits ends, and one that comes sends anew, as after
        `UNKNOWN`. For who may no longer publish what others publish now.
        """

    def close(self, timeout_seconds: float) -> None:
        """Writes what was handed over, as far as the time goes."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    name: str
    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TopicState:
    partitions: int
    identity: str
    """Another one, once the topic was deleted and created again."""
    behind: int = 0
    """Partitions of which a broker that should have a copy is not in step."""
    leaderless: int = 0
    """Partitions that can be neither written nor read now."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the brokers say of themselves."""

    topics: Mapping[str, TopicState]
    creates_topics: bool | None
    """Whether a misspelt name makes a topic; None where we may not ask."""


@dataclass(frozen=True, slots=True)
class Access:
    """What brokers let us do, by the names of Kafka's operations. None: they do not say."""

    topics: Mapping[str, Collection[str] | None]
    group: Collection[str] | None


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One living member of a consumer group, as the brokers know it."""

    client_id: str
    partitions: Collection[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Read:
    """How far a group has read a partition, as it has committed it."""

    read_to: int
    """The offset that it reads next: the earliest where it has committed nothing, since it begins with that."""
    end: int
    """The offset of the next record that will be written."""

    @property
    def unread(self) -> int:
        return max(0, self.end - self.read_to)


class Bus(Protocol):
    """Constructors connect lazily: building a bus, a consumer or a producer never fails because a broker is away."""

    def consumer(
        self, *, group: str, topics: Sequence[str], client_id: str, instance_id: str | None = None
    ) -> Consumer:
        """A member of `group` over `topics`, from the earliest record where the group has no offset yet.

        `instance_id` asks for static membership; it must be unique among live processes.
        """

    def producer(self, *, client_id: str) -> Producer: ...

    def partitions(self) -> Mapping[str, int]:
        """Partition count of each topic that exists. Raises `BusUnavailable`."""

    def describe(self) -> Cluster:
        """Raises `BusUnavailable`."""

    def group_lag(self, group: str, topics: Collection[str]) -> Mapping[tuple[str, int], int]:
        """How many records each partition of these topics has that a group has not read: all of them where it has
        committed nothing, since it begins with the earliest. Topics that do not exist are left out. Raises
        `BusUnavailable`.
        """

    def group_reads(self, group: str, topics: Collection[str]) -> Mapping[tuple[str, int], Read]:
        """The same, as where it has come to and where that ends."""

    def members(self, group: str) -> Sequence[GroupMember]:
        """Who reads for a group now; nobody of one that does not exist. Raises `BusUnavailable`."""

    def read_again(self, group: str, since_ms: int) -> Mapping[tuple[str, int], int]:
        """Let a group that nobody reads for go back to what was written since then (Unix time), never forward. Returns
        how many records of each partition it will read once more.

        Raises `BusRefused` where somebody reads for it, `BusUnavailable`.
        """

    def create_topics(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        """Create those that are missing and return their names; those that exist are left as they are. Raises
        `BusUnavailable`, `BusRefused`.
        """

    def written_since(
        self, records: Sequence[Outgoing], since_ms: int, timeout_seconds: float, before_ms: int | None = None
    ) -> Sequence[bool]:
        """For each record, whether the same (topic, key, value, headers) was written since then (Unix time).

        This reads all of the topics' partitions concerned from `since_ms` on, to their end or to `before_ms`: spans
        that meet leave nothing out. A topic that does not exist has nothing to read. A producer that is alive may
        still write a record after this said no. Raises `BusUnavailable`, also when reading takes longer than the
        timeout.
        """

    def read_log(
        self, topics: Collection[str], take: Callable[[Record], None], since_ms: int, idle_seconds: float
    ) -> None:
        """Hand each record that was written since then (Unix time), to the end that the log has now, to `take`: those
        of one partition in their order. No group is moved by it. A topic that does not exist has nothing to read.

        Raises `BusUnavailable`, also when nothing comes for so long: some were handed over then.
        """

    def check(self, timeout_seconds: float) -> None:
        """Return if a broker answers now. Raises `BusUnavailable` with the cause (wrong password, refused, no
        answer).
        """

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
