"""`ordersaga erase`: nothing of the customer is found in any table, live or archived, and the rest is as it was."""

import contextlib
import gzip
import json
import subprocess
import sys
import zlib
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from ordersaga.bus.protocol import Record
from ordersaga.orchestrator.store.archive import PostgresArchive
from ordersaga.orchestrator.store.archive_files import Directory
from ordersaga.orchestrator.store.connections import open_pool
from ordersaga.orchestrator.store.erasure import PostgresErasure
from ordersaga.orchestrator.store.filing import Overtaken, PostgresFiling
from ordersaga.orchestrator.store.protocol import StoreUnavailable
from ordersaga.wire import completing as c
from ordersaga.wire import messages as m
from ordersaga.wire.codec import encode
from tests.api.conftest import Stage, order
from tests.api.test_completing import accepted, complete
from tests.cli.test_cli import environment

CANARY, OTHER = "canary-4711", "user-10"
SCHEMA = "saga"
PARTS = ("history", "steps", "attention")
_offsets = count(1)


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


def erase(url: str, customer_id: str = CANARY, why: str = "asked to", **more: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ordersaga.cli", "erase", "--why", why, "--who", "night-shift"]
    settings = environment(DATABASE_URL=url, ORDERSAGA_DATABASE_SCHEMA=SCHEMA, **more)
    return subprocess.run(argv, env=settings, input=f"{customer_id}\n", capture_output=True, text=True, timeout=60)


def place(stage: Stage, customer_id: str, **headers: str) -> str:
    details = order(deliveryLocation=f"room of {customer_id}", note=f"{customer_id} is hungry")
    answer = stage.client.post("/orders", json=details | {"customer_id": customer_id}, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["saga_id"])


def told(stage: Stage, saga_id: str, *events: m.Event) -> None:
    for event in events:
        value = encode(event, correlation_id=saga_id, timestamp=datetime.now(UTC), source="test")
        stage.handler.records([Record("order_events", 0, next(_offsets), None, value, (), 0)])


def ended(stage: Stage, customer_id: str, **by: str) -> str:
    """An order that its customer has cancelled, in their own words. `by`: another name than their id, another role."""
    saga_id = place(stage, customer_id, **{"Idempotency-Key": f"key-{next(_offsets)}"})
    told(stage, saga_id, m.OrderCreated(order_id=f"o-{saga_id}"))
    body = {"who": customer_id, "why": f"I, {customer_id}, ordered twice"} | by
    assert stage.client.post(f"/sagas/{saga_id}/cancel", json=body).status_code == 202
    told(stage, saga_id, m.OrderCancelled(order_id=f"o-{saga_id}"))
    assert stage.client.get(f"/sagas/{saga_id}").json()["status"] == "CANCELLED"
    return saga_id


def spoken_of(stage: Stage, url: str, said: m.Event) -> str:
    """An order of which a service says that, and that is taken back and seen to then."""
    saga_id = place(stage, CANARY)
    card = m.PaymentInfoRetrieved(payment_info=m.PaymentInfo(stripe_customer_id="cus_1", payment_method_id="pm_1"))
    told(stage, saga_id, m.OrderCreated(order_id=f"o-{saga_id}"))
    told(stage, saga_id, *([card, said] if isinstance(said, m.PaymentFailed) else [said]))
    stage.client.post(f"/sagas/{saga_id}/cancel", json={"who": CANARY})
    told(stage, saga_id, m.OrderCancelled(order_id=f"o-{saga_id}"))
    assert stage.client.post(f"/sagas/{saga_id}/resolve", json={"who": "mia", "why": "seen"}).status_code == 202
    assert stage.client.get(f"/sagas/{saga_id}").json()["status"] in ("CANCELLED", "COMPENSATED")
    as_before = "UPDATE {} SET body = body || %s WHERE saga_id = %s AND cause LIKE '%%failed'"
    with psycopg.connect(url) as connection:
        # The version before kept the whole sentence.
        kept = json.dumps({"event": {"error": getattr(said, "error", "")}})
        connection.execute(sql.SQL(as_before).format(sql.Identifier(SCHEMA, "saga_history")), (kept, saga_id))
    return saga_id


def rows_with(url: str, needle: str) -> dict[str, int]:
    """How many rows of each table hold it anywhere, what is compressed included. Messages on their way left out."""
    found: dict[str, int] = {}
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relkind = 'r' AND c.relname <> 'outbox'",
            (SCHEMA,),
        ).fetchall()
        for (table,) in tables:
            rows = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(SCHEMA, table))).fetchall()
            held = sum(any(needle in text for text in map(readable, row)) for row in rows)
            if held:
                found[table] = held
    return found


