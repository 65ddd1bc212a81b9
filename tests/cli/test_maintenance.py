"""Maintenance and the switch of consumption at a terminal, while no service runs."""

import psycopg

from ordersaga.orchestrator.store.migrate import migrate
from tests.cli.test_cli import ordersaga

LEFT = """
INSERT INTO ordersaga.sagas
    (id, saga, version, status, revision, state, attention, resolved, created_at, updated_at)
VALUES
    ('019b7e6c-0000-7000-8000-000000000001', 'create_order', 1, 'COMPENSATING', 1, '{}', false, false, now(), now())
"""
AUDIT = "SELECT actor, verb, reason FROM ordersaga.audit ORDER BY id"


def test_maintenance_stops_orders_and_says_what_is_under_way(database_url: str) -> None:
    migrate(database_url, "ordersaga")
    begun = ordersaga("maintenance", "begin", "--who", "night", "--why", "a move", DATABASE_URL=database_url)
    assert (begun.returncode, begun.stdout) == (0, "new orders are not taken; nothing is under way\n")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(LEFT)
        found = ordersaga("maintenance", "status", "--wait-seconds", "1", DATABASE_URL=database_url)
        assert found.returncode == 1
        assert found.stdout == "new orders are not taken; 1 sagas and 0 messages are under way\n"
        ended = ordersaga("maintenance", "end", "--who", "night", DATABASE_URL=database_url)
        assert (ended.returncode, ended.stdout) == (0, "new orders are taken\n")
        assert connection.execute(AUDIT).fetchall() == [
            ("night", "stop orders", "maintenance: a move"),
            ("night", "resume orders", "maintenance is over"),
        ]


def test_consumption_is_paused_and_resumed_with_a_name_and_a_reason(database_url: str) -> None:
    migrate(database_url, "ordersaga")
    paused = ordersaga("consumption", "pause", "--who", "night", "--why", "a storm", DATABASE_URL=database_url)
    assert paused.returncode == 0 and paused.stdout.startswith("consumption is paused: night at ")
    assert ordersaga("consumption", "status", DATABASE_URL=database_url).stdout == paused.stdout
    resumed = ordersaga("consumption", "resume", "--who", "night", DATABASE_URL=database_url)
    assert resumed.stdout.startswith("consumption goes on: night at ")
    with psycopg.connect(database_url) as connection:
        assert connection.execute(AUDIT).fetchall() == [
            ("night", "pause consumption", "a storm"),
            ("night", "resume consumption", "resumed"),
        ]
