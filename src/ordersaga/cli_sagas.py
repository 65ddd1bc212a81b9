"""`ordersaga sagas`: look at sagas and step in, for people at a terminal.

Works on the database directly, so that it works while the API does not. What a verb sends is published by whichever
process runs, within half a minute.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from uuid import UUID

import typer

from ordersaga.cli_errors import printable, read_settings, told_in_one_line
from ordersaga.cli_options import EnvFile, Who, Why, operator, searching
from ordersaga.cli_telling import line_of, state_of, timeline_of

if TYPE_CHECKING:
    from ordersaga.orchestrator.api.views import SagaView
    from ordersaga.orchestrator.core.inputs import Decision
    from ordersaga.orchestrator.core.instance import Instance
    from ordersaga.orchestrator.runtime.verbs import Verbs
    from ordersaga.orchestrator.store.protocol import SagaPage, Store
    from ordersaga.orchestrator.store.search import Search

app = typer.Typer(
    no_args_is_help=True,
    help="""Sagas: list, export, show one as a timeline, watch it, cancel, retry, settle, resolve.

    Example: ordersaga sagas list --status FAILED""",
)
MOST = 100
SagaId = Annotated[UUID, typer.Argument(help="As `list` says.")]
OneOf = Annotated[UUID | None, typer.Argument(help="As `list` says. None: all that meet the conditions.")]
Archived = Annotated[bool, typer.Option("--archived", help="Those in the archive instead.")]
Oldest = Annotated[bool, typer.Option("--oldest", help="Oldest first.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say which it would be, and do nothing.")]
Limit = Annotated[int | None, typer.Option(help="How many at most, oldest first. Default: all.", min=1)]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask whether so many are meant.")]
Act = Callable[["Verbs", UUID], "Decision | None"]


@app.command("list")
@searching
def list_sagas(
    *,
    search: "Search",
    archived: Archived = False,
    oldest: Oldest = False,
    after: Annotated[UUID | None, typer.Option(help="The next page, as the last one said.")] = None,
    most: Annotated[int, typer.Option(help="How many.", min=1, max=MOST)] = 20,
    env_file: EnvFile = None,
) -> None:
    """One line for each that meets every condition, newest first.

    Example: ordersaga sagas list --status FAILED --reason COMPENSATION_FAILED --oldest
    """
    with told_in_one_line():
        search = replace(search, archived=archived, oldest_first=oldest)
        store, view, _ = _opened(env_file)
        reading = _Reading(store)
        page = reading.page(search, most, after)
        for instance in page.instances:
            typer.echo(printable(line_of(view(instance))))
        if not page.instances:
            typer.echo("none")
        reading.tell_left_out()
        if page.next_after is not None:
            total = store.count(search)
            many = f"at least {total.count}" if total.is_least else f"{total.count}"
            typer.echo(f"{many} in all; the next page: the same with --after {page.next_after}", err=True)


@app.command()
@searching
def export(*, search: "Search", archived: Archived = False, oldest: Oldest = False, env_file: EnvFile = None) -> None:
    """All that meet every condition, as JSON, one line each, as `GET /sagas` answers them.

    Example: ordersaga sagas export --since 2026-01-01T00:00:00Z > sagas.jsonl
    """
    import msgspec

    with told_in_one_line():
        store, view, _ = _opened(env_file)
        count, reading = 0, _Reading(store)
        for instance in reading.all(replace(search, archived=archived, oldest_first=oldest)):
            count += 1
            sys.stdout.write(msgspec.json.encode(view(instance)).decode() + "\n")
        typer.echo(f"{count} sagas", err=True)
        reading.tell_left_out()


@app.command()
def watch(
    saga_id: SagaId,
    *,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1, max=60)] = 0.5,
    env_file: EnvFile = None,
) -> None:
    """Its timeline as it grows, until nothing is under way any more.

    Exit code 1 where there is no such saga.

    Example: ordersaga sagas watch 019aa1b2-7c1d-7e55-8f00-0123456789ab
    """
    with told_in_one_line():
        store, view, _ = _opened(env_file)
        seen = 0
        while True:
            instance = store.get(saga_id)
            if instance is None:
                _no_such(saga_id)
            news = [entry for entry in store.history(saga_id) if entry.revision > seen]
            for line in timeline_of(news, instance.created_at):
                typer.echo(printable(line))
            seen = max([seen, *(entry.revision for entry in news)])
            if instance.command_due_at is None and instance.revision <= seen:
                break
            time.sleep(every)
        for line in ("", *state_of(view(instance))):
            typer.echo(printable(line))


@app.command()
def show(saga_id: SagaId, *, env_file: EnvFile = None) -> None:
    """How it stands, and what happened to it.

    Exit code 1 where there is no such saga.

    Example: ordersaga sagas show 019aa1b2-7c1d-7e55-8f00-0123456789ab
    """
    with told_in_one_line():
        store, view, _ = _opened(env_file)
        instance = store.get(saga_id)
        if instance is None:
            _no_such(saga_id)
        for line in (*state_of(view(instance)), "", *timeline_of(store.history(saga_id), instance.created_at)):
            typer.echo(printable(line))


@app.command()
def cancel(saga_id: SagaId, *, who: Who, why: Why, env_file: EnvFile = None) -> None:
    """Cancel it, as an operator. Refused once a runner has the order, or past the point of no return.

    Exit code 1 where it is refused, and why: nothing has changed then. Also where there is no such saga, or the
    database's answer was lost: `show` says whether it was done.

    Example: ordersaga sagas cancel 019aa1b2-7c1d-7e55-8f00-0123456789ab --why "the shop has closed"
    """
    _step_in(saga_id, env_file, lambda verbs, one: verbs.cancel(one, operator(who, why)))


@app.command()
@searching
def retry(
    saga_id: OneOf = None,
    *,
    search: "Search",
    dry_run: DryRun = False,
    limit: Limit = None,
    yes: Yes = False,
    who: Who,
    why: Why,
    env_file: EnvFile = None,
) -> None:
    """Ask again now, or take up again what is stuck; never what may be done twice.

    One saga, or all that meet every condition: oldest first, each by itself, those that somebody has resolved left out.

    Exit code 1 where one is refused, and why: nothing has changed of it then. Also where there is no such saga, or the
    database's answer was lost: `show` says whether it was done.

    Example: ordersaga sagas retry --status FAILED --since 2026-01-31T09:00:00Z --why "the payment service is back"
    """
    many = _Many(search=search, dry_run=dry_run, limit=limit, yes=yes)
    _one_or_many(saga_id, many, env_file, "retry", lambda verbs, one: verbs.retry(one, operator(who, why)))


@app.command()
def settle(
    saga_id: SagaId,
    *,
    undo: Annotated[
        str, typer.Option(help="An undo (revert_payment), or a command after the point of no return (pay_runner).")
    ],
    who: Who,
    why: Why,
    env_file: EnvFile = None,
) -> None:
    """Say that something was taken back by other means; the saga goes on with what is left.

    Exit code 1 where it is refused, and why: nothing has changed then. Also where there is no such saga, or the
    database's answer was lost: `show` says whether it was done.

    Example: ordersaga sagas settle 019aa1b2-7c1d-7e55-8f00-0123456789ab --undo revert_payment --why "refunded by hand"
    """
    _step_in(saga_id, env_file, lambda verbs, one: verbs.settle(one, undo, operator(who, why)))


@app.command()
@searching
def resolve(
    saga_id: OneOf = None,
    *,
    search: "Search",
    dry_run: DryRun = False,
    limit: Limit = None,
    yes: Yes = False,
    who: Who,
    why: Why,
    env_file: EnvFile = None,
) -> None:
    """Mark it as seen to, whatever its status: it is counted among the troubles no more, until there is something new.

    One saga, or all that meet every condition: oldest first, each by itself, those that somebody has resolved left out.

    Exit code 1 where there is no such saga, or the database's answer was lost: `show` says whether it was done.

    Example: ordersaga sagas resolve 019aa1b2-7c1d-7e55-8f00-0123456789ab --why "agreed with the customer"
    """
    many = _Many(search=search, dry_run=dry_run, limit=limit, yes=yes)
    _one_or_many(saga_id, many, env_file, "resolve", lambda verbs, one: verbs.resolve(one, operator(who, why)))


@dataclass(frozen=True, kw_only=True)
class _Many:
    search: "Search"
    dry_run: bool
    limit: int | None
    yes: bool

    def chosen(self, reading: "_Reading") -> "Iterator[Instance[Any]]":
        """Oldest first. What a person has seen to waits for no other."""
        found = reading.all(replace(self.search, oldest_first=True))
        return islice((one for one in found if one.resolved is None), self.limit)


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What came of a verb: how the saga is now, and what there is to say of it beside that."""

    outcome: str
    saga: str = ""
    said: str = ""

    @property
    def well(self) -> bool:
        return self.outcome in ("done", "nothing to do")


