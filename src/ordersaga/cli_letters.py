"""`ordersaga dead-letters` and `ordersaga orphans`: what was set aside, for people at a terminal.

They work on the database directly, so that they work while the API does not.
"""

import getpass
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ordersaga.cli_errors import EXIT_CODES, printable, read_settings, told_in_one_line

if TYPE_CHECKING:
    from ordersaga.orchestrator.runtime.dead_letters import DeadLetters
    from ordersaga.orchestrator.runtime.verbs import Actor
    from ordersaga.orchestrator.store.protocol import Settled, Store, StoredDeadLetter, StoredOrphan

app = typer.Typer(
    no_args_is_help=True,
    help="""Records that could not be used: look at them, replay or discard them.

    Example: ordersaga dead-letters list""",
)
orphans = typer.Typer(epilog=EXIT_CODES)
MOST = 100
T = TypeVar("T")
EnvFile = Annotated[Path | None, typer.Option(help="Read settings from this file too; the environment goes before.")]
Reason = Annotated[str | None, typer.Option(help="Only those with this reason, such as unreadable or decide_failed.")]
Ids = Annotated[list[int] | None, typer.Argument(help="As `list` says. None: all with the given --reason.")]
Who = Annotated[str, typer.Option(help="Who does it; kept with the letter.", default_factory=getpass.getuser)]
Why = Annotated[str, typer.Option(help="Why; kept with the letter.")]
Most = Annotated[int, typer.Option(help="With --reason: how many at most, newest first.", min=1, max=MOST)]


@app.command("list")
def list_letters(
    *,
    reason: Reason = None,
    settled: Annotated[bool, typer.Option(help="Those that were replayed or discarded too.")] = False,
    most: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=MOST)] = 20,
    env_file: EnvFile = None,
) -> None:
    """One line for each, newest first.

    Example: ordersaga dead-letters list --reason decide_failed
    """
    with told_in_one_line():
        store, _ = _opened(env_file)
        found = store.dead_letters(reason=reason, settled=settled, limit=most)
        for one in found:
            typer.echo(_line(one))
        if not found:
            typer.echo("none")


@app.command()
def show(letter_id: Annotated[int, typer.Argument(help="As `list` says.")], *, env_file: EnvFile = None) -> None:
    """One of them, whole.

    Exit code 1 where there is no such dead letter.

    Example: ordersaga dead-letters show 17
    """
    with told_in_one_line():
        store, _ = _opened(env_file)
        found = store.dead_letter(letter_id)
        if found is None:
            typer.echo(_no_such(letter_id), err=True)
            raise typer.Exit(1)
        typer.echo(_line(found))
        letter = found.letter
        typer.echo(f"detail    {printable(letter.detail)}")
        typer.echo(f"key       {_text(letter.key)}")
        for name, value in letter.headers:
            typer.echo(f"header    {printable(name)} = {_text(value)}")
        typer.echo(f"value     {_text(letter.value)}")


@app.command()
def replay(
    letter_ids: Ids = None, *, reason: Reason = None, most: Most = MOST, who: Who, why: Why, env_file: EnvFile = None
) -> None:
    """Take them in once more. Harmless at any time: what is known is recognised.

    Exit code 1 where one still cannot be used, or was seen to before.

    Example: ordersaga dead-letters replay 17 18 --why "the bug is mended"
    """
    with told_in_one_line():
        store, letters = _opened(env_file)
        ids = _chosen(letter_ids, reason, lambda: store.dead_letters(reason=reason, limit=most))
        _settle(ids, letters.replay, _by(who, why), line=_line)


@app.command()
def discard(
    letter_ids: Ids = None, *, reason: Reason = None, most: Most = MOST, who: Who, why: Why, env_file: EnvFile = None
) -> None:
    """Nobody needs them: they are counted no more, and forgotten after 90 days.

    Exit code 1 where one was seen to before.

    Example: ordersaga dead-letters discard 17 --why "a test record"
    """
    with told_in_one_line():
        store, letters = _opened(env_file)
        ids = _chosen(letter_ids, reason, lambda: store.dead_letters(reason=reason, limit=most))
        _settle(ids, letters.discard, _by(who, why), line=_line)


