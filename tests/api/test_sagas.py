"""What is told of a saga, page by page, and how one is cancelled."""

from typing import Any
from uuid import UUID

import pytest

from ordersaga.bus.protocol import Record
from ordersaga.orchestrator.api.searching import PAGE_SIZE_MAX
from ordersaga.orchestrator.core.instance import Status
from ordersaga.wire import messages as m
from ordersaga.wire.codec import encode
from tests.api.conftest import Stage

NOBODY = "01939f2c-0000-7000-8000-000000000000"
OLD_FIELDS = "id customer_id order_id status current_step error created_at updated_at completed_at".split()


def hear(stage: Stage, saga_id: str, event: m.Event) -> None:
    """An answer as it comes from the bus."""
    now = stage.api.store.get(UUID(saga_id))
    assert now is not None
    value = encode(event, correlation_id=saga_id, timestamp=now.created_at, source="a test", message_id=None)
    record = Record("order_events", 0, 0, None, value, (), 0)
    stage.handler.records([record])


def saga(stage: Stage, saga_id: str) -> dict[str, Any]:
    answer = stage.client.get(f"/sagas/{saga_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_saga_has_the_fields_that_front_ends_read(stage: Stage) -> None:
    found = saga(stage, stage.place())
    assert list(found)[: len(OLD_FIELDS)] == OLD_FIELDS
    assert found["customer_id"] == "c4n4ry-user-1"
    assert found["status"] == "STARTED"
    assert found["current_step"] == "CREATE_ORDER"
    assert found["error"] is None
    assert found["created_at"].endswith("Z")


def test_a_saga_says_what_it_waits_for_and_until_when(stage: Stage) -> None:
    found = saga(stage, stage.place())
    waits = found["waits_for"]
    assert (waits["what"], waits["step"], waits["direction"], waits["attempt"]) == ("answer", "CREATE_ORDER", "do", 1)
    assert waits["until"] > found["created_at"]


def test_what_became_of_each_step_is_told_with_the_ids_that_it_made(stage: Stage) -> None:
    saga_id = stage.place()
    hear(stage, saga_id, m.OrderCreated(order_id=f"order-{saga_id}"))
    found = saga(stage, saga_id)
    assert found["order_id"] == f"order-{saga_id}"
    assert found["revision"] == 2
    first, second = found["steps"]
    assert (first["name"], first["became"]) == ("CREATE_ORDER", "DONE")
    assert first["effects"] == [{"ids": {"order_id": f"order-{saga_id}"}, "undone": False, "settled": False}]
    assert (second["name"], second["became"], second["attempts"]) == ("GET_USER_DATA", None, 1)


def test_a_failed_saga_says_why_in_a_code_and_in_words_for_the_customer(stage: Stage) -> None:
    saga_id = stage.place()
    hear(stage, saga_id, m.OrderCreationFailed(error="KITCHEN_CLOSED", message="SQL and other people's data"))
    found = saga(stage, saga_id)
    assert (found["status"], found["reason"]) == ("COMPENSATED", "ORDER_REJECTED")
    assert found["error"] == found["explanation"]
    assert "SQL" not in str(found), "a participant's words are not the customer's"
    assert found["completed_at"] is not None
    assert found["waits_for"] is None


def test_the_history_has_the_codes_of_services_and_none_of_their_sentences(stage: Stage) -> None:
    saga_id = stage.place()
    hear(stage, saga_id, m.OrderCreated(order_id=f"order-{saga_id}"))
    hear(stage, saga_id, m.PaymentInfoFailed(error="Internal server error: Key (email)=(dora@example.com) exists"))
    (passing,) = [one for one in saga(stage, saga_id)["history"] if one["cause"] == "user.payment_info_failed"]
    assert "event" not in passing["body"] and "from" in passing["body"]
    other = stage.place()
    hear(stage, other, m.OrderCreationFailed(error="KITCHEN_CLOSED"))
    assert saga(stage, other)["history"][-1]["body"]["event"] == {"error": "KITCHEN_CLOSED"}


@pytest.mark.parametrize(
    "saga_id", [NOBODY, "7", "order-7", "' OR 1=1 --", NOBODY + "0", f"{{{NOBODY}}}", "urn:uuid:" + NOBODY, "%00"]
)
def test_an_id_that_is_nobodys_is_404(stage: Stage, saga_id: str) -> None:
    for answer in (stage.client.get(f"/sagas/{saga_id}"), stage.client.post(f"/sagas/{saga_id}/cancel")):
        assert answer.status_code == 404
        assert answer.json()["success"] is False


# --- pages --------------------------------------------------------------------------------------------------------


@pytest.fixture
def many(stage: Stage) -> list[str]:
    """Ids, newest first; those of one millisecond in the order of the rest of their ids."""
    return sorted((stage.place() for _ in range(7)), reverse=True)


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()]


def test_sagas_are_listed_newest_first_as_a_bare_list(stage: Stage, many: list[str]) -> None:
    answer = stage.client.get("/sagas")
    assert isinstance(answer.json(), list)
    assert ids(answer)[:7] == many


def test_pages_follow_their_links_to_the_end_without_a_gap_or_a_repeat(stage: Stage, many: list[str]) -> None:
    everything = ids(stage.client.get("/sagas"))
    seen: list[str] = []
    url: str | None = "/sagas?status=STARTED&status=COMPENSATED&page_size=3"
    while url:
        answer = stage.client.get(url)
        assert len(ids(answer)) <= 3
        seen += ids(answer)
        link = answer.headers.get("link")
        assert link is None or link.endswith('>; rel="next"')
        url = link.removesuffix('>; rel="next"').removeprefix("<") if link else None
    assert seen[: len(everything)] == everything
    assert len(set(seen)) == len(seen)


