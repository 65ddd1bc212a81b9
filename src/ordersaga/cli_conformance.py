"""`ordersaga conformance`: which properties a running participant has, and whether to run it as bare or as full."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ordersaga.cli_errors import fail, read_settings, told_in_one_line
from ordersaga.cli_options import EnvFile
from ordersaga.wire.topics import Participant

if TYPE_CHECKING:
    from ordersaga.bus.protocol import Bus
    from ordersaga.settings import Settings
    from ordersaga.testing.conformance import Finding, Subject


class As(StrEnum):
    BARE = "bare"
    FULL = "full"


Url = Annotated[
    str | None,
    typer.Option(help="Its HTTP endpoints, as the platform names them: effects are counted there, orders accepted."),
]
LedgerCommand = Annotated[
    str | None,
    typer.Option(
        help="A command that prints a line of JSON for each effect (id, stands, amount_cents) of the saga in its"
        " environment (SAGA_ID, ORDER_ID, CUSTOMER_ID). It goes before --url."
    ),
]
DeskCommand = Annotated[
    str | None,
    typer.Option(
        help="A command that plays a runner: it does ACT (accept, give-back) to ORDER_ID as RUNNER_ID, all three in its"
        " environment. It ends with 0 where that was done, with 69 where runners cannot do that. It goes before --url."
    ),
]
Restart = Annotated[
    str | None,
    typer.Option(
        help="A command, or a URL to post to, that kills it (kill -9) and starts it again. Nothing is judged until it"
        " answers in every partition: for each kill that takes as long as the session of its consumer group."
    ),
]
AnswerSeconds = Annotated[
    float,
    typer.Option(help="How long an answer may take. What a kill delays is waited for besides.", min=0.1, max=600),
]


def conformance(
    participant: Annotated[Participant, typer.Argument(help="Which one.")],
    *,
    kafka: Annotated[str | None, typer.Option(help="host:port of some brokers, instead of the setting.")] = None,
    kind: Annotated[As, typer.Option("--as", help="What it has to be.")] = As.FULL,
    url: Url = None,
    ledger_command: LedgerCommand = None,
    desk_command: DeskCommand = None,
    restart: Restart = None,
    customer_id: Annotated[str, typer.Option(help="A customer that it knows.")] = "conformance",
    payment_method_id: Annotated[str, typer.Option(help="A card that it accepts.")] = "pm_card_visa",
    only: Annotated[list[str] | None, typer.Option(help="Only this property; may be repeated.")] = None,
    answer_seconds: AnswerSeconds = 10.0,
    one_at_a_time: Annotated[bool, typer.Option("--one-at-a-time", help="No two checks at once.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Say what would be tried, and why, and try nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    env_file: EnvFile = None,
) -> None:
    """Examine a running participant over Kafka: which properties of a full one it has.

    It makes orders, holds money and starts timers, and takes them back at the end: run it on a test environment.

    Exit code 1 where it was not seen to have all that its kind promises, or all that --only asks for; what was not
    tried was not seen.

    Example: ordersaga conformance payment --kafka broker:9092 --url http://payment:8093 --restart ./restart-payment
    """
    with told_in_one_line():
        if show:
            _list(participant)
            return
        settings = _with_brokers(read_settings(env_file, needs=()), kafka)
        from ordersaga import connecting
        from ordersaga.testing.conformance import Kind, examine, properties_of

        known = [one.name for one in properties_of(participant)]
        unknown = [one for one in only or () if one not in known]
        if unknown:
            fail(f"no property {unknown[0]!r} of a {participant} service: --list says them", code=2)
        bus = connecting.kafka_bus(settings)
        means = {"url": url, "ledger_command": ledger_command, "desk_command": desk_command, "restart": restart}
        subject = _subject(participant, settings, bus, **means)
        subject = _with_samples(subject, customer_id, payment_method_id, answer_seconds, one_at_a_time=one_at_a_time)
        report = examine(subject, kind=Kind(kind), only=only or (), told=_ignore if json else _progress)
        bus.close(2.0)
        for line in [report.as_json()] if json else report.lines():
            typer.echo(line)
    if not report.has_what_was_asked:
        raise typer.Exit(1)


def _list(participant: Participant) -> None:
    from ordersaga.testing.conformance import Kind, properties_of

    promised = {Kind.BARE: "bare and full", Kind.FULL: "full", None: "worth having"}
    for one in properties_of(participant):
        typer.echo(f"{one.name} ({promised[one.promised_by]})\n    {one.says}\n    {one.why}")


def _with_brokers(settings: "Settings", kafka: str | None) -> "Settings":
    if kafka:
        return settings.model_copy(update={"kafka_bootstrap_servers": kafka})
    if not settings.kafka_bootstrap_servers:
        fail("say where the brokers are: --kafka host:port, or KAFKA_BOOTSTRAP_SERVERS", code=2)
    return settings


def _subject(
    participant: Participant,
    settings: "Settings",
    bus: "Bus",
    *,
    url: str | None,
    ledger_command: str | None,
    desk_command: str | None,
    restart: str | None,
) -> "Subject":
    from ordersaga.as_set import topics_of
    from ordersaga.testing.conformance import CommandDesk, CommandLedger, HttpDesk, Subject, restart_by

    endpoints = HttpDesk(url, participant) if url else None
    return Subject(
        participant=participant,
        bus=bus,
        topics=topics_of(settings),
        ledger=CommandLedger(ledger_command) if ledger_command else endpoints,
        desk=CommandDesk(desk_command) if desk_command else endpoints,
        restart=restart_by(restart) if restart else None,
    )


def _with_samples(
    subject: "Subject", customer_id: str, payment_method_id: str, answer_seconds: float, *, one_at_a_time: bool
) -> "Subject":
    from dataclasses import replace

    samples = replace(subject.samples, customer_id=customer_id, payment_method_id=payment_method_id)
    return replace(subject, samples=samples, answer_seconds=answer_seconds, one_at_a_time=one_at_a_time)


def _progress(finding: "Finding") -> None:
    """On stderr, so that the table stays a table."""
    typer.echo(f"{finding.result.value:9}  {finding.property.name}", err=True)


def _ignore(finding: "Finding") -> None:
    """The JSON has it."""
