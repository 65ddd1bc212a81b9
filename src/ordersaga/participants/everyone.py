"""The five reference participants, ready to run.

Each has a schema, a relay and a consumer of its own, whether they share a process or not.
"""

from dataclasses import replace
from functools import partial
from uuid import uuid4

from ordersaga.bus.protocol import Bus
from ordersaga.delivery.background import Chore
from ordersaga.delivery.clock import Clock, Randomness
from ordersaga.delivery.outbox import PostgresOutbox
from ordersaga.delivery.relay import Relay
from ordersaga.delivery.vacuum import VACUUM_EVERY_SECONDS, Vacuum
from ordersaga.participants.forgetting import forgetting
from ordersaga.participants.host import Host
from ordersaga.participants.ledger import TIMEOUT_SECONDS, PostgresLedger, open_pool
from ordersaga.participants.notification.service import SERVICE as NOTIFICATION
from ordersaga.participants.order.service import SERVICE as ORDER
from ordersaga.participants.payment.consult import ConsultProvider
from ordersaga.participants.payment.provider import SandboxProvider
from ordersaga.participants.payment.service import SERVICE as PAYMENT
from ordersaga.participants.service import ServiceSpec
from ordersaga.participants.timer.service import SERVICE as TIMER
from ordersaga.participants.timer.service import expire
from ordersaga.participants.user.service import SERVICE as USER
from ordersaga.participants.user.service import answer_anyone
from ordersaga.tracing import Tracing
from ordersaga.wire.topics import Participant, Topics

SERVICES: dict[Participant, ServiceSpec] = {
    spec.participant: spec for spec in (ORDER, USER, PAYMENT, TIMER, NOTIFICATION)
}


def host_of(
    participant: Participant,
    bus: Bus,
    database_url: str,
    *,
    topics: Topics,
    clock: Clock,
    randomness: Randomness,
    anyone_may_order: bool = True,
    lease_seconds: float = 15.0,
    timeout_seconds: float = TIMEOUT_SECONDS,
    instance_id: str | None = None,
    tracing: Tracing | None = None,
) -> Host:
    """`anyone_may_order`: the user service makes up users that it does not know, for demos and load. `timeout_seconds`:
    for a transaction.
    """
    spec = SERVICES[participant]
    if participant is Participant.USER and anyone_may_order:
        spec = replace(spec, answer=answer_anyone)
    connect = partial(open_pool, database_url, spec.schema, timeout_seconds=timeout_seconds)
    pool = connect()
    # A pool of its own: it is asked while a connection of the other is held, and those that hold one must not wait for
    # each other.
    provider = connect() if participant is Participant.PAYMENT else None
    outbox = PostgresOutbox(pool, uuid4(), lease_seconds=lease_seconds, name=spec.schema)
    producer = bus.producer(client_id=f"{participant.value}-service")
    producer = tracing.producer(producer) if tracing else producer
    relay = Relay(producer, outbox, clock=clock, randomness=randomness)
    ledger = PostgresLedger(pool, spec, outbox, timeout_seconds=timeout_seconds)
    return Host(
        spec,
        bus,
        ledger,
        relay,
        topics=topics,
        clock=clock,
        randomness=randomness,
        consult=ConsultProvider(SandboxProvider(provider, timeout_seconds=timeout_seconds)) if provider else None,
        expire=expire if participant is Participant.TIMER else None,
        instance_id=instance_id,
        tracing=tracing,
        at_end=partial(provider.close, timeout=2.0) if provider else None,
        besides=[
            Chore("vacuum", Vacuum(pool, ["outbox"]).run, every_seconds=VACUUM_EVERY_SECONDS),
            forgetting(ledger),
        ],
    )
