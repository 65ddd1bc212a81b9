"""Reading from Kafka as a member of a group, without ever hanging or ending for good.

The promise: a record is delivered until its offset was committed, through broker restarts, rebalances and a client that
has to be replaced. Commits are explicit, several in one request (`COMMIT_TOGETHER_SECONDS`), sent without waiting, and
repeated until confirmed or overtaken. What this member holds when a partition is taken from it is the caller's to
finish or not: Kafka does not protect it, and a member that was cut off for long may deliver what another has handled.
The database decides.

Where everything was committed that was handed out, what follows it and is no record (the end of a transaction, what one
took back, what is gone) is committed as well, also where no record comes: nothing is left that looks unread.

A client is replaced when it raises what no waiting cures, and when for `stalled_seconds` it had no broker, did not come
to terms with its group, or had records to read and delivered none. `counters` says how often.

Records that were deleted before they were read are counted and told: it goes on behind them. A partition that cannot
be read, or may not, is told and left where it is, and tried again and again; others are read on.

This module knows no client: `Session` is what it needs of one, and `bus.kafka` provides it.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from threading import Lock
from typing import Literal, Protocol, get_args

import structlog

from ordersaga.bus.bounded import bounded
from ordersaga.bus.connecting import Connecting, StillConnecting
from ordersaga.bus.counters import Counters
from ordersaga.bus.protocol import BusError, BusRefused, BusUnavailable, FencedMember, Record

_log = structlog.get_logger(__name__)
TopicPartition = tuple[str, int]
Offsets = Mapping[TopicPartition, int]
Cause = Literal["away", "error", "fenced", "stalled"]
Gap = tuple[TopicPartition, int, int]
"""Where records were that are not there any more: its first offset, and the one after its last."""
GONE = "consumer_records_gone"
UNREADABLE = "consumer_partitions_unreadable"
"""How many there are now."""
REBUILDS = tuple(f"consumer_rebuilds.{cause}" for cause in get_args(Cause))
SLICE_SECONDS = 0.2
"""The client cannot be woken, so it waits in slices."""
UNREACHABLE_SECONDS = 1.0
COMMIT_REPEAT_SECONDS = 1.0
COMMIT_TOGETHER_SECONDS = 0.2
"""A request costs as much as a record does. What was handled in this time comes again after a crash or a rebalance."""
LOOK_PAST_RECORDS_SECONDS = 1.0
"""How often it is seen whether a partition was read past what is no record."""


class Session(Protocol):
    """One client, subscribed. After `BusUnavailable` it goes on trying by itself, after any other `BusError` it is
    beyond use.
    """

    def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]: ...

    def moved(self) -> set[TopicPartition]:
        """Partitions that came or went since the last call."""

    def gone(self) -> Sequence[Gap]:
        """What was deleted before it was delivered, since the last call."""

    def unreadable(self) -> Mapping[TopicPartition, str]: ...

    def assigned(self) -> set[TopicPartition]: ...

    def pause(self, paused: bool) -> None:
        """Also for partitions that come later."""

    def seek(self, offsets: Offsets) -> None: ...

    def positions(self, partitions: Collection[TopicPartition]) -> Offsets:
        """What is read next of each of these, where that is known: behind what polls returned, and what is no record
        behind that.
        """

    def commit(self, offsets: Offsets, done: Callable[[Offsets, str], None]) -> None:
        """Does not wait. `done` is called in a later `poll` or `commit`, with an error or ''."""

    def lag(self, since: float | None) -> Offsets: ...

    def behind(self) -> bool:
        """Whether there are records that were not delivered. Asks a broker."""

    @property
    def connected(self) -> bool: ...

    @property
    def settled(self) -> bool:
        """Whether the group has told this member what is its own, and no newer division is under way."""

    def close(self, unconfirmed: Offsets, timeout_seconds: float) -> None:
        """Commit those, and leave the group."""


class KafkaConsumer:
    """`bus.protocol.Consumer`, see above."""

    def __init__(
        self,
        connecting: Connecting[Session],
        *,
        topics: Sequence[str],
        topic_exists: Callable[[str, float], bool],
        counters: Counters,
        stalled_seconds: float,
    ) -> None:
        self._connecting = connecting
        self._topics = tuple(topics)
        self._topic_exists = topic_exists
        self._counters = counters
        self._stalled_seconds = stalled_seconds
        self._busy = Lock()
        """Held while the client is used: it is not made for two threads, and `close` comes from anywhere."""
        self._woken = False
        self._closed = False
        self._fenced = ""
        self._paused = False
        self._client: Session | None = None
        self._first: dict[TopicPartition, int] = {}
        """The offset of the first record delivered, of each partition since it became ours."""
        self._committed: dict[TopicPartition, int] = {}
        """What `commit` was last called with, of each partition since it became ours."""
        self._unconfirmed: dict[TopicPartition, int] = {}
        self._in_hand: dict[TopicPartition, int] = {}
        """The offset after the last record delivered, of each partition of which not all delivered was committed."""
        self._unreadable: Mapping[TopicPartition, str] = {}
        self._commit_at: float | None = None
        """When to send `_unconfirmed`."""
        self._commit_sent_at = self._looked_past_at = 0.0
        self._progress_at = 0.0
        self._connected_at = 0.0
        self._settled_at = 0.0

    def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        until = time.monotonic() + timeout_seconds
        with self._busy:
            try:
                client = self._use(until)
            except StillConnecting:
                return []
            try:
                records = self._poll_in_slices(client, max_records, until)
                if not records:
                    self._watch(client)
                return records
            except BusError as error:
                raise self._lose(client, error) from error
            finally:
                self._woken = False

    def commit(self, next_offsets: Offsets) -> None:
        with self._busy:
            self._raise_if_out()
            client = self._client
            if client is None:
                return
            self._forget_moved(client)
            assigned = client.assigned()
            ours = {tp: offset for tp, offset in next_offsets.items() if tp in assigned}
            self._committed.update(ours)
            self._unconfirmed.update(ours)
            for tp, offset in ours.items():
                if self._in_hand.get(tp) == offset:
                    del self._in_hand[tp]
            self._commit_past_records(client, ours.keys())
            self._commit_by(self._commit_sent_at + COMMIT_TOGETHER_SECONDS)
            self._commit_if_due(client)

    def pause(self) -> None:
        self._paused = True
        if self._client is not None:
            self._client.pause(True)

    def resume(self) -> None:
        self._paused = False
        self._progress_at = time.monotonic()
        if self._client is not None:
            self._client.pause(False)

    def rewind(self) -> None:
        with self._busy:
            if self._client is not None:
                self._forget_moved(self._client)
                self._client.seek({**self._first, **self._committed})
                self._in_hand.clear()

    def wake(self) -> None:
        self._woken = True

    def assigned(self) -> Collection[TopicPartition]:
        return self._client.assigned() if self._client is not None else ()

    def lag(self, since: float | None = None) -> Offsets:
        return self._client.lag(since) if self._client is not None else {}

    def unreadable(self) -> Mapping[TopicPartition, str]:
        return self._unreadable

    def leave(self, timeout_seconds: float) -> None:
        with self._busy:
            client = self._client
            if client is not None:
                with suppress(BusError):
                    bounded(lambda: client.close(dict(self._unconfirmed), timeout_seconds), timeout_seconds)
                self._drop(client)

    def close(self, timeout_seconds: float) -> None:
        until = time.monotonic() + timeout_seconds
        self._closed = True
        self._woken = True
        client = self._connecting.close()
        if client is None:
            return
        # A client that does not come back from its call is closed all the same: the process is about to end.
        owned = self._busy.acquire(timeout=max(0.0, timeout_seconds))
        try:
            left = max(0.0, until - time.monotonic())
            with suppress(BusError):
                bounded(lambda: client.close(dict(self._unconfirmed), left), left)
        finally:
            if owned:
                self._busy.release()

    def _use(self, until: float) -> Session:
        self._raise_if_out()
        if self._client is None:
            # Asked first: the client would make the brokers create a topic whose name is a typo.
            for topic in self._topics:
                if not self._topic_exists(topic, until - time.monotonic()):
                    time.sleep(max(0.0, min(until - time.monotonic(), SLICE_SECONDS)))
                    raise BusUnavailable(f"topic {topic} does not exist")
            client = self._connecting.get(until - time.monotonic())
            client.pause(self._paused)
            self._client = client
            self._progress_at = self._connected_at = self._settled_at = time.monotonic()
        return self._client

    def _poll_in_slices(self, client: Session, max_records: int, until: float) -> Sequence[Record]:
        while True:
            self._look_past_records(client)
            self._commit_if_due(client)
            left = until - time.monotonic()
            slice_seconds = SLICE_SECONDS if self._commit_at is None else max(0.01, self._commit_at - time.monotonic())
            records = client.poll(max_records, max(0.0, min(left, SLICE_SECONDS, slice_seconds)))
            self._forget_moved(client)
            self._tell_what_is_gone(client)
            self._tell_what_cannot_be_read(client.unreadable())
            if records:
                self._progress_at = self._connected_at = self._settled_at = time.monotonic()
                for record in records:
                    tp = record.topic, record.partition
                    self._first.setdefault(tp, record.offset)
                    self._in_hand[tp] = record.offset + 1
                return records
            if self._woken or time.monotonic() >= until:
                return []

    def _watch(self, client: Session) -> None:
        """Nothing came. Raise where that is no news, but bad news."""
        now = time.monotonic()
        if client.connected:
            self._connected_at = now
        elif now - self._connected_at > UNREACHABLE_SECONDS:
            raise BusUnavailable("no broker is connected")
        if client.settled:
            self._settled_at = now
        elif now - self._settled_at > self._stalled_seconds:
            raise _Stalled(f"the group has not settled for {self._stalled_seconds} s")
        if not self._paused and now - self._progress_at > self._stalled_seconds:
            self._progress_at = now
            if client.behind():
                raise _Stalled(f"nothing was delivered for {self._stalled_seconds} s though there is something to read")

    def _lose(self, client: Session, error: BusError) -> BusError:
        """What the caller is to be told, after what must be done about it was done."""
        cause: Cause
        if isinstance(error, BusUnavailable):
            # Replaced, it would be a new member, and its partitions wait for the old one's session to end.
            if time.monotonic() - self._connected_at < self._stalled_seconds:
                return error
            cause = "away"
        elif isinstance(error, FencedMember):
            self._fenced = str(error)
            cause = "fenced"
        else:
            cause = "stalled" if isinstance(error, _Stalled) else "error"
        self._counters.add(f"consumer_rebuilds.{cause}")
        _log.warning("kafka.consumer_replaced", cause=cause, error=str(error))
        self._drop(client)
        return error if isinstance(error, FencedMember | BusRefused) else BusUnavailable(str(error))

    def _drop(self, client: Session) -> None:
        self._client = None
        self._first, self._committed, self._unconfirmed, self._in_hand = {}, {}, {}, {}
        self._tell_what_cannot_be_read({})
        self._connecting.drop(client)

    def _raise_if_out(self) -> None:
        if self._fenced:
            raise FencedMember(self._fenced)
        if self._closed:
            raise BusError("this consumer is closed")

    def _forget_moved(self, client: Session) -> None:
        for tp in client.moved():
            for offsets in (self._first, self._committed, self._unconfirmed, self._in_hand):
                offsets.pop(tp, None)

    def _tell_what_is_gone(self, client: Session) -> None:
        for (topic, partition), begin, end in client.gone():
            self._counters.add(GONE, end - begin)
            place = {"topic": topic, "partition": partition, "from_offset": begin, "to_offset": end}
            _log.error("kafka.records_gone", **place, records=end - begin)

    def _tell_what_cannot_be_read(self, found: Mapping[TopicPartition, str]) -> None:
        before, self._unreadable = self._unreadable, found
        if found == before:
            return
        self._counters.add(UNREADABLE, len(found) - len(before))
        for (topic, partition), why in found.items():
            if before.get((topic, partition)) != why:
                _log.error("kafka.partition_unreadable", topic=topic, partition=partition, error=why)
        for topic, partition in before.keys() - found.keys():
            _log.info("kafka.partition_not_unreadable_here", topic=topic, partition=partition)

    def _look_past_records(self, client: Session) -> None:
        now = time.monotonic()
        if now - self._looked_past_at < LOOK_PAST_RECORDS_SECONDS:
            return
        self._looked_past_at = now
        self._forget_moved(client)
        if self._commit_past_records(client, client.assigned()):
            self._commit_by(now)

    def _commit_past_records(self, client: Session, partitions: AbstractSet[TopicPartition]) -> bool:
        past = {
            tp: position
            for tp, position in client.positions(partitions - self._in_hand.keys()).items()
            if position > self._committed.get(tp, 0)
        }
        self._committed.update(past)
        self._unconfirmed.update(past)
        return bool(past)

    def _commit_by(self, at: float) -> None:
        self._commit_at = at if self._commit_at is None else min(at, self._commit_at)

    def _commit_if_due(self, client: Session) -> None:
        if self._commit_at is None or time.monotonic() < self._commit_at:
            return
        self._commit_at, self._commit_sent_at = None, time.monotonic()
        if not self._unconfirmed:
            return
        offsets = dict(self._unconfirmed)
        try:
            client.commit(offsets, self._commit_done)
        except FencedMember as error:
            raise self._lose(client, error) from error
        except BusError:
            self._commit_done(offsets, "not sent")

    def _commit_done(self, offsets: Offsets, error: str) -> None:
        if error:
            self._counters.add("consumer_commits_failed")
            self._commit_by(time.monotonic() + COMMIT_REPEAT_SECONDS)
            return
        for tp, offset in offsets.items():
            if self._unconfirmed.get(tp) == offset:
                del self._unconfirmed[tp]


class _Stalled(BusError):
    pass
