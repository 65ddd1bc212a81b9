"""The reference says what the code says, and what it says of messages is true of messages."""

import json
import shlex
from typing import Any

import jsonschema_rs
import pytest
from typer.testing import CliRunner

from ordersaga import schemas
from ordersaga.cli import app
from ordersaga.settings import Settings, variable
from ordersaga.wire.messages import ALIASES, ANNOUNCEMENTS, COMMANDS, EVENTS, STATUS_ANNOUNCEMENTS
from ordersaga.wire.topics import Topics
from tests.wire.samples import message_of
from tools import reference

SAGAS = schemas.every_saga()
VOCABULARY = {*COMMANDS, *EVENTS, *ALIASES, *ANNOUNCEMENTS, *STATUS_ANNOUNCEMENTS}
DOCUMENT = schemas.asyncapi(SAGAS, Topics(), "1.2.3")


@pytest.mark.parametrize("name", sorted(reference.files()))
def test_the_reference_is_the_one_that_the_code_makes(name: str) -> None:
    assert (reference.FOLDER / name).read_text("utf-8") == reference.files()[name], "run `make reference`"


def test_every_setting_has_a_heading_a_default_and_a_reason() -> None:
    page = reference.files()["settings.md"]
    for name, info in Settings.model_fields.items():
        heading = f"### {variable(name)}\n\nDefault "
        assert page.count(heading) == 1
        assert str(info.description) in page.partition(heading)[2].partition("\n### ")[0]


def test_no_secret_has_a_default() -> None:
    assert "(secret)" not in reference.files()["settings.md"]


def test_every_command_is_in_the_reference_and_its_example_can_be_typed() -> None:
    page = reference.files()["command-line.md"]
    for name, command in reference.commands():
        assert f"## {name}\n" in page
        example = " ".join(str(command.help).partition("Example:")[2].split())
        words = shlex.split(example.partition(" > ")[0].rpartition(" | ")[2])
        settings = [word for word in words if "=" in word and word.split("=")[0].isupper()]
        typed = [word for word in words if word not in settings]
        assert " ".join(typed).startswith(name), f"{name} has no example of itself: {example!r}"
        command.make_context(name, typed[len(name.split()) :])


def test_every_message_has_one_channel_and_its_topic_is_one_of_ours() -> None:
    assert set(DOCUMENT["components"]["messages"]) == VOCABULARY
    told = [name for channel in DOCUMENT["channels"].values() for name in channel["messages"]]
    assert sorted(told) == sorted(VOCABULARY)
    assert {channel["address"] for channel in DOCUMENT["channels"].values()} == set(Topics().all()) - {
        Topics().saga_dead_letters
    }


def test_what_we_send_and_what_we_receive_are_told_apart() -> None:
    actions = {name: one["action"] for name, one in DOCUMENT["operations"].items()}
    assert {name for name, action in actions.items() if action == "receive"} == {
        f"receive_{topic}" for topic in ("order_events", "user_events", "payment_events", "timer_events")
    }
    assert set(actions.values()) == {"send", "receive"}


def test_every_reference_inside_of_the_document_leads_somewhere() -> None:
    found = list(_references(DOCUMENT))
    assert len(found) > 100
    for reference_text in found:
        at: Any = DOCUMENT
        for part in reference_text.removeprefix("#/").split("/"):
            at = at[part]


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [one for value in node.values() for one in _references(value)]
    return [one for value in node for one in _references(value)] if isinstance(node, list) else []


def test_topics_go_by_the_names_that_are_set() -> None:
    renamed = schemas.asyncapi(SAGAS, Topics(payment_commands="cell7.payment_commands"), "1")
    assert renamed["channels"]["payment_commands"]["address"] == "cell7.payment_commands"


@pytest.mark.parametrize("name", sorted(VOCABULARY))
def test_a_record_that_is_read_meets_its_schema_and_one_without_its_payload_does_not(name: str) -> None:
    document = schemas.json_schemas(SAGAS)
    schema = {"$defs": document["$defs"], "$ref": f"#/$defs/{name}"}
    record = message_of(name)
    assert jsonschema_rs.is_valid(schema, record)
    assert not jsonschema_rs.is_valid(schema, {key: value for key, value in record.items() if key != "payload"})
    assert not jsonschema_rs.is_valid(schema, {**record, "type": "another"})


@pytest.mark.parametrize(("document", "key"), [("openapi", "openapi"), ("asyncapi", "asyncapi"), ("messages", "$defs")])
def test_the_schemas_are_printed_without_a_database_and_without_brokers(document: str, key: str) -> None:
    printed = CliRunner().invoke(app, ["schemas", document], env={"DATABASE_URL": "", "KAFKA_BOOTSTRAP_SERVERS": ""})
    assert printed.exit_code == 0, printed.output
    assert key in json.loads(printed.stdout)


def test_an_orchestrator_answers_the_document_that_is_in_the_reference() -> None:
    described = schemas.openapi("7.8.9")
    assert described["info"]["version"] == "7.8.9"
    assert {"/orders", "/sagas/{saga_id}/cancel", "/stats"} <= described["paths"].keys()
