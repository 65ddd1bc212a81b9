"""`ordersaga audit`: what operators did, asked for and were refused."""

from typing import Annotated
from uuid import UUID

import typer

from ordersaga.cli_errors import printable, read_settings, told_in_one_line
from ordersaga.cli_options import EnvFile


def audit(
    *,
    saga: Annotated[UUID | None, typer.Option(help="Only what was wished for this saga.")] = None,
    most: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=1_000)] = 50,
    before: Annotated[int | None, typer.Option(help="Older than the entry with this number: the next page.")] = None,
    env_file: EnvFile = None,
) -> None:
    """Who stepped in, when, how, why, and what came of it. Newest first.

    Example: ordersaga audit --saga 019aa1b2-7c1d-7e55-8f00-0123456789ab
    """
    with told_in_one_line():
        from ordersaga import bootstrap_commands

        found = bootstrap_commands.audit(read_settings(env_file, needs=("database_url",))).page(
            saga_id=saga, limit=most, before=before
        )
        for one in found:
            wish = one.wish
            of = f" {wish.saga_id}" if wish.saga_id else ""
            who = f"{wish.verb}{of} by {wish.actor} ({wish.role})"
            told = ": ".join(filter(None, (who, wish.reason, wish.outcome)))
            typer.echo(f"{one.id:>6}  {one.at:%Y-%m-%d %H:%M:%S}  {printable(' '.join(told.split()))}")
        if not found:
            typer.echo("none")
