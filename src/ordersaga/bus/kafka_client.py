"""The only module that imports the client library (kafka-python 3.0): it opens clients with the settings that the
promises of `bus.kafka_producer` and `bus.kafka_consumer` need, and translates what they raise.

The library is careful only in part, so:

* Its checksum in Python holds the interpreter for milliseconds: the `crc32c` package is required.
* At DEBUG it logs keys, values and passwords: its loggers are capped at INFO. The cause of a failed connection is
  nowhere but in its log lines, and is picked up from there.
* What it calls on its own thread (rebalance listeners) sets flags and cannot raise: it would never recover.
* It cannot be cut off, wait for some records only, or say whether it is connected, it may wait for half a second beside
  records that it has, forget that it was joining, and stop all partitions for one that it cannot read: `kafka_insides`
  are used against that.
* A client does not survive a fork: build the bus after it.
"""

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, Literal

with warnings.catch_warnings():
    # It reads its own files in a deprecated way.
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka
    from kafka import errors
    from kafka.admin import ConfigResource, ConfigResourceType
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
    from kafka.future import Future as KafkaFuture
    from kafka.net.compat import KafkaNetClient
    from kafka.record import default_records
    from kafka.record import util as record_util

from ordersaga.bus.bounded import bounded, in_background
from ordersaga.bus.kafka_insides import (
    Ends,
    Gaps,
    LeftAlone,
    join_to_the_end,
    let_sleep,
    positions,
    read_any_header_name,
    see_what_has_arrived,
)
from ordersaga.bus.kafka_logging import CAUSES, cap_and_listen
from ordersaga.bus.kafka_producer_session import Future, Refusal, one_line
from ordersaga.bus.kafka_settings import (
    KafkaSecurity,
    KafkaTimings,
    common_settings,
    consumer_settings,
    producer_settings,
)
from ordersaga.bus.protocol import BusError, BusRefused, BusUnavailable, FencedMember, Outgoing, Record

ClientError = errors.KafkaError
NotAllowed = errors.AuthorizationError
NoGroupYet = errors.CoordinatorNotAvailableError
"""Also while nobody has ever been in a group: brokers make their place for groups when the first one asks."""
TopicPartition = tuple[str, int]
Offsets = Mapping[TopicPartition, int]
_REFUSALS = (
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
    errors.InvalidRecordError,
    errors.InvalidTimestampError,
    errors.InvalidTopicError,
    errors.PolicyViolationError,
    errors.TopicAuthorizationFailedError,
    errors.UnsupportedForMessageFormatError,
    errors.UnsupportedCompressionTypeError,
)
_NOES = (
    errors.AuthorizationError,
    errors.InvalidConfigurationError,
    errors.InvalidPartitionsError,
    errors.InvalidReplicationFactorError,
    errors.InvalidTopicError,
    errors.PolicyViolationError,
)


class KafkaClients:
    """How to open clients of one cluster. Each `open_` blocks for seconds and raises `BusError`."""

    def __init__(self, bootstrap_servers: str, security: KafkaSecurity, timings: KafkaTimings) -> None:
        assert record_util.crc32c_c is not None, "the crc32c package is missing"
        cap_and_listen()
        read_any_header_name(default_records.DefaultRecordBatch)
        self._timings = timings
        self._with_password = bool(security.username)
        self._common = common_settings(bootstrap_servers, security, timings)

    def open_producer(
        self, client_id: str, compression: Literal["gzip"] | None, record_bytes_max: int
    ) -> "ProducerSession":
        return ProducerSession(
            self._open(kafka.KafkaProducer, client_id, **producer_settings(compression, record_bytes_max))
        )

    def open_consumer(
        self, client_id: str, group: str, topics: Sequence[str], instance_id: str | None
    ) -> "ConsumerSession":
        settings = consumer_settings(group, instance_id, self._timings)
        settings["partition_assignment_strategy"] = (CooperativeStickyAssignor,)
        client = self._open(kafka.KafkaConsumer, client_id, **settings)
        try:
            with translated():
                return ConsumerSession(client, topics)
        except BusError:
            in_background(lambda: _let_go(client))
            raise

    def open_admin(self, client_id: str) -> Any:
        """For an `AdminSession`."""
        return self._open(kafka.KafkaAdminClient, client_id, request_timeout_ms=10_000)

    def open_reader(self, client_id: str) -> Any:
        """For a `ReaderSession`."""
        return self._open(kafka.KafkaConsumer, client_id, enable_auto_commit=False, metrics_enabled=False)

    def _open(self, kind: Callable[..., Any], client_id: str, **settings: Any) -> Any:
        inner: list[Any] = []

        def net_client(**configs: Any) -> Any:
            inner.append(KafkaNetClient(**configs))
            return inner[0]

        began = time.monotonic()
        try:
            return kind(**self._common, **settings, client_id=client_id, kafka_client=net_client)
        except Exception as error:
            # The library leaves the sockets and the thread of a client that it could not connect.
            for client in inner:
                client.close()
            if isinstance(error, errors.KafkaError):
                raise BusUnavailable(self._cause(CAUSES.since(began) or one_line(error))) from error
            # Its text may repeat a setting's value.
            raise BusRefused(f"the client does not take these settings: {type(error).__name__}") from None

    def _cause(self, told: str) -> str:
        """Where a broker says why and hangs up, and both come at once, the library forgets what it said."""
        if self._with_password and "socket disconnected" in told:
            return f"{told}. Perhaps a refused login: check the user's name, its password and the mechanism"
        return told


