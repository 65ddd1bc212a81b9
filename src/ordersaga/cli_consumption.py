"""`ordersaga consumption`: whether what the services say is read, turning that off and on, and going back.

Works on the database directly; every process learns of it within a second or two, and after a restart too.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from ordersaga.cli_errors import as_options, read_settings, told_in_one_line
from ordersaga.cli_options import EnvFile, Who, Why, board

if TYPE_CHECKING:
    from ordersaga.orchestrator.runtime.retracing import Retraced
    from ordersaga.orchestrator.store.board_protocol import Pause

app = typer.Typer(
    no_args_is_help=True,
    help="""Pause and resume reading what the services say. No deadline passes meanwhile; orders are still taken.

    Example: ordersaga consumption pause --why "the payment service repeats old events\"""",
)


@app.command()
def status(*, env_file: EnvFile = None) -> None:
    """Whether what the services say is read.

    Example: ordersaga consumption status
    """
    with told_in_one_line():
        typer.echo(_line(board(env_file).read(most=0).pause))


@app.command()
def pause(*, who: Who, why: Why, env_file: EnvFile = None) -> None:
    """Read nothing that the services say, until somebody resumes.

    Example: ordersaga consumption pause --why "the payment service repeats old events"
    """
    with told_in_one_line():
        typer.echo(_line(board(env_file).set_pause(paused=True, by=who, why=why)))


@app.command()
def resume(*, who: Who, why: Why = "resumed", env_file: EnvFile = None) -> None:
    """Read on from where it was; deadlines wait until what came meanwhile is read.

    Example: ordersaga consumption resume
    """
    with told_in_one_line():
        typer.echo(_line(board(env_file).set_pause(paused=False, by=who, why=why)))


@app.command("read-again")
def read_again(
    *,
    since: Annotated[str, typer.Option(help="When the backup was made, such as 2026-01-31T09:00:00Z.")],
    who: Who,
    why: Why,
    env_file: EnvFile = None,
) -> None:
    """Let what the services said since a moment be read once more: after a restore, whose backup does not know of it.

    No orchestrator may run; where one does, nothing is changed. Consumption is paused by it: start one, then resume,
    and deadlines wait until all of it is read. What is known already is recognised and changes nothing.

    Sagas that are STARTED are led along what was asked and answered since, so that nobody is asked twice. Where this
    fails, do it once more before an orchestrator starts.

    Example: ordersaga consumption read-again --since 2026-01-31T09:00:00Z --why "restored from the backup of nine"
    """
    with told_in_one_line():
        from ordersaga import bootstrap_commands
        from ordersaga.wire.times import parse_time

        settings = read_settings(env_file, needs=("database_url", "kafka_bootstrap_servers"))
        with as_options():
            moment = parse_time(since, "since")
        bootstrap_commands.check_nobody_reads(settings)
        typer.echo(_line(bootstrap_commands.board(settings).set_pause(paused=True, by=who, why=why)))
        try:
            led = bootstrap_commands.retrace(settings, moment, by=who, why=why)
            typer.echo(_led(led))
            again = bootstrap_commands.read_again(settings, moment)
        except Exception:
            typer.echo("consumption is paused, and no orchestrator may start: do it once more", err=True)
            raise
        for topic, count in again.items():
            typer.echo(f"{topic:24} {count:,} records will be read again")
        said = f"{sum(again.values())} records since {moment:%Y-%m-%dT%H:%M:%SZ}; {_led(led)}"
        if problem := bootstrap_commands.noted(settings, verb="read again", by=who, why=why, outcome=said):
            typer.echo(f"it is done, and not in the audit: {problem}", err=True)
        typer.echo("start an orchestrator, then: ordersaga consumption resume")


def _led(led: "Retraced") -> str:
    now = ", ".join(f"{count:,} {status.value}" for status, count in sorted(led.now.items())) or "none"
    left = f"; {led.unknown_versions:,} are of a version that is not known here" if led.unknown_versions else ""
    left += f"; the rows of {led.damaged:,} are damaged" if led.damaged else ""
    return f"{led.began:,} sagas were STARTED; by what the log has they are: {now}{left}"


def _line(pause: "Pause | None") -> str:
    if pause is None:
        return "consumption goes on"
    state = "is paused" if pause.paused else "goes on"
    return f"consumption {state}: {pause.by} at {pause.at:%Y-%m-%d %H:%M:%S} UTC: {pause.why}"
