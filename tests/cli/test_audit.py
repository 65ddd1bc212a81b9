"""The trail of what operators did, asked for and were refused, read at a terminal."""

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from tests.cli.test_cli import ordersaga
from tests.runtime.stage import Stage, new_saga_id, opened


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    with opened(database_url) as found:
        yield found


@pytest.fixture
def saga_id(stage: Stage) -> UUID:
    return stage.begin()


def audit(database_url: str, *arguments: object) -> list[str]:
    """What each line says after its number and time."""
    done = ordersaga("audit", *map(str, arguments), DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    return [line.split("  ", 2)[-1].split("  ", 1)[-1] for line in (one.strip() for one in done.stdout.splitlines())]


def test_what_was_granted_and_what_was_refused_is_kept_with_a_name_and_a_reason(
    database_url: str, saga_id: UUID
) -> None:
    who = ("--who", "night", "--why", "the shop has closed")
    assert ordersaga("sagas", "retry", str(saga_id), *who, DATABASE_URL=database_url).returncode == 1
    assert ordersaga("sagas", "cancel", str(saga_id), *who, DATABASE_URL=database_url).returncode == 0
    cancelled, retried = audit(database_url)
    assert cancelled == f"cancel {saga_id} by night (operator): the shop has closed: applied"
    assert retried.startswith(f"retry {saga_id} by night (operator): the shop has closed: refused")
    assert "twice" in retried, "why it was refused"


@pytest.mark.parametrize("told", [("--who", " ", "--why", "a fire"), ("--who", "night", "--why", "")])
def test_nobody_steps_in_without_a_name_and_a_reason(database_url: str, saga_id: UUID, told: tuple[str, ...]) -> None:
    done = ordersaga("sagas", "cancel", str(saga_id), *told, DATABASE_URL=database_url)
    assert done.returncode == 2 and "kept in the audit" in done.stderr
    assert audit(database_url) == ["none"]


def test_a_wish_for_what_is_not_there_is_kept_too(database_url: str, stage: Stage) -> None:
    nobody = new_saga_id()
    ordersaga("sagas", "resolve", str(nobody), "--who", "night", "--why", "seen", DATABASE_URL=database_url)
    assert audit(database_url) == [f"resolve {nobody} by night (operator): seen: no such saga"]


def test_the_switch_for_orders_and_what_becomes_of_letters_are_in_it(database_url: str, stage: Stage) -> None:
    ordersaga("orders", "stop", "--who", "night", "--why", "a fire", DATABASE_URL=database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            insert into ordersaga.dead_letters
                (topic, partition, "offset", key, value, headers, timestamp_ms, reason, detail)
            values ('order_events', 3, 17, null, 'x', %s, 1, 'unreadable', 'is not JSON')
            """,
            [b"\x90"],
        )
    ordersaga("dead-letters", "discard", "1", "--who", "day", "--why", "rubbish", DATABASE_URL=database_url)
    ordersaga("dead-letters", "discard", "1", "--who", "day", "--why", "again", DATABASE_URL=database_url)
    assert audit(database_url) == [
        "dead letter 1 by day (operator): rubbish: discarded",
        "stop orders by night (operator): a fire: done",
    ]


def test_one_saga_and_page_after_page(database_url: str, stage: Stage, saga_id: UUID) -> None:
    other = stage.begin()
    for one in (saga_id, other, saga_id):
        ordersaga("sagas", "resolve", str(one), "--who", "night", "--why", "seen", DATABASE_URL=database_url)
    assert len(audit(database_url)) == 3
    assert len(audit(database_url, "--saga", saga_id)) == 2
    newest = ordersaga("audit", "--most", "1", DATABASE_URL=database_url).stdout.split()[0]
    (next_one,) = audit(database_url, "--most", "1", "--before", newest)
    assert next_one.startswith(f"resolve {other}")
    assert audit(database_url, "--saga", new_saga_id()) == ["none"]


def test_no_wish_is_ever_changed_or_lost_by_its_reader(database_url: str, stage: Stage, saga_id: UUID) -> None:
    ordersaga("sagas", "resolve", str(saga_id), "--who", "night", "--why", "line\nbreak", DATABASE_URL=database_url)
    first = audit(database_url)
    assert first == audit(database_url) == [f"resolve {saga_id} by night (operator): line break: applied"]


def test_what_is_done_to_the_archive_is_in_it(database_url: str, stage: Stage) -> None:
    who, nobody = ("--who", "night", "--why", "a look"), new_saga_id()
    ordersaga("archive", "run", "--older-than-days", "30", *who, DATABASE_URL=database_url)
    ordersaga("archive", "restore", str(nobody), *who, DATABASE_URL=database_url)
    assert audit(database_url) == [
        f"archive restore {nobody} by night (operator): a look: not in the archive",
        "archive run by night (operator): a look: 0 sagas archived",
        "archive run by night (operator): a look: begun",
    ]
