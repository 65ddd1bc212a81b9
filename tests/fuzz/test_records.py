"""Whatever a topic brings, with whatever key, headers and time: each record is used, passed over or set aside, and none
stops those who read. As a Kafka client hands them over, but in memory; what is sound is the samples of every message,
spoiled here and there.
"""

import json
from collections import Counter
from itertools import count
from types import SimpleNamespace as Raw
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.bus.kafka_client import as_record
from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import Record
from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.delivery.outbox_memory import MemoryOutbox, MemoryTable
from ordersaga.delivery.relay import Relay
from ordersaga.orchestrator.runtime.counting import Counting
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.orchestrator.store.codec import Codec
from ordersaga.orchestrator.store.memory import MemoryStore
from ordersaga.orchestrator.store.memory_tables import MemoryTables
from ordersaga.participants.everyone import SERVICES
from ordersaga.participants.host import Host
from ordersaga.participants.ledger_memory import MemoryLedger
from ordersaga.participants.ledger_memory import MemoryTables as ParticipantTables
from ordersaga.participants.payment.consult import ConsultProvider
from ordersaga.participants.payment.provider_memory import MemoryProvider
from ordersaga.wire.topics import Participant, Topics
from tests.fuzz.counting import LITTLE, MUCH, tell, tried
from tests.wire.samples import ENVELOPE, PAYLOADS

TOPICS = Topics()
WILD: Any = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["\x00", "\ud800", "x" * 300, "2026-01-02T12:00:00", "9999-12-31T23:59:59+14:00", "0001-01-01"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["traceparent", "tracestate", "ce_id", "CE_TYPE", "", "x"]), st.none() | st.binary(max_size=20)
    ),
    max_size=4,
)
TIMES = st.sampled_from([0, -1, 1, 10**12, 10**15, 2**63 - 1, -(2**63)])


@st.composite
def values(draw: st.DrawFn) -> bytes | None:
    """A sound message, or one with up to three things wrong, or bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.none() | st.binary(max_size=60))
    name = draw(st.sampled_from(sorted(PAYLOADS)))
    said: dict[str, Any] = {"type": name, **ENVELOPE, "payload": dict(PAYLOADS[name])}
    for _ in range(draw(st.integers(0, 3))):
        part = said["payload"] if draw(st.booleans()) and isinstance(said["payload"], dict) else said
        part[draw(st.sampled_from(sorted(part) or ["type"]))] = draw(WILD)
    return json.dumps(said).encode("utf-8", "surrogatepass")


def records(topics: tuple[str, ...]) -> st.SearchStrategy[list[Record]]:
    offsets = count()
    one = st.builds(
        lambda topic, key, value, headers, at: as_record(
            Raw(topic=topic, partition=0, offset=next(offsets), key=key, value=value, headers=headers, timestamp=at)
        ),
        st.sampled_from(topics),
        st.none() | st.binary(max_size=8),
        values(),
        HEADERS,
        TIMES,
    )
    return st.lists(one, min_size=1, max_size=6)


@pytest.mark.parametrize("cases", [LITTLE, pytest.param(MUCH, marks=pytest.mark.slow)])
def test_whatever_the_orchestrator_reads_is_accounted_for(cases: int) -> None:
    tables, counting = MemoryTables(outbox=MemoryTable()), Counting()
    store = MemoryStore(tables, Codec(Sagas([CREATE_ORDER]).data_types()), MemoryOutbox(MemoryTable(), uuid4()))
    handler = Handler(store, Sagas([CREATE_ORDER]), lambda rows: None, topics=TOPICS, counting=counting)
    read = 0

    @tried(cases)
    @given(batch=records(TOPICS.answers()))
    def ask(batch: list[Record]) -> None:
        nonlocal read
        handler.records(batch)
        read += len(batch)
        sums = dict(counting.sums())
        sums.pop("status", None)
        assert sum(sums.values()) >= read, "every record is counted somewhere"

    ask()
    sums = counting.sums()
    tell("records of all events topics", Counter({name: number for name, number in sums.items() if name != "status"}))
    assert sums["dead"] and sums["foreign"]


@pytest.mark.parametrize("cases", [LITTLE // 3, pytest.param(MUCH // 3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("participant", Participant)
def test_whatever_a_participant_reads_stops_nobody(participant: Participant, cases: int) -> None:
    tables = ParticipantTables(outbox=MemoryTable())
    outbox, bus, spec = MemoryOutbox(tables.outbox, uuid4()), MemoryBus(topics=TOPICS.all()), SERVICES[participant]
    host = Host(
        spec,
        bus,
        MemoryLedger(tables, spec, outbox),
        Relay(bus.producer(client_id="fuzz"), outbox),
        topics=TOPICS,
        clock=SystemClock(),
        randomness=SystemRandom(),
        consult=ConsultProvider(MemoryProvider()) if participant is Participant.PAYMENT else None,
    )
    seen: Counter[str] = Counter()

    @tried(cases)
    @given(batch=records((TOPICS.commands_of(participant),)))
    def ask(batch: list[Record]) -> None:
        host.handle(batch)
        seen["read"] += len(batch)

    ask()
    seen["of which set aside"] = len(tables.dead_letters)
    seen["read"] -= len(tables.dead_letters)
    tell(f"records of the {participant} service's topic", seen)
    assert seen["of which set aside"]
