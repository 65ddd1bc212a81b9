"""Children that are started, awaited, killed and frozen, and that never outlive us."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from ordersaga.local.failures import NotReady
from ordersaga.local.processes import Process

from .watching import children, is_alive, is_frozen, number_of_threads, program, until

SLEEPER = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
)
WITH_CHILD = (
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
    "print('up', flush=True); child.wait()"
)
PARENT = """
import json, pathlib, signal, sys
from ordersaga.local.processes import Process
child = Process("child", [sys.executable, "-c", "import signal; signal.pause()"], log_path=pathlib.Path(sys.argv[1]))
print(json.dumps(child.start().pid), flush=True)
signal.pause()
"""
PARENT_THAT_STARTS_FROM_A_THREAD_AND_LETS_IT_END = """
import json, pathlib, signal, sys, threading
from ordersaga.local.processes import Process
child = Process("child", [sys.executable, "-c", "import signal; signal.pause()"], log_path=pathlib.Path(sys.argv[1]))
thread = threading.Thread(target=child.start)
thread.start()
thread.join()
print(json.dumps(child.pid), flush=True)
signal.pause()
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "child.log"


@pytest.fixture
def sleeper(log: Path) -> Iterator[Process]:
    process = started(SLEEPER, log)
    yield process
    process.kill()


def started(program_text: str, log: Path) -> Process:
    process = Process("child", [sys.executable, "-c", program_text], log_path=log)
    return process.start().wait_ready(lambda: "up" in log.read_text(), 20)


def test_a_killed_process_is_gone_when_kill_returns(sleeper: Process) -> None:
    sleeper.kill()
    assert not sleeper.is_running
    assert sleeper.exit_code == -signal.SIGKILL


def test_kill_reaches_what_the_process_started(log: Path) -> None:
    process = started(WITH_CHILD, log)
    (grandchild,) = children(process.pid)
    process.kill()
    assert not is_alive(grandchild)


def test_a_process_that_obeys_is_stopped_by_its_signal(sleeper: Process) -> None:
    assert sleeper.stop(10) == -signal.SIGTERM


def test_a_process_that_does_not_obey_is_killed_at_the_end_of_the_timeout(log: Path) -> None:
    assert started(STUBBORN, log).stop(0.2) == -signal.SIGKILL


def test_a_frozen_process_stands_still_until_it_is_thawed(sleeper: Process) -> None:
    sleeper.freeze()
    assert is_frozen(sleeper.pid)
    assert sleeper.is_running
    sleeper.thaw()
    until(lambda: not is_frozen(sleeper.pid), "thawed")


def test_a_frozen_process_can_be_stopped(sleeper: Process) -> None:
    sleeper.freeze()
    assert sleeper.stop(10) == -signal.SIGTERM


def test_a_restarted_process_is_another_one_with_the_same_log(sleeper: Process, log: Path) -> None:
    before = sleeper.pid
    sleeper.restart(10).wait_ready(lambda: log.read_text().count("up") == 2, 20)
    assert sleeper.pid != before


def test_a_process_that_dies_before_it_is_ready_says_why(log: Path) -> None:
    process = Process("child", [sys.executable, "-c", "raise SystemExit('no disk left')"], log_path=log)
    with pytest.raises(NotReady, match=r"(?s)exit code 1.*no disk left"):
        process.start().wait_ready(lambda: False, 20)


def test_waiting_for_what_does_not_come_has_an_end(sleeper: Process) -> None:
    with pytest.raises(NotReady, match=r"not ready within 0\.1 s"):
        sleeper.wait_ready(lambda: False, 0.1)
    with pytest.raises(NotReady, match=r"did not end within 0\.1 s"):
        sleeper.wait_ended(0.1)


def test_stop_and_kill_are_harmless_before_the_start_and_twice(log: Path) -> None:
    process = Process("child", [sys.executable, "-c", SLEEPER], log_path=log)
    assert process.stop() is None
    process.start()
    process.kill()
    process.kill()
    assert process.stop() == -signal.SIGKILL


def test_a_killed_parent_leaves_no_child_behind(log: Path) -> None:
    with program(PARENT, str(log)) as (parent, child_pid):
        assert is_alive(child_pid)
        parent.kill()
        until(lambda: not is_alive(child_pid), "the child has gone with its parent")


def test_a_child_outlives_the_thread_that_asked_for_it(log: Path) -> None:
    with program(PARENT_THAT_STARTS_FROM_A_THREAD_AND_LETS_IT_END, str(log)) as (parent, child_pid):
        until(lambda: number_of_threads(parent.pid) == 2, "only the main thread and the starter are left")
        assert is_alive(child_pid)


def test_processes_may_be_started_by_many_threads_at_once(tmp_path: Path) -> None:
    processes = [Process(f"{i}", [sys.executable, "-c", SLEEPER], log_path=tmp_path / f"{i}.log") for i in range(8)]
    threads = [Thread(target=process.start) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    try:
        assert len({process.pid for process in processes}) == 8
        assert all(os.getsid(process.pid) == process.pid for process in processes)
    finally:
        for process in processes:
            process.kill()
