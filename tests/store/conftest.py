from collections.abc import Iterator
from pathlib import Path

import pytest

from ordersaga.local.postgres import Postgres
from ordersaga.orchestrator.store.migrate import migrate
from ordersaga.orchestrator.store.protocol import Store

from .files import Files
from .places import SCHEMA, MemoryPlace, Place, PostgresPlace


@pytest.fixture(scope="session")
def migrated(postgres_server: Postgres) -> Iterator[str]:
    """A database with all tables and no rows, to be copied."""
    url = postgres_server.create_database()
    migrate(url, SCHEMA)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def migrated_url(postgres_server: Postgres, migrated: str) -> Iterator[str]:
    """A database of the test's own, with all tables."""
    url = postgres_server.create_database(template=migrated)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def postgres(migrated_url: str) -> Iterator[PostgresPlace]:
    place = PostgresPlace(migrated_url)
    yield place
    place.close()


@pytest.fixture(params=["postgres", "memory"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "memory":
        yield MemoryPlace()
    else:
        yield request.getfixturevalue("postgres")


@pytest.fixture
def store(place: Place) -> Store:
    return place.store()


@pytest.fixture
def files(postgres: PostgresPlace, tmp_path: Path) -> Files:
    return Files(postgres, tmp_path)
