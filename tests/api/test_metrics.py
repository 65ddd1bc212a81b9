"""`/metrics`: what sagas did, and how things stand, under the names that dashboards know."""

import re
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any, NoReturn, cast
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import Record
from ordersaga.delivery.consume import ConsumeFigures
from ordersaga.delivery.outbox_memory import MemoryOutbox, MemoryTable
from ordersaga.delivery.outbox_protocol import OutboxUnavailable
from ordersaga.delivery.relay_pace import RelayFigures
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.runtime.admission import NotAdmitted
from ordersaga.orchestrator.runtime.counting import BECAME, Counting
from ordersaga.orchestrator.runtime.measuring import REFUSALS, Measures, Standing, exposition
from ordersaga.orchestrator.store.postgres import PostgresStore
from ordersaga.orchestrator.store.protocol import StoreUnavailable
from ordersaga.wire import messages as m
from ordersaga.wire.codec import encode
from ordersaga.wire.ids import uuid7
from tests.api.conftest import Stage, order

NAMES = {
    "saga_started",
    "saga_finished",
    "saga_duration_seconds",
    "saga_active",
    "saga_oldest_active_age_seconds",
    "saga_step_duration_seconds",
    "saga_step_retries",
    "saga_late_events",
    "saga_ignored_events",
    "saga_stuck",
    "saga_oldest_stuck_age_seconds",
    "outbox_pending",
    "outbox_oldest_age_seconds",
    "deadlines_due",
    "deadlines_lag_seconds",
    "deadlines_failing",
    "dead_letters",
    "dead_letters_open",
    "orphans_open",
    "kafka_consumer_lag",
    "kafka_client_rebuilds",
    "kafka_records_gone",
    "kafka_partitions_unreadable",
    "database_up",
    "consumption_paused",
    "orders_taken",
    "orders_refused",
    "reconcile_differences",
    "reconcile_every_seconds",
    "reconcile_last_success_timestamp_seconds",
    "saga_inputs",
}
EXPECTED: dict[str, set[str]] = {
    "saga_started_total": set(),
    "saga_finished_total": {"outcome", "reason"},
    "saga_duration_seconds": {"outcome"},
    "saga_active": {"status", "step"},
    "saga_oldest_active_age_seconds": set(),
    "saga_step_duration_seconds": {"step", "direction", "outcome"},
    "saga_step_retries_total": set(),
    "saga_late_events_total": {"step"},
    "saga_ignored_events_total": {"why"},
    "saga_stuck": set(),
    "outbox_pending": set(),
    "outbox_oldest_age_seconds": set(),
    "deadlines_due": set(),
    "deadlines_lag_seconds": set(),
    "dead_letters_total": {"reason"},
    "kafka_consumer_lag": {"topic", "partition"},
    "kafka_client_rebuilds_total": set(),
    "messaging_client_sent_messages_total": set(),
    "messaging_client_consumed_messages_total": set(),
    "messaging_process_duration_seconds": set(),
}
"""What users of such services expect, by the names and labels that they know."""


@pytest.fixture(params=["memory_stage", "postgres_stage"])
def stage(request: pytest.FixtureRequest) -> Stage:
    found: Stage = request.getfixturevalue(request.param)
    return found


def figures(stage: Stage) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = stage.client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def said(event: m.Event | None, saga_id: str) -> Record:
    value = b"?" if event is None else encode(event, correlation_id=saga_id, timestamp=datetime.now(UTC), source="test")
    said.number += 1  # type: ignore[attr-defined]
    return Record("order_events", 0, said.number, None, value, (), 0)  # type: ignore[attr-defined]


said.number = 0  # type: ignore[attr-defined]


def told(stage: Stage, saga_id: str, *events: m.Event | None) -> None:
    for event in events:
        stage.handler.records([said(event, saga_id)])


def test_every_name_that_a_dashboard_asks_for_is_there(stage: Stage) -> None:
    answer = stage.client.get("/metrics").text
    assert {family.name for family in text_string_to_metric_families(answer)} >= NAMES


