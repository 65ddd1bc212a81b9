"""After its server was away the pool is used again at once, however long it had tried in vain."""

from pathlib import Path

import pytest
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from ordersaga.delivery.pool import open_pool
from ordersaga.local.postgres import PostgresServer
from tests.waiting import until


def test_a_server_that_was_away_for_long_is_used_again_within_seconds(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    server = PostgresServer.start(tmp_path / "postgres")
    pool = open_pool(
        server.create_database(),
        name="test",
        options="",
        size_max=2,
        wait_seconds=1.0,
        connect_seconds=3,
        configure=lambda connection: None,
    )

    def answers() -> bool:
        try:
            with pool.connection() as connection:
                return bool(connection.execute("select true").fetchone())
        except (OperationalError, PoolTimeout):
            return False

    try:
        until(answers, "the pool has connected")
        server.kill()
        for _ in range(12):  # long enough for pauses that double to be too long
            with pytest.raises((OperationalError, PoolTimeout)), pool.connection() as connection:
                connection.execute("select true")
        server.restart()
        until(answers, "the pool is well again", within_seconds=4.0)
    finally:
        pool.close()
        server.stop()
