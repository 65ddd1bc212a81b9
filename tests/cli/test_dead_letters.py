"""What was set aside, at a terminal: listed, shown, replayed, discarded, while no service runs."""

import json
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from ordersaga.orchestrator.core.instance import Became
from ordersaga.orchestrator.store.board import PostgresBoard
from ordersaga.orchestrator.store.migrate import migrate
from ordersaga.orchestrator.store.protocol import Batch
from ordersaga.wire import messages as m
from ordersaga.wire.codec import encode
from ordersaga.wire.topics import Participant
from tests.cli.test_cli import ordersaga
from tests.runtime.stage import Stage, opened, settle
from tests.sagas.stories import ANSWERS, CARD, CREATED
from tests.store.sagas import dead_letter


@pytest.fixture
def letters(database_url: str) -> str:
    """Two unreadable records, one with what a terminal would obey."""
    migrate(database_url, "ordersaga")
    add = """
        insert into ordersaga.dead_letters
            (topic, partition, "offset", key, value, headers, timestamp_ms, reason, detail)
        values ('order_events', 3, 17, null, %s, %s, 1, 'unreadable', 'is not JSON')
    """
    with psycopg.connect(database_url) as connection:
        connection.execute(add, [b"\x1b[31mred\xff", b"\x91\x92\xa2\x1bh\xc4\x01x"])
        connection.execute(add.replace("17", "18"), [b"two", b"\x90"])
    return database_url


def test_letters_are_listed_newest_first_and_shown_whole(letters: str) -> None:
    listed = ordersaga("dead-letters", "list", DATABASE_URL=letters)
    assert [line.split()[4] for line in listed.stdout.splitlines()] == ["order_events/3@18", "order_events/3@17"]
    shown = ordersaga("dead-letters", "show", "1", DATABASE_URL=letters)
    assert "header    \\x1bh = x" in shown.stdout
    assert "value     \\x1b[31mred\\xff" in shown.stdout, "a terminal obeys nothing of it"


def test_what_still_cannot_be_used_is_told_of_and_stays(letters: str) -> None:
    done = ordersaga("dead-letters", "replay", "--reason", "unreadable", "--why", "again", DATABASE_URL=letters)
    assert done.returncode == 1
    assert "1: unreadable" in done.stderr and "2: unreadable" in done.stderr
    assert len(ordersaga("dead-letters", "list", DATABASE_URL=letters).stdout.splitlines()) == 2


def test_one_that_is_not_there_holds_up_no_other(letters: str) -> None:
    done = ordersaga("dead-letters", "discard", "99", "2", "--why", "a test", DATABASE_URL=letters)
    assert done.returncode == 1 and done.stderr.endswith("ordersaga: there is no dead letter 99\n")
    assert len(ordersaga("dead-letters", "list", DATABASE_URL=letters).stdout.splitlines()) == 1


def test_a_letter_is_discarded_with_a_name_and_a_reason(letters: str) -> None:
    done = ordersaga("dead-letters", "discard", "2", "--who", "night", "--why", "a test", DATABASE_URL=letters)
    assert done.returncode == 0 and "discarded by night: a test" in done.stdout
    assert len(ordersaga("dead-letters", "list", DATABASE_URL=letters).stdout.splitlines()) == 1
    assert len(ordersaga("dead-letters", "list", "--settled", DATABASE_URL=letters).stdout.splitlines()) == 2


def test_orphans_are_listed_page_by_page_and_discarded_with_a_name_and_a_reason(letters: str) -> None:
    add = """
        insert into ordersaga.orphans (topic, partition, "offset", saga_id, type, value)
        select 'payment_events', 0, n, '019b7e6c-0000-7000-8000-000000000009', 'payment.authorized', '{}'
        from generate_series(1, 103) n
    """
    with psycopg.connect(letters) as connection:
        connection.execute(add)
    page = ordersaga("orphans", "--most", "2", DATABASE_URL=letters)
    listed = page.stdout.splitlines()
    assert page.stderr.endswith(f"the next page: the same with --before {listed[-1].split()[0]}\n")
    assert [line.split()[5] for line in listed] == ["payment_events/0@103", "payment_events/0@102"]
    older = ordersaga("orphans", "--most", "1", "--before", listed[-1].split()[0], DATABASE_URL=letters).stdout
    assert older.split()[5] == "payment_events/0@101"
    said = ("--who", "night", "--why", "a test")
    done = ordersaga("orphans", "discard", listed[0].split()[0], "999", *said, DATABASE_URL=letters)
    assert done.returncode == 1 and done.stderr.endswith("ordersaga: there is no orphan 999\n")
    assert done.stdout.endswith("payment_events/0@103  discarded by night: a test\n")
    assert ordersaga("orphans", "discard", "--why", "x", DATABASE_URL=letters).returncode == 2
    rest = ordersaga("orphans", "discard", "--all", *said, DATABASE_URL=letters)
    assert rest.returncode == 0 and len(rest.stdout.splitlines()) == 102
    assert ordersaga("orphans", DATABASE_URL=letters).stdout == "none\n"
    audit = ordersaga("audit", "--saga", "019b7e6c-0000-7000-8000-000000000009", DATABASE_URL=letters).stdout
    assert "orphan 1 " in audit and "by night (operator): a test: discarded" in audit


