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
from ordersaga.cli_options import EnvFile, Who, Why, operator

if TYPE_CHECKING:
    from ordersaga.orchestrator.store.archive_protocol import Archive
    from ordersaga.orchestrator.store.filing import PostgresFiling
    from ordersaga.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="""Move sagas that have long ended out of the way, look at them, take them back.

    Example: ordersaga archive run""",
)
MOST = 100
Days = Annotated[
    float | None,
    typer.Option("--older-than-days", help="Instead of ORDERSAGA_ARCHIVE_AFTER_DAYS.", min=0, max=36_500),
]


@app.command()
def run(
    *,
    days: Days = None,
    share_percent: Annotated[
        int, typer.Option(help="Of the time it works, and rests for the rest of it.", min=1, max=100)
    ] = 50,
    who: Who,
    why: Why = "",
    env_file: EnvFile = None,
) -> None:
    """Move what is old enough now, instead of within the hour; can be stopped and begun again at any time.

    Orders that come meanwhile are slower while it works: a smaller share takes longer and costs them less. Nothing is
    moved that is under way, that waits for a person or that somebody should look at.

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
        note = _noting(settings, who, why)
        note("archive run", "begun", None)
        done, told_at = Progress(), time.monotonic()
        filing = bootstrap_commands.filing(settings)
        for done in archive_all(bootstrap_commands.archive(settings), wanted, _resting(share_percent), filing):
            if time.monotonic() - told_at > 1:
                told_at = time.monotonic()
                typer.echo(f"{done.moved} sagas so far", err=True)
        count = len(done.dropped)
        weeks = f", {count} {'week' if count == 1 else 'weeks'} of history dropped, empty by now" if count else ""
        filed = f", {done.filed} put into files" if done.filed else ""
        forgotten = f", {done.forgotten} forgotten" if done.forgotten else ""
        said = f"{done.moved} sagas archived{weeks}{filed}{forgotten}"
        note("archive run", said, None)
        typer.echo(said)


@app.command()
def export(
    *,
    days: Annotated[
        float | None,
        typer.Option("--archived-days", help="Instead of ORDERSAGA_ARCHIVE_FILES_AFTER_DAYS.", min=0, max=36_500),
    ] = None,
    who: Who,
    why: Why = "",
    env_file: EnvFile = None,
) -> None:
    """Put what has been in the archive for long into files now; can be stopped and begun again at any time.

    Files are written to ORDERSAGA_ARCHIVE_DIRECTORY, which every process has to see: what comes late for a saga needs
    it. They are lines of JSON, compressed, and each has a manifest with its checksum.

    Exit code 1 where another process writes a file at this moment.

    Example: ordersaga archive export --archived-days 7
    """
    with told_in_one_line():
        settings = read_settings(env_file, needs=("database_url",))
        filing = _filing(settings)
        older_than = timedelta(days=settings.archive_files_after_days if days is None else days)
        note = _noting(settings, who, why)
        note("archive export", "begun", None)
        sagas = files = 0
        rest = _resting()
        while (filed := filing.file(older_than=older_than)).sagas and rest():
            sagas, files = sagas + filed.sagas, files + 1
            typer.echo(f"{filed.sagas} sagas in {filed.name}", err=True)
        said = f"{sagas} sagas put into {files} files"
        note("archive export", said, None)
        typer.echo(said)
    if filed.is_busy:
        typer.echo(
            "another process writes a file at this moment, or died while it did: again in some minutes", err=True
        )
        raise typer.Exit(1)


@app.command()
def files(*, env_file: EnvFile = None) -> None:
    """One line for each file, oldest sagas first.

    Example: ordersaga archive files
    """
    with told_in_one_line():
        found = _filing(read_settings(env_file, needs=("database_url",))).files()
        for one in found:
            typer.echo(f"{one.name}  {one.sagas:>6} sagas  {one.size_bytes:>10} bytes  {one.sha256.hex()}")
        if not found:
            typer.echo("none")


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
            where = f"  in {one.file}" if one.file else ""
            of = f"{one.saga}  order {one.order_id or '-'}"
            typer.echo(f"{one.saga_id}  {one.status:<11} {of}  {one.at:%Y-%m-%d}{where}")
        if not found:
            typer.echo("none")


@app.command()
def verify(*, env_file: EnvFile = None) -> None:
    """Read every archived saga back, whole, and say which cannot be. Changes nothing.

    Files are held against their checksums, their manifests and each line's digest; a file that nobody knows is named.
    Exit code 1 where one cannot be read, or something lies about.

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
        typer.echo(f"{seen} sagas read, {unreadable} problems")
    if unreadable:
        raise typer.Exit(1)


@app.command()
def restore(
    saga_ids: Annotated[list[UUID], typer.Argument(help="As `list` says.")],
    *,
    who: Who,
    why: Why = "",
    env_file: EnvFile = None,
) -> None:
    """Move sagas back, each with what else is in the archive of its order. Late news of one do so by themselves.

    Exit code 1 where one is not in the archive.

    Example: ordersaga archive restore 019b7e94-45ed-7d23-8cde-acb836e5bf6d
    """
    with told_in_one_line():
        note = _noting(read_settings(env_file, needs=("database_url",)), who, why)
        archive, restored = _archive(env_file), dict[UUID, None]()
        for saga_id in saga_ids:
            if saga_id in restored:
                continue
            for one in (found := archive.restore(saga_id)) or [saga_id]:
                note("archive restore", "restored" if found else "not in the archive", one)
            restored |= dict.fromkeys(found)
        typer.echo(f"{len(restored)} sagas restored")
    missing = [saga_id for saga_id in saga_ids if saga_id not in restored]
    for saga_id in missing:
        typer.echo(f"{saga_id} is not in the archive: `ordersaga archive list` shows what is", err=True)
    if missing:
        raise typer.Exit(1)


def _noting(settings: "Settings", who: str, why: str) -> Callable[[str, str, UUID | None], None]:
    """For the audit: a verb, what came of it, and of which saga."""
    from ordersaga import bootstrap_commands
    from ordersaga.orchestrator.store.audit import Wish

    audit, by = bootstrap_commands.audit(settings), operator(who, why)

    def note(verb: str, outcome: str, saga_id: UUID | None) -> None:
        audit.note(Wish(actor=by.name, role=by.role, verb=verb, reason=by.reason, outcome=outcome, saga_id=saga_id))

    return note


def _resting(share_percent: int = 50) -> Callable[[], bool]:
    """In proportion to what the batch before it took. Half of the time, unless asked: running workers keep the disk."""
    rests = 100 / share_percent - 1
    last = time.monotonic()

    def rest() -> bool:
        nonlocal last
        time.sleep(rests * (time.monotonic() - last))
        last = time.monotonic()
        return True

    return rest


def _filing(settings: "Settings") -> "PostgresFiling":
    from ordersaga import bootstrap_commands
    from ordersaga.settings_reading import SettingsError

    filing = bootstrap_commands.filing(settings)
    if filing is None:
        raise SettingsError(["set ORDERSAGA_ARCHIVE_DIRECTORY to where the archive's files are, for every process"])
    return filing


def _archive(env_file: Path | None) -> "Archive":
    from ordersaga import bootstrap_commands

    settings: Settings = read_settings(env_file, needs=("database_url",))
    return bootstrap_commands.archive(settings)
