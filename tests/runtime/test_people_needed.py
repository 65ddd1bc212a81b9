"""What is stuck, odd or set aside is in the log at once, said again, and shown in the service's health."""

import pytest
from structlog.testing import capture_logs

from ordersaga.delivery.clock import SystemClock
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.runtime import bulletin
from ordersaga.orchestrator.runtime.admission import Admission, AdmissionLimits
from ordersaga.orchestrator.runtime.bulletin import Bulletin
from ordersaga.orchestrator.runtime.circuits import Circuits
from ordersaga.orchestrator.store.board import PostgresBoard
from ordersaga.orchestrator.store.board_protocol import Troubled
from ordersaga.wire import messages as m
from tests.runtime.stage import Stage, new_saga_id, raw, record


def stuck(stage: Stage) -> str:
    """A saga whose cancel is never confirmed."""
    saga_id = stage.begin()
    stage.handler.records([stage.answer(saga_id, m.OrderCreated(order_id=f"o-{saga_id}"))])
    stage.handler.records([stage.answer(saga_id, m.PaymentInfoFailed(error="User not found"))])
    while stage.get(saga_id).status is not Status.FAILED:
        stage.execute("update deadlines set due_at = now() - interval '1 day'")
        stage.execute("update sagas set state = replace(state::text, '2026-', '2025-')::jsonb")
        stage.handler.deadlines(stage.store.due(10))
    return str(saga_id)


def test_a_saga_that_is_stuck_is_in_the_log_at_once(stage: Stage) -> None:
    with capture_logs() as lines:
        saga_id = stuck(stage)
    (found,) = [line for line in lines if line["event"] == "saga.failed"]
    assert (found["saga_id"], found["step"], found["log_level"]) == (saga_id, "CREATE_ORDER", "error")


def test_what_waits_for_a_person_is_counted_until_it_is_seen_to(stage: Stage) -> None:
    board = PostgresBoard(stage.pool)
    saga_id = stuck(stage)
    stage.handler.records([raw(b"?"), record(m.OrderCreated(order_id="o-9"), new_saga_id())])
    assert board.read(10).troubled == Troubled(failed=1, dead_letters=1, orphans=1)
    stage.execute("update sagas set resolved = true where id = %s", saga_id)
    settle = "update dead_letters set settled_at = now(), settled_as = 'discarded', settled_by = '', settled_why = ''"
    stage.execute(settle)
    assert board.read(10).troubled == Troubled(orphans=1)
    (orphan,) = stage.store.orphans()
    with stage.store.transaction() as transaction:
        assert transaction.discard_orphan(orphan.id, "somebody", "let go at the bank")
    assert board.read(10).troubled == Troubled()


def test_it_is_said_again_while_it_lasts_and_shown_in_the_health(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    class Watch(SystemClock):
        seconds = 0.0

        def monotonic(self) -> float:
            return self.seconds

    watch = Watch()
    found = Bulletin(
        PostgresBoard(stage.pool), Circuits(silences_max=5), Admission(AdmissionLimits()), every_seconds=0, clock=watch
    )
    stuck(stage)
    with capture_logs() as lines:
        for watch.seconds in (1.0, 2.0, 3.0, 2.0 + bulletin.TELL_EVERY_SECONDS):
            found.turn()
    assert [line["event"] for line in lines] == ["sagas.need_a_person"] * 2
    assert found.people_needed().detail == "1 FAILED" and found.people_needed().healthy


def test_an_answer_for_a_saga_that_nobody_knows_is_in_the_log(stage: Stage) -> None:
    found = Bulletin(PostgresBoard(stage.pool), Circuits(silences_max=5), Admission(AdmissionLimits()), every_seconds=0)
    stage.handler.records([record(m.OrderCreated(order_id="o-9"), new_saga_id())])
    with capture_logs() as lines:
        found.turn()
        found.turn()
    (line,) = [line for line in lines if line["event"] == "sagas.need_a_person"]
    assert (line["orphans"], line["failed"]) == (1, 0)
