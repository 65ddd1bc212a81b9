"""Each thing broken in turn: the doctor names it, says what to do, and goes on with the rest."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import BusUnavailable, Cluster, GroupMember, Outgoing, TopicState
from ordersaga.delivery.outbox_memory import MemoryOutbox, MemoryTable
from ordersaga.delivery.outbox_protocol import Pending
from ordersaga.orchestrator.runtime.doctor import Doctor
from ordersaga.orchestrator.runtime.finding import Finding
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.orchestrator.store.board_memory import MemoryBoard
from ordersaga.orchestrator.store.codec import Codec
from ordersaga.orchestrator.store.memory import MemoryStore
from ordersaga.orchestrator.store.memory_tables import MemoryTables
from ordersaga.orchestrator.store.protocol import SchemaMismatch, StoreUnavailable
from ordersaga.orchestrator.store.standing import Standing
from ordersaga.wire.topics import Participant, Topics


@dataclass
class Owner:
    owner: UUID = field(default_factory=uuid4)


@pytest.fixture
def doctor() -> Doctor:
    tables = MemoryTables(outbox=MemoryTable())
    bus = MemoryBus(topics=Topics().all())
    bus.consumer(group="orchestrators", topics=Topics().answers(), client_id="ordersaga-one").poll(1, 0.0)
    return Doctor(
        store=MemoryStore(tables, Codec(Sagas([CREATE_ORDER]).data_types()), Owner()),
        outbox=MemoryOutbox(MemoryTable(), uuid4()),
        board=MemoryBoard(tables),
        bus=bus,
        topics=Topics().all(),
        group="orchestrators",
        read=Topics().answers(),
    )


def wrong(doctor: Doctor) -> dict[str, Finding]:
    return {found.what: found for found in doctor.findings() if not found.well}


def raises(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_all_is_well(doctor: Doctor) -> None:
    found = [one.what for one in doctor.findings()]
    assert wrong(doctor) == {}
    asked_of_brokers = ["kafka", "topics", "copies", "worker", "lag"]
    assert found == ["database", "clocks", "outbox", "deadlines", "sagas", "new orders", *asked_of_brokers]


@pytest.mark.parametrize(
    "case",
    [
        ("store", "check", raises(StoreUnavailable("refused")), "database", "DATABASE_URL"),
        ("store", "check", raises(SchemaMismatch("no tables")), "database", "ordersaga migrate"),
        ("store", "standing", raises(StoreUnavailable("too slow")), "tables", "log"),
        ("store", "standing", lambda: Standing(deadlines_due=3, deadlines_late_seconds=90.0), "deadlines", "deadlines"),
        ("store", "standing", lambda: Standing(deadlines_failing=1), "deadlines", "deadlines.failed"),
        ("store", "standing", lambda: Standing(failed=1), "sagas", "sagas list --status FAILED"),
        ("store", "standing", lambda: Standing(orphans=1), "orphans", "ordersaga orphans"),
        ("outbox", "pending", lambda: Pending(rows=7, oldest_age_seconds=600.0), "outbox", "brokers"),
        ("bus", "check", raises(BusUnavailable("wrong password")), "kafka", "KAFKA_BOOTSTRAP_SERVERS"),
        ("bus", "describe", lambda: Cluster({}, creates_topics=False), "topics", "ordersaga topics"),
        (
            "bus",
            "describe",
            lambda: Cluster({name: TopicState(6, name) for name in Topics().all()}, creates_topics=True),
            "brokers",
            "auto.create.topics.enable=false",
        ),
        (
            "bus",
            "describe",
            lambda: Cluster({name: TopicState(6, name, behind=6) for name in Topics().all()}, creates_topics=False),
            "copies",
            "broker that is away",
        ),
        ("bus", "members", lambda group: [], "worker", "ordersaga serve"),
        ("bus", "members", lambda group: [GroupMember("old", ())], "worker", "another ORDERSAGA_KAFKA_GROUP"),
        ("bus", "members", raises(BusUnavailable("no answer")), "brokers", "logs"),
        ("bus", "group_lag", lambda group, topics: {("a", 0): 20_000}, "lag", "more processes"),
    ],
)
def test_what_is_broken_is_named_with_what_to_do(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, Any, str, str]
) -> None:
    part, name, does, what, cure = case
    monkeypatch.setattr(getattr(doctor, part), name, does)
    found = wrong(doctor)
    assert set(found) == {what} and cure in found[what].cure


def test_clocks_that_differ_are_named(doctor: Doctor) -> None:
    late = replace(doctor, now=lambda: datetime.now(UTC) - timedelta(minutes=5))
    assert wrong(late)["clocks"].said == "the database's clock is 300.0 s ahead"


def test_who_answers_nobody_and_who_stopped_orders_is_named(doctor: Doctor) -> None:
    doctor.board.tell({Participant.PAYMENT: 7}, ())
    doctor.board.set_switch(taken=False, by="night", why="a fire")
    found = wrong(doctor)
    assert found["participants"].said == "payment has not answered 7 commands"
    assert found["new orders"].said == "are stopped: night: a fire"


def test_deadlines_that_are_held_by_a_pause_are_not_blamed_on_a_missing_process(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Standing(deadlines_due=3, deadlines_late_seconds=90.0)
    monkeypatch.setattr(doctor.store, "standing", lambda: late)
    assert "`deadlines`" in wrong(doctor)["deadlines"].cure
    doctor.board.set_pause(paused=True, by="night", why="a fire")
    found = wrong(doctor)["deadlines"]
    assert found.said.endswith("reading is paused: night: a fire") and "consumption resume" in found.cure


def test_what_nobody_has_read_since_the_first_deployment_is_told(doctor: Doctor) -> None:
    doctor.bus.producer(client_id="test").publish([Outgoing("order_events", b"k", b"v")] * 3, 1.0)
    (lag,) = [found for found in doctor.findings() if found.what == "lag"]
    assert lag.said == "3 records are not read yet"
