"""A platform that is well, one for each file of tests."""

from collections.abc import Iterator

import pytest

from ordersaga.local.postgres import Postgres
from tests.smoke.platform import Platform, platform


@pytest.fixture(scope="module")
def healthy(postgres_server: Postgres) -> Iterator[Platform]:
    """Shared by tests that harm nothing."""
    url = postgres_server.create_database()
    with platform(url, undo_timeout_seconds=1) as found:
        yield found
    postgres_server.drop_database(url)
