"""What a consumer does about a client that fails it: with a client that fails to order."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from ordersaga.bus import kafka_consumer
from ordersaga.bus.connecting import Connecting
from ordersaga.bus.counters import Counters
from ordersaga.bus.kafka_consumer import Gap, KafkaConsumer, Session
from ordersaga.bus.protocol import BusError, BusUnavailable, FencedMember, Record

Offsets = Mapping[tuple[str, int], int]


@dataclass
class Client:
    """Delivers `records` one by one, or raises what stands in their place."""

    records: list[Record | Exception | None] = field(default_factory=list)
    is_behind: bool = False
    commit_error: str = ""
    connected: bool = True
    settled: bool = True
    commits: list[Offsets] = field(default_factory=list)
    sought: list[Offsets] = field(default_factory=list)
    closed: bool = False
    cannot_read: dict[tuple[str, int], str] = field(default_factory=dict)
    position: int = 0
    """Where it reads next, since it has read past what is no record."""
    has_moved: bool = False

    def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        match self.records.pop(0) if self.records else None:
            case None:
                return []
            case Exception() as error:
                raise error
            case record:
                return [record]

    def moved(self) -> set[tuple[str, int]]:
        moved, self.has_moved = self.assigned() if self.has_moved else set(), False
        return moved

    def gone(self) -> Sequence[Gap]:
        return ()

    def unreadable(self) -> Mapping[tuple[str, int], str]:
        return dict(self.cannot_read)

    def assigned(self) -> set[tuple[str, int]]:
        return {("t", 0)}

    def pause(self, paused: bool) -> None: ...

    def seek(self, offsets: Offsets) -> None:
        self.sought.append(offsets)

    def positions(self, partitions: Collection[tuple[str, int]]) -> Offsets:
        return dict.fromkeys(partitions, self.position)

    def commit(self, offsets: Offsets, done: Callable[[Offsets, str], None]) -> None:
        self.commits.append(offsets)
        done(offsets, self.commit_error)

    def lag(self, since: float | None) -> Offsets:
        return {}

    def behind(self) -> bool:
        return self.is_behind

    def close(self, unconfirmed: Offsets, timeout_seconds: float) -> None:
        self.commits.append(unconfirmed)
        self.closed = True


@dataclass
class Stage:
    clients: list[Client]
    stalled_seconds: float = 60.0
    counters: Counters = field(default_factory=Counters)
    dropped: list[Session] = field(default_factory=list)

    def consumer(self) -> KafkaConsumer:
        waiting = iter(self.clients)
        connecting: Connecting[Session] = Connecting(
            "test", open_client=lambda: next(waiting), discard=self.dropped.append
        )
        return KafkaConsumer(
            connecting,
            topics=["t"],
            topic_exists=lambda topic, timeout_seconds: True,
            counters=self.counters,
            stalled_seconds=self.stalled_seconds,
        )


def record(offset: int) -> Record:
    return Record("t", 0, offset, b"k", b"v", (), 0)


def offsets_read(consumer: KafkaConsumer) -> list[int]:
    return [found.offset for found in consumer.poll(1, 5)]


def test_a_client_that_raises_is_replaced() -> None:
    stage = Stage([Client([record(0), BusError("broken")]), Client([record(0), record(1)])])
    consumer = stage.consumer()
    assert offsets_read(consumer) == [0]
    with pytest.raises(BusUnavailable, match="broken"):
        consumer.poll(1, 5)
    assert offsets_read(consumer) == [0]
    assert offsets_read(consumer) == [1]
    assert stage.counters["consumer_rebuilds.error"] == 1 and stage.dropped == [stage.clients[0]]


def test_a_client_that_waits_for_a_broker_is_kept_for_a_while() -> None:
    away = BusUnavailable("refused")
    stage = Stage([Client([record(0), away, record(1), away]), Client([record(0)])])
    consumer = stage.consumer()
    assert offsets_read(consumer) == [0]
    with pytest.raises(BusUnavailable, match="refused"):
        consumer.poll(1, 5)
    assert offsets_read(consumer) == [1]
    assert not stage.dropped
    stage.clients[0].records = [away]
    consumer._stalled_seconds = 0.0
    with pytest.raises(BusUnavailable, match="refused"):
        consumer.poll(1, 5)
    assert stage.counters["consumer_rebuilds.away"] == 1
    assert offsets_read(consumer) == [0]


def test_a_client_that_delivers_nothing_though_there_is_something_is_replaced() -> None:
    stage = Stage([Client([record(0)], is_behind=True), Client([record(1)])], stalled_seconds=0.0)
    consumer = stage.consumer()
    assert offsets_read(consumer) == [0]
    with pytest.raises(BusUnavailable, match="nothing was delivered"):
        consumer.poll(1, 0)
    assert offsets_read(consumer) == [1]
    assert stage.counters["consumer_rebuilds.stalled"] == 1


def test_a_client_that_does_not_come_to_terms_with_its_group_is_replaced() -> None:
    stage = Stage([Client([record(0)], settled=False), Client([record(0)])], stalled_seconds=0.0)
    consumer = stage.consumer()
    assert offsets_read(consumer) == [0]
    with pytest.raises(BusUnavailable, match="not settled"):
        consumer.poll(1, 0)
    assert offsets_read(consumer) == [0]
    assert stage.counters["consumer_rebuilds.stalled"] == 1


def test_who_leaves_its_group_commits_and_has_another_client_when_it_polls() -> None:
    first, second = Client([record(0)], commit_error="NotCoordinatorError"), Client([record(1)])
    stage = Stage([first, second])
    consumer = stage.consumer()
    consumer.leave(1)
    assert offsets_read(consumer) == [0]
    consumer.commit({("t", 0): 1})
    consumer.leave(1)
    assert first.closed and first.commits == [{("t", 0): 1}] * 2 and stage.dropped == [first]
    assert not consumer.assigned()
    assert offsets_read(consumer) == [1]
    assert not any(stage.counters[name] for name in kafka_consumer.REBUILDS)


def test_a_client_that_has_nothing_to_deliver_is_kept() -> None:
    stage = Stage([Client([])], stalled_seconds=0.0)
    consumer = stage.consumer()
    assert not list(consumer.poll(1, 0.3))
    assert not stage.dropped


def test_a_paused_client_is_not_taken_for_a_stalled_one() -> None:
    stage = Stage([Client([], is_behind=True)], stalled_seconds=0.0)
    consumer = stage.consumer()
    consumer.pause()
    assert not list(consumer.poll(1, 0.3))
    assert not stage.dropped


def test_a_partition_that_cannot_be_read_is_told_once_and_counted_while_it_is_so() -> None:
    """Until the client is replaced: the next one finds out for itself."""
    client = Client([record(0), record(1), BusError("broken")], cannot_read={("t", 1): "at offset 5: no package"})
    stage = Stage([client, Client([record(0)])])
    consumer = stage.consumer()
    with capture_logs() as said:
        assert offsets_read(consumer) == [0]
        assert consumer.unreadable() == client.cannot_read
        assert offsets_read(consumer) == [1]
        assert stage.counters[kafka_consumer.UNREADABLE] == 1
        with pytest.raises(BusUnavailable):
            consumer.poll(1, 5)
        assert not consumer.unreadable() and stage.counters[kafka_consumer.UNREADABLE] == 0
        assert offsets_read(consumer) == [0]
    (told,) = [line for line in said if line["event"] == "kafka.partition_unreadable"]
    assert (told["log_level"], told["topic"], told["partition"]) == ("error", "t", 1)
    assert told["error"] == "at offset 5: no package"


def test_a_fenced_member_stays_fenced() -> None:
    stage = Stage([Client([FencedMember("another")]), Client([record(0)])])
    consumer = stage.consumer()
    for _ in range(2):
        with pytest.raises(FencedMember):
            consumer.poll(1, 5)
    with pytest.raises(FencedMember):
        consumer.commit({("t", 0): 1})


def test_a_commit_that_failed_is_repeated_until_it_is_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_consumer, "COMMIT_REPEAT_SECONDS", 0.0)
    client = Client([record(0), record(1), record(2)], commit_error="RebalanceInProgressError")
    consumer = Stage([client]).consumer()
    offsets_read(consumer)
    consumer.commit({("t", 0): 1})
    offsets_read(consumer)
    client.commit_error = ""
    offsets_read(consumer)
    consumer.poll(1, 0)
    assert client.commits == [{("t", 0): 1}] * 3


def test_closing_commits_what_is_not_confirmed() -> None:
    client = Client([record(0)], commit_error="NotCoordinatorError")
    consumer = Stage([client]).consumer()
    offsets_read(consumer)
    consumer.commit({("t", 0): 1, ("other", 0): 5})
    consumer.close(1)
    assert client.closed and client.commits == [{("t", 0): 1}] * 2


def test_rewinding_goes_to_the_commit_or_else_to_where_delivery_began() -> None:
    client = Client([record(7), record(8)])
    consumer = Stage([client]).consumer()
    offsets_read(consumer)
    offsets_read(consumer)
    consumer.rewind()
    consumer.commit({("t", 0): 8})
    consumer.rewind()
    assert client.sought == [{("t", 0): 7}, {("t", 0): 8}]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_consumer, "LOOK_PAST_RECORDS_SECONDS", 0.0)
    monkeypatch.setattr(kafka_consumer, "COMMIT_TOGETHER_SECONDS", 0.0)


def polled(client: Client, consumer: KafkaConsumer) -> Sequence[Offsets]:
    """What it commits while nothing comes."""
    before = len(client.commits)
    for _ in range(3):
        consumer.wake()
        assert not offsets_read(consumer)
    return client.commits[before:]


@pytest.mark.usefixtures("often")
def test_what_is_no_record_is_committed_once_and_only_behind_what_was_handled() -> None:
    client = Client([record(0), record(1)])
    consumer = Stage([client]).consumer()
    assert [*offsets_read(consumer), *offsets_read(consumer)] == [0, 1]
    client.position = 3
    assert polled(client, consumer) == [], "it is not handled"
    consumer.commit({("t", 0): 1})
    assert client.commits == [{("t", 0): 1}]
    assert polled(client, consumer) == [], "half of it is handled"
    consumer.commit({("t", 0): 2})
    assert client.commits == [{("t", 0): 1}, {("t", 0): 3}]
    assert polled(client, consumer) == []
    client.position = 5
    assert polled(client, consumer) == [{("t", 0): 5}]
    consumer.rewind()
    assert client.sought == [{("t", 0): 5}]


@pytest.mark.usefixtures("often")
def test_what_is_delivered_again_is_not_handled() -> None:
    client = Client([record(0), None, None, None, record(0)])
    consumer = Stage([client]).consumer()
    assert offsets_read(consumer) == [0]
    client.position = 2
    consumer.rewind()
    client.position = 0
    assert polled(client, consumer) == []
    assert offsets_read(consumer) == [0]
    client.position = 2
    assert polled(client, consumer) == []
    consumer.commit({("t", 0): 1})
    assert client.commits == [{("t", 0): 2}]


@pytest.mark.usefixtures("often")
def test_of_a_partition_that_came_back_nothing_counts_as_handled_that_was_delivered_since() -> None:
    client = Client([record(0), None, None, None, record(0)])
    consumer = Stage([client]).consumer()
    assert offsets_read(consumer) == [0]
    client.has_moved, client.position = True, 0
    consumer.commit({("t", 0): 1})
    assert client.commits == [{("t", 0): 1}]
    assert polled(client, consumer) == []
    assert offsets_read(consumer) == [0]
    client.position = 2
    assert polled(client, consumer) == []
    consumer.commit({("t", 0): 1})
    assert client.commits[1:] == [{("t", 0): 2}]


@pytest.mark.usefixtures("often")
def test_past_what_nothing_was_delivered_of_is_committed_once() -> None:
    client = Client()
    consumer = Stage([client]).consumer()
    assert polled(client, consumer) == [], "nothing is before it"
    client.position = 4
    assert polled(client, consumer) == [{("t", 0): 4}], "nobody knows whether the last owner did"
    assert polled(client, consumer) == []