@orphans.callback(invoke_without_command=True)
def list_orphans(
    context: typer.Context,
    *,
    saga_id: Annotated[str | None, typer.Option(help="Only those for this saga.")] = None,
    settled: Annotated[bool, typer.Option(help="Those that were discarded too.")] = False,
    most: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=MOST)] = 20,
    before: Annotated[int | None, typer.Option(help="Only older ones than this, by its number.", min=1)] = None,
    env_file: EnvFile = None,
) -> None:
    """Answers for sagas that nobody knows: kept and shown, never acted upon by themselves.

    Example: ordersaga orphans --most 5
    """
    from uuid import UUID

    if context.invoked_subcommand is not None:
        return
    with told_in_one_line():
        try:
            wanted = UUID(saga_id) if saga_id else None
        except ValueError:
            raise typer.BadParameter("must be a UUID", param_hint="--saga-id") from None
        store, _ = _opened(env_file)
        found = store.orphans(saga_id=wanted, settled=settled, limit=most, before=before)
        for one in found:
            typer.echo(_orphan_line(one))
        if not found:
            typer.echo("none")


@orphans.command("discard")
def discard_orphans(
    orphan_ids: Annotated[list[int] | None, typer.Argument(help="As the list says.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All that there are.")] = False,
    who: Who,
    why: Why,
    env_file: EnvFile = None,
) -> None:
    """Somebody has seen to them: they are counted no more, and forgotten after 90 days. Nothing is sent.

    Exit code 1 where there is no such orphan.

    Example: ordersaga orphans discard 17 18 --why "from the test environment"
    """
    with told_in_one_line():
        if bool(orphan_ids) == every:
            raise typer.BadParameter("say which: ids, or --all")
        store, letters = _opened(env_file)
        ids = iter(orphan_ids) if orphan_ids else _open_orphans(store)
        _settle(ids, letters.discard_orphan, _by(who, why), line=_orphan_line, what="orphan")


def _open_orphans(store: "Store") -> Iterator[int]:
    """Newest first."""
    before = None
    while page := store.orphans(limit=MOST, before=before):
        yield from (one.id for one in page)
        before = page[-1].id


def _opened(env_file: Path | None) -> "tuple[Store, DeadLetters]":
    from ordersaga import bootstrap_commands

    return bootstrap_commands.letters(read_settings(env_file, needs=("database_url",)))


def _chosen(
    letter_ids: Sequence[int] | None, reason: str | None, listed: "Callable[[], Sequence[StoredDeadLetter]]"
) -> Iterator[int]:
    if bool(letter_ids) == bool(reason):
        raise typer.BadParameter("say which: ids, or --reason")
    return iter(letter_ids or [one.id for one in listed()])


def _settle(
    ids: Iterator[int],
    act: "Callable[[int, Actor], T | None]",
    by: "Actor",
    *,
    line: Callable[[T], str],
    what: str = "dead letter",
) -> None:
    """Each by itself; one that cannot be used is told of and holds up no other."""
    from ordersaga.orchestrator.runtime.dead_letters import CannotBeUsed, SettledBefore

    failed = False
    for letter_id in ids:
        try:
            found = act(letter_id, by)
        except (CannotBeUsed, SettledBefore) as error:
            failed = True
            typer.echo(f"{letter_id}: {error}", err=True)
            continue
        if found is None:
            failed = True
            typer.echo(_no_such(letter_id, what), err=True)
            continue
        typer.echo(line(found))
    if failed:
        raise typer.Exit(1)


def _by(who: str, why: str) -> "Actor":
    from ordersaga.orchestrator.runtime.verbs import Actor

    return Actor(name=who[:100], role="operator", reason=why[:500])


def _line(stored: "StoredDeadLetter") -> str:
    letter, became = stored.letter, _became(stored.settled)
    where = f"{letter.topic}/{letter.partition}@{letter.offset}"
    said = f"{letter.detail[:80]}{became}"
    return printable(f"{stored.id:>6}  {stored.at:%Y-%m-%d %H:%M:%S}  {letter.reason:16}  {where}  {said}")


def _orphan_line(stored: "StoredOrphan") -> str:
    orphan = stored.orphan
    where = f"{orphan.topic}/{orphan.partition}@{orphan.offset}"
    said = f"{orphan.saga_id}  {orphan.type}  {where}{_became(stored.settled)}"
    return printable(f"{stored.id:>6}  {stored.at:%Y-%m-%d %H:%M:%S}  {said}")


def _became(settled: "Settled | None") -> str:
    return f"  {settled.how.value} by {settled.by}: {settled.why}" if settled else ""


def _text(data: bytes | None) -> str:
    return printable("(none)" if data is None else data.decode("utf-8", "backslashreplace"))


def _no_such(letter_id: int, what: str = "dead letter") -> str:
    return f"ordersaga: there is no {what} {letter_id}"