def readable(value: object) -> str:
    if not isinstance(value, bytes):
        return str(value)
    with contextlib.suppress(zlib.error):
        value = zlib.decompress(value)
    return value.decode("utf-8", "replace")


def published(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(SCHEMA, "outbox")))


def archive_all(url: str) -> int:
    pool = open_pool(url, SCHEMA, size_max=1)
    try:
        return PostgresArchive(pool).move(older_than=timedelta(), limit=100).count
    finally:
        pool.close()


def file_all(url: str, path: Path) -> int:
    pool = open_pool(url, SCHEMA, size_max=1)
    try:
        return PostgresFiling(pool, Directory(path)).file(older_than=timedelta()).sagas
    finally:
        pool.close()


def files_with(path: Path, needle: str) -> list[str]:
    """Files that hold it anywhere, what is compressed included."""
    found = []
    for one in sorted(path.iterdir()):
        content = one.read_bytes()
        text = gzip.decompress(content) if one.name.endswith(".gz") else content
        found += [one.name] if needle.encode() in text else []
    return found


def test_nothing_of_the_customer_is_found_anywhere_afterwards(postgres_stage: Stage, url: str, tmp_path: Path) -> None:
    in_file, others_in_file = ended(postgres_stage, CANARY), ended(postgres_stage, OTHER)
    assert archive_all(url) == 2
    assert file_all(url, tmp_path) == 2
    archived = ended(postgres_stage, CANARY)
    assert archive_all(url) == 1
    live, others = ended(postgres_stage, CANARY), ended(postgres_stage, OTHER)
    nobodys = json.dumps({"type": "payment.failed", "payload": {"customer_id": CANARY}}).encode()
    postgres_stage.handler.records([Record("order_events", 0, next(_offsets), None, nobodys, (), 0)])
    (letter,) = postgres_stage.client.get("/dead-letters").json()
    body = {"who": "night-shift", "why": "seen to"}
    postgres_stage.client.post(f"/dead-letters/{letter['id']}/discard", json=body)
    published(url)
    before = rows_with(url, CANARY)
    assert {"saga_personal", "sagas", "archive", "dead_letters"} <= before.keys()
    assert len(files_with(tmp_path, CANARY)) == 1

    found = erase(url, ORDERSAGA_ARCHIVE_DIRECTORY=str(tmp_path))
    assert found.returncode == 0, found.stderr
    assert found.stdout == "erased in 1 sagas, 2 archived ones and 1 records\n"
    assert CANARY not in found.stdout + found.stderr
    assert rows_with(url, CANARY) == {}
    assert files_with(tmp_path, CANARY) == []
    (rewritten,) = files_with(tmp_path, OTHER)
    for saga_id in (in_file, others_in_file):
        assert rewritten in files_with(tmp_path, saga_id), "what happened stays"
    for saga_id in (live, archived):
        view = postgres_stage.client.get(f"/sagas/{saga_id}").json()
        assert (view["status"], view["customer_id"]) == ("CANCELLED", None)
        assert view["history"], "what happened stays"
    other = postgres_stage.client.get(f"/sagas/{others}").json()
    assert other["customer_id"] == OTHER
    with psycopg.connect(url) as connection:
        query = f"SELECT actor, reason, outcome FROM {SCHEMA}.audit WHERE verb = 'erase'"
        (kept,) = connection.execute(query.encode()).fetchall()
    assert kept[:2] == ("night-shift", "asked to")


@pytest.mark.parametrize(
    "by", [{"who": ""}, {"who": f"{CANARY} (shop)", "role": "operator"}], ids=["nobody", "with a token"]
)
def test_a_customers_words_are_erased_under_whatever_name_they_came(
    postgres_stage: Stage, url: str, tmp_path: Path, by: dict[str, str]
) -> None:
    ended(postgres_stage, CANARY, **by)
    assert (archive_all(url), file_all(url, tmp_path)) == (1, 1)
    ended(postgres_stage, CANARY, **by)
    assert archive_all(url) == 1
    ended(postgres_stage, CANARY, **by)
    published(url)
    found = erase(url, ORDERSAGA_ARCHIVE_DIRECTORY=str(tmp_path))
    assert found.returncode == 0, found.stderr
    assert rows_with(url, CANARY) == {} and files_with(tmp_path, CANARY) == []


