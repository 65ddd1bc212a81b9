"""Orders of which some sagas, or all, are in the archive: what is done by hand reaches those whom it concerns, and what
was completed is not completed again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ordersaga.bus.protocol import Record
from ordersaga.orchestrator.core.instance import Instance
from ordersaga.orchestrator.store.archive import PostgresArchive
from ordersaga.orchestrator.store.archive_memory import MemoryArchive
from ordersaga.orchestrator.store.archive_protocol import Archive
from ordersaga.orchestrator.store.connections import open_pool
from ordersaga.orchestrator.store.memory import MemoryStore
from ordersaga.wire import completing as c
from ordersaga.wire import messages as m
from ordersaga.wire.codec import encode
from tests.api.conftest import Stage
from tests.api.test_completing import accepted, complete
from tests.api.test_sagas import hear, saga

AT_ONCE = timedelta(0)


@dataclass
class Archiving:
    """A stage, and the archive of its store."""

    stage: Stage
    archive: Archive

    def move(self) -> int:
        return self.archive.move(older_than=AT_ONCE, limit=100).count

    def archived(self) -> set[str]:
        return {str(one.saga_id) for one in self.archive.page()}


@pytest.fixture(params=["memory_stage", "postgres_stage"])
def archiving(request: pytest.FixtureRequest) -> Iterator[Archiving]:
    stage: Stage = request.getfixturevalue(request.param)
    with archive_of(stage, request) as archive:
        yield Archiving(stage, archive)


@contextmanager
def archive_of(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Archive]:
    store = stage.api.store
    if isinstance(store, MemoryStore):
        yield MemoryArchive(store._tables, store._codec, now=lambda: datetime.now(UTC))
        return
    pool = open_pool(request.getfixturevalue("database_url"), "saga", size_max=1)
    yield PostgresArchive(pool)
    pool.close()


def by_hand(stage: Stage, event: m.Event) -> None:
    """News that name no saga."""
    value = encode(event, correlation_id="by-hand", timestamp=datetime.now(UTC), source="a person")
    stage.handler.records([Record("payment_events", 0, 900, None, value, (), 0)])


def of(order_id: str) -> str:
    """The saga that placed it."""
    return order_id.removeprefix("order-")


def done(stage: Stage, saga_id: str, order_id: str) -> None:
    answers = (
        c.OrderDelivered(order_id=order_id),
        c.PaymentCaptured(payment_id=f"pay-{of(order_id)}"),
        c.RunnerPaid(payout_id=f"po-{order_id}"),
        c.OrderCompleted(order_id=order_id),
    )
    for one in answers:
        hear(stage, saga_id, one)
    assert saga(stage, saga_id)["status"] == "COMPLETED"


@pytest.mark.parametrize("what", ["voided", "cancelled"])
def test_what_is_undone_by_hand_reaches_the_archived_saga_though_another_of_the_order_is_not_archived(
    archiving: Archiving, what: str
) -> None:
    order_id = accepted(archiving.stage)
    assert archiving.move() == 1
    completing = complete_archived(archiving, order_id)
    assert archiving.archived() == {of(order_id)}
    payment_id = f"pay-{of(order_id)}"
    voided = m.PaymentReleased(payment_id=payment_id, status="REVERTED")
    by_hand(archiving.stage, voided if what == "voided" else m.OrderCancelled(order_id=order_id, reason="by hand"))
    found = saga(archiving.stage, of(order_id))
    assert found["status"] == "COMPLETED" and found["attention"]
    assert archiving.archived() == set()
    assert saga(archiving.stage, completing)["status"] == "STARTED"


def complete_archived(archiving: Archiving, order_id: str) -> str:
    answer = complete(archiving.stage, order_id)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["saga_id"])


def test_an_order_whose_completion_is_in_the_archive_is_not_completed_again(archiving: Archiving) -> None:
    stage, order_id = archiving.stage, accepted(archiving.stage)
    first = complete(stage, order_id).json()["saga_id"]
    done(stage, first, order_id)
    assert archiving.move() == 2
    for _ in range(2):
        again = complete(stage, order_id)
        assert (again.status_code, again.json()["saga_id"], again.json()["status"]) == (202, first, "COMPLETED")
        assert complete(stage, order_id, payout_cents=434).status_code == 409
        archiving.archive.restore(UUID(of(order_id)))
    assert stage.client.get("/stats", params={"saga": "complete_order"}).json()["total"]["started"] == 1


def test_one_that_was_taken_back_and_archived_is_followed_by_another(archiving: Archiving) -> None:
    stage, order_id = archiving.stage, accepted(archiving.stage)
    first = complete(stage, order_id).json()["saga_id"]
    hear(stage, first, c.OrderDeliveryFailed(error="ILLEGAL_STATE", order_id=order_id))
    assert saga(stage, first)["status"] == "COMPENSATED"
    assert archiving.move() == 2
    second = complete_archived(archiving, order_id)
    assert second != first
    done(stage, second, order_id)


def test_a_saga_comes_back_with_the_others_of_its_order(archiving: Archiving) -> None:
    stage, order_id, other = archiving.stage, accepted(archiving.stage), accepted(archiving.stage)
    first = complete(stage, order_id).json()["saga_id"]
    done(stage, first, order_id)
    assert archiving.move() == 3
    assert {str(one) for one in archiving.archive.restore(UUID(of(order_id)))} == {of(order_id), first}
    assert archiving.archived() == {of(other)}
    assert not archiving.archive.restore(UUID(first))


def test_a_completion_that_is_moved_while_it_is_looked_for_is_looked_for_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look for its id and the look at itself it comes back from the archive: it is in neither place."""
    order_id = accepted(stage)
    first = complete(stage, order_id).json()["saga_id"]
    get, missed = stage.api.store.get, [UUID(first)]

    def miss_once(saga_id: UUID) -> Instance[Any] | None:
        if saga_id not in missed:
            return get(saga_id)
        missed.remove(saga_id)
        return None

    monkeypatch.setattr(stage.api.store, "get", miss_once)
    assert complete(stage, order_id).json()["saga_id"] == first
    assert not missed
