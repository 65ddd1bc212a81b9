"""`ordersaga smoke` as a process that somebody ends: a pipeline with SIGTERM, a lost connection with SIGHUP.

The platform is the one of this process. The child looks at its API and its database only, and not at any broker.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cli.test_cli import environment
from tests.smoke.platform import Platform, sagas
from tests.waiting import until

CHILD = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it is ignored where the tests run under nohup

from ordersaga import connecting
from ordersaga.bus.memory import MemoryBus
from ordersaga.cli import app
from ordersaga.smoke import order, run

connecting.kafka_bus = lambda settings: MemoryBus()
run.Smoke._parts = lambda self: iter(())
order.DECIDED = set()  # so that it waits for an outcome until it is interrupted
app(["smoke", "--timeout", "30"])
"""
SECONDS_MAX = 30


@contextmanager
def smoke(at: Platform) -> Iterator[subprocess.Popen[str]]:
    """A run that has placed its order."""
    url = at.settings.database_url.get_secret_value()  # type: ignore[union-attr]
    given = environment(
        DATABASE_URL=url,
        KAFKA_BOOTSTRAP_SERVERS="unused:1",
        ORDERSAGA_SMOKE_API_URL=f"http://127.0.0.1:{at.settings.http_port}",
    )
    argv = [sys.executable, "-c", CHILD]
    with subprocess.Popen(argv, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        try:
            assert child.stdout
            first = child.stdout.readline()
            assert "order placed" in first, first
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_whoever_ends_it_once_the_order_is_placed_is_told_that_it_is_taken_back(
    healthy: Platform, number: signal.Signals
) -> None:
    before = len(sagas(healthy))
    with smoke(healthy) as child:
        child.send_signal(number)
        assert child.stdout
        code, told = child.wait(SECONDS_MAX), child.stdout.read()
    assert code == 1, told
    last = told.splitlines()[-1]
    assert last.startswith("ordersaga: interrupted: saga ") and last.endswith("nothing of it stays open"), told
    until(lambda: sagas(healthy)[before:] == ["CANCELLED"], "the order is cancelled")
