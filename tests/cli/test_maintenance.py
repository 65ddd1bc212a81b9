"""Maintenance and the switch of consumption at a terminal, while no service runs."""

from collections.abc import Callable
from datetime import datetime
from typing import NoReturn
from uuid import uuid4

import psycopg
import pytest
from typer.testing import CliRunner, Result

from ordersaga import bootstrap_commands, cli_maintenance
from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.protocol import BusUnavailable, Outgoing
from ordersaga.cli import app
from ordersaga.delivery.outbox_memory import MemoryTable
from ordersaga.local.kafka import Kafka
from ordersaga.orchestrator.runtime.retracing import Retraced
from ordersaga.orchestrator.store.board_memory import MemoryBoard
from ordersaga.orchestrator.store.memory_tables import MemoryTables
from ordersaga.orchestrator.store.migrate import migrate
from ordersaga.settings import Settings, variable
from tests.bus.reading import commit, read
from tests.cli.test_cli import ordersaga
from tests.waiting import until

LEFT = """
INSERT INTO ordersaga.sagas
    (id, saga, version, status, revision, state, attention, resolved, created_at, updated_at)
VALUES
    ('019b7e6c-0000-7000-8000-000000000001', 'create_order', 1, 'COMPENSATING', 1, '{}', false, false, now(), now())
"""
AUDIT = "SELECT actor, verb, reason FROM ordersaga.audit ORDER BY id"


class Watch:
    """Time that passes only while somebody waits for it."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.at: dict[float, Callable[[], object]] = {}
        """What happens when so much has passed."""

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        for due in [due for due in self.at if due <= self.seconds - 100.0]:
            self.at.pop(due)()


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    found = Watch()
    monkeypatch.setattr(cli_maintenance, "time", found)
    return found


def begin(database_url: str, *arguments: str) -> Result:
    command = ["maintenance", "begin", "--who", "night", "--why", "a move", *arguments]
    return CliRunner().invoke(app, command, env={"DATABASE_URL": database_url})


def test_nothing_is_said_to_be_left_before_every_process_has_closed_its_door(database_url: str, watch: Watch) -> None:
    """One that could not read the board does so 16 s later at most; what it let in by then has begun 20 s later."""
    migrate(database_url, "ordersaga")
    with psycopg.connect(database_url, autocommit=True) as connection:
        watch.at[35.0] = lambda: connection.execute(LEFT)
        begun = begin(database_url)
    assert begun.exit_code == 1
    assert begun.stdout.splitlines()[-1] == "new orders are not taken; 1 sagas and 0 messages are under way"
    assert watch.seconds - 100.0 == 36.0


def test_the_doors_of_processes_with_more_patience_close_later(
    database_url: str, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(database_url, "ordersaga")
    monkeypatch.setenv("ORDERSAGA_DATABASE_TIMEOUT_SECONDS", "30")
    assert begin(database_url).exit_code == 0
    assert watch.seconds - 100.0 == 76.0


def test_maintenance_stops_orders_and_says_what_is_under_way(database_url: str, watch: Watch) -> None:
    migrate(database_url, "ordersaga")
    begun = begin(database_url)
    assert (begun.exit_code, begun.stdout) == (0, "new orders are not taken; nothing is under way\n")
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


def test_what_was_said_since_a_backup_is_read_again_and_deadlines_wait_for_it(
    database_url: str, kafka_cluster: Kafka
) -> None:
    group, run = f"group-{uuid4().hex[:8]}", uuid4().hex[:8]
    names = [name for name in Settings.model_fields if name.startswith("topic_")]
    settings = {variable(name): f"{name.removeprefix('topic_')}-{run}" for name in names} | {
        "DATABASE_URL": database_url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka_cluster.bootstrap_servers,
        "ORDERSAGA_KAFKA_GROUP": group,
        "ORDERSAGA_KAFKA_PARTITIONS": "1",
    }
    migrate(database_url, "ordersaga")
    ordersaga("topics", "apply", **settings)
    topic = settings["ORDERSAGA_TOPIC_ORDER_EVENTS"]
    bus = KafkaBus(kafka_cluster.bootstrap_servers)
    try:
        producer = bus.producer(client_id="test")
        producer.publish([Outgoing(topic, b"k", b"%d" % number) for number in range(5)], 20.0)
        consumer = bus.consumer(group=group, topics=[topic], client_id="test")
        commit(consumer, read(consumer, 5))
        command = ("consumption", "read-again", "--who", "night", "--why", "restored", "--since")
        refused = ordersaga(*command, "2026-01-31T09:00:00Z", **settings)
        assert refused.returncode == 1 and "while somebody reads for it: stop test" in refused.stderr
        assert ordersaga("consumption", "status", **settings).stdout == "consumption goes on\n", "as it was"
        consumer.close(5.0)
        until(lambda: not bus.members(group), "the member has left")
        wrong = ordersaga(*command, "nine", **settings)
        assert wrong.returncode == 2 and "--since" in wrong.stderr and "is no time" in wrong.stderr
        assert ordersaga("consumption", "status", **settings).stdout == "consumption goes on\n"
        done = ordersaga(*command, "2026-01-31T09:00:00Z", **settings)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("consumption is paused: night at ")
        assert f"{topic} 5 records will be read again" in " ".join(done.stdout.split())
        assert bus.group_lag(group, [topic]) == {(topic, 0): 5}
    finally:
        bus.close(2.0)
    assert "5 records since 2026-01-31T09:00:00Z" in ordersaga("audit", **settings).stdout


def test_where_going_back_fails_in_the_middle_it_is_said_that_consumption_is_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(settings: Settings, since: datetime) -> NoReturn:
        raise BusUnavailable("no broker answers")

    board = MemoryBoard(MemoryTables(outbox=MemoryTable()))
    monkeypatch.setattr(bootstrap_commands, "board", lambda settings: board)
    monkeypatch.setattr(bootstrap_commands, "check_nobody_reads", lambda settings: None)
    monkeypatch.setattr(bootstrap_commands, "retrace", lambda settings, since, by, why: Retraced())
    monkeypatch.setattr(bootstrap_commands, "read_again", fails)
    settings = {"DATABASE_URL": "postgresql://nobody@nowhere/x", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    command = ["consumption", "read-again", "--since", "2026-01-31T09:00:00Z", "--why", "restored"]
    done = CliRunner().invoke(app, command, env=settings)
    assert done.exit_code == 1 and "ordersaga: no broker answers" in done.stderr
    assert "consumption is paused, and no orchestrator may start: do it once more" in done.stderr
    pause = board.read(0).pause
    assert pause and pause.paused and pause.why == "restored"
