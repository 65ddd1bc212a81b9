"""Publishing on Kafka: each record's own acknowledgement decides, and one bad record spoils nothing but itself.

The client underneath is idempotent and tries for an hour, so an outage neither loses nor doubles nor reorders what was
handed to it. Five things are added to it:

* **Unknown is not forgotten.** A record whose `publish` ran out of time is still with the client, and may be written
  at any later moment. It is remembered here; publishing the same record again waits for that first attempt instead of
  sending a second.
* **A client that is beyond help is dropped**: one that was refused a record (it refuses everything from then on), or
  that had a record unacknowledged for `stuck_seconds`; and any, by `cut_off`. It is cut off at once, so it writes
  nothing later than the moment its last bytes take. What it had not acknowledged is *in doubt*: before such a record
  is sent again, the log is read, and what is found there is acknowledged and not sent.
* **A partition that does not answer holds up nothing else**: what goes to one that has not answered before, and what
  cannot be looked up since one has no leader, is not waited for beside others.
* **The bad record of a batch is found** by sending halves. Only that one is `REFUSED`.
* **Lanes**: after a record that is not acknowledged, later ones of its lane in the same call are held back wherever
  they have not been sent with it; what was sent after all says truthfully what became of it.

So within the life of one producer a record handed over repeatedly is in the log once, and a lane keeps its order where
what is unknown is handed over again before what follows it. The non-promise: a broker that is frozen, or fails over, in
the very moment in which the log is read back may write a cut-off attempt afterwards; and what was handed to another
producer, or before a restart, is not known here (`Bus.written_since` finds it).

This module knows no client: `kafka_producer_session` says what it needs of one, and `bus.kafka` provides it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal, get_args

import structlog

from ordersaga.bus.connecting import Connecting
from ordersaga.bus.counters import Counters
from ordersaga.bus.kafka_producer_session import Future, Session, one_line, succeeded
from ordersaga.bus.partitioner import partition_of
from ordersaga.bus.protocol import BusError, BusUnavailable, Headers, Outcome, Outgoing, Published

_log = structlog.get_logger(__name__)
Identity = tuple[str, bytes, bytes, Headers]
Lane = tuple[str, bytes]
Cause = Literal["fatal", "stuck"]
REBUILDS = tuple(f"producer_rebuilds.{cause}" for cause in get_args(Cause))
ACKNOWLEDGED = Outcome(Published.ACKNOWLEDGED)
_HELD_BACK = Outcome(Published.UNKNOWN, "not sent: an earlier record with this key was not acknowledged")
_NO_ANSWER = Outcome(Published.UNKNOWN, "not acknowledged in time")

CLOCK_MARGIN_MS = 60_000
"""How far a broker's clock may be from ours when the log is read back."""
REMEMBERED_MAX = 20_000
"""Records remembered as unknown. The caller bounds what it has on its way; this is for one that never asks again."""
CALM_SECONDS = 0.3
"""A broker that answers has, after this, handled the last bytes of a client that was dropped before."""


@dataclass(slots=True)
class Attempt:
    future: Future
    since_ms: int
    sent_at: float
    client: Session
    place: tuple[str, int | None]
    """Its topic and partition; None where the client chose that."""


