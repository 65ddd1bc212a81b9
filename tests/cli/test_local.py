"""`ordersaga local`: servers to try things on, whose data stay where they were given a place."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest
from dotenv import dotenv_values

from ordersaga.local.processes import Process
from ordersaga.settings_reading import read
from tests.waiting import until


def started(directory: Path, file: Path) -> Process:
    argv = [sys.executable, "-m", "ordersaga.cli", "local", "--directory", str(directory), "--write", str(file)]
    process = Process("local", argv, log_path=directory.with_suffix(".log")).start()
    until(lambda: file.exists() or not process.is_running, "the servers are ready", within_seconds=90)
    assert file.exists(), process.log_tail()
    return process


def written(file: Path) -> Mapping[str, str]:
    return {name: str(value) for name, value in dotenv_values(file).items()}


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_data_stay_where_they_were_given_a_place_and_the_settings_go_with_the_servers(
    tmp_path: Path, number: signal.Signals
) -> None:
    directory, file = tmp_path / "kept", tmp_path / "local.env"
    directory.mkdir()

    first = started(directory, file)
    with psycopg.connect(written(file)["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE kept (what text)")
    os.kill(first.pid, number)
    assert first.wait_ended(60) == 0
    assert not file.exists()

    second = started(directory, file)
    with psycopg.connect(written(file)["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchall() == [(0,)]
    settings = read(environment={}, env_file=file, needs=("database_url", "kafka_bootstrap_servers"))
    assert {settings.participant_order, settings.participant_payment} == {"full"}
    second.stop()
