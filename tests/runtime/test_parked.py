"""What was set aside for a reason that may pass is tried again: as it came, and each letter for itself."""

import pytest
from structlog.testing import capture_logs

from ordersaga.orchestrator.core.instance import Became
from ordersaga.orchestrator.runtime.dead_letters import DeadLetters
from ordersaga.orchestrator.runtime.handle import CannotBeUsed, Handler
from ordersaga.orchestrator.runtime.verbs import Actor
from ordersaga.orchestrator.store.protocol import BadRow, Batch, StoredDeadLetter, StoreUnavailable
from tests.runtime.stage import Stage, record
from tests.sagas.stories import CREATED
from tests.store.sagas import dead_letter


@pytest.fixture
def letters(stage: Stage) -> DeadLetters:
    return DeadLetters(stage.store, stage.handler)


def test_they_are_tried_in_the_order_in_which_they_came(
    stage: Stage, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An acceptance and its reversal may have no stamps that say which was last."""
    _park(stage, *range(250))
    tried: list[int] = []

    def replay(_: Handler, stored: StoredDeadLetter, *by: str) -> bool:
        tried.append(stored.letter.offset)
        raise CannotBeUsed("unknown_version", "not yet")

    monkeypatch.setattr(Handler, "replay", replay)
    assert letters.try_parked() == 0
    assert tried == list(range(250))


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_one_that_the_database_refuses_keeps_no_other(
    stage: Stage, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    _park(stage, 1, 2)
    _park(stage, 3, reason="archive_unreadable")

    def replay(_: Handler, stored: StoredDeadLetter, *by: str) -> bool:
        if stored.letter.offset == bad:
            raise BadRow("refused")
        return True

    monkeypatch.setattr(Handler, "replay", replay)
    with capture_logs() as logs:
        assert letters.try_parked() == 2
    assert [line["offset"] for line in logs if line["log_level"] == "error"] == [bad]


def test_one_whose_saga_cannot_be_read_stays_and_the_other_is_used(stage: Stage, letters: DeadLetters) -> None:
    sagas = [stage.begin() for _ in range(3)]
    stage.execute("update sagas set version = 2")
    stage.handler.records([record(CREATED, saga_id) for saga_id in sagas])
    stage.execute("update sagas set version = 1")
    stage.execute("update sagas set state = '{}' where id = %s", sagas[1])
    assert letters.try_parked() == 2
    for saga_id in (sagas[0], sagas[2]):
        assert stage.get(saga_id).steps["CREATE_ORDER"].became is Became.DONE
    used = "select count(*) from audit where actor = 'ordersaga' and role = 'service' and outcome = 'replayed'"
    assert stage.one(used) == 2 == stage.one("select count(*) from audit"), "what fails is tried each minute: no entry"
    (left,) = stage.store.dead_letters()
    assert str(sagas[1]).encode() in (left.letter.value or b"")
    with pytest.raises(CannotBeUsed, match=f"the row of the saga {sagas[1]} is damaged"):
        letters.replay(left.id, Actor(name="night-shift", role="operator", reason="a test"))


def test_while_the_database_is_away_none_is_tried_in_vain(
    stage: Stage, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    _park(stage, 1, 2)
    tried: list[int] = []

    def replay(_: Handler, stored: StoredDeadLetter, *by: str) -> bool:
        tried.append(stored.letter.offset)
        raise StoreUnavailable("the database is away")

    monkeypatch.setattr(Handler, "replay", replay)
    with pytest.raises(StoreUnavailable):
        letters.try_parked()
    assert tried == [1]


def _park(stage: Stage, *offsets: int, reason: str = "unknown_version") -> None:
    with stage.store.transaction() as transaction:
        transaction.save(Batch(dead_letters=[dead_letter(offset, reason=reason) for offset in offsets]))
