"""What operators can do over HTTP: each verb with a name and a reason, each in the history."""

from typing import Any

import pytest

from ordersaga.orchestrator.runtime.circuits import AlwaysOpen
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.api.conftest import Stage
from tests.api.test_completing import CARD
from tests.api.test_sagas import NOBODY, hear, saga

OPERATOR = {"who": "night-shift", "why": "the service is back"}
VERBS = ("retry", "settle", "resolve")


def body_of(verb: str) -> dict[str, Any]:
    return OPERATOR | ({"undo": "cancel_order"} if verb == "settle" else {})


def test_what_is_under_way_is_asked_again_and_the_history_says_who_wanted_it(stage: Stage) -> None:
    saga_id = stage.place()
    hear(stage, saga_id, m.OrderCreated(order_id=f"order-{saga_id}"))
    answer = stage.client.post(f"/sagas/{saga_id}/retry", json=OPERATOR)
    assert (answer.status_code, answer.json()["status"]) == (202, "STARTED")
    found = saga(stage, saga_id)
    assert found["waits_for"]["attempt"] == 2
    last = found["history"][-1]
    assert (last["cause"], last["body"]["actor"], last["body"]["why"]) == ("verb.retry", "night-shift", OPERATOR["why"])
    assert [entry["revision"] for entry in found["history"]] == [1, 2, 3]


def test_a_command_that_may_be_done_twice_is_refused_with_the_reason(stage: Stage) -> None:
    answer = stage.client.post(f"/sagas/{stage.place()}/retry", json=OPERATOR)
    assert answer.status_code == 409
    assert "twice" in answer.json()["error"]


def test_what_was_taken_back_by_other_means_is_settled(stage: Stage) -> None:
    saga_id = stage.place()
    hear(stage, saga_id, m.OrderCreated(order_id=f"order-{saga_id}"))
    stage.client.post(f"/sagas/{saga_id}/cancel")
    answer = stage.client.post(f"/sagas/{saga_id}/settle", json=body_of("settle"))
    assert (answer.status_code, answer.json()["status"]) == (202, "CANCELLED")
    assert saga(stage, saga_id)["steps"][0]["became"] == "SETTLED"


def test_what_was_seen_to_says_so_and_keeps_its_status(stage: Stage) -> None:
    saga_id = stage.place()
    assert stage.client.post(f"/sagas/{saga_id}/resolve", json=OPERATOR).status_code == 202
    found = saga(stage, saga_id)
    assert (found["status"], found["resolved"]) == ("STARTED", True)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("missing", ["who", "why"])
def test_an_operator_gives_a_name_and_a_reason(stage: Stage, verb: str, missing: str) -> None:
    body = {name: value for name, value in body_of(verb).items() if name != missing}
    answer = stage.client.post(f"/sagas/{stage.place()}/{verb}", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, missing)


@pytest.mark.parametrize("verb", VERBS)
def test_nobody_steps_in_where_there_is_no_saga(stage: Stage, verb: str) -> None:
    assert stage.client.post(f"/sagas/{NOBODY}/{verb}", json=body_of(verb)).status_code == 404


def test_an_undo_that_the_saga_does_not_have_is_refused(stage: Stage) -> None:
    answer = stage.client.post(f"/sagas/{stage.place()}/settle", json=OPERATOR | {"undo": "eat_the_order"})
    assert answer.status_code == 409
    assert "cancel_order" in answer.json()["error"]


@pytest.mark.parametrize("verb", ["retry", "resolve"])
def test_what_has_changed_since_it_was_seen_is_left_as_it_is(stage: Stage, verb: str) -> None:
    saga_id = stage.place()
    seen = saga(stage, saga_id)["revision"]
    hear(stage, saga_id, m.OrderCreated(order_id=f"order-{saga_id}"))
    known = OPERATOR | {"revision": seen}
    answer = stage.client.post(f"/sagas/{saga_id}/{verb}", json=known)
    assert (answer.status_code, answer.json()["saga_status"]) == (409, "STARTED")
    assert "it has changed since" in answer.json()["error"]
    found = saga(stage, saga_id)
    assert (found["revision"], found["resolved"]) == (seen + 1, False)
    answer = stage.client.post(f"/sagas/{saga_id}/{verb}", json=OPERATOR | {"revision": seen + 1})
    assert answer.status_code == 202 and saga(stage, saga_id)["revision"] == seen + 2


@pytest.mark.parametrize("verb", ["retry", "resolve"])
@pytest.mark.parametrize("wrong", ["2", 0, 1.5, True])
def test_a_revision_is_a_whole_number(stage: Stage, verb: str, wrong: object) -> None:
    answer = stage.client.post(f"/sagas/{stage.place()}/{verb}", json=OPERATOR | {"revision": wrong})
    assert (answer.status_code, answer.json()["field"]) == (400, "revision")


class Silent(AlwaysOpen):
    """While the payment service answers nobody."""

    def shut(self) -> frozenset[Participant]:
        return frozenset({Participant.PAYMENT})


def test_what_is_held_until_its_participant_answers_is_not_said_to_be_tried_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.handler, "_gate", Silent())
    saga_id = stage.place()
    for event in (m.OrderCreated(order_id=f"order-{saga_id}"), m.PaymentInfoRetrieved(payment_info=CARD)):
        hear(stage, saga_id, event)
    held = saga(stage, saga_id)
    assert held["waits_for"]["what"] == "participant"
    answer = stage.client.post(f"/sagas/{saga_id}/retry", json=OPERATOR)
    assert answer.status_code == 409
    assert "it is held until the payment service answers" in answer.json()["error"]
    assert saga(stage, saga_id)["revision"] == held["revision"]
    monkeypatch.setattr(stage.handler, "_gate", AlwaysOpen())
    assert stage.client.post(f"/sagas/{saga_id}/retry", json=OPERATOR).status_code == 202
    assert saga(stage, saga_id)["waits_for"]["what"] == "answer"