def _one_or_many(saga_id: UUID | None, many: _Many, env_file: Path | None, verb: str, act: Act) -> None:
    from ordersaga.orchestrator.store.search import EVERYTHING

    if saga_id is None and many.search == EVERYTHING:
        raise typer.BadParameter("say which: the id of one, or conditions, such as --status FAILED")
    if saga_id is not None and (many.search, many.dry_run, many.limit) != (EVERYTHING, False, None):
        raise typer.BadParameter("say which: the id of one, or conditions; --dry-run and --limit go with conditions")
    if saga_id is not None:
        _step_in(saga_id, env_file, act)
    else:
        _each(many, env_file, verb, act)


def _step_in(saga_id: UUID, env_file: Path | None, act: Act) -> None:
    with told_in_one_line():
        _, view, verbs = _opened(env_file)
        told = _tried(saga_id, view, verbs, act)
        if told.said:
            typer.echo(f"ordersaga: {told.said}", err=True)
        if not told.well:
            raise typer.Exit(1)
        typer.echo(told.saga)


def _each(many: _Many, env_file: Path | None, verb: str, act: Act) -> None:
    """A line for each as soon as it is done. One that is refused holds up no other."""
    with told_in_one_line():
        store, view, verbs = _opened(env_file)
        reading = _Reading(store)
        if many.dry_run:
            count = _list(reading, view, many)
            typer.echo(f"{verb}: it would be {count} sagas", err=True)
            reading.tell_left_out()
            return
        # All of them before the first: what one of them becomes must not make it meet the conditions again.
        ids = [one.saga_id for one in many.chosen(reading)]
        reading.tell_left_out()
        if ids and not many.yes:
            typer.confirm(f"{verb} {len(ids)} sagas?", abort=True, err=True)
        outcomes: Counter[str] = Counter()
        try:
            for number, saga_id in enumerate(ids, 1):
                told = _tried(saga_id, view, verbs, act)
                outcomes[told.outcome] += 1
                said = "  ".join(filter(None, (told.saga, told.said)))
                typer.echo(f"{number}/{len(ids)}  {said}")
        finally:
            outcomes["not tried"] = len(ids) - outcomes.total()
            typer.echo(f"{verb}: {', '.join(f'{n} {what}' for what, n in outcomes.items() if n) or 'none'}", err=True)
    if outcomes["refused"] + outcomes["not known"] + outcomes["gone"]:
        raise typer.Exit(1)


