"""Deadlines are rows: they fire once, late rather than never, and never early."""

from datetime import timedelta
from threading import Condition, Thread
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from ordersaga.delivery.clock import SystemClock
from ordersaga.orchestrator.core.decide import decide
from ordersaga.orchestrator.core.instance import Became, Status
from ordersaga.orchestrator.runtime import turn
from ordersaga.orchestrator.runtime.deadlines import Deadlines, DeadlineSettings
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.store.board import PostgresBoard
from ordersaga.orchestrator.store.board_protocol import Troubled
from ordersaga.orchestrator.store.protocol import Lookup, StoreUnavailable
from ordersaga.wire import messages as m
from tests.runtime.stage import Stage, settle
from tests.sagas.stories import AUTHORIZED, CARD, CREATED, OPENED, TIMER

ALL = (CREATED, CARD, AUTHORIZED, OPENED, TIMER)


class ManualClock(SystemClock):
    """It passes only as the test says, or as it is waited for."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, condition: Condition, seconds: float | None) -> bool:
        assert seconds is not None, "nobody would end this wait"
        self.seconds += seconds
        return False


class Listener:
    """Knows how far others have read as the test says."""

    def __init__(self, unheard: float = 0.0) -> None:
        self.unheard, self.asked, self.deaf = unheard, 0, 0

    def unheard_seconds(self) -> float:
        self.asked += 1
        return self.unheard

    def nobody_could_read(self) -> None:
        self.deaf += 1


def test_a_deadline_that_has_not_passed_does_nothing(stage: Stage) -> None:
    saga_id = stage.begin()
    before = stage.get(saga_id)
    assert stage.store.due(10) == []
    _turn(stage)
    assert stage.get(saga_id) == before


def test_a_silent_step_is_asked_again_when_its_time_has_passed(stage: Stage) -> None:
    saga_id = stage.begin()
    stage.commands()
    _pass_time(stage, saga_id)
    _turn(stage)
    assert stage.get(saga_id).outstanding
    _pass_time(stage, saga_id)
    _turn(stage)
    assert [type(command) for command in stage.commands()] == [m.CreateOrder]
    assert stage.get(saga_id).steps["CREATE_ORDER"].attempts == 2


def test_a_deadline_that_the_saga_has_left_behind_only_goes_to_where_it_belongs(stage: Stage) -> None:
    """It is not moved with each step: it would be written five times and fire never."""
    saga_id = stage.begin()
    first_due_at = stage.one("select due_at from deadlines")
    settle(stage, saga_id, ALL[:2])
    assert stage.one("select due_at from deadlines") == first_due_at
    stage.execute("update deadlines set due_at = '2020-01-01'")
    stage.commands()
    before = stage.get(saga_id)
    _turn(stage)
    assert (stage.get(saga_id), stage.commands()) == (before, [])
    assert stage.one("select due_at from deadlines") == before.command_due_at != first_due_at
    assert not any(pile == "late" for pile, _ in stage.counting.snapshot()), "nobody was late"


def test_silence_says_nothing_while_the_answers_are_not_read(stage: Stage) -> None:
    saga_id = stage.begin()
    before = stage.get(saga_id)
    _pass_time(stage, saga_id)
    hears, clock = [False], ManualClock()
    settings = DeadlineSettings(every_seconds=0.0, deaf_seconds_max=15.0)
    deadlines = Deadlines(stage.store, stage.handler, settings, has_heard=lambda: hears[0], clock=clock)
    deadlines.turn()
    clock.seconds = 14.9
    deadlines.turn()
    assert stage.get(saga_id).revision == before.revision
    settle(stage, saga_id, [CREATED])
    hears[0] = True
    deadlines.turn()
    assert stage.get(saga_id).steps["CREATE_ORDER"].became is Became.DONE


def test_answers_that_never_come_are_not_waited_for(stage: Stage) -> None:
    saga_id = stage.begin()
    before = stage.get(saga_id)
    _pass_time(stage, saga_id)
    clock = ManualClock()
    settings = DeadlineSettings(every_seconds=0.0, deaf_seconds_max=15.0)
    deadlines = Deadlines(stage.store, stage.handler, settings, has_heard=lambda: False, clock=clock)
    deadlines.turn()
    clock.seconds = 15.0
    deadlines.turn()
    assert stage.get(saga_id).revision > before.revision


def test_no_answer_is_waited_for_while_no_broker_answers_but_for_a_while(stage: Stage) -> None:
    """They cannot be read meanwhile: only time counts in which brokers answer."""
    saga_id = stage.begin()
    _pass_time(stage, saga_id)
    clock, cut_off, heard = ManualClock(), [True], [False]
    settings = DeadlineSettings(every_seconds=0.0, deaf_seconds_max=15.0, cut_off_seconds_max=900.0)
    deadlines = Deadlines(
        stage.store, stage.handler, settings, has_heard=lambda: heard[0], is_cut_off=lambda: cut_off[0], clock=clock
    )
    for clock.seconds in (0.0, 60.0, 899.9):
        deadlines.turn()
    cut_off[0] = False
    for clock.seconds, revision in ((900.0, 1), (914.8, 1), (915.0, 2)):
        deadlines.turn()
        assert stage.get(saga_id).revision == revision
    heard[0] = True
    deadlines.turn()
    heard[0], cut_off[0] = False, True
    _pass_time(stage, saga_id)
    for clock.seconds, revision in ((1000.0, 2), (1899.9, 2), (1900.0, 2), (1914.8, 2), (1915.0, 3)):
        deadlines.turn()
        assert stage.get(saga_id).revision == revision


def test_after_a_pause_the_wait_for_what_came_meanwhile_begins_anew(stage: Stage) -> None:
    saga_id = stage.begin()
    _pass_time(stage, saga_id)
    clock, held = ManualClock(), [False]
    settings = DeadlineSettings(every_seconds=0.0, deaf_seconds_max=15.0)
    deadlines = Deadlines(
        stage.store, stage.handler, settings, has_heard=lambda: False, is_held=lambda: held[0], clock=clock
    )
    deadlines.turn()
    clock.seconds, held[0] = 3600.0, True
    deadlines.turn()
    held[0] = False
    for clock.seconds, revision in ((3601.0, 1), (3615.9, 1), (3616.0, 2)):
        deadlines.turn()
        assert stage.get(saga_id).revision == revision


def test_a_moment_in_which_no_broker_answers_does_not_begin_the_wait_anew(stage: Stage) -> None:
    saga_id = stage.begin()
    _pass_time(stage, saga_id)
    clock, cut_off = ManualClock(), [False]
    settings = DeadlineSettings(every_seconds=0.0, deaf_seconds_max=15.0)
    deadlines = Deadlines(
        stage.store, stage.handler, settings, has_heard=lambda: False, is_cut_off=lambda: cut_off[0], clock=clock
    )
    for number in range(32):
        clock.seconds, cut_off[0] = float(number), number % 2 == 1
        deadlines.turn()
    assert stage.get(saga_id).revision == 2, "fifteen seconds in which they did"


def test_a_window_closes_only_once_all_that_was_said_before_it_ended_has_been_handled(stage: Stage) -> None:
    """Another process may have an acceptance before it."""
    accepted, open_still = stage.begin(), stage.begin()
    for saga_id in (accepted, open_still):
        settle(stage, saga_id, ALL)
        _pass_time(stage, saga_id, window=True)
    hearing = Listener(timedelta(days=36_500).total_seconds())
    settings = DeadlineSettings(every_seconds=0.001)
    deadlines = Deadlines(stage.store, stage.handler, settings, hearing=hearing)
    deadlines.turn()
    assert {stage.get(one).status for one in (accepted, open_still)} == {Status.COMPLETED}
    settle(stage, accepted, [m.OrderAccepted(order_id="o-1", runner_id="r-1")])
    hearing.unheard = 0.0
    deadlines.turn()
    assert [stage.get(one).status for one in (accepted, open_still)] == [Status.COMPLETED, Status.CANCELLING]
    hearing.asked = 0
    deadlines.turn()
    assert not hearing.asked, "brokers are asked only where windows have ended"


def test_while_nobody_can_read_what_is_unread_says_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    held, hearing = [True], Listener()
    settings = DeadlineSettings(every_seconds=0.001)
    deadlines = Deadlines(stage.store, stage.handler, settings, hearing=hearing, is_held=lambda: held[0])
    deadlines.turn()
    assert hearing.deaf == 1, "consumption is paused"
    held[0] = False
    deadlines.turn()
    assert hearing.deaf == 1
    monkeypatch.setattr(stage.store, "due", _is_away)
    with pytest.raises(StoreUnavailable):
        deadlines.turn()
    assert hearing.deaf == 2, "the database is away"


def test_no_answer_is_waited_for_while_the_database_is_away(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """They cannot be handled meanwhile. Else what ran out during an outage would be judged before they are read."""
    saga_id = stage.begin()
    _pass_time(stage, saga_id)
    clock = ManualClock()
    settings = DeadlineSettings(every_seconds=0.0, deaf_seconds_max=15.0)
    deadlines = Deadlines(stage.store, stage.handler, settings, has_heard=lambda: False, clock=clock)
    deadlines.turn()
    with monkeypatch.context() as outage:
        outage.setattr(stage.store, "due", _is_away)
        for clock.seconds in range(60):
            with pytest.raises(StoreUnavailable):
                deadlines.turn()
    for clock.seconds in (60.0, 74.9):
        deadlines.turn()
        assert stage.get(saga_id).revision == 1
    with monkeypatch.context() as outage:
        outage.setattr(Handler, "deadlines", _is_away)
        clock.seconds = 75.0
        with pytest.raises(StoreUnavailable):
            deadlines.turn()
    for clock.seconds, revision in ((76.0, 1), (90.9, 1), (91.0, 2)):
        deadlines.turn()
        assert stage.get(saga_id).revision == revision


def test_an_order_that_nobody_accepts_in_time_is_taken_back(stage: Stage) -> None:
    saga_id = stage.begin()
    settle(stage, saga_id, ALL)
    stage.commands()
    _pass_time(stage, saga_id)
    _turn(stage)
    assert stage.get(saga_id).status is Status.CANCELLING
    assert stage.commands() == [m.CancelOrder(order_id="o-1", saga_id=str(saga_id), reason="ACCEPTANCE_TIMEOUT")]


def test_hundreds_that_are_due_at_once_are_worked_off_in_bounded_batches(stage: Stage) -> None:
    ids = [stage.begin() for _ in range(50)]
    for saga_id in ids:
        _pass_time(stage, saga_id)
    deadlines = Deadlines(stage.store, stage.handler, DeadlineSettings(every_seconds=0.001, batch_max=7))
    for _ in range(8):
        deadlines.turn()
    assert all(stage.get(saga_id).outstanding.backing_off for saga_id in ids)  # type: ignore[union-attr]


def test_the_next_batch_waits_while_answers_wait_but_not_for_ever(stage: Stage) -> None:
    """Else an order that comes while ten thousand are due is behind all of theirs."""
    for _ in range(3):
        _pass_time(stage, stage.begin())
    looks: list[int] = []

    def left() -> int:
        """Those that were taken are due again soon, by the database's clock."""
        return int(stage.one("select count(*) from deadlines where due_at = '2020-01-01'"))

    def is_crowded() -> bool:
        looks.append(left())
        return len(looks) < 3 or left() < 2

    settings, clock = DeadlineSettings(every_seconds=0.0, batch_max=1, crowded_seconds_max=10.0), ManualClock()
    deadlines = Deadlines(stage.store, stage.handler, settings, is_crowded=is_crowded, clock=clock)
    deadlines.turn()
    assert looks == [2, 2, 2], "one was taken, then it waited for as long as answers did"
    assert clock.seconds < 1
    deadlines.turn()
    assert left() == 1 and 10 <= clock.seconds < 11, "others wait no longer than that"


