"""Statements that go to the database together: one sending, one waiting.

A pipeline of psycopg saves the waiting after each statement, and not all of it. It sends each by itself: a call to the
system, which lets another thread have the interpreter, and a waking of the server. It waits for the answer to the BEGIN
that it sends before the first statement, and to a COMMIT; its `transaction()` within a pipeline waits four times. None
of that is needed to know in the end what became of each.

So within `round_trip` all that is said is left to libpq, which keeps it until the block ends or a result is asked for,
and sends what has come together by then, or each 8 kB of it. That takes some names of psycopg's insides, which a new
version may change: a test compares them with the library, and counts how often the server is waited for.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Connection

INSIDES = ("command_queue", "_communicate_gen", "_sync_gen", "_exit_gen", "_fetch_gen")
"""Of `psycopg.Pipeline`. The last two are not touched: they send what is left, and wait."""


@contextmanager
def round_trip(connection: Connection[Any]) -> Iterator[None]:
    """All statements of the block, BEGIN and COMMIT too, go out together when it ends; then each cursor has its result.

    Raises what the first one that failed would have raised, when the block ends. Whoever asks for a result within the
    block waits for it there, and once more at the end. Not to be nested, and nothing is rolled back within it.
    """
    with connection.pipeline() as pipeline:
        pipeline.command_queue = _Straight()
        setattr(pipeline, "_communicate_gen", _no_waiting)  # noqa: B010 (not a name of its face)
        setattr(pipeline, "_sync_gen", _no_waiting)  # noqa: B010
        yield


class _Straight(deque[Callable[[], None]]):
    """Commands do not queue for the next sending: each goes into libpq's buffer at once."""

    def append(self, command: Callable[[], None], /) -> None:
        command()


def _no_waiting() -> Iterator[Any]:
    yield from ()