def _list(reading: "_Reading", view: "Callable[[Any], SagaView]", many: _Many) -> int:
    count = 0
    for one in many.chosen(reading):
        count += 1
        typer.echo(printable(line_of(view(one))))
    return count


def _tried(saga_id: UUID, view: "Callable[[Any], SagaView]", verbs: "Verbs", act: Act) -> _Told:
    from ordersaga.orchestrator.core.inputs import Verdict
    from ordersaga.orchestrator.store.protocol import CommitUnknown

    try:
        decision = act(verbs, saga_id)
    except CommitUnknown:
        how = f"`ordersaga sagas show {saga_id}` says whether it was done"
        return _Told(outcome="not known", said=f"the database's answer was lost: {how}")
    if decision is None:
        return _Told(outcome="gone", said=_nowhere(saga_id))
    line = printable(line_of(view(decision.instance)))
    if decision.verdict is Verdict.REFUSED:
        return _Told(outcome="refused", saga=line, said=f"this cannot be done: {decision.why}")
    if decision.verdict is not Verdict.APPLIED:
        return _Told(outcome="nothing to do", saga=line, said=f"there was nothing to do: {decision.why}")
    return _Told(outcome="done", saga=line)


class _Reading:
    """Sagas by conditions. Left out are those that are not run here, and counted; and those whose row is damaged, and
    named.
    """

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._left_out = 0
        self._damaged: list[UUID] = []

    def page(self, search: "Search", most: int, after: UUID | None) -> "SagaPage":
        """The next one that holds any: a page of the store may be short, or empty, and have a next one."""
        page = self._next(search, most, after)
        while not page.instances and page.next_after is not None:
            page = self._next(search, most, page.next_after)
        return page

    def all(self, search: "Search") -> "Iterator[Instance[Any]]":
        page = self._next(search, MOST, None)
        yield from page.instances
        while page.next_after is not None:
            page = self._next(search, MOST, page.next_after)
            yield from page.instances

    def tell_left_out(self) -> None:
        if self._left_out:
            from ordersaga.orchestrator.store.protocol import NOT_RUN_HERE

            what = f"more are {NOT_RUN_HERE}"
            typer.echo(f"{self._left_out} {what}", err=True)
        for saga_id in self._damaged:
            typer.echo(f"{saga_id} is not among them: its row is damaged (ordersaga sagas show says how)", err=True)

    def _next(self, search: "Search", most: int, after: UUID | None) -> "SagaPage":
        page = self._store.page(search, limit=most, after=after)
        self._left_out += len(page.unknown_versions)
        self._damaged += page.damaged
        return page


def _opened(env_file: Path | None) -> "tuple[Store, Callable[[Any], SagaView], Verbs]":
    from ordersaga import bootstrap_commands
    from ordersaga.orchestrator.api.views import saga_view

    store, sagas, verbs = bootstrap_commands.at_a_terminal(read_settings(env_file, needs=("database_url",)))
    return store, lambda instance: saga_view(instance, sagas.find(instance.saga, instance.version)), verbs


def _nowhere(saga_id: UUID) -> str:
    return f"there is no saga {saga_id}"


def _no_such(saga_id: UUID) -> NoReturn:
    typer.echo(f"ordersaga: {_nowhere(saga_id)}", err=True)
    raise typer.Exit(1)