def test_every_figure_that_users_expect_is_there_under_its_name_and_labels(stage: Stage) -> None:
    declined = stage.place()
    told(stage, declined, m.OrderCreated(order_id="o-1"), m.PaymentInfoFailed(error="User not found"), None)
    told(stage, declined, m.OrderCancelled(order_id="o-1"), m.OrderCancellationFailed(error="is cancelled"))
    families = text_string_to_metric_families(stage.client.get("/metrics").text)
    found = {f"{one.name}_total" if one.type == "counter" else one.name: one for one in families}
    assert EXPECTED.keys() <= found.keys()
    for name, labels in EXPECTED.items():
        assert all(labels <= sample.labels.keys() for sample in found[name].samples), name


def test_what_came_in_is_counted_by_what_became_of_it(stage: Stage) -> None:
    declined = stage.place()
    told(stage, declined, m.OrderCreated(order_id="o-1"), m.OrderCreated(order_id="o-1"), None)
    told(stage, str(uuid7(1, bytes(10))), m.OrderCreated(order_id="o-2"))
    found = figures(stage)
    became = {name: found["saga_inputs_total", (("became", name),)] for name in BECAME}
    assert (became["applied"], became["repeated"], became["dead"], became["orphaned"]) == (1, 1, 1, 1)
    assert sum(became.values()) == 4, "each once, and what never came is there at 0"


def test_orders_that_are_not_taken_are_counted_by_why_and_that_none_is_taken_is_said(stage: Stage) -> None:
    def refusals() -> dict[str, float]:
        return {why: figures(stage)["orders_refused_total", (("why", why),)] for why in REFUSALS}

    stage.place()
    assert figures(stage)["orders_taken", ()] == 1 and set(refusals().values()) == {0}
    stage.client.post("/admission/stop", json={"who": "op-7", "why": "a test"})
    assert [stage.client.post("/orders", json=order()).status_code for _ in range(2)] == [503, 503]
    assert figures(stage)["orders_taken", ()] == 0, "and to look counts as no refusal"
    assert refusals() == dict.fromkeys(REFUSALS, 0) | {"orders-are-stopped": 2}


def test_whether_orders_are_taken_is_not_guessed() -> None:
    measures = Measures()
    read = measures.collected.get_sample_value
    assert read("orders_taken") == -1
    measures.admitting(lambda: refuse("starting"))
    assert read("orders_taken") == -1


def refuse(kind: str) -> NoReturn:
    raise NotAdmitted(kind, "not now", 1)


def test_messages_and_batches_are_counted_as_the_loops_count_them(memory_stage: Stage) -> None:
    measures = Measures()
    handle = measures.timed(lambda records: None if len(records) > 1 else refuse("any"))
    handle([said(None, ""), said(None, "")])
    with pytest.raises(NotAdmitted):
        handle([said(None, "")])
    figures_of_all: dict[str, Any] = dict.fromkeys(RelayFigures.__annotations__, 0)
    relay = RelayFigures(**figures_of_all | {"published_total": 7, "unknown_total": 2})
    worker = ConsumeFigures(handled_total=5, parked_total=1, retries_total=3, last_error="")
    api = memory_stage.api
    outbox, bus = MemoryOutbox(MemoryTable(), uuid4()), MemoryBus()
    standing = Standing(
        counting=Counting(), store=api.store, outbox=outbox, bus=bus, group="g", topics=(), kafka={},
        relay=lambda: relay, worker=lambda: worker,
    )  # fmt: skip
    text = exposition(measures, standing)().decode()
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    found = {(one.name, *one.labels.values()): one.value for one in samples if one.name.startswith("messaging_")}
    assert found["messaging_client_sent_messages_total", ""] == 7
    assert found["messaging_client_sent_messages_total", "unknown"] == 2
    assert found["messaging_client_sent_messages_total", "refused"] == 0
    assert found["messaging_client_consumed_messages_total",] == 6
    assert found["messaging_process_duration_seconds_count",] == 2, "of batches, those that fail too"


