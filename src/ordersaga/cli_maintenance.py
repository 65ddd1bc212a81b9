"""`ordersaga maintenance`: new orders are stopped, what is under way is finished, and it is said when nothing is left.

The switch is that of `ordersaga orders`. Works on the database directly, whether or not a service runs.
"""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ordersaga.cli_errors import read_settings, told_in_one_line
from ordersaga.cli_options import EnvFile, Who, Why, board

if TYPE_CHECKING:
    from ordersaga.orchestrator.store.board_protocol import Board, Posted
    from ordersaga.settings import Settings

LOOK_EVERY_SECONDS = 1.0
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

    It takes half a minute at least (36 seconds), until every process has closed its door, also one that could not reach
    the database for a while, and what it had let in by then has begun. Longer where ORDERSAGA_DATABASE_TIMEOUT_SECONDS
    is more than 10: set it here as it is there.

    Orders that are confirmed and wait for a runner are no hindrance: their window closes when a process runs again.
    Deliveries are completed all the same: whoever asks `POST /orders/{id}/completion` has to stop too.
    Exit code 1 where something is still under way.

    Example: ordersaga maintenance begin --why "the database moves" --wait-seconds 600
    """
    with told_in_one_line():
        found = board(env_file)
        found.set_switch(taken=False, by=who, why=f"maintenance: {why}"[:500])
        left = _waited(found, wait_seconds, at_least=_doors_seconds(read_settings(env_file, needs=("database_url",))))
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
        under_way, posted = found.under_way(most=COUNT_MAX), found.read(most=COUNT_MAX)
        if (line := _line(posted, under_way)) != said:
            typer.echo(said := line)
        left = under_way > 0 or posted.outbox_rows > 0
        now = time.monotonic()
        if now >= until or (not left and now - begun >= at_least):
            return left
        time.sleep(LOOK_EVERY_SECONDS)


def _doors_seconds(settings: "Settings") -> float:
    """Until every process knows that no orders are taken, and what it had let in by then has begun. One may have asked
    the board in vain the moment before, and rests before it asks again; an order that it lets in till then is given up
    where its turn does not come in time, and has a transaction's time where it does.
    """
    from ordersaga.orchestrator.api.asking import BEGUN_WITHIN_SECONDS
    from ordersaga.orchestrator.runtime.bulletin import EVERY_SECONDS, RESTART_MOST_SECONDS

    known = settings.database_timeout_seconds + RESTART_MOST_SECONDS + EVERY_SECONDS
    return known + BEGUN_WITHIN_SECONDS + settings.database_timeout_seconds


def _line(posted: "Posted", under_way: int) -> str:
    switch = posted.switch
    orders = "not taken" if switch is not None and not switch.taken else "taken"
    if not under_way and not posted.outbox_rows:
        return f"new orders are {orders}; nothing is under way"
    return f"new orders are {orders}; {under_way} sagas and {posted.outbox_rows} messages are under way"
