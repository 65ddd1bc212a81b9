"""Participants forget what they answered once nobody can ask again, and not sooner."""

from datetime import timedelta
from uuid import UUID

import pytest

from ordersaga.as_set import TOPIC_RETENTION_MS
from ordersaga.participants import forgetting
from ordersaga.participants.forgetting import KEPT, forget_part
from ordersaga.settings import Settings
from ordersaga.wire import messages as m
from ordersaga.wire.codec import Envelope
from ordersaga.wire.ids import message_id
from ordersaga.wire.topics import Participant
from tests.participants.stage import ANOTHER, SAGA, Hosted, command_record, create, hosted, running
from tests.waiting import until

ORDER = Participant.ORDER
ANSWERS = "select count(*) from answers"


def test_an_aged_answer_is_gone_and_a_young_one_is_repeated(database_url: str) -> None:
    with hosted(ORDER, database_url) as service:
        old, young = asked(service, SAGA), asked(service, ANOTHER)
        age(service, SAGA, KEPT + timedelta(minutes=1))
        age(service, ANOTHER, KEPT - timedelta(minutes=1))
        assert not forget_part(service.ledger), "there is no more"
        assert service.one(ANSWERS) == 1
        assert asked(service, ANOTHER) == young
        again = asked(service, SAGA)
        assert again.body == old.body and again.timestamp != old.timestamp, "from the row, which is still there"
        assert service.one("select count(*) from rows") == 2


def test_many_are_forgotten_part_by_part(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "PART_MAX", 1)
    with hosted(ORDER, database_url) as service:
        for saga in (SAGA, ANOTHER):
            asked(service, saga)
            age(service, saga, 2 * KEPT)
        assert [forget_part(service.ledger) for _ in range(3)] == [True, True, False]
        assert service.one(ANSWERS) == 0


def test_a_host_that_runs_forgets_by_itself(database_url: str) -> None:
    with hosted(ORDER, database_url) as service:
        asked(service, SAGA)
        age(service, SAGA, 2 * KEPT)
    with running(ORDER, database_url) as service:
        until(lambda: service.one(ANSWERS) == 0, "the answer is forgotten")
        until(lambda: service.host.health().healthy, "all is well")


def test_nothing_is_forgotten_that_a_topic_still_has_or_an_undo_may_ask_for_again() -> None:
    patient = Settings()
    tried_seconds = patient.undo_timeout_seconds + patient.undo_backoff_seconds_max
    undo = timedelta(seconds=patient.undo_attempts_max * tried_seconds)
    assert timedelta(milliseconds=TOPIC_RETENTION_MS) + undo < KEPT


def asked(service: Hosted, saga: UUID) -> Envelope:
    """What is answered to the same command, each time."""
    service.deliver([command_record(create(saga), saga)])
    (found,) = service.envelopes()
    assert isinstance(found.body, m.OrderCreated)
    return found


def age(service: Hosted, saga: UUID, by: timedelta) -> None:
    """As if it had been answered so long ago."""
    with service.ledger.transaction() as transaction:
        transaction.connection.execute(
            b"update answers set answered_at = clock_timestamp() - %s where message_id = %s",
            [by, message_id(saga, "create_order", "do")],
        )
