"""What a doctor asks of a database before anything else: whether it lets us in, and what we may do there.

Over a connection of its own, since a pool says only that there is none. Changes nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import psycopg

from ordersaga.delivery.deadline import Deadline
from ordersaga.orchestrator.store.connections import AnyConnection, statements
from ordersaga.orchestrator.store.sqlstates import one_line

_SQL, _READ, _MIGRATE = statements("probe.sql"), statements("read.sql"), statements("migrate.sql")
_CONNECT_SECONDS = 5
_LOCAL = ("", "localhost", "127.0.0.1", "::1")


class Trouble(StrEnum):
    """Why there is no connection."""

    AWAY = "away"
    REFUSED = "refused"
    """A wrong user or password."""
    NO_DATABASE = "no database"
    FULL = "full"
    """All its connections are taken."""
    TLS = "tls"


_WORDS = (
    ("too many connections|remaining connection slots", Trouble.FULL),
    ("database .* does not exist", Trouble.NO_DATABASE),
    ("authentication failed|no pg_hba.conf entry|role .* does not exist|not permitted to log in", Trouble.REFUSED),
    ("ssl|certificate", Trouble.TLS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    said: str = ""
    """What the server or the client said, where there is trouble."""
    trouble: Trouble | None = None
    user: str = ""
    server_version: int = 0
    is_standby: bool = False
    is_read_only: bool = False
    is_encrypted: bool = False
    is_local: bool = False
    """On this machine."""
    missing_rights: Sequence[str] = ()
    owners: Sequence[str] = ()
    """Who owns tables that we do not, and may not act for: they alone may change those."""
    is_membership_a_cure: bool = True
    """Whether we could be, and should be, a member of them."""
    schema_version: int | None = None
    """0: there are no tables; None: we may not look."""


def probe(database_url: str, schema: str, timeout_seconds: float = 10.0) -> Probed:
    """Raises nothing for what the server says."""
    try:
        connection: AnyConnection = psycopg.connect(database_url, connect_timeout=_CONNECT_SECONDS)
        with connection, Deadline(timeout_seconds).guard(connection):
            return _look(connection, schema)
    except psycopg.Error as error:
        return Probed(said=_reason(error), trouble=_trouble(error))


def _look(connection: AnyConnection, schema: str) -> Probed:
    ((user, is_standby, is_read_only),) = connection.execute(_SQL["server"]).fetchall()
    missing = [right for (right,) in connection.execute(_SQL["rights"], {"schema": schema})]
    owners = connection.execute(_SQL["owners"], {"schema": schema}).fetchall()
    return Probed(
        user=user,
        server_version=connection.info.server_version,
        is_standby=is_standby,
        is_read_only=is_read_only,
        is_encrypted=bool(connection.pgconn.ssl_in_use),
        is_local=connection.info.host in _LOCAL or connection.info.host.startswith("/"),
        missing_rights=missing,
        owners=[name for name, _ in owners],
        is_membership_a_cure=all(is_a_cure for _, is_a_cure in owners),
        schema_version=None if f"USAGE on schema {schema}" in missing else _schema_version(connection, schema),
    )


def _schema_version(connection: AnyConnection, schema: str) -> int | None:
    try:
        connection.execute(_MIGRATE["enter"], {"schema": schema})
        ((version, _),) = connection.execute(_READ["condition"]).fetchall()
    except psycopg.errors.UndefinedTable:
        return 0
    except psycopg.errors.InsufficientPrivilege:
        return None
    return int(version)


def _trouble(error: psycopg.Error) -> Trouble:
    """A refusal at the door has no SQLSTATE in psycopg: its words tell. They are the server's own in English, and what
    is not known counts as away.
    """
    text = str(error).lower()
    return next((trouble for words, trouble in _WORDS if re.search(words, text)), Trouble.AWAY)


def _reason(error: psycopg.Error) -> str:
    """The line with the cause; psycopg's first one may only count its attempts."""
    lines = [line.strip("- \t") for line in str(error).splitlines() if line.strip()]
    fatal = [line for line in lines if "FATAL:" in line]
    return (fatal or lines or [one_line(error)])[-1 if fatal else 0][:300]
