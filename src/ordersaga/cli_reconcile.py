"""`ordersaga reconcile`: what the payment service holds, and what the sagas say that it should."""

from pathlib import Path
from typing import Annotated

import typer

from ordersaga.cli_errors import read_settings, told_in_one_line
from ordersaga.cli_options import EnvFile


def reconcile(
    *,
    ledger: Annotated[
        Path | None, typer.Option(help="Read the ledger from this file (CSV, or lines of JSON) and not by the query.")
    ] = None,
    days: Annotated[float, typer.Option(help="Sagas of so many days, archived ones too.", min=0.01, max=400)] = 8.0,
    json: Annotated[bool, typer.Option("--json", help="A line of JSON for each difference.")] = False,
    env_file: EnvFile = None,
) -> None:
    """Compare the payment service's ledger with the sagas. Changes nothing, here and there.

    Exit code 1 where they differ. What is under way, and what changed in the last quarter of an hour, is left alone; so
    is a payment that an older saga knows.

    Example: ordersaga reconcile --ledger payments.csv
    """
    with told_in_one_line():
        settings = read_settings(env_file, needs=("database_url",))
        import msgspec

        from ordersaga import bootstrap_commands

        found = 0
        for difference in bootstrap_commands.reconcile(settings, ledger=ledger, days=days):
            found += 1
            if json:
                typer.echo(msgspec.json.encode(difference).decode())
            else:
                saga = f"  saga {difference.saga_id}" if difference.saga_id else ""
                typer.echo(f"{difference.kind:14}  {difference.said}{saga}")
        if not json:
            typer.echo("no differences" if not found else f"{found} differences: see the runbook")
    if found:
        raise typer.Exit(1)
