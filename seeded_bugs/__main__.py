"""Plants bugs, one at a time, and sees whether anything notices.

    python -m seeded_bugs [--all] [--only TEXT] [--write] [--passed-unplanted]

Each bug goes into a copy of the project; there the checkers run, the quickest first, until one fails. With `--all`
every checker gets its chance, and `--write` puts the table into docs/seeded-bugs.md. Afterwards those that noticed
something run with nothing planted, and have to pass; `make ci` has run each of them before, and says so. Progress goes
to standard error; standard output ends with one line of JSON.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from seeded_bugs.bugs import BUGS, Bug

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("src", "tests", "simulation", "docs", "pyproject.toml")
PAGE = ROOT / "docs" / "seeded-bugs.md"
SECONDS_MAX = 300.0
"""A checker that hangs has noticed."""
LINES_SHOWN = 30


@dataclass(frozen=True)
class Checker:
    name: str
    command: tuple[str, ...]


PYTEST = (
    *("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
    *("-p", "no:schemathesis", "-p", "no:faker", "-p", "no:xdist"),
)
"""Without what these tests do not use: loading it takes as long as the tests."""
CHECKERS = (
    Checker("stories", (*PYTEST, "tests/core", "tests/sagas")),
    Checker(
        "services",
        (
            *(*PYTEST, "tests/participants/test_services.py", "tests/participants/test_any_order.py"),
            *("tests/participants/test_completing.py", "-k", "not database"),
        ),
    ),
    Checker("hosts", (*PYTEST, "tests/participants/test_host.py", "tests/participants/test_ledgers.py")),
    Checker("simulation", ("-m", "simulation", "--seeds", "1500", "--processes", "1", "--until-broken")),
    Checker("deliveries", ("-m", "simulation", "--saga", "complete_order", "--seeds", "500", "--processes", "1")),
    Checker("model", ("-m", "ordersaga.model", "--faults", "1", "--hands", "1")),
    Checker("delivery", (*PYTEST, "tests/delivery", "tests/runtime")),
    Checker(
        "store",
        (
            *(*PYTEST, "tests/store/test_conformance.py", "tests/store/test_set_aside.py"),
            *("tests/store/test_postgres.py", "tests/store/test_plans.py", "tests/store/test_recent.py"),
            *("tests/store/test_archive.py", "tests/store/test_failover.py"),
        ),
    ),
)


@dataclass(frozen=True)
class Caught:
    bug: Bug
    by: tuple[str, ...]
    tried: tuple[str, ...]
    seconds: float


def stale(bugs: Iterable[Bug]) -> list[str]:
    """Names of those that do not fit the code any more: it changed where they change it."""
    return [bug.name for bug in bugs if (ROOT / bug.path).read_text("utf-8").count(bug.before) != 1]


def main() -> int:
    arguments = _arguments()
    wanted = [bug for bug in BUGS if arguments.only in bug.name]
    if unfit := stale(wanted):
        _say(f"these do not fit the code any more, mend seeded_bugs/bugs.py: {', '.join(unfit)}")
        return 1
    begun, found = time.perf_counter(), []
    with ThreadPoolExecutor(arguments.processes) as pool:
        running = [pool.submit(_try, bug, every=arguments.all) for bug in wanted]
        for number, done in enumerate(as_completed(running), 1):
            one = done.result()
            found.append(one)
            verdict = f"caught by {', '.join(one.by)}" if one.by else "NOT CAUGHT"
            _say(f"  {number} of {len(wanted)}  {one.bug.name}: {verdict} ({one.seconds:.0f} s)")
    noticed = set() if arguments.passed_unplanted else {name for one in found for name in one.by}
    if failed := _without_bugs(noticed, arguments.processes):
        for name, told in failed.items():
            _say(f"{name} fails though no bug is planted, so it would catch everything:\n{told}")
        return 1
    found.sort(key=lambda one: BUGS.index(one.bug))
    if arguments.write:
        PAGE.write_text(page(found), "utf-8")
    report = {
        "ok": all(one.by for one in found),
        "bugs": len(found),
        "caught": sum(bool(one.by) for one in found),
        "by": {checker.name: sum(checker.name in one.by for one in found) for checker in CHECKERS},
        "not_caught": [one.bug.name for one in found if not one.by],
        "seconds": round(time.perf_counter() - begun, 1),
    }
    print(json.dumps(report), flush=True)
    return 0 if report["ok"] else 1


HEAD = """# Seeded bugs