class ProducerSession:
    """`bus.kafka_producer.Session`"""

    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def fatal(self) -> bool:
        return bool(self._client._transaction_manager.has_fatal_error())

    def partition_count(self, topic: str) -> int:
        with translated():
            return len(self._client.partitions_for(topic))

    def gathering(self) -> contextlib.AbstractContextManager[None]:
        return let_sleep(self._client._sender)

    def send(self, record: Outgoing, partition: int | None) -> Future:
        headers = list(record.headers)
        try:
            future: Future
            if partition is None:
                future = self._client.send(record.topic, value=record.sent, headers=headers)
            else:  # what `send` comes to where partition and size are known: the way there costs half as much
                place = kafka.TopicPartition(record.topic, partition)
                future, *_ = self._client._accumulator.append(place, None, record.key or None, record.sent, headers)
            return future
        except errors.KafkaError as error:
            raise BusUnavailable(one_line(error)) from error
        except (ValueError, TypeError) as error:
            raise BusRefused(type(error).__name__) from error

    def wait(self, futures: Sequence[Future], until: float) -> None:
        # `flush` would wait for everything that the client has, stuck records of other topics too.
        accumulator = self._client._accumulator
        accumulator.begin_flush()
        try:
            self._client._sender.wakeup()
            for future in futures:
                if not future.is_done and not _is_done(future, until):
                    return
        finally:
            accumulator._flushes_in_progress.decrement()

    def refusal(self, future: Future) -> Refusal | None:
        error = future.exception
        if not isinstance(error, _REFUSALS):
            return None
        topic = error.args[0] if isinstance(error, errors.TopicAuthorizationFailedError) else None
        return Refusal(one_line(error), topic)

    def cut_off(self) -> None:
        self._client._sender.force_close()
        in_background(self._tidy_up)

    def close(self, timeout_seconds: float) -> None:
        with contextlib.suppress(BusError, errors.KafkaError):
            bounded(lambda: self._client.close(timeout=timeout_seconds), timeout_seconds)
        self.cut_off()

    def _tidy_up(self) -> None:
        self._client._sender.join(10)
        try:
            self._client.close(timeout=0)
        except errors.KafkaError:
            # Else its finaliser tries again, and raises.
            self._client._closed = True


