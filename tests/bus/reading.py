"""How the tests of buses publish and read: every wait is for something, and bounded."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Event, Thread

from ordersaga.bus.protocol import Bus, BusUnavailable, Consumer, Outcome, Outgoing, Producer, Published, Record

PATIENCE_SECONDS = 60.0


def numbered(topic: str, count: int, keys: int = 8) -> list[Outgoing]:
    return [Outgoing(topic, b"key-%d" % (n % keys), b"%d" % n) for n in range(count)]


def publish(bus: Bus, *records: Outgoing) -> Sequence[Outcome]:
    producer = bus.producer(client_id="test-producer")
    try:
        return producer.publish(records, PATIENCE_SECONDS)
    finally:
        producer.close(5)


def published(outcomes: Sequence[Outcome]) -> list[Published]:
    return [outcome.published for outcome in outcomes]


def all_acknowledged(outcomes: Sequence[Outcome]) -> bool:
    return set(published(outcomes)) <= {Published.ACKNOWLEDGED}


def publish_until_acknowledged(producer: Producer, records: Sequence[Outgoing], within_seconds: float = 30.0) -> None:
    """As a relay does: what was not acknowledged is handed over again."""
    left = list(records)
    until = time.monotonic() + within_seconds
    while left:
        assert time.monotonic() < until, f"{len(left)} records are not acknowledged"
        outcomes = producer.publish(left, 2.0)
        left = [r for r, o in zip(left, outcomes, strict=True) if o.published is not Published.ACKNOWLEDGED]


@contextmanager
def member(bus: Bus, group: str, *topics: str, instance_id: str | None = None) -> Iterator[Consumer]:
    consumer = bus.consumer(group=group, topics=topics, client_id="test-consumer", instance_id=instance_id)
    try:
        yield consumer
    finally:
        consumer.close(5)


def read(consumer: Consumer, count: int, *, max_records: int = 100) -> list[Record]:
    """The next `count` records, and no more than those: what comes after stays where it is."""
    found: list[Record] = []
    until = time.monotonic() + PATIENCE_SECONDS
    while len(found) < count:
        assert time.monotonic() < until, f"{len(found)} of {count} records came: {values(found)}"
        try:
            found += consumer.poll(min(max_records, count - len(found)), 1.0)
        except BusUnavailable:
            continue
    return found


def read_all(bus: Bus, topic: str, count: int, group: str) -> list[Record]:
    with member(bus, group, topic) as consumer:
        return read(consumer, count)


def commit(consumer: Consumer, records: Sequence[Record]) -> None:
    offsets: dict[tuple[str, int], int] = {}
    for record in records:
        where = (record.topic, record.partition)
        offsets[where] = max(offsets.get(where, 0), record.offset + 1)
    consumer.commit(offsets)


def nothing_comes(consumer: Consumer, seconds: float = 0.7) -> bool:
    return not list(consumer.poll(100, seconds))


def eventually(holds: Callable[[], bool], what: str) -> None:
    """`holds` waits itself, where it has something to wait for."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < until, what


def poll_until(holds: Callable[[], bool], what: str, *consumers: Consumer) -> list[list[Record]]:
    """All of them poll, each on a thread of its own as in life, until `holds`. What each of them read."""
    found: list[list[Record]] = [[] for _ in consumers]
    done = Event()

    def go_on_polling(consumer: Consumer, records: list[Record]) -> None:
        while not done.is_set():
            records.extend(consumer.poll(100, 0.3))

    with ExitStack() as threads:
        for consumer, records in zip(consumers, found, strict=True):
            threads.enter_context(meanwhile(partial(go_on_polling, consumer, records)))
        threads.callback(done.set)
        until = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < until, what
            done.wait(0.02)
    return found


def poll_for(seconds: float, *consumers: Consumer) -> list[list[Record]]:
    until = time.monotonic() + seconds
    return poll_until(lambda: time.monotonic() > until, "", *consumers)


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[Thread]:
    """`work` runs on another thread; what it raises is raised here."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as failure:  # noqa: BLE001 (raised below)
            failures.append(failure)

    thread = Thread(target=run, daemon=True)
    thread.start()
    yield thread
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "the other thread did not end"
    if failures:
        raise failures[0]
