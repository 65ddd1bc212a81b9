"""What was set aside, over HTTP and by itself: looked at, taken in once more, discarded."""

from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from structlog.testing import capture_logs

from ordersaga.bus.protocol import Record
from ordersaga.orchestrator.core.decide import decide
from ordersaga.orchestrator.runtime import turn
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.runtime.verbs import Actor
from ordersaga.orchestrator.store.codec import Codec
from ordersaga.orchestrator.store.protocol import StoredDeadLetter
from ordersaga.wire import messages as m
from ordersaga.wire.codec import encode
from tests.api.conftest import Stage

BY = {"who": "night-shift", "why": "the bug is mended"}


def record(value: bytes | None, offset: int = 1) -> Record:
    return Record("order_events", 0, offset, None, value, (("h", b"\xff"),), 1)


def created(saga_id: str) -> Record:
    now = datetime.now(UTC)
    return record(encode(m.OrderCreated(order_id="o-1"), correlation_id=saga_id, timestamp=now, source="order-service"))


def letters(stage: Stage, query: str = "") -> Any:
    return stage.client.get(f"/dead-letters{query}").json()


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A bug of ours in deciding."""
    monkeypatch.setattr(turn, "decide", _broken)
    return monkeypatch


def _broken(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("a bug")


def test_what_cannot_be_read_is_shown_whole_with_where_it_came_from(stage: Stage) -> None:
    stage.handler.records([record(b"\xff not JSON")])
    (found,) = letters(stage)
    assert (found["topic"], found["partition"], found["offset"]) == ("order_events", 0, 1)
    assert (found["reason"], found["value"], found["headers"]) == ("unreadable", "\\xff not JSON", [["h", "\\xff"]])
    assert stage.client.get(f"/dead-letters/{found['id']}").json() == found


def test_a_letter_is_replayed_once_the_bug_is_mended(stage: Stage, failing: pytest.MonkeyPatch) -> None:
    saga_id = stage.place()
    stage.handler.records([created(saga_id)])
    (found,) = letters(stage)
    assert found["reason"] == "decide_failed"
    again = stage.client.post(f"/dead-letters/{found['id']}/replay", json=BY)
    assert again.status_code == 409 and "a bug" in again.json()["detail"]
    failing.setattr(turn, "decide", decide)
    done = stage.client.post(f"/dead-letters/{found['id']}/replay", json=BY)
    assert done.status_code == 200
    assert done.json()["settled"] | {"at": ""} == {"at": "", "how": "replayed", "by": BY["who"], "why": BY["why"]}
    assert stage.client.get(f"/sagas/{saga_id}").json()["order_id"] == "o-1"
    assert letters(stage) == []
    repeated = stage.client.post(f"/dead-letters/{found['id']}/replay", json=BY)
    assert repeated.json() == done.json(), "asking again is harmless"
    refused = stage.client.post(f"/dead-letters/{found['id']}/discard", json=BY)
    assert refused.status_code == 409 and "replayed by night-shift" in refused.json()["detail"]


def test_a_saga_does_not_move_without_what_it_has_to_say(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours in writing messages, after the decision."""

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a bug")

    def commands() -> int:
        return sum(row.record.topic.endswith("_commands") for row in stage.published)

    saga_id = stage.place()
    before, sent = stage.client.get(f"/sagas/{saga_id}").json(), commands()
    monkeypatch.setattr(turn, "to_records", broken)
    stage.handler.records([created(saga_id)])
    assert stage.client.get(f"/sagas/{saga_id}").json() == before and commands() == sent
    (found,) = letters(stage)
    assert found["reason"] == "decide_failed"
    monkeypatch.undo()
    assert stage.client.post(f"/dead-letters/{found['id']}/replay", json=BY).status_code == 200
    assert stage.client.get(f"/sagas/{saga_id}").json()["order_id"] == "o-1" and commands() > sent


def test_a_letter_that_nobody_needs_is_discarded_and_still_shown_when_asked_for(stage: Stage) -> None:
    stage.handler.records([record(b"x", 1), record(b"y", 2)])
    newest = letters(stage)[0]["id"]
    done = stage.client.post(f"/dead-letters/{newest}/discard", json=BY)
    assert done.json()["settled"]["how"] == "discarded"
    assert len(letters(stage)) == 1
    assert next(one["id"] for one in letters(stage, "?settled=true")) == newest


