"""What the page on connecting services says is what the sagas' definitions say, and its records are real ones."""

import json
import re
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from msgspec import structs

from ordersaga.bus.kafka_settings import KafkaTimings, consumer_settings
from ordersaga.bus.protocol import Access, Cluster, Outgoing, Record
from ordersaga.orchestrator.core.decide import decide, start
from ordersaga.orchestrator.core.definition import Definition, Refusal
from ordersaga.orchestrator.core.inputs import Decision, Happened
from ordersaga.orchestrator.core.instance import Became, Direction
from ordersaga.orchestrator.core.reconcile import CAPTURED, GONE, STANDING, Payment
from ordersaga.orchestrator.runtime.doctor_access import BrokerDoor
from ordersaga.orchestrator.runtime.outgoing import to_records
from ordersaga.orchestrator.sagas.complete_order import COMPLETE_ORDER
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.orchestrator.sagas.create_order_answers import customer_not_ready, payment_failed
from ordersaga.orchestrator.store.ledger import from_database
from ordersaga.participants.letters import Letters
from ordersaga.participants.payment.service import SERVICE
from ordersaga.testing.pictures import AUTHORIZED, CARD, CREATED, PLACED
from ordersaga.testing.story import BARE, NOON, SAGA_ID
from ordersaga.wire import messages as m
from ordersaga.wire.codec import Envelope, decode_event
from ordersaga.wire.topics import Topics
from tests.docs.pages import blocks
from tests.house_rules import ROOT, Page
from tests.sagas.stories import CANCELLED, order

PAGE = Page("docs/connecting.md", (ROOT / "docs/connecting.md").read_text("utf-8"))
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SHOWN = [json.loads(block.text) for block in blocks(PAGE) if block.language == "json"]


def test_each_command_stands_there_with_its_topic_and_its_two_answers() -> None:
    rows = re.findall(r"^\| `(\w+)` → `(\w+)` \| [^|]+ \| `([\w.]+)` \| `([\w.]+)` \|$", PAGE.text, re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == {*_asked(CREATE_ORDER), *_asked(COMPLETE_ORDER)}


def _asked(definition: Definition) -> set[tuple[str, str, str, str]]:
    asks = [*(step.do for step in definition.steps), *(undo.ask for undo in definition.undos())]
    return {
        (ask.command.__name__, Topics().commands_of(ask.to), m.TYPE_OF[ask.ok], m.TYPE_OF[ask.refused]) for ask in asks
    }


def test_each_error_of_the_payment_service_means_what_is_said() -> None:
    for error, reason, happens in _errors("### `payment.failed`"):
        meaning = payment_failed(m.PaymentFailed(error=error))
        assert (error, meaning.reason, meaning.attention is not None) == (error, reason, "`attention`" in happens)
        assert not meaning.passes


def test_each_error_of_the_user_service_means_what_is_said() -> None:
    for error, reason, happens in _errors("### `user.payment_info_failed`"):
        meaning: Refusal = customer_not_ready(m.PaymentInfoFailed(error=error))
        assert (error, meaning.reason, meaning.passes) == (error, reason, "asked again" in happens)


def _errors(heading: str) -> list[tuple[str, str, str]]:
    """Each error of the table below the heading, its reason, and what is said to happen."""
    section = PAGE.text[PAGE.text.index(heading) :].split("\n## ")[0].removeprefix("### ").split("\n### ")[0]
    rows = re.findall(r"^\| (`[^|]+) \| `([A-Z_]+)` \| (.+) \|$", section, re.MULTILINE)
    found = [(error, reason, happens) for errors, reason, happens in rows for error in re.findall("`([^`]+)`", errors)]
    assert len(found) > 4
    return found


@pytest.mark.parametrize("error", ["STRIPE_PAYMENT_FAILED", "STRIPE_PAYMENT_CANCELED", "stripe_error"])
def test_what_fails_a_revert_and_what_says_that_there_is_nothing_to_revert_any_more(error: str) -> None:
    sentences = PAGE.text[PAGE.text.index("As the answer to `revert_payment`") :].split("### ")[0]
    story = order(steps_done=5, kinds=BARE).cancel().hear(CANCELLED)
    asked = story.saga.outstanding
    assert asked and (asked.step, asked.direction) == ("AUTHORIZE_PAYMENT", Direction.UNDO)
    story.hear(m.PaymentFailed(error=error, payment_id="p-1"))
    became = story.saga.steps["AUTHORIZE_PAYMENT"].became
    assert became is (Became.UNDONE if f"`{error}`" in sentences else Became.DONE)


def test_what_is_said_of_transactions_is_what_the_client_is_told() -> None:
    read = consumer_settings("group", None, KafkaTimings())["isolation_level"]
    assert f"only what is committed is read (`{read}`)" in PAGE.text


def test_the_rights_that_are_named_are_those_that_the_doctor_asks_for() -> None:
    rows = re.findall(r"^\| (`[^|]+) \| ([A-Z][^|]+) \|$", _section("### Rights at the brokers"), re.MULTILINE)
    named = {
        name: set(re.findall("READ|WRITE", rights)) for names, rights in rows for name in re.findall("`(.+?)`", names)
    }
    topics = Topics()
    written = set(topics.all()) - set(topics.answers())
    door = BrokerDoor(
        describe=lambda: Cluster({}, None),
        access=lambda: Access(dict.fromkeys(topics.all(), ()), ()),
        read=topics.answers(),
        written=written,
        group="g",
        partitions=6,
        protocol="PLAINTEXT",
    )
    needed: dict[str, set[str]] = {}
    for right, name in door.needed():
        needed.setdefault(name, set()).add(right)
    assert named == needed


def test_the_words_of_a_ledger_are_those_that_are_known() -> None:
    section = _section("## Your own ledger")
    rows = re.findall(r"^\| (`[A-Z][^|]+) \| (.+) \|$", section, re.MULTILINE)
    means = {word: said for words, said in rows for word in re.findall("`([A-Z_]+)`", words)}
    assert {word for word, said in means.items() if said.startswith("nothing is held")} == GONE
    assert {word for word, said in means.items() if "changed hands" in said} == CAPTURED
    assert {word for word, said in means.items() if said == "money is held"} == STANDING - CAPTURED
    columns = re.findall(r"^\| `([a-z_]+)` \| (needed)?", section, re.MULTILINE)
    assert {name for name, _ in columns} == set(Payment.__struct_fields__)
    needed = [field.name for field in structs.fields(Payment) if field.required]
    assert sorted(name for name, is_needed in columns if is_needed) == sorted(needed)


def test_the_query_of_a_ledger_leaves_out_what_was_paid_before(database_url: str) -> None:
    (query,) = [block.text for block in blocks(PAGE) if block.language == "sql"]
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "CREATE TABLE payments (id text, order_id text, intent_id text, amount int, status text,"
            " created_at timestamptz)"
        )
        for number, day in enumerate(("2026-02-27", "2026-03-02", "2026-03-20")):
            values = (f"p-{number}", "o", f"pi_{number}", 870, "requires_capture", f"{day} 12:00 UTC")
            connection.execute("INSERT INTO payments VALUES (%s, %s, %s, %s, %s, %s)", values)

    def listed(since: str) -> list[tuple[str, str]]:
        found = from_database(database_url, query, since=datetime.fromisoformat(since))
        return [(one.payment_id, one.status) for one in found]

    assert listed("2026-02-25T00:00:00Z") == [("p-1", "HELD"), ("p-2", "HELD")]
    assert listed("2026-03-12T00:00:00Z") == [("p-2", "HELD")]


