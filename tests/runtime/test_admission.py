"""New orders are refused by a person's switch or because too much is under way; what is under way goes on."""

from datetime import UTC, datetime

import pytest

from ordersaga.delivery.clock import SystemClock
from ordersaga.delivery.outbox_memory import MemoryTable
from ordersaga.orchestrator.runtime.admission import Admission, AdmissionLimits, NotAdmitted
from ordersaga.orchestrator.runtime.bulletin import Bulletin
from ordersaga.orchestrator.runtime.circuits import Circuits
from ordersaga.orchestrator.store.board_memory import MemoryBoard
from ordersaga.orchestrator.store.board_protocol import Posted, Switch
from ordersaga.orchestrator.store.memory_tables import MemoryTables

LIMITS = AdmissionLimits(started_max=10, outbox_rows_max=100)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
STOPPED = Switch(taken=False, by="op-7", why="the kitchen burns", at=NOON)
RESUMED = Switch(taken=True, by="op-7", why="the fire is out", at=NOON)


@pytest.mark.parametrize(
    ("posted", "kind", "told"),
    [
        (Posted(switch=STOPPED), "orders-are-stopped", "stopped by op-7 at 2026-01-02 12:00:00 UTC: the kitchen burns"),
        (Posted(started=10), "too-busy", "10 sagas or more are under way"),
        (Posted(outbox_rows=100), "too-busy", "100 messages or more wait to be published"),
    ],
)
def test_a_new_order_is_refused_and_operators_see_why(posted: Posted, kind: str, told: str) -> None:
    admission = Admission(LIMITS)
    admission.learn(posted)
    with pytest.raises(NotAdmitted) as refused:
        admission.check()
    assert refused.value.kind == kind and refused.value.retry_after_seconds > 0
    assert "op-7" not in str(refused.value), "customers are not told who"
    assert admission.health().detail == told and admission.health().healthy


def test_a_process_that_has_just_started_takes_no_order_until_it_knows_whether_orders_are_taken() -> None:
    """A restart does not turn a switch."""
    admission, board = Admission(LIMITS), MemoryBoard(MemoryTables(outbox=MemoryTable()))
    board.set_switch(taken=False, by="op-7", why="the kitchen burns")
    bulletin = Bulletin(board, Circuits(silences_max=5), admission, every_seconds=0.0)
    admission.learn_behind(0.0)
    with pytest.raises(NotAdmitted) as refused:
        admission.check()
    assert (refused.value.kind, refused.value.retry_after_seconds) == ("starting", 2)
    assert not admission.health().healthy and not admission.falls_behind()
    bulletin.turn()
    with pytest.raises(NotAdmitted) as refused:
        admission.check()
    assert refused.value.kind == "orders-are-stopped" and admission.health().healthy
    board.set_switch(taken=True, by="op-7", why="the fire is out")
    bulletin.turn()
    admission.check()


def test_a_process_that_falls_behind_takes_no_new_order_until_it_has_caught_up() -> None:
    behind = [1.5]
    admission = Admission(AdmissionLimits(behind_seconds_max=1.0), lambda: behind[0])
    admission.learn(Posted())
    with pytest.raises(NotAdmitted) as refused:
        admission.check()
    assert refused.value.kind == "too-busy" and refused.value.retry_after_seconds > 0
    assert admission.falls_behind() and admission.health().healthy
    assert admission.health().detail == "what comes now waits for more than 1 s until it is read"
    behind[0] = 0.9
    admission.check()
    assert not admission.falls_behind() and admission.health().detail == ""


def test_a_process_that_reads_no_answers_goes_by_those_that_do() -> None:
    admission = Admission(AdmissionLimits(behind_seconds_max=1.0))
    admission.learn(Posted(behind_seconds=1.5))
    with pytest.raises(NotAdmitted):
        admission.check()
    assert admission.falls_behind()
    admission.learn(Posted(behind_seconds=0.9))
    admission.check()


def test_who_falls_behind_says_so_to_the_others_and_says_when_it_is_over() -> None:
    board, behind = MemoryBoard(MemoryTables(outbox=MemoryTable())), [0.0]
    admissions = [Admission(AdmissionLimits(), lambda: behind[0]), Admission(AdmissionLimits())]
    worker, api = [
        Bulletin(board, Circuits(silences_max=5), one, process=name, every_seconds=0)
        for name, one in zip(("worker", "api"), admissions, strict=True)
    ]

    def refuses() -> list[bool]:
        worker.turn()
        api.turn()
        return [admission.falls_behind() for admission in admissions]

    assert refuses() == [False, False]
    behind[0] = 3.0
    assert refuses() == [True, True]
    behind[0] = 0.0
    assert refuses() == [False, False], "at once: it does not wait for what it said itself to be old"


@pytest.mark.parametrize("takes_orders", [True, False])
def test_whoever_takes_orders_learns_between_two_readings_that_another_falls_behind(takes_orders: bool) -> None:
    """The rest of the board is read once a second, since it costs what is under way."""

    class Counted(MemoryBoard):
        reads = looks = 0

        def read(self, most: int, *, process: str = "") -> Posted:
            self.reads += 1
            return super().read(most, process=process)

        def behind(self, *, process: str = "") -> float:
            self.looks += 1
            return super().behind(process=process)

    class Watch(SystemClock):
        seconds = 100.0

        def monotonic(self) -> float:
            return self.seconds

    board, watch = Counted(MemoryTables(outbox=MemoryTable())), Watch()
    admission = Admission(AdmissionLimits())
    found = Bulletin(
        board, Circuits(silences_max=5), admission, process="api",
        takes_orders=takes_orders, behind_every_seconds=0.0, clock=watch,
    )  # fmt: skip
    found.turn()
    board.set_switch(taken=False, by="op-7", why="later")
    board.tell_behind("worker", 3.0)
    for _ in range(3):
        watch.seconds += 0.25
        found.turn()
    assert (board.reads, board.looks) == (1, 3 * takes_orders)
    assert admission.falls_behind() is takes_orders and "stopped" not in admission.health().detail
    watch.seconds += 0.25
    found.turn()
    assert board.reads == 2 and admission.falls_behind() and "stopped" in admission.health().detail


@pytest.mark.parametrize(
    "posted",
    [Posted(), Posted(started=9, outbox_rows=99), Posted(switch=Switch(taken=True, by="op-7", why="out", at=NOON))],
)
def test_otherwise_orders_are_taken(posted: Posted) -> None:
    admission = Admission(LIMITS)
    admission.learn(posted)
    admission.check()
    assert admission.health().detail == ""
