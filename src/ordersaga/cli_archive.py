"""`ordersaga archive`: sagas that have long ended, moved out of the way and back.

Works on the database directly, beside whatever runs. Archived sagas stay readable: `ordersaga sagas show` finds them.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from ordersaga.cli_errors import read_settings, told_in_one_line

if TYPE_CHECKING:
    from ordersaga.orchestrator.store.archive_protocol import Archive
    from ordersaga.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="""Move sagas that have long ended out of the way, look at them, take them back.

    Example: ordersaga archive run""",
)
MOST = 100
EnvFile = Annotated[Path | None, typer.Option(help="Read settings from this file too; the environment goes before.")]
Days = Annotated[
    float | None,
    typer.Option("--older-than-days", help="Instead of ORDERSAGA_ARCHIVE_AFTER_DAYS.", min=0, max=36_500),
]


@app.command()
def run(*, days: Days = None, env_file: EnvFile = None) -> None:
    """Move what is old enough now, instead of within the hour; can be stopped and begun again at any time.

    Nothing is moved that is under way, that waits for a person or that somebody should look at.

    Example: ordersaga archive run --older-than-days 30
    """
    from ordersaga import bootstrap_commands
    from ordersaga.as_set import archive_settings
    from ordersaga.orchestrator.runtime.archiving import Progress, archive_all

    with told_in_one_line():
        settings = read_settings(env_file, needs=("database_url",))
        wanted = archive_settings(settings, older_than=None if days is None else timedelta(days=days))
        if wanted.older_than is None and wanted.forget_after is None:
            typer.echo("nothing to do: ORDERSAGA_ARCHIVE_AFTER_DAYS is 0; --older-than-days says otherwise")
            return
        done, told_at = Progress(), time.monotonic()
        for done in archive_all(bootstrap_commands.archive(settings), wanted, _resting()):
            if time.monotonic() - told_at > 1:
                told_at = time.monotonic()
                typer.echo(f"{done.moved} sagas so far", err=True)
        weeks = f", {len(done.dropped)} weeks of history dropped" if done.dropped else ""
        forgotten = f", {done.forgotten} forgotten" if done.forgotten else ""
        typer.echo(f"{done.moved} sagas archived{weeks}{forgotten}")


@app.command("list")
def list_archived(
    *,
    before: Annotated[UUID | None, typer.Option(help="Older than the saga with this id: the next page.")] = None,
    most: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=MOST)] = 20,
    env_file: EnvFile = None,
) -> None:
    """One line for each, newest first.

    Example: ordersaga archive list --most 50
    """
    with told_in_one_line():
        found = _archive(env_file).page(limit=most, before=before)
        for one in found:
            typer.echo(f"{one.saga_id}  {one.status:<11} {one.saga}  order {one.order_id or '-'}  {one.at:%Y-%m-%d}")
        if not found:
            typer.echo("none")


@app.command()
def verify(*, env_file: EnvFile = None) -> None:
    """Read every archived saga back, whole, and say which cannot be. Changes nothing.

    Exit code 1 where one cannot be read.

    Example: ordersaga archive verify
    """
    from ordersaga import bootstrap_commands

    seen = unreadable = 0
    with told_in_one_line():
        told_at = time.monotonic()
        for checked in bootstrap_commands.check_archive(read_settings(env_file, needs=("database_url",))):
            seen += checked.count
            unreadable += len(checked.unreadable)
            for saga_id, problem in checked.unreadable:
                typer.echo(f"{saga_id} {problem}")
            if time.monotonic() - told_at > 1:
                told_at = time.monotonic()
                typer.echo(f"{seen} sagas so far", err=True)
        typer.echo(f"{seen} sagas read, {unreadable} cannot be")
    if unreadable:
        raise typer.Exit(1)


@app.command()
def restore(
    saga_ids: Annotated[list[UUID], typer.Argument(help="As `list` says.")], *, env_file: EnvFile = None
) -> None:
    """Move sagas back. Late news of one do so by themselves.

    Exit code 1 where one is not in the archive.

    Example: ordersaga archive restore 019b7e94-45ed-7d23-8cde-acb836e5bf6d
    """
    with told_in_one_line():
        archive = _archive(env_file)
        missing = [saga_id for saga_id in saga_ids if not archive.restore(saga_id)]
        typer.echo(f"{len(saga_ids) - len(missing)} sagas restored")
    for saga_id in missing:
        typer.echo(f"{saga_id} is not in the archive: `ordersaga archive list` shows what is", err=True)
    if missing:
        raise typer.Exit(1)


def _resting() -> Callable[[], bool]:
    """As long as the batch before it took, so that running workers keep half of the disk."""
    last = time.monotonic()

    def rest() -> bool:
        nonlocal last
        time.sleep(time.monotonic() - last)
        last = time.monotonic()
        return True

    return rest


def _archive(env_file: Path | None) -> "Archive":
    from ordersaga import bootstrap_commands

    settings: Settings = read_settings(env_file, needs=("database_url",))
    return bootstrap_commands.archive(settings)
