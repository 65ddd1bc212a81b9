"""Runners: each order is accepted right after its completion, as `saga_events` tell of that.

    python -m bench.runners        (KAFKA_BOOTSTRAP_SERVERS)

The order service's news, `order.accepted`, once for each saga: it closes the saga, and its window with it. One process
stands for the runners and for that part of the order service; it has no database. It says `ready` on standard error
once it hears of all that ends from then on.
"""

import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime

from msgspec import Struct, json

from bench.load import from_now_on
from bench.responders import TOPICS, told_to_stop
from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.protocol import Outgoing
from ordersaga.wire import messages as m
from ordersaga.wire.codec import encode
from ordersaga.wire.ids import answer_id
from ordersaga.wire.topics import Participant

READY = "ready"


class _Change(Struct):
    saga_id: str
    status: str
    order_id: str | None = None


class _Said(Struct):
    """What `saga_events` tell, as far as it matters here."""

    payload: _Change


_SAID = json.Decoder(_Said)


def acceptances(said: Iterable[bytes], now: datetime) -> list[Outgoing]:
    """For each saga of which it is said that it is COMPLETED. `said`: values of records of `saga_events`."""
    changes = (_SAID.decode(value).payload for value in said)
    return [acceptance(one.saga_id, one.order_id, now) for one in changes if one.status == "COMPLETED" and one.order_id]


def acceptance(saga_id: str, order_id: str, now: datetime) -> Outgoing:
    """A runner takes the order. It answers no command, so it has no cause; repeated it is the same message."""
    event = m.OrderAccepted(order_id=order_id, runner_id="runner-1")
    value = encode(
        event,
        correlation_id=saga_id,
        timestamp=now,
        source=f"{Participant.ORDER.value}-bench",
        message_id=answer_id(Participant.ORDER.value, saga_id, m.type_of(event)),
    )
    return Outgoing(TOPICS.order_events, saga_id.encode(), value)


def main() -> None:
    stop = told_to_stop()
    producer = KafkaBus(os.environ["KAFKA_BOOTSTRAP_SERVERS"]).producer(client_id="bench-runners")
    consumer = from_now_on(TOPICS.saga_events)
    print(READY, file=sys.stderr, flush=True)
    while not stop.is_set():
        polled = consumer.poll(timeout_ms=500)
        said = [record.value for records in polled.values() for record in records]
        if said:
            producer.publish(acceptances(said, datetime.now(UTC)), 10.0)
    # The client's threads may hang on exit; there is nothing left to lose.
    os._exit(0)


if __name__ == "__main__":
    main()
