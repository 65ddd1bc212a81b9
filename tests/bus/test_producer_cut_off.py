"""A producer that is cut off sends nothing more of what it had, and looks into the log before it sends that again. The
client is a double here: one that gets no answer.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

from ordersaga.bus.connecting import Connecting
from ordersaga.bus.counters import Counters
from ordersaga.bus.kafka_producer import KafkaProducer
from ordersaga.bus.kafka_producer_session import Future, Refusal, Session
from ordersaga.bus.protocol import Outcome, Outgoing, Published
from tests.bus.reading import published

RECORD = Outgoing("t", b"k", b"1")


@dataclass
class Answer:
    is_done: bool = False
    exception: BaseException | None = None


@dataclass
class Client:
    """`bus.kafka_producer.Session`"""

    fatal: bool = False
    answers: bool = False
    hangs: bool = False
    """Where it answers nothing, whether it is waited for until it is cut off; else that takes no time."""
    sent: list[Outgoing] = field(default_factory=list)
    waits: Event = field(default_factory=Event)
    is_cut_off: Event = field(default_factory=Event)

    def partition_count(self, topic: str) -> int:
        return 1

    @contextmanager
    def gathering(self) -> Iterator[None]:
        yield

    def send(self, record: Outgoing, partition: int | None) -> Future:
        self.sent.append(record)
        return Answer(is_done=self.answers)

    def wait(self, futures: Sequence[Future], until: float) -> None:
        self.waits.set()
        if self.hangs and not all(future.is_done for future in futures):
            self.is_cut_off.wait(until - time.monotonic())

    def refusal(self, future: Future) -> Refusal | None:
        return None

    def cut_off(self) -> None:
        self.is_cut_off.set()

    def close(self, timeout_seconds: float) -> None:
        """Nothing to close."""


class Place:
    """A producer, its clients, and the log."""

    def __init__(self) -> None:
        self.clients = [Client(), Client(answers=True)]
        self.opened: list[Client] = []
        self.log: list[Outgoing] = []
        self.topics_asked_seconds = 0.0
        connecting: Connecting[Session] = Connecting(
            "producer", open_client=self._open, discard=lambda client: client.cut_off()
        )
        self.producer = KafkaProducer(
            connecting,
            topic_exists=self._topic_exists,
            written_since=lambda records, *_: [record in self.log for record in records],
            counters=Counters(),
            record_bytes_max=1_000,
            stuck_seconds=60.0,
        )

    def publish(self, timeout_seconds: float = 10.0) -> Published:
        (outcome,) = published(self.producer.publish([RECORD], timeout_seconds))
        return outcome

    def _open(self) -> Client:
        self.opened.append(self.clients[len(self.opened)])
        return self.opened[-1]

    def _topic_exists(self, topic: str, timeout_seconds: float) -> bool:
        Event().wait(self.topics_asked_seconds)
        return True


def test_what_it_had_is_in_doubt_and_sent_again_where_the_log_has_it_not() -> None:
    place = Place()
    assert place.publish() is Published.UNKNOWN
    assert place.producer.cut_off()
    assert place.opened[0].is_cut_off.is_set()
    assert place.publish() is Published.ACKNOWLEDGED
    assert (place.opened[0].sent, place.opened[1].sent) == ([RECORD], [RECORD])
    assert not place.producer.cut_off()


def test_what_it_had_and_the_log_has_is_not_sent_again() -> None:
    place = Place()
    assert place.publish() is Published.UNKNOWN
    assert place.producer.cut_off()
    place.log.append(RECORD)
    assert place.publish() is Published.ACKNOWLEDGED
    assert place.opened[1].sent == []


def test_it_is_cut_off_while_it_waits_for_an_answer() -> None:
    place = Place()
    place.clients[0].hangs = True
    outcomes: list[Sequence[Outcome]] = []
    waiting = Thread(target=lambda: outcomes.append(place.producer.publish([RECORD], 10.0)))
    waiting.start()
    assert place.clients[0].waits.wait(10.0)
    place.producer.cut_off()
    waiting.join(10.0)
    assert published(outcomes[0]) == [Published.UNKNOWN]
    assert place.publish() is Published.ACKNOWLEDGED
    assert place.opened[1].sent == [RECORD], "and the log was read before"


def test_nothing_is_sent_once_the_time_is_over() -> None:
    """The caller's lease may be over by then."""
    place = Place()
    place.clients[0].answers = True
    assert place.publish() is Published.ACKNOWLEDGED
    place.topics_asked_seconds = 0.06
    assert place.publish(0.05) is Published.UNKNOWN
    assert place.opened[0].sent == [RECORD]