def test_a_list_says_where_it_goes_on(stage: Stage) -> None:
    stage.handler.records([record(b"x", offset) for offset in range(3)])
    first = stage.client.get("/dead-letters?page_size=2&reason=unreadable")
    link = first.headers["Link"].partition(">")[0].lstrip("<")
    rest = stage.client.get(link)
    assert [one["offset"] for one in [*first.json(), *rest.json()]] == [2, 1, 0]
    assert "Link" not in rest.headers


def test_an_operator_gives_a_name_and_a_reason(stage: Stage) -> None:
    stage.handler.records([record(b"x")])
    (found,) = letters(stage)
    assert stage.client.post(f"/dead-letters/{found['id']}/discard", json={"who": "x"}).status_code == 400
    assert stage.client.post("/dead-letters/999/discard", json=BY).status_code == 404
    assert stage.client.get("/dead-letters/999").status_code == 404
    assert len(letters(stage)) == 1


def test_an_answer_for_a_saga_that_nobody_knows_is_shown_and_nothing_is_done(stage: Stage) -> None:
    unknown = "019b7e6c-0000-7000-8000-000000000009"
    stage.handler.records([created(unknown)])
    (found,) = stage.client.get("/orphans").json()
    assert (found["saga_id"], found["type"]) == (unknown, "order.created")
    assert stage.client.get(f"/orphans?saga_id={stage.place()}").json() == []
    assert letters(stage) == []


def strays(stage: Stage, count: int) -> None:
    """Money that is held for sagas of which nobody knows."""
    held = m.PaymentAuthorized(payment_id="p-1", order_id="o-1", payment_intent_id="i-1", status="AUTHORIZED")
    for number in range(count):
        unknown = f"019b7e6c-0000-7000-8000-{number:012}"
        value = encode(held, correlation_id=unknown, timestamp=datetime.now(UTC), source="payment-service")
        stage.handler.records([record(value, number)])


@pytest.mark.parametrize("kind", ["memory_stage", "postgres_stage"])
def test_a_list_of_orphans_says_where_it_goes_on(kind: str, request: pytest.FixtureRequest) -> None:
    stage: Stage = request.getfixturevalue(kind)
    strays(stage, 101)
    first = stage.client.get("/orphans")
    rest = stage.client.get(first.headers["Link"].partition(">")[0].lstrip("<"))
    assert (len(first.json()), len(rest.json())) == (100, 1) and "Link" not in rest.headers
    assert [one["offset"] for one in [*first.json(), *rest.json()]] == list(range(100, -1, -1))


@pytest.mark.parametrize("kind", ["memory_stage", "postgres_stage"])
def test_an_orphan_is_a_figure_until_somebody_has_seen_to_it(kind: str, request: pytest.FixtureRequest) -> None:
    stage: Stage = request.getfixturevalue(kind)
    assert "\norphans_open 0.0\n" in stage.client.get("/metrics").text
    strays(stage, 1)
    assert "\norphans_open 1.0\n" in stage.client.get("/metrics").text
    (found,) = stage.client.get("/orphans").json()
    assert found["settled"] is None
    where = f"/orphans/{found['id']}/discard"
    assert stage.client.post(where, json={"who": "x"}).status_code == 400
    assert stage.client.post("/orphans/999/discard", json=BY).status_code == 404
    done = stage.client.post(where, json=BY)
    assert done.status_code == 200
    assert done.json()["settled"] | {"at": ""} == {"at": "", "how": "discarded", "by": BY["who"], "why": BY["why"]}
    assert stage.client.post(where, json=BY).json() == done.json(), "asking again is harmless"
    assert "\norphans_open 0.0\n" in stage.client.get("/metrics").text
    assert stage.client.get("/orphans").json() == []
    assert stage.client.get("/orphans?settled=true").json() == [done.json()]


def test_what_a_newer_version_began_is_parked_and_used_once_that_version_runs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga_id = stage.place()
    monkeypatch.setattr(Codec, "knows", lambda self, saga, version: False)
    stage.handler.records([created(saga_id)])
    (found,) = letters(stage)
    assert found["reason"] == "unknown_version"
    assert stage.api.letters.try_parked() == 0
    monkeypatch.undo()
    assert stage.api.letters.try_parked() == 1
    assert stage.client.get(f"/sagas/{saga_id}").json()["order_id"] == "o-1"
    assert letters(stage) == []


