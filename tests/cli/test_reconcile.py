"""`ordersaga reconcile` over a real database, the reference payment service's ledger, and files."""

import json
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from ordersaga.ledger_query import QUERY
from ordersaga.orchestrator.core.reconcile import Payment
from ordersaga.orchestrator.store.ledger import LedgerUnreadable, from_database, from_file
from ordersaga.orchestrator.store.migrate import migrate
from tests.cli.test_cli import ordersaga

ROW = {"payment_id": "pay-9", "order_id": "order-9", "payment_intent_id": "pi-9", "amount_cents": 1998}
HELD = Payment(payment_id="pay-9", order_id="order-9", payment_intent_id="pi-9", amount_cents=1998, status="AUTHORIZED")


@pytest.fixture
def url(database_url: str) -> str:
    """With a ledger as the reference payment service keeps it."""
    migrate(database_url, "ordersaga")
    tables = Path(__file__).parents[2] / "src" / "ordersaga" / "participants" / "payment" / "tables.sql"
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE SCHEMA participant_payment; SET search_path = participant_payment")
        connection.execute(tables.read_text("utf-8").encode())
        connection.execute("CREATE SEQUENCE public.changes")
    return database_url


def hold(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO participant_payment.rows (key, payment_id, order_id, payment_intent_id, amount_cents, status)"
            " VALUES ('k', 'pay-9', 'order-9', 'pi-9', 1998, 'AUTHORIZED')"
        )


def test_without_differences_it_says_so_and_ends_well(url: str) -> None:
    found = ordersaga("reconcile", DATABASE_URL=url)
    assert (found.returncode, found.stdout) == (0, "no differences\n")


def test_a_hold_without_a_saga_is_a_line_and_an_exit_code(url: str) -> None:
    hold(url)
    found = ordersaga("reconcile", DATABASE_URL=url)
    assert found.returncode == 1
    assert "no_saga         payment pay-9 holds 19.98 and no saga knows of it" in found.stdout
    as_json = ordersaga("reconcile", "--json", DATABASE_URL=url)
    assert json.loads(as_json.stdout)["kind"] == "no_saga"


def test_the_ledger_may_be_a_file(url: str, tmp_path: Path) -> None:
    held, gone = {**ROW, "status": "authorized", "note": "x"}, {**ROW, "status": "reverted", "payment_id": "pay-8"}
    lines, table = tmp_path / "payments.jsonl", tmp_path / "payments.csv"
    lines.write_text(f"{json.dumps(held)}\n\n{json.dumps(gone)}\n")
    table.write_text(
        "payment_id,order_id,payment_intent_id,amount_cents,status,note\npay-9,order-9,pi-9,1998,Authorized,x\n"
    )
    assert next(from_file(lines)) == HELD == next(from_file(table))
    found = ordersaga("reconcile", "--ledger", str(table), DATABASE_URL=url)
    assert found.returncode == 1
    assert "no_saga" in found.stdout


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "payment_id,status\np,HELD\n", "row 1 of the ledger"),
        ("a.csv", "payment_id,amount_cents,status\np,19.98,HELD\n", "row 1 of the ledger"),
        ("a.jsonl", '{"payment_id": "p"', "cannot be read"),
        ("a.jsonl", "[1]\n", "cannot be read"),
        ("a.csv", "\xff", "row"),
    ],
)
def test_a_ledger_that_cannot_be_read_says_where(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content if "\xff" not in content else "payment_id\nx\n", encoding="utf-8")
    with pytest.raises(LedgerUnreadable, match=said):
        list(from_file(tmp_path / name))
    with pytest.raises(LedgerUnreadable, match="cannot be read"):
        list(from_file(tmp_path / "none"))


def test_the_ledger_is_only_read(url: str) -> None:
    hold(url)
    since = datetime(2026, 1, 1, tzinfo=UTC)
    for query in ("DELETE FROM participant_payment.rows RETURNING *", "SELECT nextval('changes')"):
        with pytest.raises(LedgerUnreadable, match=r"syntax error|read-only"):
            list(from_database(url, query, since=since))
    assert list(from_database(url, QUERY, since=since)) == [HELD]
    assert list(from_database(url, "SELECT * FROM participant_payment.rows WHERE now() < %(since)s", since=since)) == []


def test_an_own_query_and_a_database_of_its_own_are_settings(url: str) -> None:
    hold(url)
    settings = {"DATABASE_URL": url, "ORDERSAGA_RECONCILE_DATABASE_URL": url}
    nothing = "SELECT * FROM participant_payment.rows WHERE false"
    assert ordersaga("reconcile", ORDERSAGA_RECONCILE_QUERY=nothing, **settings).returncode == 0
    broken = ordersaga("reconcile", ORDERSAGA_RECONCILE_QUERY="SELECT 1 FROM nowhere", **settings)
    assert broken.returncode == 1
    assert "the ledger cannot be read" in broken.stderr
