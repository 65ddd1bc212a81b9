"""`ordersaga dead-letters` and `ordersaga orphans`: what was set aside, for people at a terminal.

They work on the database directly, so that they work while the API does not.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ordersaga.cli_errors import EXIT_CODES, printable, read_settings, told_in_one_line
from ordersaga.cli_options import EnvFile, Who, Why, operator

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
Reason = Annotated[str | None, typer.Option(help="Only those with this reason, such as unreadable or decide_failed.")]
Ids = Annotated[list[int] | None, typer.Argument(help="As `list` says. None: all with the given --reason.")]
Most = Annotated[int | None, typer.Option(help="With --reason: how many at most, oldest first. Default: all.", min=1)]
Before = Annotated[int | None, typer.Option(help="Only older ones than this, by its number: the next page.", min=1)]


@app.command("list")
def list_letters(
    *,
    reason: Reason = None,
    settled: Annotated[bool, typer.Option(help="Those that were replayed or discarded too.")] = False,
    most: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=MOST)] = 20,
    before: Before = None,
    env_file: EnvFile = None,
) -> None:
    """One line for each, newest first.

    Example: ordersaga dead-letters list --reason decide_failed
    """
    with told_in_one_line():
        store, _ = _opened(env_file)
        _tell_page(partial(store.dead_letters, reason=reason, settled=settled), most, before, line=_line)


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
    letter_ids: Ids = None, *, reason: Reason = None, most: Most = None, who: Who, why: Why, env_file: EnvFile = None
) -> None:
    """Take them in once more, oldest first. Harmless at any time: what is known is recognised.

    Exit code 1 where one still cannot be used, or was seen to before.

    Example: ordersaga dead-letters replay 17 18 --why "the bug is mended"
    """
    with told_in_one_line():
        _, letters = _opened(env_file)
        ids = _chosen(letters, letter_ids, reason, most)
        _settle(ids, letters.replay, operator(who, why), line=_line)


@app.command()
def discard(
    letter_ids: Ids = None, *, reason: Reason = None, most: Most = None, who: Who, why: Why, env_file: EnvFile = None
) -> None:
    """Nobody needs them: they are counted no more, and forgotten after 90 days.

    Exit code 1 where one was seen to before.

    Example: ordersaga dead-letters discard 17 --why "a test record"
    """
    with told_in_one_line():
        _, letters = _opened(env_file)
        ids = _chosen(letters, letter_ids, reason, most)
        _settle(ids, letters.discard, operator(who, why), line=_line)


@orphans.callback(invoke_without_command=True)
def list_orphans(
    context: typer.Context,
    *,
    saga_id: Annotated[str | None, typer.Option(help="Only those for this saga.")] = None,
    settled: Annotated[bool, typer.Option(help="Those that were discarded too.")] = False,
    most: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=MOST)] = 20,
    before: Before = None,
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
        _tell_page(partial(store.orphans, saga_id=wanted, settled=settled), most, before, line=_orphan_line)


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
        _settle(ids, letters.discard_orphan, operator(who, why), line=_orphan_line, what="orphan")


def _open_orphans(store: "Store") -> Iterator[int]:
    """Newest first."""
    before = None
    while page := store.orphans(limit=MOST, before=before):
        yield from (one.id for one in page)
        before = page[-1].id


def _opened(env_file: Path | None) -> "tuple[Store, DeadLetters]":
    from ordersaga import bootstrap_commands

    return bootstrap_commands.letters(read_settings(env_file, needs=("database_url",)))


def _tell_page(
    page: Callable[..., Sequence[Any]], most: int, before: int | None, *, line: Callable[[Any], str]
) -> None:
    """`page`: of a store, newest first."""
    found = page(limit=most, before=before)
    for one in found:
        typer.echo(line(one))
    if not found:
        typer.echo("none")
    elif len(found) == most and page(limit=1, before=found[-1].id):
        typer.echo(f"there are more; the next page: the same with --before {found[-1].id}", err=True)


def _chosen(
    letters: "DeadLetters", letter_ids: Sequence[int] | None, reason: str | None, most: int | None
) -> Iterator[int]:
    """In the order in which they came, whatever order they are given in: see `runtime.dead_letters`."""
    if reason and not letter_ids:
        return (one.id for one in islice(letters.open_ones(reason), most))
    if letter_ids and not reason:
        return iter(sorted(letter_ids))
    raise typer.BadParameter("say which: ids, or --reason")


def _settle(
    ids: Iterator[int],
    act: "Callable[[int, Actor], T | None]",
    by: "Actor",
    *,
    line: Callable[[T], str],
    what: str = "dead letter",
) -> None:
    """Each by itself; one that cannot be used is told of and holds up no other."""
    from ordersaga.orchestrator.runtime.dead_letters import SettledBefore
    from ordersaga.orchestrator.runtime.handle import CannotBeUsed

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