@pytest.mark.parametrize("kind", ["memory_stage", "postgres_stage"])
def test_news_that_name_only_the_order_of_such_a_saga_are_parked_too_and_hold_up_nobody(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were to be kept for whoever learns the order; but somebody knows it, so it was tried again for ever."""
    stage: Stage = request.getfixturevalue(kind)
    saga_id = stage.place()
    stage.handler.records([created(saga_id)])
    accepted = encode(
        m.OrderAccepted(order_id="o-1"), correlation_id="o-1", timestamp=datetime.now(UTC), source="order"
    )
    monkeypatch.setattr(Codec, "knows", lambda self, saga, version: False)
    stage.handler.records([record(accepted), record(b"also in this batch", 2)])
    assert {one["reason"] for one in letters(stage)} == {"unknown_version", "unreadable"}
    monkeypatch.undo()
    assert stage.api.letters.try_parked() == 1
    assert stage.client.get(f"/sagas/{saga_id}").json()["accepted"]


@pytest.mark.parametrize("kind", ["memory_stage", "postgres_stage"])
def test_a_replay_that_is_refused_is_in_the_audit_without_what_the_record_holds(
    kind: str, request: pytest.FixtureRequest
) -> None:
    stage: Stage = request.getfixturevalue(kind)
    stage.handler.records([record(b"c4n4ry is no JSON")])
    (found,) = letters(stage)
    where = f"/dead-letters/{found['id']}"
    assert stage.client.post(f"{where}/replay", json=BY).status_code == 409
    assert stage.client.post(f"{where}/discard", json=BY).status_code == 200
    assert stage.client.post(f"{where}/replay", json=BY).status_code == 409
    told = [one for one in stage.client.get("/audit").json() if "refused" in one["outcome"]]
    assert [one["outcome"] for one in told] == ["replay refused: discarded before", "replay refused: unreadable"]
    assert {(one["verb"], one["actor"], one["role"], one["reason"]) for one in told} == {
        (f"dead letter {found['id']}", BY["who"], "operator", BY["why"])
    }


def test_the_audit_has_the_role_of_whoever_settles(postgres_stage: Stage) -> None:
    postgres_stage.handler.records([record(b"x")])
    strays(postgres_stage, 1)
    (letter,), (orphan,) = letters(postgres_stage), postgres_stage.client.get("/orphans").json()
    admin = Actor(name="ada", role="admin", reason="rubbish")
    postgres_stage.api.letters.discard(letter["id"], admin)
    postgres_stage.api.letters.discard_orphan(orphan["id"], admin)
    told = postgres_stage.client.get("/audit").json()
    assert [(one["verb"].rpartition(" ")[0], one["role"]) for one in told] == [
        ("orphan", "admin"),
        ("dead letter", "admin"),
    ]


@pytest.mark.parametrize("kind", ["memory_stage", "postgres_stage"])
def test_what_somebody_discards_while_it_is_replayed_is_not_said_to_be_replayed(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage: Stage = request.getfixturevalue(kind)
    saga_id, at_once = stage.place(), Handler.replay
    monkeypatch.setattr(turn, "decide", _broken)
    stage.handler.records([created(saga_id)])
    monkeypatch.undo()

    def overtaken(handler: Handler, stored: StoredDeadLetter, *by: str) -> bool:
        stage.api.letters.discard(stored.id, Actor(name="day", role="operator", reason="rubbish"))
        return at_once(handler, stored, *by)

    monkeypatch.setattr(Handler, "replay", overtaken)
    (found,) = letters(stage)
    with capture_logs() as logs:
        answer = stage.client.post(f"/dead-letters/{found['id']}/replay", json=BY)
    assert answer.status_code == 409 and "discarded by day: rubbish" in answer.json()["detail"]
    assert stage.client.get(f"/sagas/{saga_id}").json()["order_id"] is None
    assert "dead_letters.replayed" not in {line["event"] for line in logs}


def test_what_somebody_replays_while_it_is_discarded_is_not_said_to_be_discarded(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga_id = stage.place()
    monkeypatch.setattr(turn, "decide", _broken)
    stage.handler.records([created(saga_id)])
    monkeypatch.undo()
    (found,) = letters(stage)
    look, looks = stage.api.store.dead_letter, count()

    def replayed_meanwhile(letter_id: int) -> StoredDeadLetter | None:
        seen = look(letter_id)
        if next(looks) == 0:
            stage.api.letters.replay(letter_id, Actor(name="day", role="operator", reason="mended"))
        return seen

    monkeypatch.setattr(stage.api.store, "dead_letter", replayed_meanwhile)
    with capture_logs() as logs:
        answer = stage.client.post(f"/dead-letters/{found['id']}/discard", json=BY)
    assert answer.status_code == 409 and "replayed by day: mended" in answer.json()["detail"]
    assert "dead_letters.discarded" not in {line["event"] for line in logs}
