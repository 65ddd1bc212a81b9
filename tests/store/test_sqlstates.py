"""Which errors are the row's fault and which are the moment's: each raised by a real server."""

from collections.abc import Iterator

import pytest

from ordersaga.orchestrator.store.connections import Connections
from ordersaga.orchestrator.store.protocol import (
    BadRow,
    CommitUnknown,
    StoreError,
    StoreUnavailable,
    WriteRefused,
)
from ordersaga.orchestrator.store.sqlstates import MEANING, meaning_of

from .places import SCHEMA, PostgresPlace

RAISED = {
    "22P05": BadRow,  # a NUL in a document
    "22003": BadRow,  # out of range
    "23505": BadRow,
    "23514": BadRow,
    "54000": BadRow,  # too long for an index
    "08006": StoreUnavailable,
    "25006": StoreUnavailable,
    "25P03": StoreUnavailable,
    "25P04": StoreUnavailable,
    "3F000": StoreUnavailable,
    "40001": StoreUnavailable,
    "40P01": StoreUnavailable,
    "42P01": StoreUnavailable,
    "42501": WriteRefused,
    "53100": WriteRefused,
    "53200": StoreUnavailable,
    "53300": StoreUnavailable,
    "55P03": StoreUnavailable,
    "57014": StoreUnavailable,
    "57P01": StoreUnavailable,
    "57P02": StoreUnavailable,
    "57P03": StoreUnavailable,
    "58030": WriteRefused,
    "XX000": StoreUnavailable,  # not in the table: nobody is blamed
}


@pytest.fixture
def connections(postgres: PostgresPlace) -> Iterator[Connections]:
    connections = Connections(postgres.pool, 10.0, None)
    yield connections
    connections.close()


def raising(sqlstate: str) -> bytes:
    return f"DO $$ BEGIN RAISE EXCEPTION 'as asked' USING ERRCODE = '{sqlstate}'; END $$".encode()


@pytest.mark.parametrize(("sqlstate", "kind"), RAISED.items(), ids=RAISED)
def test_an_error_is_the_rows_or_the_moments(connections: Connections, sqlstate: str, kind: type[StoreError]) -> None:
    with pytest.raises(StoreError) as caught:
        connections.ask(raising(sqlstate), {})
    assert type(caught.value) is kind
    assert str(caught.value) == f"{sqlstate} as asked"
    assert connections.ask(b"SELECT 1", {}) == [(1,)]


def test_every_line_of_the_table_is_tried() -> None:
    assert [start for start in MEANING if not any(sqlstate.startswith(start) for sqlstate in RAISED)] == []


def test_the_longest_that_fits_counts() -> None:
    assert meaning_of("25006") is MEANING["25006"]
    assert meaning_of("57P05") is MEANING["57P"]
    assert meaning_of("") is StoreUnavailable


AT_COMMIT = """
    CREATE FUNCTION {schema}.at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what}; RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON {schema}.audit DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION {schema}.at_commit()
"""
INSERT = b"INSERT INTO audit (actor, role, verb, reason, outcome) VALUES ('a', 'r', 'v', 'r', 'o')"


def insert(connections: Connections) -> None:
    with connections.transaction() as connection:
        connection.execute(INSERT)


@pytest.mark.parametrize(("sqlstate", "kind"), [("40001", StoreUnavailable), ("23514", BadRow)])
def test_a_commit_that_is_answered_with_an_error_did_not_take_place(
    postgres: PostgresPlace, connections: Connections, sqlstate: str, kind: type[StoreError]
) -> None:
    what = f"RAISE EXCEPTION 'as asked' USING ERRCODE = '{sqlstate}'"
    postgres.ask(AT_COMMIT.format(schema=SCHEMA, what=what).encode())
    with pytest.raises(StoreError) as caught:
        insert(connections)
    assert type(caught.value) is kind
    assert postgres.ask("SELECT count(*) FROM audit") == [(0,)]


def test_a_connection_that_ends_at_commit_leaves_it_unknown(postgres: PostgresPlace, connections: Connections) -> None:
    what = "PERFORM pg_terminate_backend(pg_backend_pid())"
    postgres.ask(AT_COMMIT.format(schema=SCHEMA, what=what).encode())
    with pytest.raises(CommitUnknown) as caught:
        insert(connections)
    assert caught.value.retriable
