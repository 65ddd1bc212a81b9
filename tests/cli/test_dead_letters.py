"""What was set aside, at a terminal: listed, shown, replayed, discarded, while no service runs."""

import psycopg
import pytest

from ordersaga.orchestrator.store.migrate import migrate
from tests.cli.test_cli import ordersaga


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
    assert done.returncode == 1 and done.stderr.startswith("ordersaga: there is no dead letter 99\n")
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
    listed = ordersaga("orphans", "--most", "2", DATABASE_URL=letters).stdout.splitlines()
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
