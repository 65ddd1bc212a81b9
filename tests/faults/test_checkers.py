"""Each checker of the runs notices what it is for: one that never failed proves nothing. (Those that read ledgers are
shown to fail in tests/e2e/test_orders.py.)
"""

from random import Random
from uuid import UUID

import psycopg
import psycopg.types.json
import pytest

from ordersaga.orchestrator.store.migrate import migrate
from tests.faults.crash import all_failpoints, cases, roles_of
from tests.faults.judging import unexpected
from tests.faults.topics import Said, compare
from tests.faults.traffic import Traffic

SAGA = UUID("019b7e6c-0000-7000-8000-000000000001")
SENT = ("11111111-0000-4000-8000-000000000000", "22222222-0000-4000-8000-000000000000")


@pytest.fixture
def one_saga(database_url: str) -> str:
    """It sent two messages, the second one twice."""
    migrate(database_url, "ordersaga")
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            insert into ordersaga.sagas
                (id, saga, version, status, revision, attention, resolved, created_at, updated_at, state)
            values (%s, 'create_order', 1, 'STARTED', 2, false, false, now(), now(), '{}')
            """,
            [SAGA],
        )
        for revision, message_ids in ((1, SENT), (2, SENT[1:])):
            body = psycopg.types.json.Jsonb({"sent": [{"message_id": one} for one in message_ids]})
            add = "insert into ordersaga.saga_history (saga_id, revision, cause, body) values (%s, %s, 'x', %s)"
            connection.execute(add, [SAGA, revision, body])
    return database_url


def said(*times: int, saga_id: str = str(SAGA)) -> Said:
    found = Said()
    for message_id, count in zip(SENT, times, strict=False):
        found.times["order_commands", message_id] = count
        found.sagas[message_id] = saga_id
        found.types[message_id] = "CreateOrder"
    return found


def test_what_was_said_as_often_as_it_was_sent_is_fine(one_saga: str) -> None:
    found = compare(said(1, 2), one_saga)
    assert (found.unknown, found.missing, found.doubled) == ([], [], {})


def test_a_record_that_is_there_once_too_often_is_found(one_saga: str) -> None:
    assert compare(said(2, 3), one_saga).doubled == {"CreateOrder": 2}


def test_a_record_that_never_reached_its_topic_is_found(one_saga: str) -> None:
    assert compare(said(1), one_saga).missing == [SENT[1]]


def test_a_command_of_no_saga_is_found(one_saga: str) -> None:
    assert compare(said(1, 2, saga_id="019b7e6c-0000-7000-8000-000000000002"), one_saga).unknown == list(SENT)


def test_an_order_that_cannot_have_been_completed_is_found() -> None:
    traffic = Traffic([], None, 1.0, Random(1))
    traffic.placed = {"declined-1": "a", "happy-2": "b"}
    assert unexpected(traffic, {"a": "COMPLETED", "b": "COMPLETED"}) == ["declined-1 ended COMPLETED"]
    assert unexpected(traffic, {"a": "COMPENSATED", "b": "COMPENSATED"}) == []


def test_every_failpoint_of_the_program_is_died_at_in_every_phase() -> None:
    found = cases()
    assert {case.point for case in found} == set(all_failpoints())
    assert len(found) == 3 * sum(len(roles_of(point)) for point in all_failpoints())
    assert len(found) == len(set(found)) > 80