@pytest.mark.parametrize(
    "said",
    [
        m.PaymentInfoFailed(error=f"Internal server error: Key (id)=({CANARY}) exists"),
        m.PaymentInfoFailed(error=f"No card of {CANARY}"),
        m.PaymentInfoFailed(error=CANARY),
        m.PaymentFailed(error=f"declined {CANARY}"),
    ],
    ids=["passing", "refused", "one word", "with attention"],
)
def test_what_services_said_of_the_customer_is_erased(
    postgres_stage: Stage, url: str, tmp_path: Path, said: m.Event
) -> None:
    spoken_of(postgres_stage, url, said)
    assert (archive_all(url), file_all(url, tmp_path)) == (1, 1)
    spoken_of(postgres_stage, url, said)
    assert archive_all(url) == 1
    live = spoken_of(postgres_stage, url, said)
    before = postgres_stage.client.get(f"/sagas/{live}").json()
    published(url)
    found = erase(url, ORDERSAGA_ARCHIVE_DIRECTORY=str(tmp_path))
    assert found.returncode == 0, found.stderr
    assert rows_with(url, CANARY) == {} and files_with(tmp_path, CANARY) == []
    after = postgres_stage.client.get(f"/sagas/{live}").json()
    assert [len(after[part]) for part in PARTS] == [len(before[part]) for part in PARTS], "what happened stays"


