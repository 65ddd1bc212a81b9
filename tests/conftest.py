"""Servers for tests that ask for them. One is started when the first test asks, and only then; a server that cannot be
had fails the test with the command that cures it. Nothing skips.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from ordersaga.local.kafka import Kafka, KafkaCluster, open_kafka
from ordersaga.local.postgres import Postgres, open_postgres
from tests.canary_watch import Plugin

# As our own processes print it: what it prints by itself has every local variable, customers among them.
_plainly = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _plainly])


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Plugin(), "canaries")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that may take longest come first: whoever began one last would keep the others waiting."""
    longest: dict[Path, int] = {}
    for item in items:
        mark = item.get_closest_marker("timeout")
        longest[item.path] = max(longest.get(item.path, 0), mark.args[0] if mark and mark.args else 0)
    items.sort(key=lambda item: -longest[item.path])


hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command that a test calls in its own process sets logs up for that process: the next test has not asked."""
    root, structured = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**structured)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """Shared: a test that kills or freezes a server starts a `PostgresServer` of its own."""
    server = open_postgres(settings={"fsync": "off"})  # the data go anyway; a killed server keeps them without it too
    yield server
    server.stop()


@pytest.fixture
def database_url(postgres_server: Postgres) -> Iterator[str]:
    """An empty database of the test's own."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="session")
def kafka_cluster() -> Iterator[Kafka]:
    """One broker, shared: a test takes topic and group names of its own, and never harms it."""
    cluster = open_kafka()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def three_brokers() -> Iterator[KafkaCluster]:
    """Our own, to be harmed: a test that kills or freezes a node leaves all three ready again."""
    with KafkaCluster.start(nodes=3) as cluster:
        yield cluster
