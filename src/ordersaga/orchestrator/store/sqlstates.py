"""What an error of PostgreSQL means to us: by its SQLSTATE, in one table, and never by its text.

A wrong guess costs either way. A row blamed for what the moment did is parked though it was good; a moment blamed for
what a row did holds up all that come behind it. So a row is blamed only where the server says that it was the row, and
everything that is not listed is retriable.
"""

from collections.abc import Mapping

import psycopg

from ordersaga.orchestrator.store.protocol import BadRow, CommitUnknown, StoreError, StoreUnavailable, WriteRefused

MEANING: Mapping[str, type[StoreError]] = {
    # The row: what it holds is refused today and tomorrow.
    "22": BadRow,  # data exception: out of range, a NUL, not JSON
    "23": BadRow,  # integrity constraint: a check, a key that is taken
    "54": BadRow,  # program limit: nested too deep, too long for an index
    # The moment: the same statement may succeed in a second.
    "08": StoreUnavailable,  # connection exception
    "25006": StoreUnavailable,  # read-only: a standby answered
    "25P03": StoreUnavailable,  # we were idle in a transaction for too long: frozen, most likely
    "25P04": StoreUnavailable,  # the transaction took too long
    "40001": StoreUnavailable,  # serialization failure
    "40P01": StoreUnavailable,  # deadlock
    "53": StoreUnavailable,  # out of memory, of connections (53300)
    "53100": WriteRefused,  # the disk is full
    "55P03": StoreUnavailable,  # somebody holds a lock
    "57014": StoreUnavailable,  # cancelled, as by statement_timeout
    "57P": StoreUnavailable,  # shut down, crashed, starting
    "58": WriteRefused,  # a fault of the system below
    # Neither: a statement that does not fit the schema. Someone has to migrate or to mend; no row is at fault.
    "42": StoreUnavailable,
    "42501": WriteRefused,  # no right
    "3F": StoreUnavailable,
}
"""By SQLSTATE or the beginning of one; the longest that fits counts. What is not here is `StoreUnavailable`."""


def meaning_of(sqlstate: str) -> type[StoreError]:
    for length in range(len(sqlstate), 1, -1):
        if found := MEANING.get(sqlstate[:length]):
            return found
    return StoreUnavailable


def as_ours(error: psycopg.Error) -> StoreError:
    state = error.sqlstate or ""
    if not state:
        # Without an answer of the server: psycopg could not put a value into a statement, or the connection broke.
        kind: type[StoreError] = BadRow if isinstance(error, psycopg.DataError) else StoreUnavailable
        return kind(one_line(error))
    return meaning_of(state)(f"{state} {one_line(error)}")


def commit_failed(error: psycopg.Error) -> StoreError:
    """What to make of an error in place of the answer to COMMIT.

    ERROR is an answer: rolled back. A connection that ended, with FATAL or without a word, may have ended after the
    commit.
    """
    if error.sqlstate and error.diag.severity_nonlocalized == "ERROR":
        return as_ours(error)
    return CommitUnknown(f"the answer to COMMIT was lost: {error.sqlstate or ''} {one_line(error)}")


def one_line(error: BaseException) -> str:
    """The first line: the others quote the row."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