def test_a_page_may_begin_before_a_saga(stage: Stage, many: list[str]) -> None:
    assert ids(stage.client.get(f"/sagas?before={many[2]}&page_size=2")) == many[3:5]


def test_a_search_keeps_its_conditions_from_page_to_page(stage: Stage, many: list[str]) -> None:
    stage.client.post(f"/sagas/{many[3]}/cancel")
    query = "status=STARTED&saga=create_order&step=CREATE_ORDER&since=2026-01-01T00:00:00Z&order=oldest&page_size=2"
    url, seen = f"/sagas?{query}", []
    while url:
        answer = stage.client.get(url)
        assert answer.status_code == 200
        seen += ids(answer)
        url = answer.headers.get("link", "").removesuffix('>; rel="next"').removeprefix("<")
    assert seen[-6:] == [one for one in reversed(many) if one != many[3]]
    assert ids(stage.client.get("/sagas?saga=complete_order")) == []
    counted = stage.client.get("/sagas/count?status=STARTED&step=CREATE_ORDER")
    assert counted.json() == {"count": len(seen), "is_least": False}


def test_sagas_are_filtered_by_status(stage: Stage, many: list[str]) -> None:
    stage.client.post(f"/sagas/{many[3]}/cancel")
    assert ids(stage.client.get("/sagas?status=CANCELLING"))[0] == many[3]
    assert many[3] not in ids(stage.client.get("/sagas?status=STARTED"))
    both = stage.client.get("/sagas?status=CANCELLING&status=STARTED&page_size=7")
    assert ids(both) == many


def test_a_page_has_at_most_a_hundred(stage: Stage) -> None:
    for _ in range(PAGE_SIZE_MAX + 1):
        stage.place()
    for query in ("", "?page_size=1000"):
        assert len(ids(stage.client.get(f"/sagas{query}"))) == PAGE_SIZE_MAX


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=DONE", "status"),
        ("status=started", "status"),
        ("status=", "status"),
        ("status='; DROP TABLE sagas; --", "status"),
        ("before=7", "before"),
        ("before=01a20c5c-a1c9-7292-a4fb-e9f0f6262822&order=oldest", "before"),
        ("order=random", "order"),
        ("reason=BAD_LUCK", "reason"),
        ("since=yesterday", "since"),
        ("until=2026-13-01T00:00:00Z", "until"),
        ("text=", "text"),
        ("customer_id=" + "x" * 201, "customer_id"),
        ("step=%00", "step"),
        ("attention=perhaps", "attention"),
        ("page_token=x", "page_token"),
        ("page_size=0", "page_size"),
        ("page_size=-1", "page_size"),
        ("page_size=many", "page_size"),
    ],
)
def test_a_wrong_query_is_named(stage: Stage, query: str, field: str) -> None:
    answer = stage.client.get(f"/sagas?{query}")
    assert answer.status_code == 400
    assert answer.json()["field"] == field


def test_an_unknown_status_is_answered_with_those_that_there_are(stage: Stage) -> None:
    error = stage.client.get("/sagas?status=DONE").json()["error"]
    assert all(status.value in error for status in Status)


# --- cancel -------------------------------------------------------------------------------------------------------


def test_a_cancel_is_taken_and_taken_again(stage: Stage) -> None:
    saga_id = stage.place()
    for _ in range(2):
        answer = stage.client.post(f"/sagas/{saga_id}/cancel")
        assert answer.status_code == 202
        assert list(answer.json()) == ["message"]
    found = saga(stage, saga_id)
    assert (found["status"], found["reason"]) == ("CANCELLING", "CUSTOMER_REQUEST")


def test_who_asked_and_why_is_in_the_history(stage: Stage) -> None:
    saga_id = stage.place()
    body = {"who": "support-7", "why": "the shop is closed", "role": "operator"}
    assert stage.client.post(f"/sagas/{saga_id}/cancel", json=body).status_code == 202
    assert saga(stage, saga_id)["reason"] == "OPERATOR_REQUEST"
    entry = stage.api.store.history(UUID(saga_id))[-1]
    assert entry.cause == "verb.cancel"
    assert (entry.body["actor"], entry.body["role"], entry.body["why"]) == ("support-7", "operator", body["why"])


def test_what_is_over_cannot_be_cancelled_and_the_answer_says_its_status(stage: Stage) -> None:
    saga_id = stage.place()
    hear(stage, saga_id, m.OrderCreationFailed(error="KITCHEN_CLOSED"))
    answer = stage.client.post(f"/sagas/{saga_id}/cancel")
    assert answer.status_code == 409
    problem = answer.json()
    assert problem["saga_status"] == "COMPENSATED"
    assert "COMPENSATED" in problem["error"]
    assert problem["success"] is False


@pytest.mark.parametrize(
    ("body", "field"),
    [({"who": 7}, "who"), ({"why": "x" * 501}, "why"), ({"role": "admin"}, "role"), ({"who": "\x00"}, "who")],
)
def test_a_wrong_cancel_is_named_by_its_field(stage: Stage, body: dict[str, Any], field: str) -> None:
    saga_id = stage.place()
    answer = stage.client.post(f"/sagas/{saga_id}/cancel", json=body)
    assert answer.status_code == 400
    assert answer.json()["field"] in (field, "")
    assert saga(stage, saga_id)["status"] == "STARTED"


def test_a_cancel_with_a_body_that_is_not_json_is_415(stage: Stage) -> None:
    answer = stage.client.post(
        f"/sagas/{stage.place()}/cancel", content=b"why=x", headers={"Content-Type": "text/plain"}
    )
    assert answer.status_code == 415