@pytest.mark.parametrize("arguments", [("replay", "--why", "x"), ("discard", "1", "--reason", "r", "--why", "x")])
def test_one_says_which(letters: str, arguments: tuple[str, ...]) -> None:
    refused = ordersaga("dead-letters", *arguments, DATABASE_URL=letters)
    assert refused.returncode == 2 and "say which" in refused.stderr


def test_what_is_not_there_is_told_in_a_line(letters: str) -> None:
    for arguments in (("show", "99"), ("replay", "99", "--why", "x")):
        missing = ordersaga("dead-letters", *arguments, DATABASE_URL=letters)
        assert (missing.returncode, missing.stderr) == (1, "ordersaga: there is no dead letter 99\n")
    assert ordersaga("orphans", DATABASE_URL=letters).stdout == "none\n"
    assert ordersaga("orphans", "--saga-id", "nonsense", DATABASE_URL=letters).returncode == 2


def park(stage: Stage, *values: bytes) -> None:
    """One after the other, as a bug of ours does it."""
    with stage.store.transaction() as transaction:
        letters = [dead_letter(n, value=value, reason="decide_failed") for n, value in enumerate(values)]
        transaction.save(Batch(dead_letters=letters))


def unstamped(event: m.Event, saga_id: UUID) -> bytes:
    told = json.loads(encode(event, correlation_id=saga_id, timestamp=datetime.now(UTC), source="order-service"))
    del told["timestamp"]
    return json.dumps(told).encode()


@pytest.mark.parametrize("which", [("--reason", "decide_failed"), ("2", "1")], ids=["all", "as listed"])
def test_a_reversal_is_not_heard_before_the_acceptance_that_it_takes_back(
    database_url: str, which: tuple[str, str]
) -> None:
    with opened(database_url) as stage:
        saga_id = stage.begin()
        settle(stage, saga_id, ANSWERS)
        accepted, given_back = m.OrderAccepted(order_id="o-1"), m.OrderAcceptanceCancelled(order_id="o-1")
        park(stage, unstamped(accepted, saga_id), unstamped(given_back, saga_id))
        done = ordersaga("dead-letters", "replay", *which, "--why", "mended", DATABASE_URL=database_url)
        assert done.returncode == 0, done.stderr
        found = stage.get(saga_id)
        assert found.accepted is None and found.window_reopened, "it is open, and its window runs out"


def test_what_is_replayed_begins_no_step_of_a_service_that_answers_nobody(database_url: str) -> None:
    with opened(database_url) as stage:
        saga_id = stage.begin()
        settle(stage, saga_id, ANSWERS[:1])
        park(stage, unstamped(CARD, saga_id))
        PostgresBoard(stage.pool).tell({Participant.PAYMENT: 5}, ())
        done = ordersaga("dead-letters", "replay", "1", "--why", "mended", DATABASE_URL=database_url)
        assert done.returncode == 0, done.stderr
        assert stage.get(saga_id).held_since is not None
        assert stage.one("select count(*) from outbox where topic = 'payment_commands'") == 0


def test_letters_that_still_cannot_be_used_hide_no_older_one(database_url: str) -> None:
    with opened(database_url) as stage:
        saga_id = stage.begin()
        park(stage, unstamped(CREATED, saga_id), *[b"\x90"] * 102)
        done = ordersaga("dead-letters", "replay", "--reason", "decide_failed", "--why", "x", DATABASE_URL=database_url)
        assert done.returncode == 1 and done.stderr.count(": unreadable: ") == 102
        assert len(done.stdout.splitlines()) == 1 and "replayed by" in done.stdout
        assert stage.get(saga_id).steps["CREATE_ORDER"].became is Became.DONE


def test_letters_are_listed_page_by_page(letters: str) -> None:
    first = ordersaga("dead-letters", "list", "--most", "1", DATABASE_URL=letters)
    assert first.stderr == "there are more; the next page: the same with --before 2\n"
    rest = ordersaga("dead-letters", "list", "--most", "1", "--before", "2", DATABASE_URL=letters)
    assert rest.stdout.split()[0] == "1" and rest.stderr == "", "that was all"
