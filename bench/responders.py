"""Light participants: they keep the contract (types, ids, causation, one answer a command) and nothing else, so that
the orchestrator is measured. Nobody accepts an order here: see `bench.runners`.

    python -m bench.responders        (KAFKA_BOOTSTRAP_SERVERS)

One process answers for all participants, without a database. On SIGTERM it prints the CPU seconds that it used.
"""

import os
import signal
import sys
import threading
import uuid
from datetime import UTC, datetime
from types import FrameType

from msgspec import Raw, Struct, json

from bench.machine import own_cpu_seconds
from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.protocol import BusUnavailable, Outgoing, Record
from ordersaga.wire import messages as m
from ordersaga.wire.codec import encode
from ordersaga.wire.ids import answer_id
from ordersaga.wire.topics import Participant, Topics

TOPICS = Topics()
COMMANDS = [TOPICS.commands_of(one) for one in Participant if one is not Participant.NOTIFICATION]
CARD = m.PaymentInfo(stripe_customer_id="cus_bench", payment_method_id="pm_card_visa")


class _Asked(Struct):
    """A command as it comes: read as such, not examined, since that is not what is measured."""

    type: str
    correlation_id: str
    payload: Raw
    message_id: uuid.UUID


_ASKED = json.Decoder(_Asked)
_PAYLOADS = {name: json.Decoder(command) for name, command in m.COMMANDS.items()}


def answer(saga_id: str, command: m.Command) -> tuple[Participant, m.Event] | None:  # noqa: C901 (one line for each)
    match command:
        case m.CreateOrder(customer_id=customer_id):
            return Participant.ORDER, m.OrderCreated(order_id=f"o-{saga_id}", customer_id=customer_id, status="PENDING")
        case m.GetPaymentInfo(user_id=user_id) if user_id.startswith("unknown"):
            return Participant.USER, m.PaymentInfoFailed(error="User not found")
        case m.GetPaymentInfo():
            return Participant.USER, m.PaymentInfoRetrieved(payment_info=CARD)
        case m.AuthorizePayment(customer=customer) if customer.clerk_user_id.startswith("declined"):
            return Participant.PAYMENT, m.PaymentFailed(error="STRIPE_CARD_ERROR", stripe_code="card_declined")
        case m.AuthorizePayment(order_id=order_id):
            ids = {"payment_id": f"p-{saga_id}", "payment_intent_id": f"pi-{saga_id}"}
            return Participant.PAYMENT, m.PaymentAuthorized(order_id=order_id, status="AUTHORIZED", **ids)
        case m.UpdateOrderStatus(order_id=order_id, status=status):
            return Participant.ORDER, m.OrderStatusUpdated(order_id=order_id, status=status)
        case m.StartOrderTimer(order_id=order_id):
            return Participant.TIMER, m.TimerStarted(order_id=order_id)
        case m.CancelOrder(order_id=order_id, reason=reason):
            return Participant.ORDER, m.OrderCancelled(order_id=order_id, reason=reason)
        case m.RevertPayment(payment_id=payment_id):
            return Participant.PAYMENT, m.PaymentReleased(payment_id=payment_id, status="REVERTED")
        case m.CancelTimer(order_id=order_id):
            return Participant.TIMER, m.TimerCancelled(order_id=order_id)
    return None


def reply(record: Record, now: datetime) -> Outgoing | None:
    asked = _ASKED.decode(record.value or b"")
    answered = answer(asked.correlation_id, _PAYLOADS[asked.type].decode(asked.payload))
    if answered is None:
        return None
    participant, event = answered
    value = encode(
        event,
        correlation_id=asked.correlation_id,
        timestamp=now,
        source=f"{participant.value}-bench",
        message_id=answer_id(participant.value, asked.message_id, m.type_of(event)),
        causation_id=asked.message_id,
    )
    return Outgoing(TOPICS.events_of(participant), asked.correlation_id.encode(), value)


def told_to_stop() -> threading.Event:
    """Set on SIGTERM."""
    stop = threading.Event()

    def ended(signum: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ended)
    return stop


def main() -> None:
    stop = told_to_stop()
    bus = KafkaBus(os.environ["KAFKA_BOOTSTRAP_SERVERS"])
    consumer = bus.consumer(group="bench-responders", topics=COMMANDS, client_id="bench-responders")
    producer = bus.producer(client_id="bench-responders")
    print("ready", file=sys.stderr, flush=True)
    while not stop.is_set():
        try:
            records = consumer.poll(500, 0.5)
        except BusUnavailable:
            # The orchestrator makes the topics when it starts; it may be slower than we are.
            stop.wait(0.1)
            continue
        if not records:
            continue
        now = datetime.now(UTC)
        producer.publish([out for record in records if (out := reply(record, now))], 10.0)
        consumer.commit({(record.topic, record.partition): record.offset + 1 for record in records})
    print(json.encode({"cpu_seconds": own_cpu_seconds()}).decode(), flush=True)
    consumer.close(2.0)
    producer.close(2.0)


if __name__ == "__main__":
    main()
