"""Threads, time and chance of a simulated world: one real thread, a virtual clock, one seed.

What would be a thread is a greenlet here. It runs until it waits; then any other that is ready goes on, drawn at
random. When none is ready the clock jumps to the next moment for which somebody waits. So the same seed gives the same
run, and hours pass in milliseconds.

A `Machine` is what dies together: the tasks of one process. Whatever it reaches outside of itself it asks through
`Machine.check`, which ends whoever is dead.
"""

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from threading import Condition
from typing import Any

from greenlet import getcurrent, greenlet

EPOCH = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Killed(BaseException):
    """The process of this task is no more."""


class Task:
    """One would-be thread. Ready, waiting, or ended."""

    def __init__(self, scheduler: "Scheduler", name: str, target: Callable[[], None], machine: "Machine") -> None:
        self.name = name
        self.machine = machine
        self.waiting: object | None = None
        """What it waits for now; a wake-up for anything else is stale."""
        self.notified = False
        self.ended = False
        self._scheduler = scheduler
        self.greenlet = greenlet(lambda: self._run(target), scheduler.main)

    def _run(self, target: Callable[[], None]) -> None:
        with suppress(Killed):
            target()

    def is_alive(self) -> bool:
        return not (self.ended or self.greenlet.dead)

    def join(self, timeout: float) -> None:
        until = self._scheduler.seconds + timeout
        while self.is_alive() and self._scheduler.seconds < until:
            self._scheduler.sleep(0.05)


class Machine:
    """Tasks that die together. `skew` is how wrong its clock is."""

    def __init__(self, scheduler: "Scheduler", name: str) -> None:
        self.name = name
        self.alive = True
        self.skew = timedelta()
        self.tasks: list[Task] = []
        self.on_death: Callable[[], None] = lambda: None
        self._scheduler = scheduler
        scheduler.machines.append(self)

    def check(self) -> None:
        if not self.alive:
            raise Killed

    def kill(self) -> None:
        """SIGKILL. Ends the calling task too, if it is one of them."""
        if not self.alive:
            return
        self.alive = False
        self.on_death()
        mine, me = list(self.tasks), self._scheduler.current
        for task in mine:
            if task is not me and task.is_alive():
                self._scheduler.end(task)
        self.tasks.clear()
        if me in mine:
            raise Killed


class Scheduler:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.seconds = 0.0
        """Since the beginning, on the one true clock."""
        self.main = getcurrent()
        self.current: Task | None = None
        self.steps = 0
        self.machines: list[Machine] = []
        self._ready: list[Task] = []
        self._timers: list[tuple[float, int, Task, object]] = []
        self._numbers = count()

    @property
    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)

    def start(self, name: str, target: Callable[[], None], machine: Machine) -> Task:
        task = Task(self, name, target, machine)
        machine.tasks.append(task)
        self._ready.append(task)
        return task

    def run(self, until: Callable[[], bool], *, seconds_max: float) -> bool:
        """Let everything happen until `until` holds, asked whenever the clock is about to move. False where it never
        did.
        """
        while True:
            while self._ready:
                self._step()
            if until():
                return True
            if not self._timers or self.seconds > seconds_max:
                return False
            self._pass_time()

    def sleep(self, seconds: float) -> None:
        """For the running task."""
        self.wait_for_wake(object(), seconds)

    def wait_for_wake(self, what: object, seconds: float | None) -> bool:
        """Let others run until somebody wakes this task for `what`, or so many seconds have passed (False)."""
        task = self.current
        assert task is not None, "only tasks wait"
        task.waiting, task.notified = what, False
        if seconds is not None:
            heapq.heappush(self._timers, (self.seconds + max(0.0, seconds), next(self._numbers), task, what))
        self.main.switch()
        return task.notified

    def wake(self, task: Task, what: object, *, notified: bool) -> None:
        if task.waiting is what:
            task.waiting, task.notified = None, notified
            self._ready.append(task)

    def end(self, task: Task) -> None:
        """Throw it out of wherever it is."""
        task.waiting = None
        if task in self._ready:
            self._ready.remove(task)
        task.ended = True
        if task.greenlet:
            before, self.current = self.current, task
            task.greenlet.parent = getcurrent()
            task.greenlet.throw(Killed)
            self.current = before

    def close(self) -> None:
        """End whatever is left."""
        for machine in self.machines:
            machine.on_death = lambda: None
            machine.kill()

    def _step(self) -> None:
        self.steps += 1
        ready = self._ready
        index = int(self.random.random() * len(ready))
        ready[index], ready[-1] = ready[-1], ready[index]
        self.current = task = ready.pop()
        task.greenlet.switch()
        self.current = None

    def _pass_time(self) -> None:
        moment = self._timers[0][0]
        self.seconds = max(self.seconds, moment)
        while self._timers and self._timers[0][0] <= moment:
            _, _, task, what = heapq.heappop(self._timers)
            if task.is_alive():
                self.wake(task, what, notified=False)


class SimulatedClock:
    """The clock of one machine."""

    def __init__(self, scheduler: Scheduler, machine: Machine) -> None:
        self._scheduler = scheduler
        self._machine = machine

    def now(self) -> datetime:
        return self._scheduler.now + self._machine.skew

    def monotonic(self) -> float:
        return self._scheduler.seconds

    def wait(self, condition: Condition, seconds: float | None) -> bool:
        task = self._scheduler.current
        assert task is not None
        self._machine.check()
        waiter = _Waiter(self._scheduler, task)
        # All tasks are one thread, which owns the lock already; so only the list of those who wait matters.
        waiters: Any = condition._waiters  # type: ignore[attr-defined]
        waiters.append(waiter)
        try:
            return self._scheduler.wait_for_wake(waiter, seconds)
        finally:
            if waiter in waiters:
                waiters.remove(waiter)

    def run(self, name: str, target: Callable[[], None]) -> Task:
        return self._scheduler.start(f"{self._machine.name} {name}", target, self._machine)


class _Waiter:
    """What `Condition.notify` releases."""

    def __init__(self, scheduler: Scheduler, task: Task) -> None:
        self._scheduler = scheduler
        self._task = task

    def release(self) -> None:
        self._scheduler.wake(self._task, self, notified=True)


class SimulatedRandom:
    def __init__(self, random: Random) -> None:
        self._random = random

    def bytes(self, n: int) -> bytes:
        return self._random.randbytes(n)

    def uniform(self, a: float, b: float) -> float:
        return self._random.uniform(a, b)


@contextmanager
def world(random: Random) -> Iterator[Scheduler]:
    scheduler = Scheduler(random)
    try:
        yield scheduler
    finally:
        scheduler.close()
