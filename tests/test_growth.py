"""The arithmetic of growth, and the times that a stopwatch keeps."""

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.growth import COPIES, PASSES, Costs, Worker, costs_of, line_through, main, need, seconds_in
from bench.stages import Stopwatch, drawn, since


@given(st.floats(1, 1e6))
def test_twice_as_many_sagas_need_about_twice_as_much(rate: float) -> None:
    once, twice = need(rate, Costs()), need(2 * rate, Costs())
    assert once.orchestrators <= twice.orchestrators <= 2 * once.orchestrators
    assert once.database_servers <= twice.database_servers <= 2 * once.database_servers
    assert twice.wal_mb_a_second == pytest.approx(2 * once.wal_mb_a_second, abs=0.2)
    assert once.brokers >= COPIES


def test_no_core_is_to_be_busier_than_was_said() -> None:
    found = need(10_000, Costs(orchestrator_ms=1.2))
    assert found.orchestrators == math.ceil(10_000 * 1.2 / 1000 / 0.6)


def test_a_saga_alone_takes_its_passes_and_its_answers_and_no_more() -> None:
    worker = Worker(batch_ms=2, record_ms=1, answer_ms=10)
    (took,) = seconds_in(worker, 1.0, sagas=1, seed=1)
    assert took == pytest.approx((PASSES * 3 + (PASSES - 1) * 10) / 1000)


def test_the_more_come_the_longer_each_takes_and_none_is_lost() -> None:
    worker = Worker()
    medians = []
    for share in (0.1, 0.5, 0.9):
        rate = share * worker.most_sagas_a_second
        took = seconds_in(worker, rate, sagas=3000, seed=7)
        assert len(took) == 3000
        medians.append(took[1500])
    assert all(sooner < later for sooner, later in pairwise(medians))


def test_costs_are_those_of_the_fullest_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def row(in_flight: int, milliseconds: float) -> dict[str, object]:
        cpu = {"orchestrator": milliseconds, "postgresql": 0.5, "kafka": 0.2}
        return {"in_flight": in_flight, "saga": {"cpu_ms": cpu, "wal_kb": 20.0, "kafka_kb": 9.0, "stored_kb": 8.0}}

    report = {"rows": [row(128, 2.0), row(2000, 1.2), row(512, 1.5)]}
    assert costs_of(report).orchestrator_ms == 1.2
    with pytest.raises(KeyError):
        costs_of({})
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    assert path.exists() and "1,000" in _printed(path, capsys)


def _printed(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["--report", str(path), "--rates", "1000"]) == 0
    return capsys.readouterr().out


def test_what_is_no_report_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report.json"
    path.write_text("{}")
    assert main(["--report", str(path)]) == 2
    assert capsys.readouterr().err.startswith("bench.growth: KeyError")


def test_a_stopwatch_keeps_what_each_stage_took_and_passes_on_what_it_returned() -> None:
    class Part:
        def work(self, number: int) -> int:
            return sum(range(number))

        def fail(self) -> None:
            raise ValueError("no")

    watch, part = Stopwatch(), Part()
    watch.around(Part, "work", "working")
    watch.around(Part, "fail", "failing")
    before = watch.snapshot()
    assert part.work(10_000) == sum(range(10_000))
    with pytest.raises(ValueError, match="no"):
        part.fail()
    after = watch.snapshot()
    assert set(after) == {"working", "failing"}
    wall, processor = since(before, after, orders=1)["working"]
    assert wall >= 0 and processor >= 0


def test_a_line_through_what_batches_took_says_what_each_part_costs() -> None:
    batch_ms, record_ms = line_through({1: 2.2, 10: 4.0, 100: 22.0})
    assert batch_ms == pytest.approx(2.0) and record_ms == pytest.approx(0.2)


def test_every_stage_has_a_bar() -> None:
    stages = {name: {"clock_ms": 2.0, "processor_ms": 1.0} for name in ("decode", "load & lock")}
    picture = drawn({"in_flight": 128, "stages": stages})
    assert picture.count("<rect") == 1 + 2 * len(stages)
    assert "load &amp; lock" in picture and "128 in flight" in picture
