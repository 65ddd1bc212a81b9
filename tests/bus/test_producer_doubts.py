"""A partition without a leader holds up what goes there, and nothing else. The client is a double here."""

import time
from collections.abc import Sequence

import pytest

from ordersaga.bus.connecting import Connecting
from ordersaga.bus.counters import Counters
from ordersaga.bus.kafka_producer import KafkaProducer, identity_of
from ordersaga.bus.kafka_producer_session import Future, Session
from ordersaga.bus.protocol import BusUnavailable, Outgoing, Published
from tests.bus.reading import published
from tests.bus.test_producer_cut_off import Answer, Client

A, B = Outgoing("a", b"k", b"1"), Outgoing("b", b"k", b"1")
NEXT_A, NEXT_B = Outgoing("a", b"k", b"2"), Outgoing("b", b"k", b"2")
ACKNOWLEDGED, UNKNOWN = Published.ACKNOWLEDGED, Published.UNKNOWN


class HalfSilent(Client):
    """Acknowledges nothing of topic a."""

    def send(self, record: Outgoing, partition: int | None) -> Future:
        self.sent.append(record)
        return Answer(is_done=record.topic != "a")


class Place:
    """A producer, the clients that it opened, and a log of which topic a cannot be read."""

    def __init__(self, *, stuck_seconds: float) -> None:
        self.opened: list[HalfSilent] = []
        self.asked: list[Outgoing] = []
        self.log: list[Outgoing] = []
        self.unreadable = {"a"}
        connecting: Connecting[Session] = Connecting(
            "producer", open_client=self._open, discard=lambda client: client.cut_off()
        )
        self.producer = KafkaProducer(
            connecting,
            topic_exists=lambda *_: True,
            written_since=self._written_since,
            counters=Counters(),
            record_bytes_max=1_000,
            stuck_seconds=stuck_seconds,
        )

    def publish(self, *records: Outgoing, timeout_seconds: float = 10.0) -> list[Published]:
        return published(self.producer.publish(records, timeout_seconds))

    def _open(self) -> HalfSilent:
        self.opened.append(HalfSilent(hangs=True))
        return self.opened[-1]

    def _written_since(self, records: Sequence[Outgoing], since_ms: int, timeout_seconds: float) -> Sequence[bool]:
        self.asked += records
        if self.unreadable & {record.topic for record in records}:
            raise BusUnavailable("partition 0 of topic a has no leader")
        return [record in self.log for record in records]


@pytest.fixture
def place() -> Place:
    """What was sent to topic a is in doubt."""
    place = Place(stuck_seconds=0.1)
    assert place.publish(A, timeout_seconds=0.2) == [UNKNOWN]
    return place


def test_what_cannot_be_looked_up_holds_up_nothing_else(place: Place) -> None:
    assert place.publish(A, B) == [UNKNOWN, ACKNOWLEDGED]
    assert place.asked == [A]
    assert place.opened[1].sent == [B], "what is in doubt is not sent"
    assert place.publish(A, NEXT_B) == [UNKNOWN, ACKNOWLEDGED], "nor is it forgotten"
    assert place.opened[1].sent == [B, NEXT_B]


def test_what_cannot_be_looked_up_does_not_keep_from_looking_for_others(place: Place) -> None:
    place.producer._in_doubt[identity_of(B)] = 0
    place.log.append(B)
    assert place.publish(A, B) == [UNKNOWN, ACKNOWLEDGED]
    assert place.opened[1].sent == []


def test_what_follows_a_record_in_doubt_waits_for_it(place: Place) -> None:
    assert place.publish(A, NEXT_A, B) == [UNKNOWN, UNKNOWN, ACKNOWLEDGED]
    assert place.opened[1].sent == [B]
    place.unreadable, place.log = set(), [A]
    assert place.publish(A, NEXT_A, timeout_seconds=0.7) == [ACKNOWLEDGED, UNKNOWN]
    assert place.opened[1].sent == [B, NEXT_A]


def test_a_partition_that_is_silent_already_is_not_waited_for_beside_others() -> None:
    place = Place(stuck_seconds=60.0)
    assert place.publish(A, timeout_seconds=0.1) == [UNKNOWN]
    began = time.monotonic()
    assert place.publish(A, Outgoing("a", b"k2", b"another"), B, timeout_seconds=60.0) == [
        UNKNOWN,
        UNKNOWN,
        ACKNOWLEDGED,
    ]
    assert time.monotonic() - began < 30.0
    began = time.monotonic()
    assert place.publish(A, timeout_seconds=0.5) == [UNKNOWN], "where there are no others, it is"
    assert time.monotonic() - began >= 0.5
    assert place.opened[0].sent == [A, Outgoing("a", b"k2", b"another"), B]
