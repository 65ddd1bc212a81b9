"""Sagas that have ended go away by themselves, and what comes late for one of them is still taken back."""

from datetime import timedelta
from uuid import UUID

import pytest

from ordersaga.orchestrator.core.inputs import CancelAsked
from ordersaga.orchestrator.core.instance import Requested, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.runtime.archiving import Archiver, ArchiveSettings, archive_all
from ordersaga.orchestrator.store.archive import PostgresArchive
from ordersaga.wire import messages as m
from tests.runtime.stage import Stage, record, settle
from tests.sagas.stories import AUTHORIZED, CANCELLED, CARD, CREATED, RELEASED
from tests.waiting import until

NOW = ArchiveSettings(older_than=timedelta(0), forget_after=None, batch_max=2)
CUSTOMER = CancelAsked(Requested(actor="c4n4ry-1", role="customer", reason=Reason.CUSTOMER_REQUEST))


@pytest.fixture
def archive(stage: Stage) -> PostgresArchive:
    return PostgresArchive(stage.pool)


def test_a_late_payment_for_an_archived_saga_is_given_back(stage: Stage, archive: PostgresArchive) -> None:
    saga_id = stage.begin()
    settle(stage, saga_id, [CREATED, CARD])
    stage.handler.ask(saga_id, CUSTOMER, "verb.cancel", {})
    settle(stage, saga_id, [CANCELLED, RELEASED])
    assert stage.get(saga_id).status is Status.CANCELLED
    stage.grow_old()
    assert archive.move(older_than=timedelta(0), limit=10).count == 1
    assert stage.one("select count(*) from sagas") == 0
    stage.commands()

    stage.handler.records([record(AUTHORIZED, saga_id, topic="payment_events")])

    assert stage.commands() == [m.RevertPayment(payment_id="p-1", order_id="o-1", reason="CUSTOMER_REQUEST")]
    assert archive.move(older_than=timedelta(0), limit=10).count == 0, "it waits for the confirmation"
    settle(stage, saga_id, [RELEASED])
    stage.grow_old()
    assert archive.move(older_than=timedelta(0), limit=10).count == 1
    assert stage.get(saga_id).status is Status.CANCELLED
    assert stage.one("select count(*) from orphans") == 0


def test_the_customer_may_still_ask_for_what_cannot_be_had(stage: Stage, archive: PostgresArchive) -> None:
    saga_id = _ended(stage)
    archive.move(older_than=timedelta(0), limit=10)
    stage.handler.ask(saga_id, CUSTOMER, "verb.cancel", {})
    assert stage.get(saga_id).status is Status.COMPENSATED


def test_the_archiver_moves_all_that_is_old_and_rests(stage: Stage, archive: PostgresArchive) -> None:
    for _ in range(5):
        _ended(stage)
    open_one = stage.begin()
    archiver = Archiver(archive, NOW)
    archiver.start()
    until(lambda: bool(stage.one("select count(*) from archive") == 5), "all are archived")
    assert archiver.health().healthy
    assert archiver.stop(5)
    assert stage.one("select id from sagas") == open_one


def test_it_tells_how_far_it_is_and_goes_on_where_it_was_stopped(stage: Stage, archive: PostgresArchive) -> None:
    for _ in range(5):
        _ended(stage)
    rests = iter([True, False])
    assert [one.moved for one in archive_all(archive, NOW, lambda: next(rests))] == [2, 4]
    assert [one.moved for one in archive_all(archive, NOW, lambda: True)][-1] == 1


def test_nothing_is_moved_or_forgotten_unless_it_is_wished(stage: Stage, archive: PostgresArchive) -> None:
    _ended(stage)
    never = ArchiveSettings(older_than=None, forget_after=None)
    assert list(archive_all(archive, never, lambda: True)) == []
    at_once = ArchiveSettings(older_than=timedelta(0), forget_after=timedelta(0), batch_max=2)
    done = list(archive_all(archive, at_once, lambda: True))[-1]
    assert (done.moved, done.forgotten) == (1, 1)
    assert stage.one("select count(*) from archive") == 0


def _ended(stage: Stage) -> UUID:
    saga_id = stage.begin()
    settle(stage, saga_id, [m.OrderCreationFailed(error="NO")])
    assert stage.get(saga_id).status is Status.COMPENSATED
    stage.grow_old()
    return saga_id
