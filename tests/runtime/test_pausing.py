"""While consumption is paused nothing is read and no deadline passes, in no process, not after a restart either; and
silence does not count before what was said meanwhile has been read.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ordersaga import bootstrap
from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import BusUnavailable, Outgoing
from ordersaga.cli_maintenance import _line
from ordersaga.delivery.clock import SystemClock
from ordersaga.demo.client import Api
from ordersaga.orchestrator.runtime.deadlines import Deadlines
from ordersaga.orchestrator.runtime.measuring import Measures
from ordersaga.orchestrator.runtime.pausing import CATCH_UP_SECONDS_MAX, LOOK_EVERY_SECONDS, UNREAD_MAX, Pausing
from ordersaga.orchestrator.store.board import PostgresBoard
from ordersaga.orchestrator.store.board_protocol import Pause, Posted
from ordersaga.orchestrator.store.postgres import open_pool
from ordersaga.wire.topics import Topics
from tests.runtime.stage import Stage
from tests.waiting import until
from tests.whole import orchestrator, order, participants, settings_for, status_of

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Watch(SystemClock):
    seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


def posted(*, paused: bool, minutes_ago: float = 0.0) -> Posted:
    at = NOON - timedelta(minutes=minutes_ago)
    return Posted(pause=Pause(paused=paused, by="night", why="a test", at=at, seconds_ago=minutes_ago * 60))


def test_nothing_is_read_before_the_board_has_been() -> None:
    pausing = Pausing()
    assert pausing.paused and pausing.holds_deadlines() and pausing.wanted is None
    pausing.learn(Posted())
    assert not pausing.paused and not pausing.holds_deadlines() and pausing.wanted is False


def test_a_pause_is_said_and_holds_both_reading_and_deadlines() -> None:
    pausing = Pausing()
    pausing.learn(posted(paused=True))
    assert pausing.paused and pausing.holds_deadlines() and pausing.wanted
    assert pausing.health().healthy
    assert pausing.health().detail == "paused by night at 2026-01-02 12:00:00 UTC: a test"


def test_after_a_pause_deadlines_wait_until_what_came_meanwhile_is_read() -> None:
    unread, watch = [9 * UNREAD_MAX], Watch()
    pausing = Pausing(lambda: unread[0], clock=watch)
    pausing.learn(posted(paused=True))
    pausing.learn(posted(paused=False))
    assert not pausing.paused and pausing.holds_deadlines()
    assert pausing.health().detail.startswith("resumed")
    unread[0] = UNREAD_MAX
    assert pausing.holds_deadlines(), "the brokers are not asked all the time"
    watch.seconds += LOOK_EVERY_SECONDS
    assert not pausing.holds_deadlines()
    pausing.learn(posted(paused=False))
    assert not pausing.holds_deadlines(), "the same word again changes nothing"
    assert pausing.health().detail == ""


@pytest.mark.parametrize("unread", [lambda: 10**6, lambda: (_ for _ in ()).throw(BusUnavailable("away"))])
def test_deadlines_do_not_wait_for_ever(unread: Callable[[], int]) -> None:
    watch = Watch()
    pausing = Pausing(unread, clock=watch)
    pausing.learn(posted(paused=False))
    assert pausing.holds_deadlines()
    watch.seconds += CATCH_UP_SECONDS_MAX
    assert not pausing.holds_deadlines()


def test_deadlines_wait_for_what_a_new_group_has_not_read() -> None:
    """Of a partition where nothing was committed yet nothing counted as unread."""
    bus, settings = MemoryBus(topics=Topics().all()), settings_for("postgresql://nobody@nowhere/x")
    bus.producer(client_id="test").publish([Outgoing("order_events", b"k", b"v")] * (UNREAD_MAX + 1), 1.0)
    pausing = bootstrap._pausing(settings, bus, Measures())
    pausing.learn(posted(paused=True))
    pausing.learn(posted(paused=False))
    assert pausing.holds_deadlines()


def test_a_process_that_comes_long_after_a_pause_waits_for_nothing() -> None:
    pausing = Pausing(lambda: 10**6)
    pausing.learn(posted(paused=False, minutes_ago=60))
    assert not pausing.holds_deadlines()


def test_no_deadline_passes_while_it_is_held(stage: Stage) -> None:
    saga_id = stage.begin()
    stage.execute("update deadlines set due_at = now() - interval '1 day'")
    stage.execute("update sagas set state = replace(state::text, '2026-', '2025-')::jsonb")
    held = [True]
    deadlines = Deadlines(stage.store, stage.handler, is_held=lambda: held[0])
    deadlines.start()
    until(lambda: deadlines.health().healthy, "it runs")
    before = stage.get(saga_id).revision
    held[0] = False
    until(lambda: stage.get(saga_id).revision > before, "it passes once it is held no more")
    assert deadlines.stop(5)
    assert before == 1, "and had not before"


# --- the whole ------------------------------------------------------------------------------------


def test_a_pause_outlives_a_restart_and_costs_no_order(database_url: str) -> None:
    bus, settings = MemoryBus(), settings_for(database_url, step_timeout_seconds=1, deadlines_every_seconds=0.1)
    pool = open_pool(database_url, settings.database_schema, size_max=1)
    board = PostgresBoard(pool)

    with participants(settings, bus):
        with orchestrator(settings, bus) as api:
            board.set_pause(paused=True, by="night", why="a test")
            until(lambda: "paused by night" in detail_of(api), "it says so")
            saga_id = api.place(order())
            until(lambda: len(bus.records("order_events")) == 1, "the order service has answered")
        with orchestrator(settings, bus) as api:
            until(lambda: "paused by night" in detail_of(api), "it says so")
            overdue = "select count(*) from deadlines where due_at < now() - interval '2 seconds'"
            until(lambda: count(pool, overdue) == 1, "the answer is long overdue")
            waiting = api.saga(saga_id)
            assert (waiting["current_step"], waiting["steps"][0]["attempts"]) == ("CREATE_ORDER", 1)
            assert _line(board.read(10)).endswith("1 sagas and 0 messages are under way")
            board.set_pause(paused=False, by="night", why="over")
            until(lambda: status_of(api, saga_id) == "COMPLETED", "the order is confirmed")
            assert {step["attempts"] for step in api.saga(saga_id)["steps"]} == {1}, "nobody was asked twice"
            until(lambda: _line(board.read(10)) == "new orders are taken; nothing is under way", "all is done")
    pool.close()
    bus.close(1)


def detail_of(api: Api) -> str:
    parts = api._ask("GET", "/readyz")["parts"]
    return str(next(part["detail"] for part in parts if part["name"] == "consumption"))


def count(pool: Any, sql: str) -> int:
    with pool.connection() as connection:
        return int(connection.execute(sql.encode()).fetchone()[0])