Each line is a bug that would lose money or an order. `make bugs` plants them one at a time in a copy of the project
and runs the checkers there until one notices; then it sees that each that did passes where nothing is planted.
`make bugs ARGS=--write` writes this table, and with `--all` every checker is asked. *stories* are the tests of core and
saga, *services* and *hosts* those of the participants, *simulation* 1,500 seeds, *model* every interleaving with one
fault and one hand, *delivery* and *store* the tests of those packages.

| bug | in | caught by |
|---|---|---|
"""


def page(found: list[Caught]) -> str:
    """The table, as the documents have it."""
    rows = (f"| {one.bug.name} | `{_short(one.bug.path)}` | {', '.join(one.by) or '**nothing**'} |" for one in found)
    return HEAD + "\n".join(rows) + "\n"


def _short(path: str) -> str:
    return path.removeprefix("src/ordersaga/")


def _without_bugs(noticed: set[str], processes: int) -> dict[str, str]:
    """Those of the checkers that noticed something which fail where nothing is planted too, and what they say."""
    checkers = [checker for checker in CHECKERS if checker.name in noticed]
    if not checkers:
        return {}
    _say(f"  with no bug planted: {', '.join(checker.name for checker in checkers)}")
    with tempfile.TemporaryDirectory(prefix="ordersaga-bug-") as place, ThreadPoolExecutor(processes) as pool:
        _copy(Path(place))
        told = pool.map(lambda checker: _failure(checker, Path(place)), checkers)
        return {checker.name: text for checker, text in zip(checkers, told, strict=True) if text is not None}


def _try(bug: Bug, *, every: bool) -> Caught:
    begun = time.perf_counter()
    by: list[str] = []
    tried: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ordersaga-bug-") as place:
        copy = Path(place)
        _copy_with(bug, copy)
        for checker in sorted(CHECKERS, key=lambda checker: checker.name != bug.likely):
            if by and not every:
                break
            tried.append(checker.name)
            if _failure(checker, copy) is not None:
                by.append(checker.name)
    return Caught(bug, tuple(by), tuple(tried), time.perf_counter() - begun)


def _copy_with(bug: Bug, copy: Path) -> None:
    _copy(copy)
    file = copy / bug.path
    file.write_text(file.read_text("utf-8").replace(bug.before, bug.after), "utf-8")


def _copy(copy: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, copy / name)


def _failure(checker: Checker, copy: Path) -> str | None:
    """The end of what it printed; None where it passes."""
    environment = {**os.environ, "PYTHONPATH": f"{copy / 'src'}:{copy}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *checker.command]
    with (
        tempfile.TemporaryFile("w+") as told,
        subprocess.Popen(
            command, cwd=copy, env=environment, stdout=told, stderr=subprocess.STDOUT, start_new_session=True
        ) as run,
    ):
        try:
            if run.wait(SECONDS_MAX) == 0:
                return None
        except subprocess.TimeoutExpired:
            # With whatever it has started: it is the leader of a group of its own.
            os.killpg(run.pid, signal.SIGKILL)
            return f"it did not end within {SECONDS_MAX:g} s"
        told.seek(0)
        return "\n".join(told.read().splitlines()[-LINES_SHOWN:])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="seeded_bugs", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="every checker, though one has caught it")
    parser.add_argument("--only", default="", help="bugs with this in their name")
    parser.add_argument("--write", action="store_true", help="write the page in docs")
    parser.add_argument(
        "--passed-unplanted", action="store_true", help="the checkers have just passed with nothing planted"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
