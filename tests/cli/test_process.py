"""From start to signal: the first asks, the second insists, and a thread that hangs holds nobody up."""

import os
import signal
import subprocess
import sys
from time import monotonic

import pytest

from ordersaga.process import FAILED, STOPPED, run_until_signalled

STUBBORN = """
import sys, time
from ordersaga.process import leave, run_until_signalled
class Stubborn:
    def start(self): print("started", flush=True)
    def stop(self, timeout_seconds):
        print("stopping", flush=True)
        time.sleep(60)
        return True
leave(run_until_signalled(Stubborn(), 60))
"""
HANGING = """
import threading, time
from ordersaga.process import leave
threading.Thread(target=time.sleep, args=(60,)).start()
leave(3)
"""


class Part:
    def __init__(self, *, ends: bool = True, starts: bool = True) -> None:
        self.ends = ends
        self.starts = starts
        self.stopped_within: list[float] = []

    def start(self) -> None:
        if not self.starts:
            raise RuntimeError("cannot start")
        os.kill(os.getpid(), signal.SIGTERM)

    def stop(self, timeout_seconds: float) -> bool:
        self.stopped_within.append(timeout_seconds)
        return self.ends


def test_a_signal_stops_it_within_the_time_given() -> None:
    part = Part()
    before = signal.getsignal(signal.SIGTERM)
    assert run_until_signalled(part, 7) == STOPPED
    assert part.stopped_within == [7]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_that_took_too_long_is_a_failure() -> None:
    assert run_until_signalled(Part(ends=False), 7) == FAILED


def test_what_began_to_start_is_stopped_when_the_start_fails() -> None:
    part = Part(starts=False)
    with pytest.raises(RuntimeError, match="cannot start"):
        run_until_signalled(part, 7)
    assert part.stopped_within == [7]


def test_the_second_signal_ends_it_in_the_middle_of_its_stop() -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGTERM)
        while process.stdout.readline() != "stopping\n":
            pass
        begun = monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130
        assert monotonic() - begun < 10


ELSEWHERE = """
import signal, threading
from ordersaga import process
class Told:
    def start(self):
        self.tell_soon()
    def stop(self, timeout_seconds):
        print("asked", flush=True)
        self.tell_soon()
        return threading.Event().wait(50)
    def tell_soon(self):
        threading.Thread(target=self.tell).start()
    def tell(self):
        threading.Event().wait(0.5)  # until the main thread waits as well
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
process.run_until_signalled(Told(), 60)
"""


def test_a_signal_that_the_system_hands_to_another_thread_is_heard_while_the_main_one_waits() -> None:
    found = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, timeout=40)
    assert (found.returncode, found.stdout.splitlines()[-1]) == (130, "asked")


def test_leaving_does_not_wait_for_a_thread_that_hangs() -> None:
    found = subprocess.run([sys.executable, "-c", HANGING], timeout=30)
    assert found.returncode == 3


RUSH = """
import threading, psutil
from ordersaga.process import few_heaps
give_back, mine = few_heaps(), psutil.Process()
before = mine.memory_info().rss
together, kept = threading.Barrier(20), []
def work():
    held = [bytes(60_000) for _ in range(100)]
    together.wait(30)
    kept.append(bytes(60_000))  # above what is let go
    together.wait(30)
threads = [threading.Thread(target=work) for _ in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
most = mine.memory_info().rss
give_back()
print(most - before, mine.memory_info().rss - before)
"""


def test_what_a_rush_needed_is_given_back_to_the_system() -> None:
    said = subprocess.run([sys.executable, "-c", RUSH], capture_output=True, text=True, timeout=60, check=True).stdout
    most, after = map(int, said.split())
    assert most > 50e6, "it was kept"
    assert after < 15e6


CIRCLES = """
import gc, os, signal, sys, threading, weakref
from ordersaga import process
process.TRIM_EVERY_SECONDS = 0.05
class Circle:
    def __init__(self):
        self.itself = self
class Making:
    def start(self):
        threading.Thread(target=self.make).start()
    def make(self):
        while gc.get_threshold()[0] != process.GC_THRESHOLD:
            threading.Event().wait(0.01)
        circle, gone = Circle(), threading.Event()
        weakref.finalize(circle, gone.set)
        gc.collect(1)  # it has lived for a while
        del circle
        print("gone" if gone.wait(float(sys.argv[1])) else "kept", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
    def stop(self, timeout_seconds):
        return True
process.run_until_signalled(Making(), 5)
"""


def test_what_refers_to_itself_does_not_stay_until_the_collector_comes_to_the_old_ones() -> None:
    """By its count that is after millions of objects more: an hour of load left some megabytes behind."""
    argv = [sys.executable, "-c", CIRCLES, "20"]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.startswith("gone\n"), said
