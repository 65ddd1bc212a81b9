"""The options that many commands have, and what they stand for."""

import functools
import getpass
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ordersaga.cli_errors import as_options, read_settings

if TYPE_CHECKING:
    from ordersaga.orchestrator.runtime.verbs import Actor
    from ordersaga.orchestrator.store.board_protocol import Board
    from ordersaga.orchestrator.store.search import Search


def _name(parameter: typer.CallbackParam, text: str) -> str:
    """As long as a name may be over HTTP."""
    return _said(parameter, text)[:100]


def _reason(parameter: typer.CallbackParam, text: str) -> str:
    return _said(parameter, text)[:500]


def _said(parameter: typer.CallbackParam, text: str) -> str:
    """As over HTTP: nobody, for no reason, is no entry for an audit. Where a reason may be left out it may be empty."""
    if not (said := text.strip()) and parameter.default != "":
        raise typer.BadParameter("must say something: it is kept in the audit.")
    return said


EnvFile = Annotated[Path | None, typer.Option(help="Read settings from this file too; the environment goes before.")]
Who = Annotated[
    str, typer.Option(help="Who does it; kept in the audit.", default_factory=getpass.getuser, callback=_name)
]
Why = Annotated[str, typer.Option(help="Why; kept in the audit.", callback=_reason)]

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


def operator(who: str, why: str) -> "Actor":
    """Whoever works at a terminal, where nobody asks for a token."""
    from ordersaga.orchestrator.runtime.verbs import Actor

    return Actor(name=who, role="operator", reason=why)


def board(env_file: Path | None) -> "Board":
    from ordersaga import bootstrap_commands

    return bootstrap_commands.board(read_settings(env_file, needs=("database_url",)))


def _search(
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
) -> "Search":
    from ordersaga.orchestrator.api.searching import search_of

    conditions = {
        "saga": saga,
        "step": step,
        "reason": reason,
        "customer_id": customer,
        "order_id": order,
        "since": since,
        "until": until,
        "text": text,
    }
    with as_options(customer_id="customer", order_id="order"):
        return search_of(status or [], attention=attention, conditions=conditions)


def searching(command: Callable[..., None]) -> Callable[..., None]:
    """The same command with the options by which sagas are searched for: it is handed what they say as `search`."""
    conditions = inspect.signature(_search).parameters
    own = [one for name, one in inspect.signature(command).parameters.items() if name != "search"]
    parameters = sorted([*conditions.values(), *own], key=lambda one: one.kind)  # what has no name in front

    @functools.wraps(command)
    def searched(**given: Any) -> None:
        search = _search(**{name: given.pop(name) for name in conditions})
        command(search=search, **given)

    searched.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    searched.__annotations__ = {one.name: one.annotation for one in parameters}
    return searched
