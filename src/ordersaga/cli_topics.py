"""`ordersaga topics`: those that there have to be, and those that there are."""

import getpass

import typer

from ordersaga.cli_errors import read_settings, told_in_one_line
from ordersaga.cli_options import EnvFile, Who, Why

app = typer.Typer(
    help="""See which topics there have to be, and create those that are missing. Nothing that is there is ever changed.

    Without a command: the same as `apply`.

    Example: ordersaga topics plan""",
)


@app.callback(invoke_without_command=True)
def topics(context: typer.Context, *, env_file: EnvFile = None) -> None:
    if context.invoked_subcommand is None:
        apply(who=getpass.getuser(), env_file=env_file)


@app.command()
def plan(*, env_file: EnvFile = None) -> None:
    """Say what `apply` would do, and what it would leave alone. Changes nothing.

    Exit code 1 where a topic is missing.

    Example: KAFKA_BOOTSTRAP_SERVERS=broker:9092 ordersaga topics plan
    """
    with told_in_one_line():
        settings = read_settings(env_file, needs=("kafka_bootstrap_servers",))
        from ordersaga import bootstrap_commands

        missing = False
        for topic in bootstrap_commands.topics(settings, create=False):
            missing = missing or topic.partitions is None
            typer.echo(f"{topic.name:24} {_planned(topic.partitions, topic.wanted)}")
    if missing:
        raise typer.Exit(1)


@app.command()
def apply(
    *,
    who: Who,
    why: Why = "",
    env_file: EnvFile = None,
) -> None:
    """Create those that are missing, and list all with their partitions. Where DATABASE_URL is set, the audit has it.

    Exit code 1 where a topic is still missing.

    Example: KAFKA_BOOTSTRAP_SERVERS=broker:9092 ordersaga topics apply
    """
    with told_in_one_line():
        settings = read_settings(env_file, needs=("kafka_bootstrap_servers",))
        from ordersaga import bootstrap_commands

        missing, created = False, []
        for topic in bootstrap_commands.topics(settings, create=True):
            missing = missing or topic.partitions is None
            created += [topic.name] if topic.created else []
            count = "missing" if topic.partitions is None else f"{topic.partitions} partitions"
            typer.echo(f"{topic.name:24} {count}{', created' if topic.created else ''}")
        if settings.database_url is not None:
            said = f"created {', '.join(created)}" if created else "nothing was missing"
            if problem := bootstrap_commands.noted(settings, verb="topics apply", by=who, why=why, outcome=said):
                typer.echo(f"it is done, and not in the audit: {problem}", err=True)
    if missing:
        raise typer.Exit(1)


def _planned(partitions: int | None, wanted: int) -> str:
    if partitions is None:
        return f"missing: would be created with {wanted} partitions, to keep records for a week"
    if partitions < wanted:
        return f"{partitions} partitions, {wanted} are set: left alone, since more would move keys; see `growing`"
    return f"{partitions} partitions: well"
