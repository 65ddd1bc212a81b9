"""Participants on real Kafka, on topics of their own, as processes that can be killed while they are examined."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from ordersaga.bus.kafka import KafkaBus, KafkaTimings
from ordersaga.bus.protocol import BusUnavailable, TopicSpec
from ordersaga.local.kafka import Kafka
from ordersaga.local.ports import free_ports
from ordersaga.local.processes import Process
from ordersaga.testing.conformance import Case, Effect, HttpDesk, Subject
from ordersaga.wire.topics import Participant, Topics
from tests.faults.bare_services import Ledger
from tests.house_rules import ROOT
from tests.waiting import until

PARTITIONS = 3
ANSWER_SECONDS = 15.0
"""Many are examined at once on machines that have other work too."""
_numbers = count(1)


def own_topics() -> tuple[str, Topics]:
    """With the prefix of their names."""
    prefix = f"conformance_{os.getpid()}_{next(_numbers)}_"
    return prefix, Topics(**{field.name: prefix + field.name for field in fields(Topics)})


def kafka_bus(cluster: Kafka, *topics: Topics) -> KafkaBus:
    bus = KafkaBus(cluster.bootstrap_servers, timings=KafkaTimings(heartbeat_interval_ms=300))
    specs = [TopicSpec(name, PARTITIONS, {}) for each in topics for name in each.all()]

    def created() -> bool:
        with suppress(BusUnavailable):
            bus.create_topics(specs)
            return True
        return False

    until(created, "there are topics", within_seconds=90.0)
    return bus


@dataclass
class Platform:
    """What all that are examined share: processes of one kind take one set of topics, each its own."""

    cluster: Kafka
    database_url: str
    folder: Path

    def __post_init__(self) -> None:
        self.bare_prefix, self.bare_topics = own_topics()
        _, self.topics = own_topics()
        self.bus = kafka_bus(self.cluster, self.topics, self.bare_topics)


@dataclass
class AsProcess:
    process: Process
    subject: Subject


def reference(participant: Participant, platform: Platform) -> AsProcess:
    """`ordersaga participants ...`, with its HTTP endpoints as its ledger. A member of its group that has a name: one
    that is started again has its partitions at once.
    """
    topics = platform.topics
    number = list(Participant).index(participant)
    port = free_ports(1)[0]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ORDERSAGA_")},
        **{f"ORDERSAGA_TOPIC_{field.name.upper()}": getattr(topics, field.name) for field in fields(Topics)},
        "DATABASE_URL": platform.database_url,
        "KAFKA_BOOTSTRAP_SERVERS": platform.cluster.bootstrap_servers,
        "ORDERSAGA_INSTANCE_ID": f"examined-{number}",
        "ORDERSAGA_OUTBOX_LEASE_SECONDS": "2",
        "ORDERSAGA_PARTICIPANTS_HTTP_PORT": str(port - 1 - number),
    }
    argv = [sys.executable, "-m", "ordersaga.cli", "participants", participant.value]
    process = Process(participant.value, argv, log_path=platform.folder / f"{participant.value}.log", env=environment)
    desk = HttpDesk(f"http://127.0.0.1:{port}", participant)
    return AsProcess(process.start(), _subject(participant, platform.bus, topics, process, ledger=desk, desk=desk))


def bare(participant: Participant, platform: Platform) -> AsProcess:
    """One of the bare services; of orders, with a desk. A member without a name: one that is started again waits until
    the session of the killed one has run out. It commits late, so that a kill finds something to be done twice whenever
    it comes.
    """
    path = platform.folder / f"{participant.value}.sqlite"
    port = free_ports(1)[0] if participant is Participant.ORDER else None
    argv = [sys.executable, "-m", "tests.faults.bare_services", "--brokers", platform.cluster.bootstrap_servers]
    process = Process(
        f"bare {participant.value}",
        [*argv, "--ledger", str(path), "--prefix", platform.bare_prefix, "--only", participant.value, "--commits-late"]
        + (["--desk-port", str(port)] if port else []),
        log_path=platform.folder / f"bare-{participant.value}.log",
        directory=ROOT,
    )
    means = {
        "ledger": BareLedger(participant, path),
        "desk": HttpDesk(f"http://127.0.0.1:{port}", participant) if port else None,
    }
    subject = _subject(participant, platform.bus, platform.bare_topics, process, **means, recovery_seconds=15.0)
    return AsProcess(process.start(), subject)


class BareLedger:
    def __init__(self, participant: Participant, path: Path) -> None:
        self._participant = participant
        self._ledger = Ledger(path)
        self._lock = Lock()

    def effects(self, case: Case) -> Sequence[Effect]:
        with self._lock:
            return self._effects(case)

    def _effects(self, case: Case) -> Sequence[Effect]:
        ledger = self._ledger
        if self._participant is Participant.ORDER:
            orders = [one for one in ledger.orders().values() if one.saga_id == case.saga_id]
            return [Effect(effect_id=one.order_id, stands=one.status != "CANCELLED") for one in orders]
        if self._participant is Participant.PAYMENT:
            holds = [one for one in ledger.holds() if one.saga_id == case.saga_id]
            return [Effect(effect_id=one.intent_id, stands=one.stands, amount_cents=one.amount_cents) for one in holds]
        return [Effect(effect_id=one, stands=True) for one in ledger.timers() if one == case.order_id]


@contextmanager
def restarted_by_url(examined: AsProcess) -> Iterator[str]:
    """A URL that kills it and starts it again."""

    class Post(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert examined.subject.restart
            examined.subject.restart()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quietly."""

    server = ThreadingHTTPServer(("127.0.0.1", free_ports(1)[0]), Post)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/restart"
    finally:
        server.shutdown()
        server.server_close()


def _subject(participant: Participant, bus: KafkaBus, topics: Topics, process: Process, **means: Any) -> Subject:
    def restart() -> None:
        process.kill()
        process.start()

    return Subject(
        participant=participant, bus=bus, topics=topics, restart=restart, answer_seconds=ANSWER_SECONDS, **means
    )
