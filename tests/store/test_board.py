"""What processes tell each other, in PostgreSQL and in memory alike."""

from collections.abc import Iterator

import pytest
from psycopg_pool import ConnectionPool

from ordersaga.delivery.outbox_memory import MemoryTable
from ordersaga.orchestrator.store.board import PostgresBoard
from ordersaga.orchestrator.store.board_memory import MemoryBoard
from ordersaga.orchestrator.store.board_protocol import Board, Posted
from ordersaga.orchestrator.store.connections import AnyConnection
from ordersaga.orchestrator.store.memory_tables import MemoryTables
from ordersaga.orchestrator.store.migrate import migrate
from ordersaga.orchestrator.store.postgres import open_pool
from ordersaga.wire.topics import Participant

PAYMENT, ORDER = Participant.PAYMENT, Participant.ORDER


@pytest.fixture(params=["postgres", "memory"])
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    if request.param == "memory":
        yield MemoryBoard(MemoryTables(outbox=MemoryTable()))
        return
    url = request.getfixturevalue("database_url")
    migrate(url, "ordersaga")
    pool = open_pool(url, "ordersaga", size_max=2)
    yield PostgresBoard(pool)
    pool.close()


def commands(board: Board) -> dict[Participant, int]:
    return {name: one.commands for name, one in board.read(10).silences.items()}


def test_an_empty_board_lets_everything_pass(board: Board) -> None:
    assert board.read(10) == Posted()


def test_silences_are_summed_until_there_is_an_answer(board: Board) -> None:
    board.tell({PAYMENT: 2, ORDER: 1}, ())
    since = board.read(10).silences[PAYMENT].since
    board.tell({PAYMENT: 3}, ())
    assert commands(board) == {PAYMENT: 5, ORDER: 1}
    assert board.read(10).silences[PAYMENT].since == since, "since the first of them"
    board.tell({}, {ORDER})
    assert commands(board) == {PAYMENT: 5}
    board.tell({PAYMENT: 1}, {PAYMENT})
    assert commands(board) == {PAYMENT: 1}
    assert board.read(10).silences[PAYMENT].since > since


def test_a_process_that_falls_behind_is_known_to_the_others(board: Board) -> None:
    board.tell_behind("one", 2.5)
    board.tell_behind("two", 0.5)
    assert board.read(10).behind_seconds == board.read(10, process="two").behind_seconds == 2.5
    assert board.behind() == board.behind(process="two") == 2.5 and board.behind(process="one") == 0.5
    assert board.read(10, process="one").behind_seconds == 0.5, "how it is itself it knows better"
    board.tell_behind("one", 0.0)
    assert board.read(10).behind_seconds == 0.5


def test_what_a_process_said_counts_for_a_while_only_and_the_dead_are_forgotten(database_url: str) -> None:
    migrate(database_url, "ordersaga")
    pool = open_pool(database_url, "ordersaga", size_max=2)
    board = PostgresBoard(pool)
    for process, seconds_ago in (("dead", 61), ("frozen", 6)):
        board.tell_behind(process, 9.0)
        _is_older(pool, process, seconds_ago)
    assert board.read(10).behind_seconds == board.behind() == 0.0
    board.tell_behind("living", 1.5)
    assert board.read(10).behind_seconds == board.behind() == 1.5
    with pool.connection() as connection:
        assert connection.execute("SELECT process FROM behind ORDER BY 1").fetchall() == [("frozen",), ("living",)]
    pool.close()


def test_what_a_process_said_before_the_clock_went_back_counts_no_more(database_url: str) -> None:
    migrate(database_url, "ordersaga")
    pool = open_pool(database_url, "ordersaga", size_max=2)
    board = PostgresBoard(pool)
    for process, seconds_later in (("gone", 3600), ("frozen", 30)):
        board.tell_behind(process, 9.0)
        _is_older(pool, process, -seconds_later)
    assert board.read(10).behind_seconds == board.behind() == 0.0
    board.tell_behind("living", 1.5)
    assert board.read(10).behind_seconds == board.behind() == 1.5
    with pool.connection() as connection:
        assert connection.execute("SELECT process FROM behind ORDER BY 1").fetchall() == [("frozen",), ("living",)]
    pool.close()


def _is_older(pool: ConnectionPool[AnyConnection], process: str, seconds: float) -> None:
    with pool.connection() as connection:
        connection.execute(
            "UPDATE behind SET at = at - make_interval(secs => %s) WHERE process = %s", (seconds, process)
        )


def test_the_newest_word_on_the_switch_rules(board: Board) -> None:
    stopped = board.set_switch(taken=False, by="op-7", why="a fire")
    assert board.read(10).switch == stopped and not stopped.taken
    resumed = board.set_switch(taken=True, by="op-8", why="it is out")
    assert board.read(10).switch == resumed and (resumed.by, resumed.why) == ("op-8", "it is out")


def test_a_word_counts_also_where_the_clock_went_back_since_the_one_before(database_url: str) -> None:
    migrate(database_url, "ordersaga")
    pool = open_pool(database_url, "ordersaga", size_max=2)
    board = PostgresBoard(pool)
    board.set_switch(taken=False, by="ada", why="a fire")
    board.set_pause(paused=True, by="ada", why="a fire")
    with pool.connection() as connection:
        for table in ("admission", "consumption"):
            connection.execute(f"UPDATE {table} SET at = at + interval '90 seconds'".encode())
    resumed, on = board.set_pause(paused=False, by="ada", why="out"), board.set_switch(taken=True, by="ada", why="out")
    found = board.read(10)
    assert found.switch == on and found.switch.taken
    assert found.pause is not None and (found.pause.at, found.pause.paused) == (resumed.at, False)
    pool.close()


def test_the_audit_has_the_role_of_whoever_turns_a_switch(database_url: str) -> None:
    migrate(database_url, "ordersaga")
    pool = open_pool(database_url, "ordersaga", size_max=2)
    board = PostgresBoard(pool)
    board.set_switch(taken=False, by="ada", role="admin", why="a fire")
    board.set_pause(paused=True, by="ada", role="admin", why="a fire")
    board.set_pause(paused=False, by="night", why="at a terminal")
    with pool.connection() as connection:
        assert connection.execute("SELECT actor, role, verb FROM audit ORDER BY id").fetchall() == [
            ("ada", "admin", "stop orders"),
            ("ada", "admin", "pause consumption"),
            ("night", "operator", "resume consumption"),
        ]
    pool.close()
