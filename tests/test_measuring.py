"""How it is measured: what counts and what does not, and what is told of the machine."""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from bench.limit import Limit
from bench.load import Connection, Load
from bench.machine import cores, cores_of_container, fsync_ms, processor
from bench.runners import acceptances
from bench.stage import Stage, tree_cpu_seconds
from ordersaga.local.kafka import KafkaCluster
from ordersaga.local.postgres import PostgresServer
from ordersaga.local.processes import Process
from ordersaga.wire import messages as m
from ordersaga.wire.codec import Envelope, decode_event, encode
from ordersaga.wire.topics import Topics


class Told(Stage):
    """A stage of which nothing runs; what it would run is kept."""

    def __init__(self, still_open: Sequence[int] = ()) -> None:
        self.ran: list[tuple[str, ...]] = []
        self._still_open = iter(still_open)
        self.accepting = False
        server = SimpleNamespace(create_database=lambda: "url", drop_database=lambda url: None)
        self.postgres = cast(PostgresServer, server)

    def _run(self, module: str, *arguments: str, database_url: str = "") -> dict[str, Any]:
        self.ran.append((module, *arguments, *(["accepting"] if self.accepting else [])))
        figures = {"sagas_per_second": 100.0, "p50_ms": 1.0, "p99_ms": 2.0, "cpu_ms_per_saga": 1.0}
        return figures | {"responder_cpu_ms_per_saga": 1.0, "ended": {}, "not_ended": 0, "retried": 3}

    @contextmanager
    def runners(self) -> Iterator[None]:
        self.accepting = True
        yield
        self.accepting = False

    def _open_count(self) -> int:
        return next(self._still_open)

    @property
    def urls(self) -> list[str]:
        return ["http://orders"]

    @property
    def orchestrators(self) -> list[Process]:
        return [cast(Process, SimpleNamespace(pid=os.getpid(), is_running=True))]

    def cpu_seconds(self) -> dict[str, float]:
        return {"orchestrator": float(len(self.ran))}

    def _messages(self) -> int:
        return 0

    def written(self) -> dict[str, int]:
        return dict.fromkeys(("wal_kb", "kafka_kb", "stored_kb"), 0)


@pytest.mark.parametrize(("orders", "uncounted"), [(1500, "200"), (60, "60")])
def test_ours_and_the_loop_have_as_many_to_get_warm_with(orders: int, uncounted: str) -> None:
    stage = Told()
    stage.limit(orders, 128)
    stage.saga(orders, 128)
    loop, warming, counted = stage.ran
    assert loop == ("bench.limit", str(orders), "128", "500", "3", uncounted)
    assert warming[5:] == (uncounted, "128", "http://orders")
    assert counted[5:] == (str(orders), "128", "http://orders")


def test_what_the_loop_gets_warm_with_is_in_none_of_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    loop = Limit(in_flight=4, batch_max=2, announced=0)

    def turn() -> None:
        loop.started += 1
        loop.seconds.append(loop.sagas / 10)

    monkeypatch.setattr(loop, "turn", turn)
    assert loop.work(3) == [0.3, 0.3, 0.3]
    assert loop.work(2) == [0.2, 0.2]


def test_orders_that_were_refused_are_counted_beside_the_figures() -> None:
    assert Told().saga(100, 10).retried == 3
    assert Told().limit(100, 10).retried == 0


def test_with_runners_it_counts_until_no_more_orders_are_open_than_were() -> None:
    stage = Told(still_open=[7, 9, 7, 8, 7])
    found = stage.saga(100, 10, accepted=True)
    assert [(ran[5], ran[-1]) for ran in stage.ran] == [("100", "accepting"), ("100", "accepting")]
    assert next(stage._still_open, "all asked for") == "all asked for"
    assert found.cpu_ms["orchestrator"] == 10.0


def test_orders_that_nobody_accepts_are_an_error_and_not_a_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.stage.ACCEPTED_SECONDS", 0.0)
    with pytest.raises(TimeoutError, match="2 orders are not accepted"):
        Told(still_open=[7, 9, 9, 9]).saga(100, 10, accepted=True)