class KafkaProducer:
    """`bus.protocol.Producer`, see above."""

    def __init__(
        self,
        connecting: Connecting[Session],
        *,
        topic_exists: Callable[[str, float], bool],
        written_since: Callable[[Sequence[Outgoing], int, float], Sequence[bool]],
        counters: Counters,
        record_bytes_max: int,
        stuck_seconds: float,
    ) -> None:
        self._connecting = connecting
        self._topic_exists = topic_exists
        self._written_since = written_since
        self._counters = counters
        self._record_bytes_max = record_bytes_max
        self._stuck_seconds = stuck_seconds
        self._lock = Lock()
        self._unresolved: dict[Identity, list[Attempt]] = {}
        """Still with the client, no longer waited for."""
        self._in_doubt: dict[Identity, int] = {}
        """Lost with a dropped client, and since when to look for them in the log."""
        self._partitions: dict[str, int] = {}
        """How many each topic had when something was sent to it last."""
        self._calm_with: Session | None = None
        self._calm_at = 0.0
        """When what was sent by those before this client has been handled."""

    def publish(self, records: Sequence[Outgoing], timeout_seconds: float) -> Sequence[Outcome]:
        until = time.monotonic() + timeout_seconds
        call = _Call(records)
        if not self._lock.acquire(timeout=max(0.0, timeout_seconds)):
            return call.finish("not sent: another call took too long")
        try:
            self._refuse_the_hopeless(call, until)
            self._drop_what_is_beyond_help(until)
            doubtful = self._doubtful(call)
            self._send_and_wait(call, [index for index in call.open() if index not in doubtful], until)
            if doubtful:
                self._settle_doubts(call, until)
                self._send_and_wait(call, [index for index in call.open() if index in doubtful], until)
            return call.finish("not sent in time")
        except BusError as error:
            return call.finish(f"not sent: {error}")
        finally:
            self._remember(call)
            self._lock.release()

    def partition(self, topic: str, key: bytes) -> int | None:
        count = self._partitions.get(topic)
        return partition_of(key, count) if key and count else None

    def cut_off(self) -> bool:
        self._connecting.drop_any()
        with_it = [attempt for attempts in list(self._unresolved.values()) for attempt in list(attempts)]
        return bool(self._in_doubt) or not all(succeeded(attempt.future) for attempt in with_it)

    def close(self, timeout_seconds: float) -> None:
        if (client := self._connecting.close()) is not None:
            client.close(timeout_seconds)

    def _refuse_the_hopeless(self, call: "_Call", until: float) -> None:
        topics = {record.topic for record in call.records}
        missing = {topic for topic in topics if not self._topic_exists(topic, until - time.monotonic())}
        for index, record in enumerate(call.records):
            if len(record.value) > self._record_bytes_max // 2 and size_bytes(record) > self._record_bytes_max:
                call.refuse(index, f"{size_bytes(record)} bytes are more than {self._record_bytes_max}")
            elif record.topic in missing:
                call.refuse(index, f"topic {record.topic} does not exist")

    def _drop_what_is_beyond_help(self, until: float) -> None:
        client = self._connecting.get(until - time.monotonic())
        self._doubt_the_lost()
        waiting = [a.sent_at for attempts in self._unresolved.values() for a in attempts if not a.future.is_done]
        if client.fatal:
            self._drop(client, "fatal")
        elif waiting and time.monotonic() - min(waiting) > self._stuck_seconds:
            self._drop(client, "stuck")

    def _drop(self, client: Session, cause: Cause) -> None:
        self._counters.add(f"producer_rebuilds.{cause}")
        _log.warning("kafka.producer_replaced", cause=cause, unacknowledged=len(self._unresolved))
        self._connecting.drop(client)
        self._doubt_the_lost()

    def _is_lost(self, attempt: Attempt) -> bool:
        """Nothing more is to be heard of it."""
        ended = attempt.future.is_done or not self._connecting.holds(attempt.client)
        return ended and not succeeded(attempt.future)

    def _doubt_the_lost(self) -> None:
        for identity, attempts in list(self._unresolved.items()):
            if any(self._is_lost(attempt) for attempt in attempts):
                self._in_doubt[identity] = min(attempt.since_ms for attempt in attempts)
                del self._unresolved[identity]

    def _in_doubt_of(self, call: "_Call") -> list[int]:
        return [i for i in call.open() if identity_of(call.records[i]) in self._in_doubt] if self._in_doubt else []

    def _doubtful(self, call: "_Call") -> set[int]:
        """What is in doubt, and the rest of its lanes. It goes last: looking into the log takes its time."""
        in_doubt = self._in_doubt_of(call)
        lanes = {call.lane(index) for index in in_doubt if call.records[index].key}
        return {*in_doubt, *(index for index in call.open() if call.lane(index) in lanes)} if in_doubt else set()

    def _settle_doubts(self, call: "_Call", until: float) -> None:
        """Acknowledge what a dropped client has written after all. Where nobody can tell, it is not sent."""
        doubtful = self._in_doubt_of(call)
        if not doubtful:
            return
        client = self._connecting.get(until - time.monotonic())
        if self._calm_with is not client:
            self._calm_with, self._calm_at = client, time.monotonic() + CALM_SECONDS
        time.sleep(max(0.0, min(self._calm_at, until) - time.monotonic()))
        for topic in dict.fromkeys(call.records[index].topic for index in doubtful):
            self._look_up(call, [index for index in doubtful if call.records[index].topic == topic], until)

    def _look_up(self, call: "_Call", indices: Sequence[int], until: float) -> None:
        records = [call.records[index] for index in indices]
        since_ms = min(self._in_doubt[identity_of(record)] for record in records)
        try:
            found = self._written_since(records, since_ms, until - time.monotonic())
        except BusUnavailable as error:
            for index in indices:
                call.give_up(index, f"not sent, since it may be in the log: {error}")
            return
        for index, record, written in zip(indices, records, found, strict=True):
            self._in_doubt.pop(identity_of(record), None)
            call.attempts.pop(index, None)
            if written:
                self._counters.add("producer_records_found_written")
                call.outcomes[index] = ACKNOWLEDGED

    def _send_and_wait(self, call: "_Call", indices: Sequence[int], until: float) -> None:
        client, failed = self._attempt(call, indices, until)
        if client.fatal:
            self._recover(call, client, failed, until)

    def _attempt(
        self, call: "_Call", indices: Sequence[int], until: float, *, isolated: bool = False
    ) -> tuple[Session, list[int]]:
        """Send, wait, acknowledge; which of them failed."""
        client = self._connecting.get(until - time.monotonic())
        if time.monotonic() >= until:
            raise BusUnavailable("no time is left")
        silent = {a.place for attempts in self._unresolved.values() for a in attempts if not a.future.is_done}
        with client.gathering():
            attempts = self._send(call, client, indices, isolated)
        # Beside others nobody waits for what goes where no answer has come to what went before.
        answering = [attempt.future for attempt in attempts.values() if attempt.place not in silent]
        client.wait(answering or [attempt.future for attempt in attempts.values()], until)
        call.attempts.update(attempts)
        failed = []
        for index, attempt in attempts.items():
            if succeeded(attempt.future):
                call.outcomes[index] = ACKNOWLEDGED
            elif attempt.future.is_done:
                failed.append(index)
        return client, failed

    def _send(self, call: "_Call", client: Session, indices: Sequence[int], isolated: bool) -> dict[int, Attempt]:
        counts: dict[str, int] = {}
        attempts: dict[int, Attempt] = {}
        now, since_ms = time.monotonic(), time.time_ns() // 1_000_000 - CLOCK_MARGIN_MS
        for index in indices:
            record = call.records[index]
            if call.blocked and call.blocked.get(call.lane(index), index) < index:
                call.outcomes[index] = _HELD_BACK
                continue
            if self._unresolved and (earlier := self._take_unresolved(record)):
                attempts[index] = earlier
                continue
            try:
                count = counts.get(record.topic) or self._count(client, record.topic, counts)
                keyless = 0 if isolated else None
                partition = partition_of(record.key, count) if record.key else keyless
                future = client.send(record, partition)
            except BusError as error:
                call.give_up(index, f"not sent: {error}")
            else:
                attempts[index] = Attempt(future, since_ms, now, client, (record.topic, partition))
        return attempts

    def _count(self, client: Session, topic: str, counts: dict[str, int]) -> int:
        """Asked once in a call: where there is no answer, waiting for it again would take seconds per record."""
        if topic in counts:
            raise BusUnavailable(f"the partitions of topic {topic} are not known")
        counts[topic] = 0
        counts[topic] = self._partitions[topic] = client.partition_count(topic)
        return counts[topic]

    def _recover(self, call: "_Call", client: Session, failed: Sequence[int], until: float) -> None:
        """A broker refused something, and with it the client. Find out what, and send the rest through another."""
        self._drop(client, "fatal")
        for index in self._refuse_topics(call, client, failed):
            self._in_doubt[identity_of(call.records[index])] = call.attempts[index].since_ms
        self._settle_doubts(call, until)
        fresh = self._connecting.get(until - time.monotonic())
        partitions: dict[tuple[str, int], list[int]] = {}
        for index in failed:
            if call.outcomes[index] is None:
                topic, key = call.lane(index)
                partition = partition_of(key, fresh.partition_count(topic)) if key else 0
                partitions.setdefault((topic, partition), []).append(index)
        for indices in partitions.values():
            self._isolate(call, indices, until)

    def _isolate(self, call: "_Call", indices: Sequence[int], until: float) -> None:
        """Send records of one partition, of which one at least may be refused: by halves, in their order."""
        if time.monotonic() >= until:
            return
        client, failed = self._attempt(call, indices, until, isolated=True)
        if not client.fatal:
            return
        reason = client.refusal(call.attempts[failed[0]].future) if failed else None
        self._drop(client, "fatal")
        failed = self._refuse_topics(call, client, failed)
        for index in failed:
            # Batches of one partition go one after the other, so what failed with another was not written.
            call.attempts.pop(index)
        if len(failed) == 1 and reason is not None:
            call.refuse(failed[0], reason.reason)
        elif len(failed) > 1:
            self._isolate(call, failed[: len(failed) // 2], until)
            self._isolate(call, failed[len(failed) // 2 :], until)

    def _refuse_topics(self, call: "_Call", client: Session, failed: Sequence[int]) -> list[int]:
        """Refuse what no record of its topic is spared; the others."""
        others = []
        for index in failed:
            refusal = client.refusal(call.attempts[index].future)
            if refusal is not None and refusal.topic == call.records[index].topic:
                call.refuse(index, refusal.reason)
            else:
                others.append(index)
        return others

    def _take_unresolved(self, record: Outgoing) -> Attempt | None:
        identity = identity_of(record)
        attempts = self._unresolved.get(identity)
        if not attempts:
            return None
        attempt = attempts.pop(0)
        if not attempts:
            del self._unresolved[identity]
        return attempt

    def _remember(self, call: "_Call") -> None:
        """What was sent and is neither acknowledged nor refused."""
        if None not in call.outcomes:
            return
        for index, attempt in call.attempts.items():
            if call.outcomes[index] is not None:
                continue
            identity = identity_of(call.records[index])
            if self._is_lost(attempt):
                self._in_doubt[identity] = attempt.since_ms
            else:
                self._unresolved.setdefault(identity, []).append(attempt)
        _bound(self._unresolved)
        _bound(self._in_doubt)


class _Call:
    """One call of `publish` on its way."""

    def __init__(self, records: Sequence[Outgoing]) -> None:
        self.records = records
        self.outcomes: list[Outcome | None] = [None] * len(records)
        """None: still open."""
        self.attempts: dict[int, Attempt] = {}
        self.blocked: dict[Lane, int] = {}
        """Lanes with a record that will not be written, and its index: later ones must not overtake it."""

    def open(self) -> list[int]:
        return [index for index, outcome in enumerate(self.outcomes) if outcome is None]

    def lane(self, index: int) -> Lane:
        record = self.records[index]
        return record.topic, record.key

    def refuse(self, index: int, reason: str) -> None:
        self._fail(index, Outcome(Published.REFUSED, reason))

    def give_up(self, index: int, reason: str) -> None:
        """It was not sent now, or is known not to be written."""
        self._fail(index, Outcome(Published.UNKNOWN, reason))

    def finish(self, reason: str) -> list[Outcome]:
        """`reason` is for those that were not sent."""
        return [outcome or self._unknown(index, reason) for index, outcome in enumerate(self.outcomes)]

    def _fail(self, index: int, outcome: Outcome) -> None:
        self.outcomes[index] = outcome
        if self.records[index].key:
            lane = self.lane(index)
            self.blocked[lane] = min(index, self.blocked.get(lane, index))

    def _unknown(self, index: int, reason: str) -> Outcome:
        attempt = self.attempts.get(index)
        if attempt is None:
            return Outcome(Published.UNKNOWN, reason)
        error = attempt.future.exception
        return Outcome(Published.UNKNOWN, one_line(error)) if error is not None else _NO_ANSWER


def identity_of(record: Outgoing) -> Identity:
    return record.topic, record.key, record.value, record.headers


def size_bytes(record: Outgoing) -> int:
    """What it takes in a batch at most: the record, and the batch around it."""
    headers = sum(len(name.encode()) + len(value) + 10 for name, value in record.headers)
    return len(record.key) + len(record.value) + headers + 100


def _bound(remembered: dict[Identity, Any]) -> None:
    """Forget what was never asked for again, the oldest first."""
    while len(remembered) > REMEMBERED_MAX:
        del remembered[next(iter(remembered))]
