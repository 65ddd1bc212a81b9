"""Tables are made and changed beside hosts that work and beside people who read, and keep none of them waiting."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from ordersaga.participants.everyone import SERVICES
from ordersaga.participants.ledger_protocol import LedgerUnavailable
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.participants.stage import AUTHORIZE, Hosted, hosted
from tests.waiting import until

WITHIN_SECONDS = 30
READS = "select from participant_payment.rows"
ALL_TABLES = "select string_agg(format('%I.%I', schemaname, tablename), ', ') from pg_tables where schemaname = "
MAKES_TABLES = "select pg_advisory_xact_lock(hashtextextended('participant_order', 0))"
WAITS_LONG = (
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'advisory'"
    " and clock_timestamp() - xact_start > interval '4 seconds'"
)
COLUMNS = "select array_agg(column_name::text) from information_schema.columns where table_name = 'rows'"
INDEXES = "select array_agg(indexname::text) from pg_indexes where schemaname = current_schema"
ADDED_COLUMNS = {
    Participant.ORDER: ["delivered_for", "delivered_from", "called_off"],
    Participant.PAYMENT: ["hold_key", "runner_id", "payout_id", "payout_cents"],
}
EVERYWHERE = ["acts_key", "answers_answered_at"]
ADDED_INDEXES = {
    **dict.fromkeys(Participant, EVERYWHERE),
    Participant.TIMER: [*EVERYWHERE, "rows_due"],
    Participant.NOTIFICATION: [*EVERYWHERE, "rows_customer"],
}


@contextmanager
def held(database_url: str, statement: str) -> Iterator[ThreadPoolExecutor]:
    """Somebody has run `statement` and does not end the transaction; threads for whoever may have to wait for that."""
    with ThreadPoolExecutor(2) as threads, psycopg.connect(database_url) as somebody:
        somebody.execute(statement.encode())
        try:
            yield threads
        finally:
            somebody.rollback()


@pytest.mark.parametrize("participant", Participant)
def test_a_start_that_finds_all_there_asks_for_no_lock_on_a_table(participant: Participant, database_url: str) -> None:
    with hosted(participant, database_url) as service:
        tables = service.one(f"{ALL_TABLES} '{SERVICES[participant].schema}'")
        with held(database_url, f"lock table {tables} in access exclusive mode") as threads:
            threads.submit(service.host.create_tables).result(WITHIN_SECONDS)


def test_a_host_that_starts_while_somebody_reads_for_an_hour_keeps_the_others_from_nothing(database_url: str) -> None:
    def start_another() -> None:
        with hosted(Participant.PAYMENT, database_url):
            pass

    with hosted(Participant.PAYMENT, database_url) as service, held(database_url, READS) as threads:
        started, answered = threads.submit(start_another), threads.submit(service.ask, AUTHORIZE)
        assert isinstance(answered.result(WITHIN_SECONDS)[0], m.PaymentAuthorized)
        started.result(WITHIN_SECONDS)


def test_a_change_gives_way_to_whoever_holds_the_table_and_is_made_afterwards(database_url: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        change(service, "alter table rows drop column hold_key")
        with (
            held(database_url, READS) as threads,
            pytest.raises(LedgerUnavailable, match="55P03"),
        ):
            threads.submit(service.host.create_tables).result(WITHIN_SECONDS)
        service.host.create_tables()
        assert isinstance(service.ask(AUTHORIZE)[0], m.PaymentAuthorized)


def test_whoever_waits_for_another_to_make_the_tables_is_not_hurried(database_url: str) -> None:
    with (
        hosted(Participant.ORDER, database_url) as first,
        hosted(Participant.ORDER, database_url, tables=False, timeout_seconds=2.0) as second,
        held(database_url, MAKES_TABLES) as threads,
    ):
        waiting = threads.submit(second.host.create_tables)
        until(
            lambda: waiting.done() or first.one(WAITS_LONG) == 1, "it has waited for longer than a transaction may take"
        )
        assert not waiting.done()
    waiting.result(WITHIN_SECONDS)


@pytest.mark.parametrize("participant", ADDED_COLUMNS)
def test_each_column_that_an_older_version_did_not_have_is_added(participant: Participant, database_url: str) -> None:
    with hosted(participant, database_url) as service:
        for column in ADDED_COLUMNS[participant]:
            change(service, f"alter table rows drop column {column}")
            service.host.create_tables()
            assert column in service.one(COLUMNS)


@pytest.mark.parametrize("participant", Participant)
def test_each_index_that_is_not_there_is_made(participant: Participant, database_url: str) -> None:
    with hosted(participant, database_url) as service:
        for index in ADDED_INDEXES[participant]:
            change(service, f"drop index {index}")
            service.host.create_tables()
            assert index in service.one(INDEXES)


def change(service: Hosted, statement: str) -> None:
    with service.ledger.transaction() as transaction:
        transaction.connection.execute(statement.encode())
