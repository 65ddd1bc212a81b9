"""Maintenance and the switch of consumption at a terminal, while no service runs."""

import psycopg

from ordersaga.orchestrator.store.migrate import migrate
from tests.cli.test_cli import ordersaga

LEFT = """INSERT INTO ordersaga.sagas (id, saga, version, status, revision, state, attention, resolved, created_at, updated_at)
    VALUES ('019b7e6c-0000-7000-8000-000000000001', 'create_order', 1, 'COMPENSATING', 1, '{}', false, false, now(), now())"""


def test_maintenance_stops_orders_and_says_what_is_under_way(database_url: str) -> None:
    migrate(database_url, "ordersaga")
    begun = ordersaga("maintenance", "begin", "--who", "night", "--why", "a move", DATABASE_URL=database_url)
    assert (begun.returncode, begun.stdout) == (0, "new orders are not taken; nothing is under way\n")
    assert "night" in ordersaga("orders", "status", DATABASE_URL=database_url).stdout
    with psycopg.connect(database_url) as connection:
        connection.execute(LEFT)
    found = ordersaga("maintenance", "status", "--wait-seconds", "1", DATABASE_URL=database_url)
    assert (found.returncode, found.stdout) == (1, "new orders are not taken; 1 sagas and 0 messages are under way\n")
    ended = ordersaga("maintenance", "end", "--who", "night", DATABASE_URL=database_url)
    assert (ended.returncode, ended.stdout) == (0, "new orders are taken\n")
    told = ordersaga("audit", DATABASE_URL=database_url).stdout
    assert "maintenance: a move" in told and "maintenance is over" in told


def test_consumption_is_paused_and_resumed_with_a_name_and_a_reason(database_url: str) -> None:
    migrate(database_url, "ordersaga")
    assert ordersaga("consumption", "status", DATABASE_URL=database_url).stdout == "consumption goes on\n"
    paused = ordersaga("consumption", "pause", "--who", "night", "--why", "a storm", DATABASE_URL=database_url)
    assert paused.returncode == 0 and paused.stdout.startswith("consumption is paused: night at ")
    assert ordersaga("consumption", "status", DATABASE_URL=database_url).stdout == paused.stdout
    resumed = ordersaga("consumption", "resume", "--who", "night", DATABASE_URL=database_url)
    assert resumed.stdout.startswith("consumption goes on: night at ")
    told = ordersaga("audit", DATABASE_URL=database_url).stdout
    assert "pause consumption" in told and "a storm" in told and "resume consumption" in told
