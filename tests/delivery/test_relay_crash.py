"""A process dies at each place of the relay, by SIGKILL; another takes over from the database."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from ordersaga.delivery import failpoints
from ordersaga.delivery.outbox import TABLES_SQL
from ordersaga.delivery.relay import AFTER_PUBLISH, BEFORE_PUBLISH
from ordersaga.delivery.upkeep import AFTER_DELETE, AFTER_TAKE_OVER, BEFORE_DELETE

from .stage import Stage

GIVEN = ["a1", "b1", "a2", "b2", "a3"]


class Scene:
    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log = url, log
        with psycopg.connect(url) as connection:
            connection.execute(TABLES_SQL)

    @contextmanager
    def process(self, number: int, values: str = "", die_at: str = "") -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.delivery.relay_process", str(self.log), str(number), values],
            env={**os.environ, failpoints.VARIABLE: die_at, "DATABASE_URL": self.url},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def dies(self, number: int, values: str, die_at: str) -> None:
        with self.process(number, values, f"{die_at}=kill") as process:
            assert process.wait(20) == -signal.SIGKILL

    def waiting(self) -> int:
        with psycopg.connect(self.url) as connection:
            found = connection.execute("SELECT count(*) FROM outbox").fetchone()
        return found[0] if found else 0

    def lines(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture
def scene(database_url: str, tmp_path: Path) -> Scene:
    return Scene(database_url, tmp_path / "log")


@pytest.mark.parametrize(
    ("place", "published_before", "published_twice"),
    [
        (BEFORE_PUBLISH, [], []),
        (AFTER_PUBLISH, ["a1", "b1"], ["a1", "b1"]),
        (BEFORE_DELETE, ["a1", "b1"], ["a1", "b1"]),
        (AFTER_DELETE, ["a1", "b1"], []),
    ],
)
def test_who_takes_over_publishes_what_is_left_in_order(
    scene: Scene, place: str, published_before: list[str], published_twice: list[str]
) -> None:
    """Only rows that were published and not deleted may be in the log twice. Before its death the process may have come
    further with other rows.
    """
    scene.dies(1, ",".join(GIVEN), place)
    before, left = scene.lines(), scene.waiting()
    assert before[: len(published_before)] == published_before
    with scene.process(2):
        Stage().until(lambda: scene.waiting() == 0, "the rows of the dead are published")
    after = scene.lines()[len(before) :]
    assert len(after) == left
    assert set(before) | set(after) == set(GIVEN)
    assert set(published_twice) <= set(before) & set(after)
    if place in (BEFORE_PUBLISH, AFTER_PUBLISH):
        assert sorted(set(before) & set(after)) == published_twice
    for lane in "ab":
        assert [line for line in after if line[0] == lane] == sorted({line for line in after if line[0] == lane})


def test_who_dies_while_taking_over_is_taken_over_in_turn(scene: Scene) -> None:
    scene.dies(1, ",".join(GIVEN), BEFORE_PUBLISH)
    scene.dies(2, "", AFTER_TAKE_OVER)
    assert scene.lines() == []
    with scene.process(3):
        Stage().until(lambda: scene.waiting() == 0, "the rows of the dead are published")
    assert sorted(scene.lines()) == sorted(GIVEN)
