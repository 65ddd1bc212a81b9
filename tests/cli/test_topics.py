"""`ordersaga topics` on a real broker: a plan changes nothing, and what is there is left as it is."""

from uuid import uuid4

import pytest

from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.protocol import TopicSpec
from ordersaga.local.kafka import Kafka
from ordersaga.settings import Settings, variable
from tests.cli.test_cli import ordersaga

NAMES = [name for name in Settings.model_fields if name.startswith("topic_")]


@pytest.fixture
def settings(kafka_cluster: Kafka) -> dict[str, str]:
    """Topics of the test's own."""
    run = uuid4().hex[:8]
    own = {variable(name): f"{name.removeprefix('topic_')}-{run}" for name in NAMES}
    return own | {"KAFKA_BOOTSTRAP_SERVERS": kafka_cluster.bootstrap_servers, "ORDERSAGA_KAFKA_PARTITIONS": "3"}


def test_a_plan_changes_nothing_and_is_then_applied(settings: dict[str, str]) -> None:
    for _ in range(2):
        planned = ordersaga("topics", "plan", **settings)
        assert planned.returncode == 1
        assert planned.stdout.count("missing: would be created with 3 partitions") == len(NAMES)
    applied = ordersaga("topics", "apply", **settings)
    assert applied.returncode == 0
    assert applied.stdout.count("3 partitions, created") == len(NAMES)
    again = ordersaga("topics", "plan", **settings)
    assert again.returncode == 0
    assert again.stdout.count("3 partitions: well") == len(NAMES)
    assert ordersaga("topics", **settings).stdout.count("3 partitions\n") == len(NAMES)


def test_a_topic_with_fewer_partitions_is_left_alone(settings: dict[str, str]) -> None:
    name = settings["ORDERSAGA_TOPIC_ORDER_EVENTS"]
    bus = KafkaBus(settings["KAFKA_BOOTSTRAP_SERVERS"])
    try:
        bus.create_topics([TopicSpec(name, 1, {})])
        planned = ordersaga("topics", "plan", **settings)
        assert "1 partitions, 3 are set: left alone" in planned.stdout
        ordersaga("topics", "apply", **settings)
        assert bus.partitions()[name] == 1
    finally:
        bus.close(2.0)


def test_who_created_topics_is_in_the_audit_where_there_is_one(settings: dict[str, str], database_url: str) -> None:
    told = ordersaga("topics", "apply", "--who", "ada", DATABASE_URL=database_url, **settings)
    assert told.returncode == 0 and "not in the audit" in told.stderr, "before the database has tables"
    ordersaga("migrate", DATABASE_URL=database_url)
    ordersaga("topics", "apply", "--who", "ada", "--why", "a look", DATABASE_URL=database_url, **settings)
    assert (
        "topics apply by ada (operator): a look: nothing was missing"
        in ordersaga("audit", DATABASE_URL=database_url).stdout
    )
