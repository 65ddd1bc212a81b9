"""Conformance runs over real Kafka: the reference payment service has every property that can be tried without killing
it, and of the bare one each that is missing is named.
"""

from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.local.kafka import Kafka
from ordersaga.participants.everyone import host_of
from ordersaga.testing.bare import BareServices
from ordersaga.testing.bare_host import BareHost
from ordersaga.testing.conformance import (
    Case,
    Effect,
    Kind,
    Result,
    Subject,
    examine,
)
from ordersaga.wire.topics import Participant
from tests.testing.bare_lacks import BARE_LACKS, RESTARTING
from tests.testing.on_kafka import kafka_bus, own_topics

PAYMENT = Participant.PAYMENT


def test_a_reference_participant_has_all_that_can_be_tried_without_killing_it(
    kafka_cluster: Kafka, database_url: str
) -> None:
    _, topics = own_topics()
    bus = kafka_bus(kafka_cluster, topics)
    host = host_of(
        PAYMENT, bus, database_url, topics=topics, clock=SystemClock(), randomness=SystemRandom(), lease_seconds=2.0
    )
    host.create_tables()
    host.start()
    try:
        report = examine(Subject(participant=PAYMENT, bus=bus, topics=topics, quiet_seconds=0.5))
    finally:
        host.stop(10)
        bus.close(5)
    lines = "\n".join(report.lines())
    assert not report.of(Result.LACKS), lines
    assert set(report.of(Result.NOT_TRIED)) == RESTARTING | {"holds the exact amount"}, lines
    assert not report.passed, "what was not tried was not seen"
    assert report.left_standing == 0, lines


def test_of_a_bare_service_each_property_that_is_missing_is_named(kafka_cluster: Kafka) -> None:
    _, topics = own_topics()
    bus, services = kafka_bus(kafka_cluster, topics), BareServices(new_id=_new_id)
    host = BareHost(services, bus, topics=topics, clock=SystemClock(), randomness=SystemRandom())
    host.start()
    subject = Subject(
        participant=PAYMENT,
        bus=bus,
        topics=topics,
        ledger=_Holds(services),
        answer_seconds=2.0,
        quiet_seconds=0.5,
    )
    try:
        report = examine(subject, kind=Kind.BARE)
    finally:
        host.stop(10)
        bus.close(5)
    assert set(report.of(Result.LACKS)) == BARE_LACKS[PAYMENT], "\n".join(report.lines())
    assert report.passed, "it has what a bare one promises"
    assert report.advice()[0].startswith("Run it as bare")


class _Holds:
    def __init__(self, services: BareServices) -> None:
        self._services = services

    def effects(self, case: Case) -> list[Effect]:
        holds = [one for one in list(self._services.holds) if one.saga_id == case.saga_id]
        return [Effect(effect_id=one.intent_id, stands=one.stands, amount_cents=one.amount_cents) for one in holds]


_ids = iter(range(1, 10**9))


def _new_id() -> str:
    return f"{next(_ids):06d}"
