"""What measurements conclude from their figures: who recovers, what grows, how many times as many."""

from typing import Any, cast

import pytest

from bench.__main__ import MESSAGES, RATIO_LEAST, level_row, report
from bench.__main__ import table as table_of_levels
from bench.curves import Curve, drawn
from bench.figures import quantiles_ms
from bench.hour import ALLOWED, SERIES, judged
from bench.overload import recovered_after
from bench.peers.ratios import OURS, ratios, ratios_table, table, wanted
from bench.processes import table as table_of_processes
from bench.stage import Measured, Stage


def seconds(*medians: float | None) -> list[dict[str, object]]:
    return [{"came": 10, "taken": 10 if median else 0, "saga_p50_ms": median} for median in medians]


CALM = (0.0, 0.0, 0.0, 0.0, 0.0, 100.0, 110.0, 90.0)


@pytest.mark.parametrize(
    ("after", "seconds_later"),
    [
        ((100.0, 120.0, 90.0), 0.0),
        ((900.0, 500.0, 120.0, 90.0), 2.0),
        ((100.0, None, 120.0, 90.0), 2.0),
        ((100.0, 100.0, 900.0), None),
    ],
)
def test_all_is_as_before_once_every_second_is_as_quick_as_in_the_calm(
    after: tuple[float | None, ...], seconds_later: float | None
) -> None:
    each = seconds(*CALM, 9000.0, 9000.0, *after)
    assert recovered_after(each, len(CALM), len(CALM) + 2) == seconds_later


def test_a_second_in_which_some_are_refused_is_not_as_before() -> None:
    each = seconds(*CALM, 9000.0, 100.0, 100.0)
    each[-2]["taken"] = 9
    assert recovered_after(each, len(CALM), len(CALM) + 1) == 1.0


def hours(**changed: list[float]) -> list[dict[str, float]]:
    """Thirty minutes in which nothing changes, but for what is said."""
    flat = dict.fromkeys(SERIES, 1000.0)
    return [
        {"minute": float(minute)} | flat | {name.replace("_", " "): values[minute] for name, values in changed.items()}
        for minute in range(30)
    ]


def growing(**changed: list[float]) -> list[str]:
    return [one.name for one in judged(hours(**changed), 5.0) if not one.flat]


def test_an_hour_in_which_nothing_grows_is_flat() -> None:
    assert growing() == []
    assert growing(outbox_size=[1000.0 + 900 * (minute % 3) for minute in range(30)]) == []


def test_what_rises_all_the_time_is_found_however_slowly() -> None:
    assert growing(orchestrator_memory=[1000.0 + 2 * minute for minute in range(30)]) == ["orchestrator memory"]


def test_a_tide_that_comes_higher_each_time_is_found() -> None:
    high = [1000.0 * (1 + (minute % 3)) * (1 + minute / 10) for minute in range(30)]
    assert growing(deadlines_indexes=high) == ["deadlines indexes"]


def test_what_is_nearly_nothing_may_double() -> None:
    assert growing(outbox_rows=[5.0 + minute * (ALLOWED["rows"] / 60) for minute in range(30)]) == []


def test_ours_right_before_and_after_each_of_the_others_at_the_same_level() -> None:
    """A machine that was half as fast in the middle was so for all who ran then."""
    of_8 = [(OURS, 400.0), ("other", 100.0), (OURS, 200.0), ("slow", 15.0), (OURS, 100.0)]
    rows = [{"peer": peer, "in_flight": 8, "turn": n, "per_second": rate} for n, (peer, rate) in enumerate(of_8)]
    rows += [{"peer": OURS, "in_flight": 512, "turn": 0, "per_second": 800.0}]
    found = ratios(rows)
    assert found == {"other": {8: 3.0}, "slow": {8: 10.0}}
    assert ratios_table(found)[-1] == "| slow | 10 times |"


def test_the_turns_of_one_are_told_as_their_mean() -> None:
    figures = {"peer": OURS, "in_flight": 8, "p50_ms": 10.0, "p99_ms": 20.0, "all_cpu_ms": 1.0}
    lines = table([figures | {"turn": 0, "per_second": 100.0}, figures | {"turn": 2, "per_second": 200.0}])
    assert lines[2:] == [f"| {OURS} | 8 | 150 | 10 | 20 | 1.0 |"]


def test_ours_is_measured_before_and_after_each_of_the_others() -> None:
    assert wanted([8], ["dbos", "restate", OURS], []) == [
        (OURS, 8, 0), ("dbos", 8, 1), (OURS, 8, 2), ("restate", 8, 3), (OURS, 8, 4), (OURS, 512, 0),
    ]  # fmt: skip


def test_what_is_measured_already_is_not_measured_again() -> None:
    known = [{"peer": "dbos", "in_flight": 8, "turn": 1}]
    plan = [(OURS, 8, 0), (OURS, 8, 2), (OURS, 32, 0), ("dbos", 32, 1), (OURS, 32, 2), (OURS, 512, 0)]
    assert wanted([8, 32], ["dbos", OURS], known) == plan


def test_quantiles_are_of_the_measured_and_none_of_nothing() -> None:
    assert quantiles_ms([]) == {"p50_ms": None, "p99_ms": None}
    assert quantiles_ms([n / 1000 for n in range(100, 0, -1)]) == {"p50_ms": 51.0, "p99_ms": 100.0}