def test_when_payments_were_compared_is_said_and_how_often_they_are_to_be() -> None:
    measures, began = Measures(), time()
    read = measures.collected.get_sample_value
    assert (read("reconcile_last_success_timestamp_seconds"), read("reconcile_every_seconds")) == (0, 0)
    measures.reconciles(3600)
    measures.reconciled(2)
    assert read("reconcile_every_seconds") == 3600 and read("reconcile_differences") == 2
    assert began <= (read("reconcile_last_success_timestamp_seconds") or 0) <= time()


def test_sagas_are_counted_by_outcome_and_reason_and_steps_by_what_became_of_them(stage: Stage) -> None:
    declined, waiting = stage.place(), stage.place()
    told(stage, declined, m.OrderCreated(order_id="o-1"), m.PaymentInfoFailed(error="User not found"))
    told(stage, declined, m.OrderCancelled(order_id="o-1"))
    told(stage, waiting, m.OrderCreated(order_id="o-2"), m.OrderCreated(order_id="o-2"))
    found = figures(stage)
    assert found["saga_started_total", ()] == 2
    outcome = (("outcome", "COMPENSATED"), ("reason", "CUSTOMER_UNKNOWN"))
    assert found["saga_finished_total", outcome] == 1
    assert found["saga_duration_seconds_count", (("outcome", "COMPENSATED"),)] == 1
    assert found["saga_active", (("status", "STARTED"), ("step", "GET_USER_DATA"))] == 1
    assert found["saga_oldest_active_age_seconds", ()] >= 0

    def step(name: str, direction: str, became: str) -> float:
        labels = (("direction", direction), ("outcome", became), ("step", name))
        return found["saga_step_duration_seconds_count", labels]

    assert step("CREATE_ORDER", "do", "DONE") == 2
    assert step("GET_USER_DATA", "do", "REFUSED") == 1
    assert step("CREATE_ORDER", "undo", "UNDONE") == 1
    assert sum(value for (name, _), value in found.items() if name == "saga_ignored_events_total") == 1


def test_what_one_batch_does_to_many_is_measured_for_each(stage: Stage) -> None:
    ids = [stage.place() for _ in range(3)]
    stage.handler.records([said(m.OrderCreated(order_id=f"o-{one}"), one) for one in ids])
    refused = m.PaymentInfoFailed(error="User not found")
    stage.handler.records([said(refused, one) for one in ids[:2]])
    told(stage, ids[0], m.OrderCancelled(order_id=f"o-{ids[0]}"))
    found = figures(stage)
    for became, step, count in (("DONE", "CREATE_ORDER", 3), ("REFUSED", "GET_USER_DATA", 2)):
        labels = (("direction", "do"), ("outcome", became), ("step", step))
        assert found["saga_step_duration_seconds_count", labels] == count
    assert found["saga_finished_total", (("outcome", "COMPENSATED"), ("reason", "CUSTOMER_UNKNOWN"))] == 1


def test_a_late_event_is_counted_for_the_step_that_it_answers(stage: Stage) -> None:
    declined = stage.place()
    told(stage, declined, m.OrderCreated(order_id="o-1"), m.PaymentInfoFailed(error="User not found"))
    told(stage, declined, m.OrderCancelled(order_id="o-1"), m.OrderCancellationFailed(error="is cancelled"))
    labels = (("step", "CREATE_ORDER"), ("why", "refused after it was settled"))
    assert figures(stage)["saga_late_events_total", labels] == 1


def test_what_waits_for_a_person_and_what_was_replaced_is_shown(stage: Stage) -> None:
    told(stage, "nobody", None)
    found: dict[Any, float] = figures(stage)
    assert found["dead_letters_total", (("reason", "unreadable"),)] == 1
    assert found["dead_letters_open", ()] == 1
    assert found["kafka_client_rebuilds_total", (("cause", "stalled"), ("client", "consumer"))] == 2
    assert found["kafka_records_gone_total", ()] == 45
    assert found["kafka_partitions_unreadable", ()] == 3


