"""`ordersaga maintenance`: new orders are stopped, what is under way is finished, and it is said when nothing is left.

The switch is that of `ordersaga orders`. Works on the database directly, whether or not a service runs.
"""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ordersaga.cli_errors import told_in_one_line
from ordersaga.cli_options import EnvFile, Who, Why, board

if TYPE_CHECKING:
    from ordersaga.orchestrator.store.board_protocol import Board, Posted

LOOK_EVERY_SECONDS = 1.0
DOORS_SECONDS = 3.0
"""Until every process knows that no orders are taken, and what it had let in by then has begun."""
COUNT_MAX = 1_000_000

app = typer.Typer(
    no_args_is_help=True,
    help="""Take no new orders, finish what is under way, and say when nothing is left.

    Exit code 1 where something is still under way.

    Example: ordersaga maintenance begin --why "the database moves" --wait-seconds 600""",
)
Wait = Annotated[float, typer.Option(help="How long to wait until nothing is under way; 0: say how it is, and end.")]


@app.command()
def begin(*, who: Who, why: Why, wait_seconds: Wait = 0.0, env_file: EnvFile = None) -> None:
    """Take no new orders, and wait until what is under way is finished.

    It takes three seconds at least, until every process has closed its door.

    Orders that are confirmed and wait for a runner are no hindrance: their window closes when a process runs again.
    Exit code 1 where something is still under way.

    Example: ordersaga maintenance begin --why "the database moves" --wait-seconds 600
    """
    with told_in_one_line():
        found = board(env_file)
        found.set_switch(taken=False, by=who, why=f"maintenance: {why}"[:500])
        left = _waited(found, wait_seconds, at_least=DOORS_SECONDS)
    raise typer.Exit(1 if left else 0)


@app.command()
def status(*, wait_seconds: Wait = 0.0, env_file: EnvFile = None) -> None:
    """What is still under way. Exit code 1 where something is.

    Example: ordersaga maintenance status --wait-seconds 60
    """
    with told_in_one_line():
        left = _waited(board(env_file), wait_seconds)
    raise typer.Exit(1 if left else 0)


@app.command()
def end(*, who: Who, why: Why = "maintenance is over", env_file: EnvFile = None) -> None:
    """Take new orders again.

    Example: ordersaga maintenance end
    """
    with told_in_one_line():
        board(env_file).set_switch(taken=True, by=who, why=why)
        typer.echo("new orders are taken")


def _waited(found: "Board", seconds: float, *, at_least: float = 0.0) -> bool:
    """Whether something is left when the time is over. Says how it is, whenever that has changed. `at_least`: that
    nothing is left counts only after so many seconds.
    """
    begun, said = time.monotonic(), ""
    until = begun + max(seconds, at_least)
    while True:
        posted = found.read(most=COUNT_MAX)
        if (line := _line(posted)) != said:
            typer.echo(said := line)
        left = posted.under_way > 0 or posted.outbox_rows > 0
        now = time.monotonic()
        if now >= until or (not left and now - begun >= at_least):
            return left
        time.sleep(LOOK_EVERY_SECONDS)


def _line(posted: "Posted") -> str:
    switch = posted.switch
    orders = "not taken" if switch is not None and not switch.taken else "taken"
    if not posted.under_way and not posted.outbox_rows:
        return f"new orders are {orders}; nothing is under way"
    return f"new orders are {orders}; {posted.under_way} sagas and {posted.outbox_rows} messages are under way"