def _section(heading: str) -> str:
    return PAGE.text[PAGE.text.index(f"{heading}\n") + len(heading) :].split("\n#")[0]


def test_the_command_is_the_one_that_the_saga_sends() -> None:
    _, records = _authorization()
    assert _as_shown(records[0]) == SHOWN[0]


def test_the_answer_is_the_one_that_a_full_service_gives_and_the_saga_goes_on() -> None:
    before, records = _authorization()
    letters = Letters(SERVICE, Topics())
    (letter,), unread = letters.read([_received(records[0])])
    answer = letters.answer(AUTHORIZED, letter, NOON + timedelta(seconds=1))
    assert (_as_shown(answer), unread) == (SHOWN[1], [])
    assert _goes_on(before, answer.value)


def test_the_answer_of_a_bare_service_will_do() -> None:
    before, _ = _authorization()
    assert _goes_on(before, json.dumps(SHOWN[2]).encode())
    assert SHOWN[2]["payload"] == SHOWN[1]["value"]["payload"]


def _authorization() -> tuple[Decision, list[Outgoing]]:
    """A saga that has just asked for the money, and the records that it has written for that."""
    decision = start(CREATE_ORDER, SAGA_ID, PLACED, NOON, (TRACE, None))
    for event in (CREATED, CARD):
        decision = decide(CREATE_ORDER, decision.instance, Happened(event=event), NOON)
    return decision, to_records(decision.messages, decision.instance, Topics(), NOON)


def _goes_on(before: Decision, answer: bytes) -> bool:
    envelope = decode_event(answer)
    assert isinstance(envelope, Envelope)
    assert envelope.saga_id == SAGA_ID
    assert isinstance(envelope.body, m.Event)
    happened = Happened(event=envelope.body, causation_id=envelope.causation_id, stamp=envelope.timestamp)
    after = decide(CREATE_ORDER, before.instance, happened, NOON)
    return [type(send.body) for send in after.messages] == [m.UpdateOrderStatus]


def _received(record: Outgoing) -> Record:
    return Record(record.topic, 0, 0, record.key, record.value, record.headers, 0)


def _as_shown(record: Outgoing) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "key": record.key.decode(),
        "headers": {name: value.decode() for name, value in record.headers},
        "value": json.loads(record.value),
    }
