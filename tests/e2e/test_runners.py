"""The programs that a newcomer starts, as processes, with what they print."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.waiting import until


@pytest.mark.timeout(180)
def test_the_demo_shows_each_ending_and_survives_a_kill() -> None:
    report = _run("ordersaga.cli", "demo", "--exit", "--json")
    assert report["ok"]
    assert [(order["status"], order["reason"]) for order in report["orders"]] == [
        ("COMPLETED", None),
        ("COMPENSATED", "PAYMENT_DECLINED"),
        ("COMPENSATED", "PAYMENT_METHOD_MISSING"),
        ("COMPENSATED", "CUSTOMER_UNKNOWN"),
        ("CANCELLED", "CUSTOMER_REQUEST"),
        ("COMPLETED", None),
        ("CANCELLED", "ACCEPTANCE_TIMEOUT"),
        ("COMPLETED", None),
    ]


@pytest.mark.timeout(180)
def test_the_demo_stays_until_it_is_interrupted_and_a_key_kills_it() -> None:
    with _at_a_terminal("ordersaga.cli", "demo") as (process, terminal, seen):
        until(lambda: b"Ctrl-C ends the demo" in seen(), "the demo waits for a key", within_seconds=180)
        kills, completed = seen().count(b"kill -9"), seen().count(b" ms  COMPLETED")
        os.write(terminal, b"c\n")
        until(lambda: seen().count(b"kill -9") > kills, "the key has killed it", within_seconds=60)
        until(lambda: seen().count(b" ms  COMPLETED") > completed, "the order went on", within_seconds=60)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_on_real_parts_shows_the_same() -> None:
    report = _run("ordersaga.cli", "demo", "--kafka", "--exit", "--json")
    assert report["ok"]
    assert len(report["orders"]) == 8


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_benchmark_measures_both_sides_and_every_order_ends() -> None:
    report = _run("bench", "--quick", "--levels", "128", "--orders", "200", exit_codes=(0, 1))
    (row,) = report["rows"]
    assert row["saga"]["ended"] == {"COMPLETED": 200}
    assert row["saga"]["not_ended"] == 0
    assert all(row[loop]["sagas_per_second"] > 0 for loop in ("limit", "limit_of_ten_messages"))
    assert report["ratio_to_limit"] == row["ratio_to_limit"]
    assert row["saga"]["cpu_ms"]["orchestrator"] > 0
    assert report["orchestrator_cpu_ms_per_saga"] is None
    assert report["missing"] == ["2,000 in flight is not among --levels"]
    assert row["saga"]["messages"] == 13, "six commands and notices, two announcements, five answers"
    assert report["accepted"]["ended"] == {"COMPLETED": 200}
    assert report["accepted"]["messages"] == 14, "and the acceptance"
    assert report["accepted"]["cpu_ms"]["runners"] > 0
    assert report["machine"]["fsync_ms"] > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_stage_of_the_orchestrator_has_its_time_and_its_bar(tmp_path: Path) -> None:
    picture = tmp_path / "stages.svg"
    report = _run("bench.stages", "--in-flight", "32", "--orders", "200", "--svg", str(picture))
    stages = {"decode", "load", "decide", "write", "commit", "publish", "acknowledge", "commit offsets", "the rest"}
    assert set(report["stages"]) == stages
    assert all(one["clock_ms"] > 0 and one["processor_ms"] >= 0 for one in report["stages"].values())
    bars = [one for one in ET.parse(picture).iter() if one.tag.endswith("rect")]
    assert len(bars) == 1 + 2 * len(stages)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_a_transaction_costs_is_told_for_each_size() -> None:
    report = _run("bench.batches", "--sizes", "1,20")
    assert [row["records"] for row in report["rows"]] == [1, 20]
    assert all(row["clock_ms"] > 0 and row["processor_ms"] > 0 for row in report["rows"])
    assert {"batch_ms", "record_ms"} <= report.keys()


def _run(module: str, *arguments: str, exit_codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """What the program says in its one line of standard output."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode in exit_codes, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


@contextmanager
def _at_a_terminal(module: str, *arguments: str) -> Iterator[tuple["subprocess.Popen[bytes]", int, Any]]:
    """A program with a terminal to read from; `seen()` is what it wrote to it so far."""
    ours, its = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdin=its, stdout=its, stderr=its)
    os.close(its)
    os.set_blocking(ours, False)
    written = bytearray()

    def seen() -> bytes:
        with suppress(BlockingIOError, OSError):
            while piece := os.read(ours, 65536):
                written.extend(piece)
        return bytes(written)

    try:
        yield process, ours, seen
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(30)
        os.close(ours)
