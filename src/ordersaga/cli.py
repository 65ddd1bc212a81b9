"""The command line. Each command reads the settings, builds what it needs and runs it.

Everything but Typer is imported inside of the commands, so that `--help` answers at once. An error is a line on stderr
that says what to do; the exit code is 2 for what was given wrongly and 1 for what failed.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ordersaga import (
    cli_archive,
    cli_audit,
    cli_conformance,
    cli_consumption,
    cli_erase,
    cli_letters,
    cli_local,
    cli_maintenance,
    cli_orders,
    cli_reconcile,
    cli_sagas,
    cli_schemas,
    cli_smoke,
    cli_stats,
    cli_topics,
)
from ordersaga.cli_errors import fail, read_settings, say_exit_codes, told_in_one_line
from ordersaga.cli_options import EnvFile
from ordersaga.wire.topics import Participant

if TYPE_CHECKING:
    from ordersaga.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Create-order saga orchestrator. Settings come from the environment: `ordersaga settings` lists them.",
)


class Part(StrEnum):
    API = "api"
    WORKER = "worker"
    RELAY = "relay"
    DEADLINES = "deadlines"
    STATUS = "status"


Migrate = Annotated[bool, typer.Option(help="Bring the database's schema up to date first.")]
CreateTopics = Annotated[bool, typer.Option(help="Create topics that are missing first.")]


@app.command()
def serve(
    only: Annotated[list[Part] | None, typer.Option(help="Only this part; may be repeated. Default: all.")] = None,
    *,
    migrate: Migrate = True,
    create_topics: CreateTopics = True,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Only look: the API answers, and nothing is sent, read or changed.")
    ] = False,
    env_file: EnvFile = None,
) -> None:
    """Run the orchestrator: API, worker, relay, deadlines and status in one process.

    Each process publishes what it writes itself, so a relay runs beside every part; `--only relay` is one that has
    nothing of its own and takes over from processes that died. The API includes the status: health and metrics
    over HTTP. A process without an API that is to be watched needs `--only status` too.

    Exit code 0 after SIGTERM or SIGINT, 1 where a part did not stop in time, 130 where a second signal came.

    Example: ordersaga serve --only worker --only deadlines --only status
    """
    with told_in_one_line():
        settings = read_settings(env_file, needs=("database_url", "kafka_bootstrap_servers"), serves=True)
        from ordersaga import bootstrap, connecting

        bus = connecting.kafka_bus(settings)
        run = bootstrap.Run(only=frozenset(only or Part), migrate=migrate, create_topics=create_topics)
        built = bootstrap.orchestrator(settings, bus, bootstrap.LOOKING if read_only else run)
        _run(built, settings, bus)


@app.command()
def participants(
    names: Annotated[list[Participant] | None, typer.Argument(help="Which ones. Default: all.")] = None,
    *,
    migrate: Migrate = True,
    create_topics: CreateTopics = True,
    env_file: EnvFile = None,
) -> None:
    """Run reference participants, each with its own schema in the database, and HTTP for what people do there.

    Exit code 0 after SIGTERM or SIGINT, 1 where a part did not stop in time, 130 where a second signal came.

    Example: ordersaga participants order payment
    """
    with told_in_one_line():
        settings = read_settings(env_file, needs=("database_url", "kafka_bootstrap_servers"), serves=True)
        from ordersaga import bootstrap_participants, connecting

        bus = connecting.kafka_bus(settings)
        built = bootstrap_participants.participants(
            settings,
            bus,
            names=[one.value for one in names or Participant],
            migrate=migrate,
            create_topics=create_topics,
        )
        _run(built, settings, bus)


@app.command()
def migrate(*, env_file: EnvFile = None) -> None:
    """Bring the orchestrator's database schema up to date.

    Example: DATABASE_URL=postgresql://saga@db/saga ordersaga migrate
    """
    with told_in_one_line():
        settings = read_settings(env_file, needs=("database_url",))
        from ordersaga import bootstrap_commands

        for line in bootstrap_commands.migrate(settings):
            typer.echo(line)


@app.command()
def doctor(*, env_file: EnvFile = None) -> None:
    """Look at the database, the brokers, topics, lag and what waits: each is well, or what to do. Changes nothing.

    Exit code 1 where something is not well.

    Example: ordersaga doctor --env-file .env
    """
    with told_in_one_line():
        settings = read_settings(env_file, needs=("database_url", "kafka_bootstrap_servers"))
        from ordersaga import bootstrap_commands, connecting

        bus, well = connecting.kafka_bus(settings), True
        for finding in bootstrap_commands.doctor(settings, bus).findings():
            well = well and finding.well
            for line in finding.lines():
                typer.echo(line)
        bus.close(2.0)
    if not well:
        raise typer.Exit(1)


@app.command()
def settings(*, env_file: EnvFile = None) -> None:
    """List every setting with its value, and what it is for.

    Example: ordersaga settings --env-file .env
    """
    with told_in_one_line():
        from ordersaga.settings_reading import listing, read

        for line in listing(read(env_file=env_file)):
            typer.echo(line)


@app.command()
def config(
    *,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not as it comes.")] = False,
    env_file: EnvFile = None,
) -> None:
    """What is in force, and where each value is from. Secrets are not shown.

    Example: ordersaga config --changed --env-file .env
    """
    with told_in_one_line():
        from ordersaga.settings_reading import in_force

        for name, value, origin in in_force(env_file=env_file):
            if origin != "default" or not changed:
                typer.echo(f"{name}={value}  ({origin})")


@app.command()
def token(
    name: Annotated[str, typer.Argument(help="Whose it is: what it does is recorded under this name.")],
    *,
    role: Annotated[str, typer.Option(help="customer, viewer, operator or admin.")] = "viewer",
) -> None:
    """Make a token for the API: the token itself, shown this once, and the line for ORDERSAGA_AUTH_TOKENS.

    A customer is a front end that orders and cancels for its customers; a viewer reads; an operator steps in as well.

    Example: ordersaga token grafana --role viewer
    """
    from ordersaga.tokens import Role, new_token

    if role not in set(Role):
        raise typer.BadParameter(f"must be {', '.join(Role)}", param_hint="--role")
    try:
        made, line = new_token(name, Role(role))
    except ValueError as error:
        raise typer.BadParameter("must be letters, digits, '.', '_' or '-', 50 at most", param_hint="NAME") from error
    typer.echo(f"token  {made}")
    typer.echo(f"line   {line}")


@app.command()
def version() -> None:
    """Say which version this is.

    Example: ordersaga version
    """
    from ordersaga import __version__

    typer.echo(__version__)


@app.command()
def demo(
    *,
    exit: Annotated[bool, typer.Option("--exit", help="End once the orders are done, instead of staying.")] = False,  # noqa: A002
    json: Annotated[bool, typer.Option("--json", help="Say the result as one line of JSON at the end.")] = False,
    kafka: Annotated[bool, typer.Option("--kafka", help="On a real Kafka, started here, with a process each.")] = False,
) -> None:
    """Place orders on a platform of your own and watch them confirmed and taken back.

    Exit code 1 where an order did not end as it should.

    Example: ordersaga demo --exit
    """
    try:
        from ordersaga.demo.run import main as run_demo
    except ModuleNotFoundError as error:
        fail(f"the demo needs {error.name}: install it with pip install 'ordersaga[local]'", code=1)
    raise typer.Exit(run_demo(exits=exit, as_json=json, kafka=kafka))


app.add_typer(cli_letters.app, name="dead-letters")
app.add_typer(cli_letters.orphans, name="orphans")
app.add_typer(cli_orders.app, name="orders")
app.add_typer(cli_consumption.app, name="consumption")
app.add_typer(cli_maintenance.app, name="maintenance")
app.add_typer(cli_sagas.app, name="sagas")
app.add_typer(cli_archive.app, name="archive")
app.add_typer(cli_topics.app, name="topics")
app.command()(cli_local.local)
app.command()(cli_schemas.schemas)
app.command()(cli_smoke.smoke)
app.command()(cli_smoke.healthcheck)
app.command()(cli_stats.stats)
app.command()(cli_reconcile.reconcile)
app.command()(cli_conformance.conformance)
app.command()(cli_erase.erase)
app.command()(cli_audit.audit)


say_exit_codes(app)


def _run(built: Any, settings: "Settings", bus: Any) -> None:
    from ordersaga.delivery.failpoints import VARIABLE, arm_from_environment
    from ordersaga.process import leave, run_until_signalled
    from ordersaga.settings_reading import SettingsError

    try:
        # Now that everything is imported, every failpoint is declared.
        arm_from_environment({VARIABLE: settings.failpoints})
    except ValueError as error:
        raise SettingsError([str(error)]) from None
    exit_code = run_until_signalled(built, settings.stop_timeout_seconds)
    bus.close(1.0)
    leave(exit_code)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
