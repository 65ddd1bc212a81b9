"""Participants as processes on real Kafka, on topics of their own, which can be killed and examined."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import count
from pathlib import Path
from typing import Any

from ordersaga.bus.kafka import KafkaBus, KafkaTimings
from ordersaga.bus.protocol import TopicSpec
from ordersaga.local.kafka import Kafka
from ordersaga.local.ports import free_ports
from ordersaga.local.processes import Process
from ordersaga.testing.conformance import Case, Effect, HttpDesk, Subject
from ordersaga.wire.topics import Participant, Topics
from tests.faults.bare_services import Ledger

PARTITIONS = 3
_numbers = count(1)


def own_topics() -> tuple[str, Topics]:
    """With the prefix of their names."""
    prefix = f"conformance_{os.getpid()}_{next(_numbers)}_"
    return prefix, Topics(**{field.name: prefix + field.name for field in fields(Topics)})


def kafka_bus(cluster: Kafka, topics: Topics) -> KafkaBus:
    bus = KafkaBus(cluster.bootstrap_servers, timings=KafkaTimings(heartbeat_interval_ms=300))
    bus.create_topics([TopicSpec(name, PARTITIONS, {}) for name in topics.all()])
    return bus


@dataclass
class AsProcess:
    participant: Participant
    process: Process
    subject: Subject

    def stop(self) -> None:
        self.process.kill()
        self.subject.bus.close(5.0)


def reference(participant: Participant, cluster: Kafka, database_url: str, folder: Path) -> AsProcess:
    """`ordersaga participants ...`, with its HTTP endpoints as its ledger."""
    _, topics = own_topics()
    number = list(Participant).index(participant)
    port = free_ports(1)[0]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ORDERSAGA_")},
        **{f"ORDERSAGA_TOPIC_{field.name.upper()}": getattr(topics, field.name) for field in fields(Topics)},
        "DATABASE_URL": database_url,
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "ORDERSAGA_INSTANCE_ID": f"examined-{number}",
        "ORDERSAGA_OUTBOX_LEASE_SECONDS": "2",
        "ORDERSAGA_PARTICIPANTS_HTTP_PORT": str(port - 1 - number),
    }
    argv = [sys.executable, "-m", "ordersaga.cli", "participants", participant.value]
    process = Process(participant.value, argv, log_path=folder / f"{participant.value}.log", env=environment)
    desk = HttpDesk(f"http://127.0.0.1:{port}", participant)
    subject = _subject(participant, cluster, topics, process, ledger=desk, desk=desk)
    return AsProcess(participant, process.start(), subject)


def bare(participant: Participant, cluster: Kafka, folder: Path) -> AsProcess:
    """The bare services; one of them is examined."""
    prefix, topics = own_topics()
    path = folder / f"{participant.value}.sqlite"
    argv = [sys.executable, "-m", "tests.faults.bare_services", "--brokers", cluster.bootstrap_servers]
    process = Process(
        f"bare {participant.value}",
        [*argv, "--ledger", str(path), "--prefix", prefix],
        log_path=folder / f"bare-{participant.value}.log",
        directory=Path(__file__).resolve().parents[2],
    )
    subject = _subject(participant, cluster, topics, process, ledger=BareLedger(participant, path))
    return AsProcess(participant, process.start(), replace(subject, answer_seconds=5.0))


@dataclass(frozen=True)
class BareLedger:
    participant: Participant
    path: Path

    def effects(self, case: Case) -> Sequence[Effect]:
        ledger = Ledger(self.path)
        if self.participant is Participant.ORDER:
            orders = [one for one in ledger.orders().values() if one.saga_id == case.saga_id]
            return [Effect(effect_id=one.order_id, stands=one.status != "CANCELLED") for one in orders]
        if self.participant is Participant.PAYMENT:
            holds = [one for one in ledger.holds() if one.saga_id == case.saga_id]
            return [Effect(effect_id=one.intent_id, stands=one.stands, amount_cents=one.amount_cents) for one in holds]
        return [Effect(effect_id=one, stands=True) for one in ledger.timers() if one == case.order_id]


def _subject(participant: Participant, cluster: Kafka, topics: Topics, process: Process, **means: Any) -> Subject:
    def restart() -> None:
        process.kill()
        process.start()

    bus = kafka_bus(cluster, topics)
    return Subject(participant=participant, bus=bus, topics=topics, restart=restart, **means)