def test_a_row_for_each_number_of_processes_says_how_many_cores_were_busy() -> None:
    cpu = {"orchestrator": 1.0, "postgresql": 0.5, "kafka": 0.2, "participants": 0.3}
    row = {"processes": 2, "in_flight": 128, "sagas_per_second": 500.0, "p50_ms": 200.0, "p99_ms": 300.0}
    lines = table_of_processes([row | {"cpu_ms": cpu, "cores_busy": {"all": 1.5}, "transactions": 0.8}])
    assert "| 2 | 128 | 500 | 200 ms | 300 ms | 1.00, 0.50, 0.20, 2.00 ms | 1.50 of" in lines[-1]


def test_each_curve_is_drawn_with_its_name_and_its_range() -> None:
    picture = drawn("an <hour>", [Curve(name="memory", unit="MiB", points=[(0, 100.0), (5, 150.0)])], shaded=(1, 4))
    assert picture.startswith("<svg ") and picture.rstrip().endswith("</svg>")
    assert "an &lt;hour&gt;" in picture and "100 to 150 MiB" in picture and picture.count("<polyline") == 1


class Played:
    """A stage whose figures are given; it keeps what was measured, in its order."""

    def __init__(self, loop: list[float], ours: float) -> None:
        self._loop, self._ours = iter(loop), ours
        self.order: list[str] = []

    def limit(self, orders: int, in_flight: int, announced: int = 3) -> Measured:
        self.order.append(f"loop of {10 + announced}")
        return Measured(sagas_per_second=next(self._loop), p50_ms=1.0, p99_ms=2.0, cpu_ms={"loop": 0.8})

    def saga(self, orders: int, in_flight: int) -> Measured:
        self.order.append("ours")
        cpu = {"orchestrator": 1.2, "kafka": 0.3}
        ended = {"COMPLETED": orders}
        return Measured(sagas_per_second=self._ours, p50_ms=1.0, p99_ms=2.0, cpu_ms=cpu, ended=ended, retried=7)


def row_at(in_flight: int, ours: float = 400.0) -> tuple[dict[str, Any], list[str]]:
    """Of a machine on which the loops do 800 and 400 a second, and then half of it."""
    stage = Played([1000.0, 500.0, 300.0, 600.0], ours)
    return level_row(cast(Stage, stage), in_flight, 100), stage.order


def test_ours_is_measured_between_the_runs_of_each_of_the_loops() -> None:
    row, order = row_at(128)
    assert order == ["loop of 10", "loop of 13", "ours", "loop of 13", "loop of 10"]
    assert row["limit"]["sagas_per_second"] == 400.0 and row["ratio_to_limit"] == 1.0
    assert row["limit_of_ten_messages"]["sagas_per_second"] == 800.0
    assert row["ratio_to_limit_of_ten_messages"] == 0.5


def test_the_stricter_of_the_two_ratios_decides_whether_a_run_is_ok() -> None:
    for ours, is_ok in ((400.0, False), (800 * RATIO_LEAST, True)):
        rows = [row_at(128, ours)[0], row_at(2000)[0]]
        assert report(rows, {}, "light")["ok"] is is_ok, rows[0]


def test_a_run_in_which_an_order_does_not_end_is_not_ok() -> None:
    rows = [row_at(128, 1000.0)[0], row_at(2000)[0]]
    rows[1]["saga"]["not_ended"] = 1
    assert report(rows, {}, "light")["ok"] is False


TOP = ("sagas_per_second", "limit_sagas_per_second", "ratio_to_limit", "ratio_to_limit_of_ten_messages")
CPU = ("orchestrator_cpu_ms_per_saga", "limit_cpu_ms_per_saga", "all_cpu_ms_per_saga")


def test_what_stands_for_the_whole_is_of_the_levels_that_it_is_said_to_be_of() -> None:
    told = report([row_at(32, 1.0)[0], row_at(128)[0], row_at(2000)[0], row_at(3000, 1.0)[0]], {}, "light")
    assert [told[key] for key in TOP] == [400.0, 400.0, 1.0, 0.5]
    assert [told[key] for key in CPU] == [1.2, 0.8, 1.5]
    assert told["missing"] == []


def test_what_was_not_measured_is_null_and_said_and_no_other_level_stands_for_it() -> None:
    told = report([row_at(32)[0]], {}, "light")
    assert {told[key] for key in (*TOP, *CPU, "ok")} == {None}
    assert told["missing"] == ["128 in flight is not among --levels", "2,000 in flight is not among --levels"]
    told = report([row_at(128, 1000.0)[0]], {}, "light")
    assert told["ok"] is True and told[TOP[0]] == 1000.0
    assert told[CPU[0]] is None and told["missing"] == ["2,000 in flight is not among --levels"]


def test_the_table_says_which_loop_a_ratio_is_to_and_which_one_decides() -> None:
    titles, head, line, *legend = table_of_levels([row_at(128)[0]])
    assert titles.split("  ")[-1].strip() == "loop of 10 messages" and f"loop of {MESSAGES} messages" in titles
    assert len(head) == len(line), "each figure below its name"
    assert line.split() == ["128", "400", "1.0", "2.0", "400", "1.0", "1.00", "800", "1.0", "0.50", "7"]
    text = " ".join(legend)
    assert text.index("13") < text.index("`ratio_to_limit`") < text.index("10,")
    assert "`ratio_to_limit_of_ten_messages`: the stricter one, which at 128 in flight has to be 0.6 or more" in text
