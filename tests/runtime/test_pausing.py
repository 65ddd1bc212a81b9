"""While consumption is paused nothing is read and no deadline passes, in no process, not after a restart either; and
silence does not count before what was said meanwhile has been read.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from ordersaga import bootstrap
from ordersaga.bootstrap import Run
from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import Outgoing
from ordersaga.cli_maintenance import _line
from ordersaga.delivery.clock import SystemClock
from ordersaga.demo.client import Api
from ordersaga.orchestrator.runtime.deadlines import Deadlines
from ordersaga.orchestrator.runtime.measuring import Measures
from ordersaga.orchestrator.runtime.pausing import CATCH_UP_SECONDS_MAX, Pausing
from ordersaga.orchestrator.store.board import PostgresBoard
from ordersaga.orchestrator.store.board_protocol import Pause, Posted
from ordersaga.orchestrator.store.postgres import open_pool
from ordersaga.wire import messages as m
from ordersaga.wire.codec import encode
from ordersaga.wire.topics import Topics
from tests.runtime.stage import Stage
from tests.waiting import until
from tests.whole import orchestrator, order, participants, running, settings_for, status_of

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
    heard, watch = [0.0], Watch()
    pausing = Pausing(lambda: heard[0], clock=watch)
    pausing.learn(posted(paused=True))
    pausing.learn(posted(paused=False))
    assert not pausing.paused and pausing.holds_deadlines()
    assert pausing.health().detail.startswith("resumed")
    heard[0], watch.seconds = watch.seconds - 0.1, watch.seconds + 5.0
    assert pausing.holds_deadlines(), "what was heard was said before"
    heard[0] = watch.seconds
    assert not pausing.holds_deadlines()
    pausing.learn(posted(paused=False))
    assert not pausing.holds_deadlines(), "the same word again changes nothing"
    assert pausing.health().detail == ""


def test_deadlines_do_not_wait_for_ever() -> None:
    watch = Watch()
    pausing = Pausing(lambda: 0.0, clock=watch)
    pausing.learn(posted(paused=False))
    assert pausing.holds_deadlines()
    watch.seconds += CATCH_UP_SECONDS_MAX
    assert not pausing.holds_deadlines()


def test_nor_longer_where_the_clock_of_the_database_has_gone_back_since() -> None:
    watch = Watch()
    pausing = Pausing(lambda: 0.0, clock=watch)
    pausing.learn(posted(paused=False, minutes_ago=-120.0))
    watch.seconds += CATCH_UP_SECONDS_MAX
    assert not pausing.holds_deadlines()


def test_deadlines_wait_for_what_a_new_group_has_not_read() -> None:
    """Of a partition where nothing was committed yet nothing counted as unread."""
    bus, settings = MemoryBus(topics=Topics().all()), settings_for("postgresql://nobody@nowhere/x")
    bus.producer(client_id="test").publish([Outgoing("order_events", b"k", b"v")], 1.0)
    pausing = bootstrap._pausing(bootstrap._hearing(settings, bus), Measures())
    pausing.learn(posted(paused=True))
    pausing.learn(posted(paused=False))
    assert pausing.holds_deadlines()


def test_a_process_that_comes_long_after_a_pause_waits_for_nothing() -> None:
    pausing = Pausing(lambda: 0.0)
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


def test_no_window_closes_over_an_acceptance_that_another_process_has_not_read(database_url: str) -> None:
    bus = MemoryBus()
    more = {"acceptance_window_seconds": 1.0, "start_timer": False, "deadlines_every_seconds": 0.1}
    settings, elsewhere = (settings_for(database_url, **more) for _ in range(2))
    pool = open_pool(database_url, settings.database_schema, size_max=1)
    overdue = "select count(*) from deadlines where kind = 'window' and due_at < now() - interval '2 seconds'"
    with participants(settings, bus), orchestrator(settings, bus) as api:
        saga_id = api.place(order())
        until(lambda: status_of(api, saga_id) == "COMPLETED", "the order waits for a runner")
        order_id = api.saga(saga_id)["order_id"]
    accepted = m.OrderAccepted(order_id=order_id, runner_id="r-1")
    value = encode(accepted, correlation_id=saga_id, timestamp=datetime.now(UTC), source="order-service")
    bus.producer(client_id="test").publish([Outgoing("order_events", order_id.encode(), value)], 1.0)
    with running(bootstrap.orchestrator(settings, bus, Run(only=("api", "status", "deadlines")))):
        until(lambda: count(pool, overdue) == 1, "its window has long ended")
        with running(bootstrap.orchestrator(elsewhere, bus, Run(only=("worker",)))):
            until(lambda: count(pool, "select count(*) from deadlines") == 0, "nothing is waited for any more")
        assert (status_of(api, saga_id), api.saga(saga_id)["accepted"]) == ("COMPLETED", True)
    types = {json.loads(record.value or b"{}")["type"] for record in bus.records("order_commands")}
    assert types == {"create_order", "update_order_status"}, "nobody asked to cancel it"
    pool.close()
    bus.close(1)


def detail_of(api: Api) -> str:
    parts = api._ask("GET", "/readyz")["parts"]
    return str(next(part["detail"] for part in parts if part["name"] == "consumption"))


def count(pool: Any, sql: str) -> int:
    with pool.connection() as connection:
        return int(connection.execute(sql.encode()).fetchone()[0])
