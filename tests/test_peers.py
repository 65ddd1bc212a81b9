"""How the others are measured: what of their work counts, and what happens where one of them cannot be had."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.peers import __main__ as peers
from bench.peers import parts
from bench.peers.parts import CannotHave
from bench.peers.ratios import MADE_OF, OURS, legend
from bench.peers.span import measured_span

WORK = """
import pathlib, sys
here = pathlib.Path(sys.argv[1])
print("a banner")
(here / "warm").touch()
print("warm", flush=True)
sys.stdin.readline()
(here / "measured").touch()
print('{"count": 3}', flush=True)
"""


def test_what_others_use_is_looked_at_when_the_work_is_warm_and_when_it_has_measured(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def used() -> float:
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        return 5.0 * len(seen)

    found, seconds = measured_span([sys.executable, "-c", WORK, str(tmp_path)], os.environ, used)
    assert (found, seconds) == ({"count": 3}, 5.0)
    assert seen == [["warm"], ["measured", "warm"]]


def test_work_that_ends_before_it_has_measured_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="ended with 3"):
        measured_span([sys.executable, "-c", "raise SystemExit(3)"], os.environ, lambda: 0.0)


NO_DBOS = """
class DBOS:
    launch = staticmethod(lambda: None)
    step = workflow = staticmethod(lambda: lambda made: made)
    def __init__(self, config): pass
"""


def test_the_work_on_dbos_gets_warm_before_it_is_told_to_begin(tmp_path: Path) -> None:
    (tmp_path / "dbos.py").write_text(NO_DBOS)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "DATABASE_URL": "postgresql://none"}
    argv = [sys.executable, str(peers.HERE / "work_dbos.py"), "1", "0.1"]
    clock = iter([1.0, 3.0])
    found, seconds = measured_span(argv, environment, lambda: next(clock))
    assert found["count"] > 0 and seconds == 2.0


def test_a_program_that_is_not_here_and_one_that_fails_are_both_said() -> None:
    with pytest.raises(CannotHave, match="`no-such-program` is not on the PATH"):
        parts.run(["no-such-program", "install"])
    with pytest.raises(CannotHave, match="ended with 3, see above"):
        parts.run([sys.executable, "-c", "raise SystemExit(3)"])
    assert parts.run([sys.executable, "-c", "print('said')"]) == "said\n"


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "ordersaga"


def test_without_npm_there_is_no_server_of_restates_and_nothing_is_kept(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(empty_cache))
    with pytest.raises(CannotHave, match="`npm` is not on the PATH"):
        parts.restate_server()
    assert [path for path in empty_cache.iterdir() if path.is_dir()] == []


def test_a_machine_that_restate_has_no_server_for_is_named(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "run", lambda argv, **more: "")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(CannotHave, match="on riscv64"):
        parts.restate_server()


def test_the_server_is_the_one_that_npm_takes_for_this_machine(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(argv: list[str], *, directory: Path) -> str:
        program = directory / "node_modules/@restatedev/restate-server-linux-arm64/bin/restate-server"
        program.parent.mkdir(parents=True)
        program.touch()
        return ""

    monkeypatch.setattr(parts, "run", run)
    server = Path(parts.restate_server())
    assert server.exists() and "restate-server-linux-arm64" in server.parts


def test_who_cannot_be_had_is_said_once_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(name: str, level: int, seconds: float) -> dict[str, Any]:
        if name == "restate":
            raise CannotHave("`npm` is not on the PATH")
        return {"per_second": 100.0}

    monkeypatch.setattr(peers, "measured", measured)
    plan = [(OURS, 8, 0), ("restate", 8, 1), (OURS, 8, 2), ("restate", 32, 1), ("dbos", 32, 3)]
    found = [(row["peer"], row["in_flight"], row["turn"]) for row in peers.measured_in_turn(plan, 1.0)]
    assert found == [(OURS, 8, 0), (OURS, 8, 2), ("dbos", 32, 3)]
    assert capsys.readouterr().err == "restate is left out: `npm` is not on the PATH\n"


def test_nothing_is_installed_for_ours_alone_and_versions_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(argv: list[str], **more: Any) -> str:
        raise AssertionError(f"{argv} is not needed")

    figures = {"per_second": 100.0, "p50_ms": 1.0, "p99_ms": 2.0, "all_cpu_ms": 3.0}
    monkeypatch.setattr(parts, "run", run)
    monkeypatch.setitem(peers.PEERS, OURS, lambda directory, level, seconds: figures)
    monkeypatch.setattr(sys, "argv", ["bench.peers", "--only", OURS, "--levels", "8"])
    assert peers.main() == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["in_flight"] for row in told["rows"]] == [8, 512]
    versions = told["machine"]["peers"]
    assert versions.keys() | {OURS} == peers.PEERS.keys()
    assert all("@" in one or "==" in one for several in versions.values() for one in several)


def test_the_table_says_what_each_of_those_in_it_is_made_of() -> None:
    assert MADE_OF.keys() == peers.PEERS.keys()
    lines = legend([{"peer": OURS}, {"peer": "dbos"}, {"peer": "dbos"}])
    assert [line.split(":")[0] for line in lines] == ["* dbos", f"* {OURS}"]
    assert "one interpreter" in lines[0] and "two interpreters" in lines[1]
