"""The switch for new orders at a terminal, while no service runs."""

import psycopg

from ordersaga.orchestrator.store.migrate import migrate
from tests.cli.test_cli import ordersaga


def test_orders_are_stopped_and_resumed_with_a_name_and_a_reason(database_url: str) -> None:
    migrate(database_url, "ordersaga")
    assert ordersaga("orders", "status", DATABASE_URL=database_url).stdout.startswith("new orders are taken\n0 sagas")
    stopped = ordersaga("orders", "stop", "--who", "night", "--why", "a fire", DATABASE_URL=database_url)
    assert stopped.returncode == 0 and stopped.stdout.startswith("new orders are not taken: night at ")
    assert ordersaga("orders", "status", DATABASE_URL=database_url).stdout.startswith(stopped.stdout)
    resumed = ordersaga("orders", "resume", "--who", "night", DATABASE_URL=database_url)
    assert resumed.stdout.startswith("new orders are taken: night at ")
    with psycopg.connect(database_url) as connection:
        kept = connection.execute("select taken, by, why from ordersaga.admission order by at").fetchall()
    assert kept == [(False, "night", "a fire"), (True, "night", "resumed")]


def test_a_database_without_tables_is_told_in_a_line(database_url: str) -> None:
    refused = ordersaga("orders", "status", DATABASE_URL=database_url)
    assert refused.returncode == 1 and "run `ordersaga migrate`" in refused.stderr


def test_the_doctor_names_what_is_wrong_and_goes_on(database_url: str) -> None:
    migrate(database_url, "ordersaga")
    asked = {"DATABASE_URL": database_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    found = ordersaga("doctor", **asked)
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert "ok     database" in found.stdout and "WRONG  kafka" in found.stdout
    assert "-> see that KAFKA_BOOTSTRAP_SERVERS" in found.stdout
