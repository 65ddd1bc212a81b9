"""Whether what the services say is read is a person's switch, kept in the database and in the audit."""

from ordersaga.orchestrator.store.board import PostgresBoard
from tests.api.conftest import Stage

BY = {"who": "op-7", "why": "old events come again"}


def test_consumption_is_paused_and_resumed_with_a_name_and_a_reason(postgres_stage: Stage) -> None:
    client = postgres_stage.client
    assert client.get("/consumption").json() == {"paused": False, "by": None, "why": None, "at": None}
    paused = client.post("/consumption/pause", json=BY).json()
    assert (paused["paused"], paused["by"], paused["why"]) == (True, "op-7", "old events come again")
    assert client.get("/consumption").json() == paused
    assert postgres_stage.place(), "orders are still taken"
    resumed = client.post("/consumption/resume", json=BY).json()
    assert not resumed["paused"] and client.get("/consumption").json() == resumed
    board = postgres_stage.api.board
    assert isinstance(board, PostgresBoard)
    pause = board.read(0).pause
    assert pause is not None and 0 <= pause.seconds_ago < 60


def test_who_turns_the_switch_says_why(stage: Stage) -> None:
    for path in ("/consumption/pause", "/consumption/resume"):
        assert stage.client.post(path, json={"who": "op-7"}).status_code == 400
    assert stage.client.get("/consumption").json()["at"] is None
