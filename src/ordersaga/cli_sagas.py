"""`ordersaga sagas`: look at sagas and step in, for people at a terminal.

Works on the database directly, so that it works while the API does not. What a verb sends is published by whichever
process runs, within half a minute.
"""

import getpass
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from uuid import UUID

import typer

from ordersaga.cli_errors import printable, read_settings, told_in_one_line

if TYPE_CHECKING:
    from ordersaga.orchestrator.api.views import SagaView
    from ordersaga.orchestrator.core.inputs import Decision
    from ordersaga.orchestrator.runtime.verbs import Actor, Verbs
    from ordersaga.orchestrator.store.protocol import SagaPage, Store, StoredHistory
    from ordersaga.orchestrator.store.search import Search

app = typer.Typer(
    no_args_is_help=True,
    help="""Sagas: list, export, show one as a timeline, watch it, cancel, retry, settle, resolve.

    Example: ordersaga sagas list --status FAILED""",
)
MOST = 100
EnvFile = Annotated[Path | None, typer.Option(help="Read settings from this file too; the environment goes before.")]
SagaId = Annotated[UUID, typer.Argument(help="As `list` says.")]
Who = Annotated[str, typer.Option(help="Who does it; kept in the history.", default_factory=getpass.getuser)]
Why = Annotated[str, typer.Option(help="Why; kept in the history.")]


Statuses = Annotated[list[str] | None, typer.Option("--status", help="Only these; may be repeated. Default: all.")]
Kind = Annotated[str | None, typer.Option("--saga", help="Only those of this kind, such as create_order.")]
Step = Annotated[str | None, typer.Option(help="Only those that last went to this step.")]
ItsReason = Annotated[str | None, typer.Option("--reason", help="Only those with this reason.")]
Customer = Annotated[str | None, typer.Option(help="Only those of this customer.")]
Order = Annotated[str | None, typer.Option(help="Only those of this order.")]
Attention = Annotated[bool, typer.Option("--attention", help="Only those that a person should look at.")]
Since = Annotated[str | None, typer.Option(help="Begun then or later, such as 2026-01-31T09:00:00Z.")]
Until = Annotated[str | None, typer.Option(help="Begun before.")]
Text = Annotated[str | None, typer.Option(help="In what is told of their trouble, whatever its case.")]
Archived = Annotated[bool, typer.Option("--archived", help="Those in the archive instead.")]
Oldest = Annotated[bool, typer.Option("--oldest", help="Oldest first.")]


