"""One order in one trace, from the request to the last undo, over every service; and nothing of its customer in it."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import NoOpTracer
from structlog.testing import capture_logs

from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import Record
from ordersaga.local.ports import free_port
from ordersaga.settings import Settings
from ordersaga.tracing.otlp import Collector as Sender
from ordersaga.tracing.otlp import NoSdk
from ordersaga.tracing.spans import Tracing
from tests import whole
from tests.canaries import MARK
from tests.tracing.collector import Collector, Span, collecting
from tests.waiting import until
from tests.whole import orchestrator, order, participants, status_of

TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE}-{CLIENT}-01", "tracestate": "shop=7"}
ORDER = order("declined-c4n4ry")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield collector


@pytest.fixture
def bus() -> Iterator[MemoryBus]:
    bus = MemoryBus()
    yield bus
    bus.close(1)


def settings_for(database_url: str, **more: Any) -> Settings:
    return whole.settings_for(database_url, **{"tracing": "otlp", **more})


def one(spans: list[Span], name: str, service: str = "ordersaga") -> Span:
    (found,) = [span for span in spans if (span.name, span.service) == (name, service)]
    return found


def test_one_trace_runs_from_the_request_through_every_command_and_answer_to_the_last_undo(
    database_url: str, bus: MemoryBus, collector: Collector
) -> None:
    settings = settings_for(database_url)
    with participants(settings, bus), orchestrator(settings, bus) as api:
        saga_id = str(api.place(ORDER, PARENT))
        until(lambda: status_of(api, saga_id) == "COMPENSATED", "the order is taken back")
        api.saga(saga_id)
        until(lambda: len(bus.records("notification_events")) == 1, "the customer is told")
    told = collector.trace(TRACE)
    request = one(told, "POST /orders")
    assert (request.parent_id, request.kind) == (CLIENT, "SERVER")
    assert request.attributes["http.response.status_code"] == 202
    steps = {
        "CREATE_ORDER": ("order", "DONE", ""),
        "GET_USER_DATA": ("user", "DONE", ""),
        "AUTHORIZE_PAYMENT": ("payment", "REFUSED", "REFUSED"),
        "undo CREATE_ORDER": ("order", "UNDONE", ""),
    }
    for name, (service, outcome, error) in steps.items():
        step = one(told, name)
        assert (step.parent_id, step.kind, step.error) == (request.span_id, "PRODUCER", error), name
        assert (step.attributes["ordersaga.outcome"], step.attributes["ordersaga.saga_id"]) == (outcome, saga_id)
        children = [(span.service, span.name) for span in told if span.parent_id == step.span_id]
        assert sorted(children) == sorted(
            [(f"{service}-service", f"process {service}_commands"), ("ordersaga", f"process {service}_events")]
        ), "its command and its answer"
        assert step.start_ns < step.end_ns
        context = (TRACE, step.span_id)
        linking = {(span.service, span.name) for span in collector.spans if context in span.links}
        assert (f"{service}-service", f"process {service}_commands") in linking, "the batch that held the command"
        assert linking & {("ordersaga", f"send {service}_commands"), ("ordersaga", "send")}, "the batch that it left in"
    names = [span.name for span in sorted(told, key=lambda span: span.start_ns) if span.name in steps]
    assert names == list(steps), "in this order"
    assert collector.trace(TRACE) != collector.spans, "batches are in no order's trace"
    assert not any(word in body for body in collector.received for word in (MARK.encode(), b"cus_", b"pm_"))


def test_every_record_of_an_order_carries_its_trace(database_url: str, bus: MemoryBus, collector: Collector) -> None:
    settings = settings_for(database_url)
    with participants(settings, bus), orchestrator(settings, bus) as api:
        saga_id = api.place(ORDER, PARENT)
        until(lambda: status_of(api, saga_id) == "COMPENSATED", "the order is taken back")
        until(lambda: len(bus.records("notification_events")) == 1, "the customer is told")
    topics = [*(f"{who}_{what}" for who in ("order", "user", "payment") for what in ("commands", "events"))]
    records = [record for topic in [*topics, "saga_events", "notification_events"] for record in bus.records(topic)]
    assert len(records) >= 12
    for record in records:
        headers = dict(record.headers)
        assert headers["traceparent"].startswith(f"00-{TRACE}-".encode()), record.topic
        assert headers["tracestate"] == b"shop=7"


def test_a_step_that_outlives_its_process_is_told_by_the_next_from_the_time_that_the_saga_remembers(
    database_url: str, bus: MemoryBus, collector: Collector
) -> None:
    settings = settings_for(database_url)
    with orchestrator(settings, bus) as api:
        saga_id = api.place(order())
        until(lambda: len(bus.records("order_commands")) == 1, "the first command is out")
    (request,) = [span for span in collector.spans if span.name == "POST /orders"]
    assert not request.parent_id, "a trace of its own"
    assert "CREATE_ORDER" not in {span.name for span in collector.spans}, "nobody has answered"
    with orchestrator(settings, bus) as api, participants(settings, bus):
        until(lambda: status_of(api, saga_id) == "COMPLETED", "the order is confirmed")
    told = collector.trace(request.trace_id)
    step = one(told, "CREATE_ORDER")
    assert step.parent_id == request.span_id
    assert step.start_ns <= request.end_ns, "it began with the request, in the process that has ended"
    (carried,) = [dict(record.headers)["traceparent"] for record in bus.records("order_commands")[:1]]
    assert carried.startswith(f"00-{request.trace_id}-{step.span_id}-".encode())


def test_whoever_does_not_want_a_trace_kept_is_heard(database_url: str, bus: MemoryBus, collector: Collector) -> None:
    settings = settings_for(database_url)
    with participants(settings, bus), orchestrator(settings, bus) as api:
        saga_id = api.place(ORDER, {"traceparent": f"00-{TRACE}-{CLIENT}-00"})
        until(lambda: status_of(api, saga_id) == "COMPENSATED", "the order is taken back")
    assert collector.trace(TRACE) == []
    assert collector.spans, "batches are told all the same"
    assert all(dict(record.headers)["traceparent"].endswith(b"-00") for record in bus.records("order_commands"))


def test_a_collector_that_is_away_holds_up_neither_orders_nor_the_end(
    database_url: str, bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    settings = settings_for(database_url)
    with participants(settings, bus), orchestrator(settings, bus) as api:
        saga_id = api.place(ORDER)
        until(lambda: status_of(api, saga_id) == "COMPENSATED", "the order is taken back")


def test_where_tracing_is_off_what_the_request_brought_is_passed_on_as_it_came(
    database_url: str, bus: MemoryBus, collector: Collector
) -> None:
    settings = settings_for(database_url, tracing="off")
    with participants(settings, bus), orchestrator(settings, bus) as api:
        saga_id = api.place(ORDER, PARENT)
        until(lambda: status_of(api, saga_id) == "COMPENSATED", "the order is taken back")
    carried = {dict(record.headers)["traceparent"] for record in bus.records("order_commands")}
    assert carried == {PARENT["traceparent"].encode()}
    assert collector.spans == []


def test_without_the_sdk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(NoSdk, match=r"pip install 'ordersaga\[tracing\]'"):
        Sender()


def test_what_cannot_be_told_undoes_nothing() -> None:
    class Broken(NoOpTracer):
        def start_span(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("no span today")

    handled: list[Record] = []
    record = Record("order_events", 0, 7, None, b"{}", (("traceparent", PARENT["traceparent"].encode()),), 0)
    with capture_logs() as lines:
        Tracing(Broken()).handling(handled.extend, "group")([record])
    assert handled == [record]
    assert [line["event"] for line in lines] == ["tracing.not_told"] * 2
