"""The address of a database, as libpq reads it: a URL, or words such as `host=db user=saga`.

It is looked at before anything connects. What libpq says of one that it cannot read quotes it, password and all; and
one that it reads otherwise than it was meant, since a `@` or a `/` stands in the password as it is, shows a part of the
password as a host, a port or a database.
"""

import re
from collections.abc import Collection

import psycopg
from psycopg.conninfo import conninfo_to_dict

_WITH_A_DRIVER = re.compile(r"postgres(ql)?\+\w+://")
_PASSWORD_IN_URL = re.compile(r"\w+://[^:@/]*:([^@/]+)@")
_SECRET = ("password", "sslpassword")


def problem_of(address: str) -> str:
    """What is wrong with it, in words that hold nothing of it; empty where it can be used."""
    if _WITH_A_DRIVER.match(address):
        return "names a driver, as SQLAlchemy has it: it begins with postgresql://"
    found = _parts_of(address)
    if found is None or not _is_meant(found):
        return "cannot be read: in user and password % is written %25, @ %40, / %2F and : %3A"
    return ""


def passwords_in(address: str) -> Collection[str]:
    """As they are meant and, of a URL, as it has them."""
    found = _parts_of(address) or {}
    as_written = _PASSWORD_IN_URL.match(address)
    return {*(found[name] for name in _SECRET if found.get(name)), *(as_written.groups() if as_written else ())}


def _parts_of(address: str) -> dict[str, str] | None:
    """By the names that libpq has for them; None where it cannot read it."""
    try:
        return {name: str(value) for name, value in conninfo_to_dict(address).items()}
    except (psycopg.Error, ValueError):
        # Also what is no UTF-8, as it stands or decoded.
        return None


def _is_meant(parts: dict[str, str]) -> bool:
    ports = parts.get("port", "").split(",")
    names = [parts.get(name, "") for name in ("host", "hostaddr", "dbname")]
    return not any("@" in name for name in names) and all(not port or port.isdecimal() for port in ports)
