"""`ordersaga erase`: what belongs to one customer is taken out of the database."""

import typer

from ordersaga.cli_errors import read_settings, told_in_one_line
from ordersaga.cli_options import EnvFile, Who, Why


def erase(
    *,
    why: Why,
    who: Who,
    env_file: EnvFile = None,
) -> None:
    """Erase what belongs to one customer, whose id is read from standard input: it stands in no list of processes.

    Live and archived sagas, files of the archive, histories and the records that were set aside lose it; orders,
    amounts and outcomes stay, and the audit does not say whom it was for. Exit code 1 where something has to wait for
    its end: do it again then. Topics keep records for a week.

    Example: echo user_2abc | ordersaga erase --why "asked by letter of 2 May"
    """
    with told_in_one_line():
        settings = read_settings(env_file, needs=("database_url",))
        from ordersaga import bootstrap_commands

        customer_id = (
            typer.prompt("customer id", err=True) if _is_terminal() else typer.get_text_stream("stdin").readline()
        )
        customer_id = customer_id.strip()
        if not customer_id:
            raise typer.BadParameter("the customer's id is expected on standard input")
        erased = bootstrap_commands.erasure(settings).erase(customer_id, by=who, why=why)
        typer.echo(f"erased in {erased.sagas} sagas, {erased.archived} archived ones and {erased.records} records")
        if erased.under_way or erased.waiting:
            typer.echo(
                f"left: {erased.under_way} sagas under way, {erased.waiting} records that wait: again when they end",
                err=True,
            )
        if erased.files_written:
            typer.echo("left: a file of the archive that is being written: again in some minutes", err=True)
    if not erased.is_all:
        raise typer.Exit(1)


def _is_terminal() -> bool:
    return typer.get_text_stream("stdin").isatty()