class ConsumerSession:
    """`bus.kafka_consumer.Session`"""

    def __init__(self, client: Any, topics: Sequence[str]) -> None:
        self._client, self._paused = client, False
        self._moved: set[Any] = set()
        self._moved_lock = Lock()
        self._ends = Ends(client._fetcher)
        self._gaps = Gaps(client._subscription)
        self._alone = LeftAlone(client._fetcher, client._subscription)
        for topic in topics:
            # A member that joins before it knows the partitions is given none, and has to join again.
            client.partitions_for_topic(topic)
        see_what_has_arrived(client._fetcher, KafkaFuture().success(None))
        join_to_the_end(client._coordinator)
        client.subscribe(topics=list(topics), listener=_Listener(self))

    @property
    def connected(self) -> bool:
        return bool(self._client._client._manager.least_used_connections())

    @property
    def settled(self) -> bool:
        return bool(self._client.group_metadata().state == kafka.structs.MemberState.STABLE)

    def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        if self._alone.any_to_try():
            self._apply_pause()
        with translated():
            polled = self._client.poll(timeout_ms=int(timeout_seconds * 1000), max_records=max_records)
        return [as_record(found) for batch in polled.values() for found in batch]

    def moved(self) -> set[TopicPartition]:
        with self._moved_lock:
            moved, self._moved = self._moved, set()
        return {tuple(tp) for tp in moved}

    def gone(self) -> Sequence[tuple[TopicPartition, int, int]]:
        return [(tuple(tp), begin, end) for tp, begin, end in self._gaps.look()]

    def unreadable(self) -> Mapping[TopicPartition, str]:
        return {tuple(tp): why for tp, why in self._alone.why().items()}

    def assigned(self) -> set[TopicPartition]:
        return {tuple(tp) for tp in self._client.assignment()}

    def pause(self, paused: bool) -> None:
        self._paused = paused
        self._apply_pause()

    def seek(self, offsets: Offsets) -> None:
        for (topic, partition), offset in offsets.items():
            try:
                self._client.seek(kafka.TopicPartition(topic, partition), offset)
            except ValueError:  # taken away meanwhile
                continue

    def positions(self, partitions: Collection[TopicPartition]) -> Offsets:
        return positions(self._client._subscription, partitions)

    def commit(self, offsets: Offsets, done: Callable[[Offsets, str], None]) -> None:
        def answered(_: Any, answer: Any) -> None:
            done(offsets, one_line(answer) if isinstance(answer, Exception) else "")

        with translated():
            self._client.commit_async(_as_kafka(offsets), callback=answered)

    def lag(self, since: float | None) -> Offsets:
        found, assigned = {}, self._client.assignment() - self._alone.why().keys()
        newer = self._ends.look(assigned)
        for tp in assigned if since is None else assigned & self._ends.told_since(since):
            with contextlib.suppress(errors.KafkaError, KeyError):  # taken away meanwhile
                # Its own `position` looks at all partitions; `highwater` knows nothing of one that came back as it was.
                ends = {self._client.highwater(tp), newer.get(tp)} - {None}
                if (position := self._client._subscription.position(tp)) is not None and ends:
                    found[tuple(tp)] = max(0, max(ends) - position.offset)
        return found

    def behind(self) -> bool:
        try:
            assigned = list(self._client.assignment() - self._alone.why().keys())
            ends = self._client.end_offsets(assigned, timeout_ms=2_000) if assigned else {}
            return any(end > (self._client.position(tp, timeout_ms=500) or 0) for tp, end in ends.items())
        except (errors.KafkaError, KeyError):  # the latter where a partition has no leader
            return False

    def close(self, unconfirmed: Offsets, timeout_seconds: float) -> None:
        until = time.monotonic() + timeout_seconds
        if unconfirmed:
            with contextlib.suppress(errors.KafkaError):
                self._client.commit(_as_kafka(unconfirmed), timeout_ms=timeout_seconds * 500)
        with contextlib.suppress(errors.KafkaError):
            self._client.close(autocommit=False, timeout_ms=max(100.0, (until - time.monotonic()) * 1000))

    def took_place(self, partitions: Any) -> None:
        with self._moved_lock:
            self._moved |= set(partitions)
        self._alone.forget(partitions)
        self._apply_pause()

    def _apply_pause(self) -> None:
        for tp in self._client.assignment():
            try:
                self._client.pause(tp) if self._paused or self._alone.rests(tp) else self._client.resume(tp)
            except KeyError:  # taken away meanwhile
                continue


class _Listener(kafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """Called on the library's I/O thread."""

    def __init__(self, session: ConsumerSession) -> None:
        self._session = session

    def on_partitions_assigned(self, partitions: Any) -> None:
        try:
            self._session.took_place(partitions)
        except Exception:
            logging.getLogger(__name__).exception("a rebalance could not be noted")

    on_partitions_revoked = on_partitions_lost = on_partitions_assigned


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Errors of the library become ours."""
    try:
        yield
    except errors.FencedInstanceIdError as error:
        raise FencedMember(one_line(error)) from error
    except _NOES as error:
        raise BusRefused(one_line(error)) from error
    except errors.RetriableError as error:
        raise BusUnavailable(one_line(error)) from error
    except errors.KafkaError as error:
        raise BusError(one_line(error)) from error


def was_created(answer: Mapping[str, Any]) -> bool:
    """What a broker says of one topic. False where it was there. Raises an error of the library's."""
    error = errors.for_code(answer["error_code"])
    if error not in (errors.NoError, errors.TopicAlreadyExistsError):
        raise error(f"topic {answer['name']}: {answer.get('error_message') or ''}")
    return bool(error is errors.NoError)


def place(topic: str, partition: int) -> Any:
    """As the library has it."""
    return kafka.TopicPartition(topic, partition)


def broker_setting(broker_id: int, name: str) -> Any:
    """What to ask for, to be told one setting of a broker."""
    return ConfigResource(ConfigResourceType.BROKER, str(broker_id), configs={name: None})


def as_record(found: Any) -> Record:
    """A header may come without a value, and nobody here expects one: it has an empty one from here on."""
    return Record(
        topic=found.topic,
        partition=found.partition,
        offset=found.offset,
        key=found.key,
        value=found.value,
        headers=tuple([(name, value or b"") for name, value in found.headers]),
        timestamp_ms=found.timestamp,
    )


def _as_kafka(offsets: Offsets) -> dict[Any, Any]:
    return {kafka.TopicPartition(*tp): kafka.OffsetAndMetadata(offset, "", -1) for tp, offset in offsets.items()}


def _let_go(client: Any) -> None:
    with contextlib.suppress(errors.KafkaError):
        client.close(autocommit=False)


def _is_done(future: Any, until: float) -> bool:
    with contextlib.suppress(errors.KafkaError):
        future.get(max(0.0, until - time.monotonic()))
    return bool(future.is_done)
