"""How the command line reads its settings and tells what went wrong."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from ordersaga.settings import Settings


EXIT_CODES = "Exit codes: 0 all is done and well; 1 it failed, or something is not well; 2 a wrong option or setting."


def say_exit_codes(app: typer.Typer) -> None:
    """At the end of each command's help."""
    for command in app.registered_commands:
        command.epilog = EXIT_CODES
    for group in app.registered_groups:
        assert group.typer_instance is not None
        say_exit_codes(group.typer_instance)


def read_settings(env_file: Path | None, *, needs: Collection[str], serves: bool = False, **fixed: Any) -> "Settings":
    """Read, and take over what belongs to the whole process: logging and failpoints.

    A command that a person waits for (`serves` is false) tells what goes wrong itself; its Kafka client is quiet.
    `fixed`: see `read`.
    """
    from ordersaga.logs import configure
    from ordersaga.settings_reading import read

    found = read(env_file=env_file, needs=needs, **fixed)
    configure(found)
    if not serves and found.log_level != "DEBUG":
        logging.getLogger("kafka").setLevel(logging.ERROR)
    return found


@contextmanager
def as_options(**named: str) -> Iterator[None]:
    """A text that cannot be read is told by the option that it was given with: exit code 2. `named`: the options that
    have another name than what they fill.
    """
    from ordersaga.wire.errors import WireError

    try:
        yield
    except WireError as error:
        option = "--" + named.get(error.field, error.field)
        raise typer.BadParameter(error.problem, param_hint=option) from error


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """What a person can do something about is told in a line for each problem, without a traceback."""
    from ordersaga.settings_reading import SettingsError

    try:
        yield
    except SettingsError as error:
        fail(*error.problems, code=2)
    except Exception as error:
        if not _is_foreseen(error):
            raise
        fail(str(error), code=1)


def _is_foreseen(error: Exception) -> bool:
    """Our own exceptions say in `retriable` that they were thought of."""
    return hasattr(error, "retriable")


def printable(text: str) -> str:
    """What strangers wrote, without what a terminal would obey."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def fail(*lines: str, code: int) -> NoReturn:
    """Without secrets: what failed may have quoted one."""
    from ordersaga.logs import redacted

    for line in lines:
        typer.echo(f"ordersaga: {' '.join(redacted(line).split())}", err=True)
    raise typer.Exit(code)
