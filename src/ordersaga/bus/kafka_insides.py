"""What we use of the client library's insides, since its public face does not do: names that a new version may change.

A test compares the names with the library that is installed.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from ordersaga.bus.kafka_producer_session import one_line
from ordersaga.bus.protocol import BusUnavailable

INSIDES = (  # a test compares them with the library
    "KafkaProducer._sender.force_close",
    "KafkaProducer._sender.wakeup",
    "KafkaProducer._transaction_manager.has_fatal_error",
    "KafkaProducer._accumulator.append",
    "KafkaProducer._accumulator.begin_flush",
    "KafkaProducer._accumulator._flushes_in_progress.decrement",
    "KafkaConsumer._client._manager.least_used_connections",
    "KafkaConsumer._fetcher.send_fetches",
    "KafkaConsumer._fetcher._completed_fetches",
    "KafkaConsumer._fetcher._paused_completed_fetches",
    "KafkaConsumer._fetcher._fetch_futures",
    "KafkaConsumer._fetcher._manager.call_soon",
    "KafkaConsumer._fetcher._parse_fetched_data",
    "KafkaConsumer._fetcher._append",
    "KafkaConsumer._fetcher._send_list_offsets_requests",
    "KafkaConsumer._fetcher._group_list_offset_requests",
    "KafkaConsumer._fetcher._manager.cluster.leader_for_partition",
    "KafkaConsumer._subscription.request_offset_reset",
    "KafkaConsumer._subscription.position",
    "KafkaConsumer._subscription.seek",
    "KafkaConsumer._subscription.pause",
    "KafkaConsumer._coordinator.need_rejoin",
    "KafkaConsumer._coordinator.rejoining",
)

_LATEST = -1
"""In a question for offsets: where the next record will be."""
TRY_AGAIN_SECONDS = 10.0
"""After this a partition that could not be read is tried again: another broker leads it, or somebody has mended it."""


def see_what_has_arrived(fetcher: Any, done: Any) -> None:
    """A response that comes while the next request is being sent would be seen when that one is answered, half a second
    later: `poll` waits for futures, and the one that is done has just been forgotten. So it finds `done`, a future.
    """
    send = fetcher.send_fetches

    def send_fetches() -> Any:
        sent = send()
        if fetcher._completed_fetches:
            fetcher._fetch_futures.append(done)
        return sent

    fetcher.send_fetches = send_fetches


class Ends:
    """Where partitions end by now. What the client's public face says is older: it learns the end of a partition when
    it comes to hand out its records, and of one of which it has much in hand it asks for nothing more.
    """

    def __init__(self, fetcher: Any) -> None:
        self._fetcher = fetcher
        self._asked: Any = None
        self._asked_at = self._told_of_at = 0.0
        self._told: dict[Any, int] = {}

    def look(self, partitions: Collection[Any]) -> Mapping[Any, int]:
        """As of the answers that the client has not looked into, and as brokers told whoever looked before. Waits for
        nobody: it asks them anew, for whoever looks next.
        """
        fetcher, asked = self._fetcher, self._asked
        if asked is None or asked.is_done:
            if asked is not None:
                self._told = {tp: end.offset for tp, end in asked.value[0].items()} if asked.succeeded() else {}
                self._told_of_at = self._asked_at
            wanted = dict.fromkeys(partitions, _LATEST)
            with suppress(RuntimeError):  # the client is closed
                now = time.monotonic()
                self._asked = fetcher._manager.call_soon(fetcher._send_list_offsets_requests, wanted)
                self._asked_at = now
        found = dict(self._told)
        for answer in [*fetcher._completed_fetches.copy(), *fetcher._paused_completed_fetches.copy().values()]:
            tp, end = answer.topic_partition, int(answer.partition_data.high_watermark)
            found[tp] = max(end, found.get(tp, end))
        return found

    def told_since(self, moment: float) -> AbstractSet[Any]:
        """The partitions of which a broker told where they end when it was asked after `moment`."""
        return self._told.keys() if self._told_of_at > moment else frozenset()


def positions(subscription: Any, partitions: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
    """What is read next of each, where that is known. The client's own `position` may ask the brokers.

    It is moved in `poll` only: behind what that returns, and behind what is no record and follows it. (Where a log ends
    or begins elsewhere than it did, also meanwhile: to where it goes on.)
    """
    found = {}
    for tp in partitions:
        with suppress(KeyError):  # taken away meanwhile
            if (position := subscription.position(tp)) is not None:
                found[tp] = int(position.offset)
    return found


class Gaps:
    """Where a log begins behind what was to be read next, the client goes on from there and tells nobody. Gaps of other
    kinds, as in a compacted log, are none: nothing was lost there.
    """

    def __init__(self, subscription: Any) -> None:
        self._found: list[tuple[Any, int, int]] = []
        begun: dict[Any, int] = {}
        reset, seek = subscription.request_offset_reset, subscription.seek

        def note_and_reset(tp: Any, *strategy: Any) -> None:
            if (position := subscription.position(tp)) is not None:
                begun[tp] = position.offset
            reset(tp, *strategy)

        def note_and_seek(tp: Any, offset: Any) -> None:
            seek(tp, offset)
            began = begun.pop(tp, None)
            if began is not None and isinstance(offset, int) and offset > began:
                self._found.append((tp, began, offset))

        subscription.request_offset_reset, subscription.seek = note_and_reset, note_and_seek

    def look(self) -> list[tuple[Any, int, int]]:
        """Each with its first offset and the one after its last, since the last call."""
        found, self._found = self._found, []
        return found


class LeftAlone:
    """What the client cannot read of one partition, or may not, it raises in each `poll` in place of the records of all
    others. So that partition is left alone for a while, at the offset where it is.
    """

    def __init__(self, fetcher: Any, subscription: Any) -> None:
        self._subscription = subscription
        self._why: dict[Any, str] = {}
        self._until: dict[Any, float] = {}
        parse, append = fetcher._parse_fetched_data, fetcher._append

        def parse_or_leave(answer: Any) -> Any:
            try:
                parsed = parse(answer)
            except Exception as error:  # noqa: BLE001 (whatever a stranger's bytes may lead to)
                return self._leave(answer.topic_partition, error)
            if parsed is not None and not answer.partition_data.records:
                self.forget([answer.topic_partition])
            return parsed

        def append_or_leave(drained: Any, part: Any, *how: Any) -> int:
            try:
                count: int = append(drained, part, *how)
            except Exception as error:  # noqa: BLE001 (as above)
                part.drain()
                self._leave(part.topic_partition, error)
                return 0
            if self._why and count:
                self.forget([part.topic_partition])
            return count

        fetcher._parse_fetched_data, fetcher._append = parse_or_leave, append_or_leave

    def why(self) -> Mapping[Any, str]:
        """Which, and what is the matter with each. One that is tried again is among them until something was read."""
        return self._why.copy()

    def rests(self, partition: Any) -> bool:
        return time.monotonic() < self._until.get(partition, 0.0)

    def any_to_try(self) -> bool:
        return any(not self.rests(partition) for partition in self._until.copy())

    def forget(self, partitions: Collection[Any]) -> None:
        """They were read, or are another's now."""
        for partition in partitions:
            self._why.pop(partition, None)
            self._until.pop(partition, None)

    def _leave(self, partition: Any, error: Exception) -> None:
        with suppress(KeyError):  # taken away meanwhile
            self._subscription.pause(partition)
            position = self._subscription.position(partition)
            self._until[partition] = time.monotonic() + TRY_AGAIN_SECONDS
            self._why[partition] = f"at offset {position.offset if position else '?'}: {one_line(error)}"


