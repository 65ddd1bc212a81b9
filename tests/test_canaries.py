"""The watch for canaries finds each that is planted, and blames the test that planted it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.house_rules import ROOT

CONFTEST = """
import tests.canary_watch as canary_watch
def pytest_configure(config):
    config.pluginmanager.register(canary_watch.Plugin(), "canaries")
"""
MARK = "pl4nt3d"
PLANTED = """
import logging, subprocess, sys, threading
from pathlib import Path
import httpx, structlog
from litestar import Litestar, Response, get
from litestar.testing import TestClient
from typer.testing import CliRunner
import typer
from ordersaga.local.processes import Process
from ordersaga.tokens import Role, new_token
from ordersaga import tokens
from tests.canary_watch import WATCH

def test_nothing_is_planted():
    print("nothing")

def test_a_line_on_the_terminal():
    print("{mark}")

def test_a_line_of_a_log():
    logging.getLogger("x").warning("{mark}")

def test_a_structured_line():
    structlog.get_logger("x").info("it.happened", customer="{mark}")

def test_an_argument():
    subprocess.Popen([sys.executable, "-c", "", "{mark}"]).wait()

def test_an_argument_of_a_child_of_a_child():
    word = "'{half}' + '{rest}'"
    code = f"import subprocess, sys; sys.argv[1:] or subprocess.run([sys.executable, '-c', 'input()', {word}])"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    while not WATCH.found:
        threading.Event().wait(0.05)
    child.communicate(b"\\n\\n")

def test_a_log_of_a_process(tmp_path):
    process = Process("x", [sys.executable, "-c", "print('{half}' + '{rest}')"], log_path=tmp_path / "x.log").start()
    process.wait_ended(20)
    process.stop()

def test_an_answer_that_says_what_is_wrong():
    @get("/")
    def wrong() -> Response[str]:
        return Response("{mark}", status_code=400)
    with TestClient(Litestar([wrong])) as client:
        client.get("/")

def test_metrics():
    @get("/metrics")
    def metrics() -> str:
        return "{mark}"
    with TestClient(Litestar([metrics])) as client:
        client.get("/metrics")

def test_an_error_of_a_command():
    app = typer.Typer()
    @app.command()
    def fails() -> None:
        typer.echo("{mark}", err=True)
    CliRunner().invoke(app)

def test_an_error_of_a_program():
    subprocess.run([sys.executable, "-c", "import sys; sys.exit('{half}' + '{rest}')"], capture_output=True)

def test_a_span():
    WATCH.look("spans", b"\\x0a{mark}")

def test_a_token():
    print(tokens.new_token("x", Role.VIEWER)[0])
"""


def test_each_planted_canary_is_found_and_the_test_that_planted_it_fails(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    planted = PLANTED.replace("{mark}", MARK).replace("{half}", MARK[:3]).replace("{rest}", MARK[3:])
    (tmp_path / "test_planted.py").write_text(planted)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", "--rootdir", str(tmp_path), "."]
    done = subprocess.run(command, cwd=tmp_path, env=_environment(), text=True, stdout=subprocess.PIPE, timeout=100)
    tests = [line.split("(")[0][4:] for line in PLANTED.splitlines() if line.startswith("def test")]
    # The call itself has passed; the canary is found when it is over.
    blamed = {line.split("::")[1].split(" ")[0] for line in done.stdout.splitlines() if line.startswith("ERROR ")}
    assert blamed == set(tests) - {"test_nothing_is_planted"}, done.stdout
    assert done.returncode == 1
    assert "canaries were looked for in: " in done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "CANARY_MARK": MARK}
