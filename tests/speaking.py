"""Who speaks on a connection to PostgreSQL, by turns."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from tempfile import TemporaryFile
from typing import Any

from psycopg import Connection


@contextmanager
def turns_of(connection: Connection[Any]) -> Iterator[list[str]]:
    """Filled when the block ends, as libpq saw it: F is we, B the server. Each change from F to B is a round trip."""
    turns: list[str] = []
    with TemporaryFile() as file:
        connection.pgconn.trace(file.fileno())
        try:
            yield turns
        finally:
            connection.pgconn.untrace()
        file.seek(0)
        lines = file.read().decode(errors="replace").splitlines()
    speakers = [line.split("\t")[1] for line in lines if line.count("\t") > 1]
    turns += [speaker for speaker, _ in groupby(speaker for speaker in speakers if speaker in ("F", "B"))]