def test_how_the_parts_were_set_stands_beside_the_figures(tmp_path: Path) -> None:
    stage = Told()
    argv = ["java", "-Xmx256m", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={tmp_path}/a.jsa", "-Da=b", "kafka.Kafka"]
    stage.kafka = cast(KafkaCluster, SimpleNamespace(nodes=[SimpleNamespace(process=SimpleNamespace(argv=argv))]))
    stage.postgres = cast(PostgresServer, SimpleNamespace(data=tmp_path))
    stage._kinds, stage._environment = "full", {"ORDERSAGA_LOG_LEVEL": "WARNING"}
    stage.postgresql_version = lambda: "18.4"  # type: ignore[method-assign]
    found = stage.machine()
    assert found["broker_jvm"] == "-Xmx256m -XX:+UseSerialGC"
    assert (found["copies_of_records"], found["log_level"], found["participants_kind"]) == (1, "WARNING", "full")
    assert found["versions"]["postgresql"] == "18.4" and found["processor"]


def test_a_disk_is_timed_without_a_trace(tmp_path: Path) -> None:
    assert fsync_ms(tmp_path) > 0
    assert list(tmp_path.iterdir()) == []


def test_cores_are_those_that_the_process_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1})
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert cores() == 1


@pytest.mark.parametrize(
    ("files", "held_to"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_container_may_be_held_to_less_than_its_cores(
    files: dict[str, str], held_to: float | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores_of_container(tmp_path) == held_to


def test_a_processor_is_told_by_its_model(tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text("processor\t: 0\nmodel name\t: A fast one: 3 GHz\n")
    assert processor(told) == "A fast one: 3 GHz"
    assert processor(tmp_path / "none") != ""


class Asked:
    """A connection with answers to give; it keeps when it was asked."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = iter(statuses)
        self.at: list[float] = []

    async def post(self, path: str, body: bytes, headers: str) -> tuple[int, bytes]:
        self.at.append(time.perf_counter())
        return next(self._statuses), b'{"saga_id": "one"}'


def placed(load: Load, asked: Asked) -> tuple[str, float]:
    return asyncio.run(load.placed(cast(Connection, asked), "{}"))


def test_being_refused_is_part_of_the_time_that_an_order_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.load.RETRY_SECONDS", 0.0)
    load, asked = Load(1, 1, ["http://orders"]), Asked(503, 503, 202)
    saga_id, begun = placed(load, asked)
    assert saga_id == "one"
    assert begun <= asked.at[0] < asked.at[2]
    assert load.retried == 2


def test_who_is_refused_for_a_minute_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.load.STALLED_SECONDS", 0.0)
    with pytest.raises(TimeoutError, match="no order was taken"):
        placed(Load(1, 1, ["http://orders"]), Asked(503))


NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
SAGA = UUID("01a219d9-524f-7431-ac3b-b349a494dc2c")


def said(status: str) -> bytes:
    change = m.SagaStatusChanged(
        saga_id=str(SAGA), saga="create_order", status=status, previous_status=None, revision=1, order_id="o-1"
    )
    return encode(change, correlation_id=SAGA, timestamp=NOW, source="test")


def test_a_runner_takes_each_order_whose_saga_is_completed() -> None:
    (taken,) = acceptances([said("STARTED"), said("COMPLETED"), said("COMPENSATED")], NOW)
    envelope = decode_event(taken.value)
    assert isinstance(envelope, Envelope)
    assert isinstance(envelope.body, m.OrderAccepted) and envelope.body.order_id == "o-1"
    assert envelope.saga_id == SAGA and envelope.causation_id is None
    assert taken.topic == Topics().order_events
    (again,) = acceptances([said("COMPLETED")], NOW)
    assert again == taken, "the same message: it is a repeat"


class Ending:
    """A process whose child ends while its time is looked at: after the first look, before the children are listed."""

    def __init__(self, pid: int) -> None:
        self._looks = 0

    def cpu_times(self) -> SimpleNamespace:
        self._looks += 1
        return SimpleNamespace(
            user=1.0, system=1.0, children_user=0.0 if self._looks == 1 else 5.0, children_system=0.0
        )

    def children(self, *, recursive: bool) -> list["Ending"]:
        return []


def test_the_time_of_a_child_that_ends_while_it_is_asked_for_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.stage.psutil.Process", Ending)
    assert tree_cpu_seconds(1) == 7.0
