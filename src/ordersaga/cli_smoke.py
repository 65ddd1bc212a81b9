"""`ordersaga smoke`: whether a deployment does its work, told in a line for each part; `ordersaga healthcheck`, for who
has no other program to ask with.
"""

import json
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ordersaga.cli_errors import fail, read_settings, told_in_one_line
from ordersaga.cli_options import EnvFile

if TYPE_CHECKING:
    from ordersaga.smoke.check import Check


def smoke(
    *,
    api_url: Annotated[str | None, typer.Option(help="Where the API is. Default: ORDERSAGA_SMOKE_API_URL.")] = None,
    payment_url: Annotated[
        str | None, typer.Option(help="Where the reference payment service is. Default: ORDERSAGA_SMOKE_PAYMENT_URL.")
    ] = None,
    customer_id: Annotated[str | None, typer.Option(help="Who orders. Default: ORDERSAGA_SMOKE_CUSTOMER_ID.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait for each outcome.", min=1, max=3600)] = None,
    order: Annotated[bool, typer.Option(help="Place an order and take it back; without, only look.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="The whole as one line of JSON.")] = False,
    env_file: EnvFile = None,
) -> None:
    """Try a running deployment: look at every part, place an order, see it through, cancel it, see it taken back.

    Where the API asks for a token it takes ORDERSAGA_SMOKE_TOKEN, or ORDERSAGA_SMOKE_TOKEN_FILE. Exit code 1 where
    something failed; what is only noticed fails nothing. No order is placed where a part that it needs has failed.

    Example: ordersaga smoke --api-url https://example.com/orders
    """
    given: dict[str, Any] = {
        "smoke_api_url": api_url,
        "smoke_payment_url": payment_url,
        "smoke_customer_id": customer_id,
        "smoke_timeout_seconds": timeout,
    }
    with told_in_one_line():
        fixed = {name: value for name, value in given.items() if value is not None}
        settings = read_settings(env_file, needs=("database_url", "kafka_bootstrap_servers"), **fixed)
        from ordersaga import bootstrap_commands, connecting
        from ordersaga.interrupting import interrupted_by_signals
        from ordersaga.logs import hush

        hush()
        bus = connecting.kafka_bus(settings)
        trying = bootstrap_commands.smoke(settings, bus, orders=order)
        found = []
        try:
            with interrupted_by_signals(), closing(trying.checks()) as checks:
                for check in checks:
                    found.append(check)
                    if not as_json:
                        _tell(check)
        except KeyboardInterrupt:
            fail(f"interrupted: {trying.left}", code=1)
        finally:
            bus.close(2.0)
    ok = not any(one.result == "failed" for one in found)
    typer.echo(json.dumps({"ok": ok, "checks": [_view(one) for one in found]}) if as_json else _summary(found))
    if not ok:
        raise typer.Exit(1)


def _tell(check: "Check") -> None:
    shown = check.result.upper() if check.result == "failed" else check.result
    typer.echo(f"{shown:9}  {check.what:15}  {check.said}")
    if check.look:
        typer.echo(f"           -> {check.look}")


def _summary(found: Sequence["Check"]) -> str:
    told = []
    for result in ("passed", "failed", "noticed", "not tried"):
        names = [one.what for one in found if one.result == result]
        if names:
            told.append(f"{len(names)} {result}" + (f" ({', '.join(names)})" if result == "failed" else ""))
    return "; ".join(told)


def _view(check: "Check") -> dict[str, Any]:
    return {"what": check.what, "result": check.result.value, "said": check.said, "look": check.look}


def healthcheck(url: Annotated[str, typer.Argument(help="What to ask, such as http://127.0.0.1:8080/livez.")]) -> None:
    """Ask a process how it is: exit code 0 where it is well. For containers, which have no other program to ask with.

    Example: ordersaga healthcheck http://127.0.0.1:8080/readyz
    """
    from ordersaga.smoke.asking import Service, Unanswered

    try:
        answer = Service(url, timeout_seconds=5.0).ask("GET", "")
    except Unanswered as error:
        fail(str(error), code=1)
    if answer.status != 200:
        fail(f"{url}: {answer.detail}", code=1)
    typer.echo(answer.body["status"])