@app.command("list")
def list_sagas(
    *,
    status: Statuses = None,
    saga: Kind = None,
    step: Step = None,
    reason: ItsReason = None,
    customer: Customer = None,
    order: Order = None,
    attention: Attention = False,
    since: Since = None,
    until: Until = None,
    text: Text = None,
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
        search = _search(
            status,
            attention=attention,
            archived=archived,
            oldest_first=oldest,
            saga=saga,
            step=step,
            reason=reason,
            customer_id=customer,
            order_id=order,
            since=since,
            until=until,
            text=text,
        )
        store, view, _ = _opened(env_file)
        page = _page(store, search, most, after)
        for instance in page.instances:
            typer.echo(printable(_line(view(instance))))
        if not page.instances:
            typer.echo("none")
        if page.next_after is not None:
            total = store.count(search)
            many = f"at least {total.count}" if total.is_least else f"{total.count}"
            typer.echo(f"{many} in all; the next page: the same with --after {page.next_after}", err=True)


@app.command()
def export(
    *,
    status: Statuses = None,
    saga: Kind = None,
    step: Step = None,
    reason: ItsReason = None,
    customer: Customer = None,
    order: Order = None,
    attention: Attention = False,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    archived: Archived = False,
    oldest: Oldest = False,
    env_file: EnvFile = None,
) -> None:
    """All that meet every condition, as JSON, one line each, as `GET /sagas` answers them.

    Example: ordersaga sagas export --since 2026-01-01T00:00:00Z > sagas.jsonl
    """
    import msgspec

    with told_in_one_line():
        search = _search(
            status,
            attention=attention,
            archived=archived,
            oldest_first=oldest,
            saga=saga,
            step=step,
            reason=reason,
            customer_id=customer,
            order_id=order,
            since=since,
            until=until,
            text=text,
        )
        store, view, _ = _opened(env_file)
        after, count = None, 0
        while True:
            page = store.page(search, limit=MOST, after=after)
            for instance in page.instances:
                sys.stdout.write(msgspec.json.encode(view(instance)).decode() + "\n")
            count, after = count + len(page.instances), page.next_after
            if after is None:
                break
        typer.echo(f"{count} sagas", err=True)


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
            for line in _timeline(news, instance.created_at):
                typer.echo(printable(line))
            seen = max([seen, *(entry.revision for entry in news)])
            if instance.command_due_at is None and instance.revision <= seen:
                break
            time.sleep(every)
        for line in ("", *_state(view(instance))):
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
        for line in (*_state(view(instance)), "", *_timeline(store.history(saga_id), instance.created_at)):
            typer.echo(printable(line))


@app.command()
def cancel(saga_id: SagaId, *, who: Who, why: Why, env_file: EnvFile = None) -> None:
    """Cancel it, as an operator. Refused once a runner has the order, or past the point of no return.

    Exit code 1 where it is refused, and why; nothing has changed then.

    Example: ordersaga sagas cancel 019aa1b2-7c1d-7e55-8f00-0123456789ab --why "the shop has closed"
    """
    _step_in(saga_id, env_file, lambda verbs: verbs.cancel(saga_id, _by(who, why)))


@app.command()
def retry(saga_id: SagaId, *, who: Who, why: Why, env_file: EnvFile = None) -> None:
    """Ask again now, or take up again what is stuck; never what may be done twice.

    Exit code 1 where it is refused, and why; nothing has changed then.

    Example: ordersaga sagas retry 019aa1b2-7c1d-7e55-8f00-0123456789ab --why "the payment service is back"
    """
    _step_in(saga_id, env_file, lambda verbs: verbs.retry(saga_id, _by(who, why)))


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

    Exit code 1 where it is refused, and why; nothing has changed then.

    Example: ordersaga sagas settle 019aa1b2-7c1d-7e55-8f00-0123456789ab --undo revert_payment --why "refunded by hand"
    """
    _step_in(saga_id, env_file, lambda verbs: verbs.settle(saga_id, undo, _by(who, why)))


@app.command()
def resolve(saga_id: SagaId, *, who: Who, why: Why, env_file: EnvFile = None) -> None:
    """Mark it as seen to: it is counted among the troubles no more, until there is something new.

    Exit code 1 where there is no such saga; it is never refused.

    Example: ordersaga sagas resolve 019aa1b2-7c1d-7e55-8f00-0123456789ab --why "agreed with the customer"
    """
    _step_in(saga_id, env_file, lambda verbs: verbs.resolve(saga_id, _by(who, why)))


def _search(
    statuses: list[str] | None, *, attention: bool, archived: bool, oldest_first: bool, **conditions: str | None
) -> "Search":
    from ordersaga.orchestrator.api.searching import search_of
    from ordersaga.wire.errors import WireError

    try:
        return search_of(
            statuses or [],
            attention=attention,
            archived=archived,
            oldest_first=oldest_first,
            conditions=conditions,
        )
    except WireError as error:
        option = "--" + {"customer_id": "customer", "order_id": "order"}.get(error.field, error.field)
        raise typer.BadParameter(error.problem, param_hint=option) from error


def _page(store: "Store", search: "Search", most: int, after: UUID | None) -> "SagaPage":
    """The next one that holds any: a page of the store may be short, or empty, and have a next one."""
    page = store.page(search, limit=most, after=after)
    while not page.instances and page.next_after is not None:
        page = store.page(search, limit=most, after=page.next_after)
    return page


def _step_in(saga_id: UUID, env_file: Path | None, act: "Callable[[Verbs], Decision | None]") -> None:
    from ordersaga.orchestrator.core.inputs import Verdict

    with told_in_one_line():
        _, view, verbs = _opened(env_file)
        decision = act(verbs)
        if decision is None:
            _no_such(saga_id)
        if decision.verdict is Verdict.REFUSED:
            typer.echo(f"ordersaga: this cannot be done: {decision.why}", err=True)
            raise typer.Exit(1)
        if decision.verdict is not Verdict.APPLIED:
            typer.echo(f"ordersaga: there was nothing to do: {decision.why}", err=True)
        typer.echo(printable(_line(view(decision.instance))))


def _opened(env_file: Path | None) -> "tuple[Store, Callable[[Any], SagaView], Verbs]":
    from ordersaga import bootstrap_commands
    from ordersaga.orchestrator.api.views import saga_view

    store, sagas, verbs = bootstrap_commands.at_a_terminal(read_settings(env_file, needs=("database_url",)))
    known = {(one.name, one.version): one for one in sagas}
    return store, lambda instance: saga_view(instance, known.get((instance.saga, instance.version))), verbs


def _by(who: str, why: str) -> "Actor":
    from ordersaga.orchestrator.runtime.verbs import Actor

    return Actor(name=who[:100], role="operator", reason=why[:500])


def _line(saga: "SagaView") -> str:
    marks = [saga.reason.value if saga.reason else "", "accepted" if saga.accepted else ""]
    marks += ["attention" if saga.attention else "", "resolved" if saga.resolved else ""]
    said = "  ".join(filter(None, marks))
    where = f"{saga.saga:14}  {saga.status:12}  {saga.current_step or '-':20}"
    return f"{saga.id}  {saga.created_at:%Y-%m-%d %H:%M:%S}  {where}{said}".rstrip()


def _state(saga: "SagaView") -> Iterator[str]:
    yield _line(saga)
    if saga.explanation:
        yield f"  {saga.explanation}"
    if saga.order_id:
        yield f"  order {saga.order_id}" + (f", payment {saga.payment_id}" if saga.payment_id else "")
    for step in saga.steps:
        tried = f"asked {step.attempts} times" + (f", undone {step.undo_attempts} times" if step.undo_attempts else "")
        became = step.became.value if step.became else "under way"
        yield f"  {step.name:20} {became:10} {tried}" + (f", refused: {step.refusal}" if step.refusal else "")
    if saga.waits_for:
        step_name = f" of {saga.waits_for.step}" if saga.waits_for.step else ""
        what = saga.waits_for.what.replace("_", " ")
        yield f"  waits for {what}{step_name} until {saga.waits_for.until:%H:%M:%S} UTC"
    if saga.stuck_step:
        yield f"  stuck: the undo of {saga.stuck_step} could not be confirmed"
    for why in saga.attention:
        yield f"  attention: {why}"


def _timeline(history: "Sequence[StoredHistory]", began: datetime) -> Iterator[str]:
    for entry in history:
        sent = ", ".join(str(one["type"]) for one in entry.body.get("sent", ()))
        who = f" by {_who(entry.body)}" if "actor" in entry.body else ""
        seconds = (entry.at - began).total_seconds()
        line = f"{entry.revision:>4}  {seconds:>10.3f} s  {entry.cause}{who}  {entry.body.get('status', '')}"
        yield line + (f"  sent {sent}" if sent else "")


def _who(body: Mapping[str, Any]) -> str:
    return ": ".join(filter(None, (str(body["actor"]), str(body.get("why", "")))))


def _no_such(saga_id: UUID) -> NoReturn:
    typer.echo(f"ordersaga: there is no saga {saga_id}", err=True)
    raise typer.Exit(1)
