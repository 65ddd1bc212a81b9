"""The payment service's ledger, as far as it is read here: from its database by a query, or from a file.

Nothing is ever written: a query goes in a transaction that is read only. Each row has the columns of `core.reconcile.
Payment`; more are passed over, so that an export can be taken as it is.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg.rows import dict_row

from ordersaga.orchestrator.core.reconcile import Payment

_CONNECT_SECONDS = 5
_BOUNDED: LiteralString = "SET LOCAL statement_timeout = '5min'"


class LedgerUnreadable(Exception):
    """The message says what is wrong, and where."""

    retriable = False


def from_database(database_url: str, query: str, *, since: datetime) -> Iterator[Payment]:
    """`query` may use `%(since)s`. Raises `LedgerUnreadable`."""
    try:
        with closing(psycopg.connect(database_url, connect_timeout=_CONNECT_SECONDS)) as connection:
            connection.read_only = True
            connection.execute(_BOUNDED)
            with connection.cursor("ledger", row_factory=dict_row) as cursor:
                cursor.execute(query.encode(), {"since": since} if "%(since)s" in query else None)
                yield from _payments(cursor)
    except psycopg.Error as error:
        raise LedgerUnreadable(f"the ledger cannot be read: {str(error).strip()}") from error


def from_file(path: Path) -> Iterator[Payment]:
    """CSV with a line of names, or lines of JSON. Raises `LedgerUnreadable`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows: Iterable[Mapping[str, Any]] = (
                csv.DictReader(file)
                if path.suffix.lower() == ".csv"
                else (msgspec.json.decode(line, type=dict[str, Any]) for line in file if line.strip())
            )
            yield from _payments(rows)
    except (OSError, UnicodeDecodeError, csv.Error, msgspec.DecodeError) as error:
        raise LedgerUnreadable(f"{path} cannot be read: {error}") from error
    except RecursionError:
        raise LedgerUnreadable(f"{path} cannot be read: a line of it is nested too deep") from None


def _payments(rows: Iterable[Mapping[str, Any]]) -> Iterator[Payment]:
    for number, row in enumerate(rows, start=1):
        given = {name: row.get(name) for name in Payment.__struct_fields__ if row.get(name) not in (None, "")}
        try:
            payment = msgspec.convert(given, Payment, strict=False)
        except msgspec.ValidationError as error:
            raise LedgerUnreadable(f"row {number} of the ledger: {error}") from error
        yield msgspec.structs.replace(payment, status=payment.status.upper())
