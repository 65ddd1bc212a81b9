"""What comes late for a saga that is in a file: taken back as for any other, and kept where the file cannot be read."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from ordersaga.orchestrator.core.inputs import CancelAsked
from ordersaga.orchestrator.core.instance import Requested, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.runtime.archiving import Archiver, ArchiveSettings, archive_all
from ordersaga.orchestrator.runtime.dead_letters import DeadLetters
from ordersaga.orchestrator.store.archive import PostgresArchive
from ordersaga.orchestrator.store.archive_files import ArchiveUnreadable, Directory
from ordersaga.orchestrator.store.filing import PostgresFiling
from ordersaga.orchestrator.store.postgres import PostgresStore
from ordersaga.wire import messages as m
from tests.runtime.stage import Stage, opened, record, settle
from tests.sagas.stories import AUTHORIZED, CANCELLED, CARD, CREATED, RELEASED
from tests.waiting import until

CUSTOMER = CancelAsked(Requested(actor="c4n4ry-1", role="customer", reason=Reason.CUSTOMER_REQUEST))
AT_ONCE = timedelta(0)


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


@pytest.fixture
def stage(database_url: str, directory: Directory) -> Iterator[Stage]:
    with opened(database_url) as found:
        store = found.store
        found.store = PostgresStore(found.pool, store._codec, store._owner, directory=directory)
        yield found


def cancelled_in_a_file(stage: Stage, directory: Directory) -> UUID:
    """Its authorization was never heard of, so that nothing was to be released."""
    saga_id = stage.begin()
    settle(stage, saga_id, [CREATED, CARD])
    stage.handler.ask(saga_id, CUSTOMER, "verb.cancel", {})
    settle(stage, saga_id, [CANCELLED, RELEASED])
    assert stage.get(saga_id).status is Status.CANCELLED
    stage.grow_old()
    assert PostgresArchive(stage.pool).move(older_than=AT_ONCE, limit=10).count == 1
    assert PostgresFiling(stage.pool, directory).file(older_than=AT_ONCE).sagas == 1
    stage.commands()
    return saga_id


def test_a_late_payment_for_a_saga_in_a_file_is_given_back(stage: Stage, directory: Directory) -> None:
    saga_id = cancelled_in_a_file(stage, directory)
    stage.handler.records([record(AUTHORIZED, saga_id, topic="payment_events")])
    assert stage.commands() == [m.RevertPayment(payment_id="p-1", order_id="o-1", reason="CUSTOMER_REQUEST")]
    settle(stage, saga_id, [RELEASED])
    assert stage.get(saga_id).status is Status.CANCELLED
    assert stage.one("select count(*) from orphans") == 0


def test_a_late_payment_whose_file_cannot_be_read_is_kept_until_it_can(
    stage: Stage, directory: Directory, tmp_path: Path
) -> None:
    saga_id = cancelled_in_a_file(stage, directory)
    (path,) = tmp_path.glob("*.jsonl.gz")
    hidden = path.rename(tmp_path / "away")
    late = record(AUTHORIZED, saga_id, topic="payment_events")
    with pytest.raises(ArchiveUnreadable) as caught:
        stage.handler.records([late])
    assert not caught.value.retriable, "others in its batch do not wait for it"
    stage.handler.park(late, caught.value)
    (letter,) = stage.store.dead_letters()
    assert letter.letter.reason == "archive_unreadable" and path.name in letter.letter.detail

    letters = DeadLetters(stage.store, stage.handler)
    assert letters.try_parked() == 0
    assert stage.commands() == []
    hidden.rename(path)
    assert letters.try_parked() == 1
    assert stage.commands() == [m.RevertPayment(payment_id="p-1", order_id="o-1", reason="CUSTOMER_REQUEST")]
    assert stage.store.dead_letters() == []


def test_the_archiver_moves_puts_into_files_and_forgets_by_itself(
    stage: Stage, directory: Directory, tmp_path: Path
) -> None:
    archive, filing = PostgresArchive(stage.pool, directory=directory), PostgresFiling(stage.pool, directory)
    saga_id = stage.begin()
    settle(stage, saga_id, [m.OrderCreationFailed(error="NO")])
    stage.grow_old()
    keeping = ArchiveSettings(older_than=AT_ONCE, forget_after=None, file_after=AT_ONCE)
    archiver = Archiver(archive, keeping, filing=filing)
    archiver.start()
    until(lambda: bool(stage.one("select count(*) from archive where file is not null") == 1), "it is in a file")
    assert archiver.stop(5)
    assert stage.get(saga_id).status is Status.COMPENSATED
    forgetting = ArchiveSettings(older_than=None, forget_after=AT_ONCE, file_after=AT_ONCE)
    done = list(archive_all(archive, forgetting, lambda: True, filing))[-1]
    assert (done.filed, done.forgotten) == (0, 1)
    assert stage.store.get(saga_id) is None
    assert list(tmp_path.iterdir()) == []
