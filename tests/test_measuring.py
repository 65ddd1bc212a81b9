"""How it is measured: what counts and what does not, and what is told of the machine."""

from types import SimpleNamespace

import pytest

from bench.stage import tree_cpu_seconds


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
