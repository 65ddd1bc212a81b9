"""Completing an order over HTTP: begun from what the order's own saga knows, once, and refused where it cannot be."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from litestar.testing import TestClient

from ordersaga.orchestrator.api.app import AppSettings, create_app
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.wire import completing as c
from ordersaga.wire import messages as m
from tests.api.conftest import Stage
from tests.api.test_sagas import hear, saga

BROUGHT = {"who": "dispatch", "why": "handed over at the door", "payout_cents": 435}
CARD = m.PaymentInfo(stripe_customer_id="cus_1", payment_method_id="pm_1")


def opened(stage: Stage) -> tuple[str, str]:
    """An order that waits for a runner: its saga's id, and its own."""
    saga_id = stage.place()
    order_id = f"order-{saga_id}"
    answers = (
        m.OrderCreated(order_id=order_id),
        m.PaymentInfoRetrieved(payment_info=CARD),
        m.PaymentAuthorized(payment_id=f"pay-{saga_id}", order_id=order_id),
        m.OrderStatusUpdated(order_id=order_id, status="CREATED"),
        m.TimerStarted(order_id=order_id),
    )
    for answer in answers:
        hear(stage, saga_id, answer)
    return saga_id, order_id


def accepted(stage: Stage, runner_id: str | None = "r-1") -> str:
    saga_id, order_id = opened(stage)
    hear(stage, saga_id, m.OrderAccepted(order_id=order_id, runner_id=runner_id))
    return order_id


def complete(stage: Stage, order_id: str, **more: Any) -> Any:
    return stage.client.post(f"/orders/{order_id}/completion", json=BROUGHT | more)


def test_an_order_that_its_runner_has_is_completed(stage: Stage) -> None:
    order_id = accepted(stage)
    answer = complete(stage, order_id)
    assert (answer.status_code, answer.json()["status"]) == (202, "STARTED")
    saga_id = answer.json()["saga_id"]
    payment_id = f"pay-{order_id.removeprefix('order-')}"
    answers = (
        c.OrderDelivered(order_id=order_id),
        c.PaymentCaptured(payment_id=payment_id),
        c.RunnerPaid(payout_id=f"po-{order_id}"),
        c.OrderCompleted(order_id=order_id),
    )
    for one in answers:
        hear(stage, saga_id, one)
    found = saga(stage, saga_id)
    assert (found["status"], found["saga"], found["order_id"]) == ("COMPLETED", "complete_order", order_id)
    assert (found["customer_id"], found["amount_cents"], found["payment_id"]) == ("c4n4ry-user-1", 2425, payment_id)
    assert [step["became"] for step in found["steps"]] == ["DONE"] * 4
    assert stage.client.post(f"/sagas/{saga_id}/cancel", json={"role": "operator"}).status_code == 409


def test_asked_again_it_is_the_same_saga_until_that_was_taken_back(stage: Stage) -> None:
    order_id = accepted(stage)
    first = complete(stage, order_id).json()["saga_id"]
    assert complete(stage, order_id).json()["saga_id"] == first
    hear(stage, first, c.OrderDeliveryFailed(error="ILLEGAL_STATE", order_id=order_id))
    assert saga(stage, first)["status"] == "COMPENSATED"
    assert complete(stage, order_id).json()["saga_id"] != first


def test_whoever_asks_for_another_payout_is_told_that_this_is_not_what_is_paid(stage: Stage) -> None:
    order_id = accepted(stage)
    saga_id = complete(stage, order_id).json()["saga_id"]
    for other, said in (({"payout_cents": 535}, "435 cents for its runner"), ({"runner_id": "r-2"}, "another runner")):
        answer = complete(stage, order_id, **other)
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "completed-otherwise")
        assert said in answer.json()["error"] and saga_id in answer.json()["error"]
    assert complete(stage, order_id, runner_id="r-1").json()["saga_id"] == saga_id
    assert complete(stage, order_id, payout_cents=None).status_code == 400


def test_what_became_of_it_is_said_to_whoever_asks_again(stage: Stage) -> None:
    order_id = accepted(stage)
    first = complete(stage, order_id).json()
    assert first["message"] == "The order is being completed."
    hear(stage, first["saga_id"], c.OrderDelivered(order_id=order_id))
    hear(stage, first["saga_id"], c.PaymentCaptured(payment_id=f"pay-{order_id.removeprefix('order-')}"))
    hear(stage, first["saga_id"], c.RunnerPaid(payout_id=f"po-{order_id}"))
    hear(stage, first["saga_id"], c.OrderCompleted(order_id=order_id))
    again = complete(stage, order_id).json()
    assert (again["saga_id"], again["message"]) == (first["saga_id"], "The order is completed.")


@pytest.mark.parametrize("order_id", ["o%00", "%1b", "o" * 10_000])
def test_what_no_service_gives_out_is_the_id_of_no_order(postgres_stage: Stage, order_id: str) -> None:
    assert complete(postgres_stage, order_id).status_code == 404