@cache
def read_any_header_name(batch: type[Any]) -> None:
    """A header whose name is not UTF-8 would make its whole batch one that cannot be read. From here on its name has
    `\\xff` where it had such a byte. `batch` is the library's class of them.
    """
    read = batch._read_msg

    def read_any(self: Any) -> Any:
        try:
            return read(self)
        except UnicodeDecodeError:
            self._buffer = _AnyText(self._buffer)
            return read(self)

    batch._read_msg = read_any


class _AnyText(bytearray):
    """A slice of it can be decoded, whatever is in it."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _AnyText(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", errors: str = "") -> str:
        return super().decode(encoding, "backslashreplace")


def leave_none_out(fetcher: Any) -> None:
    """Asked for offsets, the client leaves out a partition that has no leader, and says of it what it says of one where
    there is nothing. So it raises `BusUnavailable`.
    """
    group = fetcher._group_list_offset_requests

    def group_all(wanted: Mapping[Any, Any]) -> Any:
        by_node = group(wanted)
        asked = {tp for of_node in by_node.values() for tp in of_node}
        for tp in wanted.keys() - asked:
            if fetcher._manager.cluster.leader_for_partition(tp) is not None:
                raise BusUnavailable(f"partition {tp.partition} of topic {tp.topic} has no leader")
            by_node = {}  # nothing is known of it yet: the client asks again when there is
        return by_node

    fetcher._group_list_offset_requests = group_all


def join_to_the_end(coordinator: Any) -> None:
    """A member that joins since partitions are news to it would forget that when `poll` has no time left: it sends no
    heartbeat from then on, is put out of its group, and reads on what has become another's.
    """
    need = coordinator.need_rejoin
    coordinator.need_rejoin = lambda: coordinator.rejoining or need()


@contextmanager
def let_sleep(sender: Any) -> Iterator[None]:
    """Each `send` that is the first of its partition would wake the thread that sends, which then takes the interpreter
    from whoever has more to send. What is sent meanwhile waits for the next waking.
    """
    wake, sender.wakeup = sender.wakeup, lambda: None
    try:
        yield
    finally:
        sender.wakeup = wake
