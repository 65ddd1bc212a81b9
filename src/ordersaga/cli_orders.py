"""`ordersaga orders`: whether new orders are taken, and turning that off and on.

Works on the database directly; every process learns of it within a second or two.
"""

from typing import TYPE_CHECKING

import typer

from ordersaga.cli_errors import told_in_one_line
from ordersaga.cli_options import EnvFile, Who, Why, board

if TYPE_CHECKING:
    from ordersaga.orchestrator.store.board_protocol import Switch

app = typer.Typer(
    no_args_is_help=True,
    help="""Stop and resume taking new orders; what is under way is never touched.

    Example: ordersaga orders stop --why "the payment provider is down\"""",
)


@app.command()
def status(*, env_file: EnvFile = None) -> None:
    """Whether new orders are taken, and who answers nobody.

    Example: ordersaga orders status
    """
    with told_in_one_line():
        posted = board(env_file).read(most=1_000_000)
        typer.echo(_line(posted.switch))
        typer.echo(f"{posted.started} sagas on their way forward, {posted.outbox_rows} messages to be published")
        for name, silence in sorted(posted.silences.items()):
            typer.echo(
                f"{name.value}: {silence.commands} commands without an answer since {silence.since:%H:%M:%S} UTC"
            )


@app.command()
def stop(*, who: Who, why: Why, env_file: EnvFile = None) -> None:
    """Take no new orders: they are answered 503 with Retry-After.

    Example: ordersaga orders stop --why "the payment provider is down"
    """
    with told_in_one_line():
        typer.echo(_line(board(env_file).set_switch(taken=False, by=who, why=why)))


@app.command()
def resume(*, who: Who, why: Why = "resumed", env_file: EnvFile = None) -> None:
    """Take new orders again.

    Example: ordersaga orders resume
    """
    with told_in_one_line():
        typer.echo(_line(board(env_file).set_switch(taken=True, by=who, why=why)))


def _line(switch: "Switch | None") -> str:
    if switch is None:
        return "new orders are taken"
    taken = "taken" if switch.taken else "not taken"
    return f"new orders are {taken}: {switch.by} at {switch.at:%Y-%m-%d %H:%M:%S} UTC: {switch.why}"