def test_of_two_who_ask_in_one_moment_one_begins_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again after it was taken back: the key of the second time is another one."""
    order_id = accepted(stage)
    of_order = stage.api.store.of_order
    for _ in range(2):
        both, looks = Barrier(2), count()

        def look_together(order_id: str, both: Barrier = both, looks: Iterator[int] = looks) -> Sequence[UUID]:
            found = of_order(order_id)
            if next(looks) < 2:
                both.wait(10)
            return found

        monkeypatch.setattr(stage.api.store, "of_order", look_together)
        with ThreadPoolExecutor(2) as people:
            answers = list(people.map(lambda _: complete(stage, order_id), range(2)))
        assert [answer.status_code for answer in answers] == [202, 202]
        (saga_id,) = {answer.json()["saga_id"] for answer in answers}
        assert next(looks) == 3, "both found that there was none; the one who came too late looked again"
        hear(stage, saga_id, c.OrderDeliveryFailed(error="ILLEGAL_STATE", order_id=order_id))
        assert saga(stage, saga_id)["status"] == "COMPENSATED"
    assert stage.client.get("/stats", params={"saga": "complete_order"}).json()["total"]["started"] == 2


def test_past_the_point_of_no_return_a_cancel_is_refused_and_says_why(stage: Stage) -> None:
    order_id = accepted(stage)
    saga_id = complete(stage, order_id).json()["saga_id"]
    refused = stage.client.post(f"/sagas/{saga_id}/cancel", json={"who": "c4n4ry-user-1"})
    assert (refused.status_code, "not for the customer" in refused.json()["error"]) == (409, True)
    hear(stage, saga_id, c.OrderDelivered(order_id=order_id))
    refused = stage.client.post(f"/sagas/{saga_id}/cancel", json={"who": "op", "role": "operator", "why": "no"})
    assert (refused.status_code, "point of no return" in refused.json()["error"]) == (409, True)


def test_news_of_an_order_of_two_sagas_reaches_the_one_that_it_concerns(stage: Stage) -> None:
    """Both know the order; an acceptance that is taken back is nothing to the second."""
    order_id = accepted(stage)
    saga_id = complete(stage, order_id).json()["saga_id"]
    before = saga(stage, saga_id)["revision"]
    hear(stage, order_id.removeprefix("order-"), m.OrderAcceptanceCancelled(order_id=order_id))
    assert saga(stage, saga_id)["revision"] == before
    assert not saga(stage, order_id.removeprefix("order-"))["accepted"]


def test_each_kind_of_saga_has_its_own_statistics(stage: Stage) -> None:
    complete(stage, accepted(stage))
    started = {
        saga: stage.client.get("/stats", params={"saga": saga} if saga else {}).json()["total"]["started"]
        for saga in ("create_order", "complete_order", None)
    }
    assert started == {"create_order": 1, "complete_order": 1, None: 2}


def test_an_order_that_no_runner_has_is_not_completed(stage: Stage) -> None:
    _, order_id = opened(stage)
    answer = complete(stage, order_id)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "cannot-be-completed")


def test_an_order_that_nobody_knows_is_404(stage: Stage) -> None:
    assert complete(stage, "order-of-nobody").status_code == 404


def test_the_runner_is_the_one_who_accepted_or_has_to_be_named(stage: Stage) -> None:
    assert complete(stage, accepted(stage), runner_id="another").status_code == 409
    unnamed = accepted(stage, runner_id=None)
    answer = complete(stage, unnamed)
    assert (answer.status_code, answer.json()["field"]) == (400, "runner_id")
    assert complete(stage, unnamed, runner_id="r-7").status_code == 202


@pytest.mark.parametrize("payout_cents", [None, 0, -1, 4.35, "435", 2426, True])
def test_a_payout_is_a_part_of_what_the_customer_pays(stage: Stage, payout_cents: Any) -> None:
    answer = complete(stage, accepted(stage), payout_cents=payout_cents)
    assert (answer.status_code, answer.json()["field"]) == (400, "payout_cents")


@pytest.mark.parametrize("missing", ["who", "why"])
def test_whoever_says_that_it_was_delivered_gives_a_name_and_a_reason(stage: Stage, missing: str) -> None:
    answer = complete(stage, accepted(stage), **{missing: None})
    assert (answer.status_code, answer.json()["field"]) == (400, missing)


def test_it_is_not_offered_where_a_participant_would_pay_twice(stage: Stage) -> None:
    api = replace(stage.api, sagas=Sagas([CREATE_ORDER]))
    with TestClient(create_app(api, AppSettings()), raise_server_exceptions=False) as client:
        answer = client.post("/orders/o-1/completion", json=BROUGHT)
    assert answer.status_code == 409
    assert "the payment service is not set to be full" in answer.json()["error"]
