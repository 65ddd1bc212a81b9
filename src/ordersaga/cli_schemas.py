"""`ordersaga schemas`: what is said to us and by us, for other people's tools."""

from enum import StrEnum
from typing import Annotated

import typer

from ordersaga.cli_errors import read_settings, told_in_one_line
from ordersaga.cli_options import EnvFile


class Document(StrEnum):
    OPENAPI = "openapi"
    ASYNCAPI = "asyncapi"
    MESSAGES = "messages"


def schemas(
    document: Annotated[
        Document, typer.Argument(help="HTTP (OpenAPI), Kafka (AsyncAPI), or each message's JSON Schema.")
    ],
    *,
    env_file: EnvFile = None,
) -> None:
    """Print a description of the HTTP interface or of the messages, as JSON. Needs neither database nor brokers.

    Example: ordersaga schemas asyncapi > asyncapi.json
    """
    import json

    from ordersaga import __version__

    with told_in_one_line():
        settings = read_settings(env_file, needs=())
        from ordersaga import schemas as documents
        from ordersaga.as_set import topics_of

        sagas = documents.every_saga()
        written = {
            Document.OPENAPI: lambda: documents.openapi(__version__),
            Document.ASYNCAPI: lambda: documents.asyncapi(sagas, topics_of(settings), __version__),
            Document.MESSAGES: lambda: documents.json_schemas(sagas),
        }
        typer.echo(json.dumps(written[document](), indent=2, ensure_ascii=False))
