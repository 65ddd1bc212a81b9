"""How it is measured: what counts and what does not, and what is told of the machine."""

import asyncio
import time
from types import SimpleNamespace
from typing import cast

import pytest

from bench.load import Connection, Load
from bench.stage import tree_cpu_seconds


class Asked:
    """A connection with answers to give; it keeps when it was asked."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = iter(statuses)
        self.at: list[float] = []

    async def post(self, path: str, body: bytes, headers: str) -> tuple[int, bytes]:
        self.at.append(time.perf_counter())
        return next(self._statuses), b'{"saga_id": "one"}'


def placed(load: Load, asked: Asked) -> tuple[str, float]:
    return asyncio.run(load.placed(cast(Connection, asked), "{}"))


def test_being_refused_is_part_of_the_time_that_an_order_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.load.RETRY_SECONDS", 0.0)
    load, asked = Load(1, 1, ["http://orders"]), Asked(503, 503, 202)
    saga_id, begun = placed(load, asked)
    assert saga_id == "one"
    assert begun <= asked.at[0] < asked.at[2]
    assert load.retried == 2


def test_who_is_refused_for_a_minute_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.load.STALLED_SECONDS", 0.0)
    with pytest.raises(TimeoutError, match="no order was taken"):
        placed(Load(1, 1, ["http://orders"]), Asked(503))


class Ending:
    """A process whose child ends while its time is looked at: after the first look, before the children are listed."""

    def __init__(self, pid: int) -> None:
        self._looks = 0

    def cpu_times(self) -> SimpleNamespace:
        self._looks += 1
        return SimpleNamespace(
            user=1.0, system=1.0, children_user=0.0 if self._looks == 1 else 5.0, children_system=0.0
        )

    def children(self, *, recursive: bool) -> list["Ending"]:
        return []


def test_the_time_of_a_child_that_ends_while_it_is_asked_for_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.stage.psutil.Process", Ending)
    assert tree_cpu_seconds(1) == 7.0