def test_one_saga_that_we_cannot_decide_on_holds_up_no_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = _bad_before_good(stage)

    def fails(definition: Any, instance: Any, *rest: Any, **more: Any) -> Any:
        if instance.saga_id == bad:
            raise LookupError("a fault of ours")
        return decide(definition, instance, *rest, **more)

    monkeypatch.setattr(turn, "decide", fails)
    _only_the_good_one_fires(stage, bad, good)
    monkeypatch.undo()
    stage.execute("update deadlines set due_at = '2020-01-01' where saga_id = %s", bad)
    _turn(stage)
    assert stage.get(bad).revision == 2, "a version without the fault goes on with it"


def test_one_that_fails_is_a_figure_until_it_does_not(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is put off in the database, again and again, so it is never late; and an open order is in no other figure."""
    saga_id = stage.begin()
    settle(stage, saga_id, ALL)
    _pass_time(stage, saga_id)
    assert (stage.store.standing().deadlines_due, stage.store.standing().deadlines_failing) == (1, 0)

    def fails(*_: Any) -> Any:
        raise ValueError("a fault of ours")

    monkeypatch.setattr(Handler, "deadlines", fails)
    _turn(stage)
    stage.execute("update deadlines set due_at = '2020-01-01'")
    _turn(stage)
    assert (stage.store.standing().deadlines_due, stage.store.standing().deadlines_failing) == (0, 1)
    assert PostgresBoard(stage.pool).read(10).troubled == Troubled(deadlines=1)
    monkeypatch.undo()
    stage.execute("update deadlines set due_at = '2020-01-01'")
    _turn(stage)
    assert stage.get(saga_id).status is Status.CANCELLING
    assert stage.store.standing().deadlines_failing == 0
    assert PostgresBoard(stage.pool).read(10).troubled == Troubled()


def test_one_saga_whose_row_is_damaged_holds_up_no_other(stage: Stage) -> None:
    bad, good = _bad_before_good(stage)
    stage.execute("update sagas set state = '{}' where id = %s", bad)
    _only_the_good_one_fires(stage, bad, good)


def test_sagas_of_a_version_that_is_not_known_here_hold_up_no_other(stage: Stage) -> None:
    """As after a way back to the version before: they wait for the newer one, and it is not to find them late."""
    newer = [stage.begin() for _ in range(3)]
    for saga_id in newer:
        _pass_time(stage, saga_id)
        stage.execute("update sagas set version = 2 where id = %s", saga_id)
    known = stage.begin()
    _pass_time(stage, known)
    stage.execute("update deadlines set due_at = '2021-01-01' where saga_id = %s", known)
    Deadlines(stage.store, stage.handler, DeadlineSettings(every_seconds=0.001, batch_max=3)).turn()
    assert stage.get(known).revision == 2
    assert stage.one("select count(*) from deadlines where due_at = '2020-01-01'") == 3, "a newer process finds them"
    stage.execute("update sagas set version = 1")
    _turn(stage)
    assert [stage.get(saga_id).revision for saga_id in newer] == [2, 2, 2]


def test_what_is_away_is_no_fault_of_a_saga(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    _pass_time(stage, stage.begin())
    found = stage.store.due(10)
    monkeypatch.setattr(Handler, "deadlines", _is_away)
    with pytest.raises(StoreUnavailable):
        _turn(stage)
    assert stage.store.due(10) == found


def test_two_processes_fire_a_deadline_once(stage: Stage) -> None:
    saga_id = stage.begin()
    _pass_time(stage, saga_id)
    due = stage.store.due(10)
    threads = [Thread(target=stage.handler.deadlines, args=(due,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert stage.get(saga_id).revision == 2


def test_a_saga_that_a_worker_holds_is_left_for_the_next_time(stage: Stage) -> None:
    saga_id = stage.begin()
    _pass_time(stage, saga_id)
    due = stage.store.due(10)
    with stage.store.transaction() as transaction:
        transaction.load(Lookup(saga_ids={saga_id}))
        assert stage.handler.deadlines(due) == 0
    assert stage.handler.deadlines(due) == 1


def test_the_timer_service_is_given_up_and_the_order_is_confirmed(stage: Stage) -> None:
    saga_id = stage.begin()
    settle(stage, saga_id, ALL[:4])
    _pass_time(stage, saga_id, window=False)
    _turn(stage)
    saga = stage.get(saga_id)
    assert (saga.status, saga.steps["START_TIMER"].became) == (Status.COMPLETED, Became.IN_DOUBT)


def _bad_before_good(stage: Stage) -> tuple[UUID, UUID]:
    bad, good = stage.begin(), stage.begin()
    for saga_id in (bad, good):
        _pass_time(stage, saga_id)
    stage.execute("update deadlines set due_at = '2019-01-01' where saga_id = %s", bad)
    return bad, good


def _only_the_good_one_fires(stage: Stage, bad: UUID, good: UUID) -> None:
    with capture_logs() as logs:
        _turn(stage)
        _turn(stage)
    assert stage.get(good).revision == 2
    errors = [line["saga_id"] for line in logs if line["log_level"] == "error"]
    assert errors == [str(bad)], "once, for it is tried again after minutes"
    still = "select due_at between now() + interval '4 minutes' and now() + interval '5 minutes' from deadlines"
    assert stage.one(f"{still} where saga_id = %s and kind = 'command'", bad)


def _is_away(*_: Any) -> Any:
    raise StoreUnavailable("the database is away")


def _turn(stage: Stage) -> None:
    Deadlines(stage.store, stage.handler, DeadlineSettings(every_seconds=0.001)).turn()


def _pass_time(stage: Stage, saga_id: UUID, *, window: bool = True) -> None:
    """As if an hour had gone by: the database's clock cannot be set, so what is compared with it is."""
    state = stage.one("select state from sagas where id = %s", saga_id)
    saga = stage.get(saga_id)
    for kind, due in (("command", saga.command_due_at), ("window", saga.window_due_at if window else None)):
        if due:
            state = state.replace(due.isoformat().replace("+00:00", "Z").encode(), b"2020-01-01T00:00:00Z")
            moved = "update deadlines set due_at = '2020-01-01' where saga_id = %s and kind = %s"
            stage.execute(moved, saga_id, kind)
    stage.execute("update sagas set state = %s::jsonb where id = %s", state.decode(), saga_id)