def test_a_database_that_is_away_is_said_and_is_asked_for_no_more_than_that(
    memory_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = memory_stage.api.store
    assert figures(memory_stage)["database_up", ()] == 1

    def away(*_: object, **__: object) -> NoReturn:
        raise StoreUnavailable("no connection to the database")

    monkeypatch.setattr(store, "check", away)
    monkeypatch.setattr(store, "standing", lambda: pytest.fail("it would be waited for once more"))
    found = figures(memory_stage)
    assert found["database_up", ()] == 0
    assert found["saga_started_total", ()] == 0, "the scrape succeeds all the same"
    assert ("saga_stuck", ()) not in found and ("outbox_pending", ()) not in found
    monkeypatch.undo()
    monkeypatch.setattr(store, "standing", away)
    assert figures(memory_stage)["database_up", ()] == 0, "it was lost since"
    monkeypatch.undo()
    monkeypatch.setattr(MemoryOutbox, "pending", refused)
    found = figures(memory_stage)
    assert (found["database_up", ()], found["saga_stuck", ()]) == (0, 0), "what could be read is shown"


def test_a_database_that_takes_nothing_in_is_said_and_all_is_shown_that_can_be_read(
    memory_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_: float, *, to_write: bool) -> None:
        if to_write:
            raise StoreUnavailable("it can only be read")

    monkeypatch.setattr(memory_stage.api.store, "check", check)
    found = figures(memory_stage)
    assert (found["database_up", ()], found["saga_stuck", ()], found["outbox_pending", ()]) == (0, 0, 0)


def refused(_: MemoryOutbox) -> NoReturn:
    raise OutboxUnavailable("no connection to the database")


def test_a_closed_connection_to_postgresql_is_said(postgres_stage: Stage) -> None:
    assert figures(postgres_stage)["database_up", ()] == 1
    cast(PostgresStore, postgres_stage.api.store).close()
    assert figures(postgres_stage)["database_up", ()] == 0


def test_each_outcome_is_there_from_the_beginning_so_that_its_first_saga_is_an_increase(memory_stage: Stage) -> None:
    found = figures(memory_stage)
    reasons = {
        (labels["outcome"], labels["reason"]): value
        for (name, pairs), value in found.items()
        if name == "saga_finished_total" and (labels := dict(pairs))
    }
    taken_back = {(outcome, why.value) for outcome in ("COMPENSATED", "CANCELLED", "FAILED") for why in Reason}
    assert reasons.keys() == {("COMPLETED", ""), *taken_back} and set(reasons.values()) == {0}


def test_whether_consumption_is_paused_is_not_guessed() -> None:
    measures, said = Measures(), iter([None, True, False])
    measures.paused_while(lambda: next(said))
    read = measures.collected.get_sample_value
    assert [read("consumption_paused") for _ in range(3)] == [-1, 1, 0]


def test_no_label_holds_an_id(stage: Stage) -> None:
    saga_id = stage.place()
    told(stage, saga_id, m.OrderCreated(order_id="o-1"))
    answer = stage.client.get("/metrics").text
    assert saga_id not in answer and "o-1" not in answer and "c4n4ry-user-1" not in answer


@pytest.mark.parametrize("file", ["prometheus/alerts.yml", "grafana/ordersaga.json"])
def test_every_name_in_the_alerts_and_on_the_dashboard_is_there(memory_stage: Stage, file: str) -> None:
    families = list(text_string_to_metric_families(memory_stage.client.get("/metrics").text))
    plain = {family.name for family in families if family.type == "gauge"}
    counted = {f"{family.name}_total" for family in families if family.type == "counter"}
    binned = {f"{family.name}_bucket" for family in families if family.type == "histogram"}
    text = (Path(__file__).parents[2] / "deploy" / file).read_text("utf-8")
    first = "saga|outbox|deadlines|dead_letters|orphans|orders|kafka|messaging|database|consumption|reconcile"
    asked = set(re.findall(rf"\b(?:{first})_[a-z_]+\b(?=[\[{{ )])", text))
    assert len(asked) >= 10
    assert asked <= plain | counted | binned