def test_what_comes_back_from_the_archive_meanwhile_is_not_passed_over(
    postgres_stage: Stage, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga_id = ended(postgres_stage, CANARY)
    assert archive_all(url) == 1
    pool = open_pool(url, SCHEMA, size_max=2)
    look = PostgresErasure._live

    def looked(self: PostgresErasure, *what: Any) -> None:
        """Between the look at live sagas and the one into the archive."""
        look(self, *what)
        assert PostgresArchive(pool).restore(UUID(saga_id))

    with monkeypatch.context() as patched:
        patched.setattr(PostgresErasure, "_live", looked)
        with pytest.raises(Overtaken, match="ask again"):
            PostgresErasure(pool, schema=SCHEMA).erase(CANARY, by="night", why="a test")
    pool.close()
    published(url)
    assert erase(url).returncode == 0 and rows_with(url, CANARY) == {}


def test_what_comes_back_from_the_archive_to_be_taken_back_meanwhile_is_left_and_said(
    postgres_stage: Stage, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga_id = place(postgres_stage, CANARY)
    card = m.PaymentInfoRetrieved(payment_info=m.PaymentInfo(stripe_customer_id="cus_1", payment_method_id="pm_1"))
    told(
        postgres_stage,
        saga_id,
        m.OrderCreated(order_id=f"o-{saga_id}"),
        card,
        m.PaymentFailed(error="STRIPE_CARD_ERROR"),
    )
    told(postgres_stage, saga_id, m.OrderCancelled(order_id=f"o-{saga_id}"))
    assert archive_all(url) == 1
    published(url)
    late = m.PaymentAuthorized(payment_id="p-1", order_id=f"o-{saga_id}", payment_intent_id="pi-1", status="AUTHORIZED")
    pool = open_pool(url, SCHEMA, size_max=1)
    look = PostgresErasure._live

    def looked(self: PostgresErasure, *what: Any) -> None:
        """Between the look at live sagas and the one into the archive."""
        look(self, *what)
        told(postgres_stage, saga_id, late)

    with monkeypatch.context() as patched:
        patched.setattr(PostgresErasure, "_live", looked)
        erased = PostgresErasure(pool, schema=SCHEMA).erase(CANARY, by="night", why="a test")
    pool.close()
    assert (erased.under_way, erased.is_all) == (1, False)
    assert "saga_personal" in rows_with(url, CANARY)


def test_an_erasure_that_is_cut_off_after_its_files_leaves_no_words_to_the_next(
    postgres_stage: Stage, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of whoever is in files the name is gone then, by which the next would find their history."""
    ended(postgres_stage, CANARY)
    assert (archive_all(url), file_all(url, tmp_path)) == (1, 1)
    published(url)

    def cut_off(*_: Any) -> None:
        raise StoreUnavailable("the database is away")

    pool = open_pool(url, SCHEMA, size_max=1)
    with monkeypatch.context() as patched:
        patched.setattr(PostgresErasure, "_live", cut_off)
        with pytest.raises(StoreUnavailable):
            PostgresErasure(pool, schema=SCHEMA, directory=Directory(tmp_path)).erase(CANARY, by="night", why="a test")
    pool.close()
    assert files_with(tmp_path, CANARY) == []
    assert erase(url, ORDERSAGA_ARCHIVE_DIRECTORY=str(tmp_path)).returncode == 0
    assert rows_with(url, CANARY) == {}


def test_what_is_under_way_is_left_and_said(postgres_stage: Stage, url: str) -> None:
    saga_id = place(postgres_stage, CANARY)
    published(url)
    found = erase(url)
    assert found.returncode == 1
    assert "left: 1 sagas under way, 0 records" in found.stderr
    assert postgres_stage.client.get(f"/sagas/{saga_id}").json()["customer_id"] == CANARY


def test_a_repeat_of_a_request_whose_order_is_under_way_orders_nothing_anew(postgres_stage: Stage, url: str) -> None:
    key = {"Idempotency-Key": f"key-{next(_offsets)}"}
    saga_id = place(postgres_stage, CANARY, **key)
    published(url)
    assert erase(url).returncode == 1
    assert place(postgres_stage, CANARY, **key) == saga_id
    told(postgres_stage, saga_id, m.OrderCreationFailed(error="NO"))
    published(url)
    assert erase(url).returncode == 0
    assert rows_with(url, CANARY) == {} and "idempotency_keys" not in rows_with(url, saga_id)


def test_an_order_that_a_runner_has_is_completed_though_its_customers_data_are_erased(
    postgres_stage: Stage, url: str
) -> None:
    order_id = accepted(postgres_stage)
    published(url)
    assert erase(url, "c4n4ry-user-1").returncode == 0
    answer = complete(postgres_stage, order_id)
    assert answer.status_code == 202, answer.text
    saga_id = answer.json()["saga_id"]
    for one in (
        c.OrderDelivered(order_id=order_id),
        c.PaymentCaptured(payment_id=f"pay-{order_id.removeprefix('order-')}"),
        c.RunnerPaid(payout_id=f"po-{order_id}"),
        c.OrderCompleted(order_id=order_id),
    ):
        told(postgres_stage, saga_id, one)
    found = postgres_stage.client.get(f"/sagas/{saga_id}").json()
    assert (found["status"], found["customer_id"]) == ("COMPLETED", "erased")


def test_records_that_wait_are_said(postgres_stage: Stage, url: str) -> None:
    ended(postgres_stage, CANARY)
    found = erase(url)
    assert found.returncode == 1, "messages on their way hold it"
    assert "records that wait" in found.stderr
    published(url)
    assert erase(url).returncode == 0


def test_an_answer_for_nobody_is_left_until_somebody_has_seen_to_it(postgres_stage: Stage, url: str) -> None:
    stray = json.dumps({"payload": {"customer_id": CANARY}}).encode()
    add = (
        'INSERT INTO {} (topic, partition, "offset", saga_id, type, value)'
        " VALUES ('payment_events', 0, 1, gen_random_uuid(), 'payment.authorized', %s)"
    )
    orphans = sql.Identifier(SCHEMA, "orphans")
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL(add).format(orphans), (stray,))
    found = erase(url)
    assert found.returncode == 1
    assert "left: 0 sagas under way, 1 records" in found.stderr
    assert rows_with(url, CANARY) == {"orphans": 1}
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("UPDATE {} SET settled_at = clock_timestamp()").format(orphans))
    found = erase(url)
    assert (found.returncode, found.stdout) == (0, "erased in 0 sagas, 0 archived ones and 1 records\n")
    assert rows_with(url, CANARY) == {}


def test_a_customer_whose_id_begins_alike_keeps_everything(postgres_stage: Stage, url: str) -> None:
    ended(postgres_stage, OTHER)
    published(url)
    before = rows_with(url, OTHER)
    assert erase(url, "c4n4ry-user-1").returncode == 0
    assert rows_with(url, OTHER) == before


def test_an_erased_saga_still_gets_its_late_news(postgres_stage: Stage, url: str) -> None:
    saga_id = ended(postgres_stage, CANARY)
    published(url)
    assert erase(url).returncode == 0
    late = m.PaymentAuthorized(payment_id="p-1", order_id=f"o-{saga_id}", payment_intent_id="pi-1", status="AUTHORIZED")
    told(postgres_stage, saga_id, late)
    assert postgres_stage.client.get(f"/sagas/{saga_id}").status_code == 200


def test_without_an_id_nothing_is_done(postgres_stage: Stage, url: str) -> None:
    assert erase(url, "").returncode == 2
