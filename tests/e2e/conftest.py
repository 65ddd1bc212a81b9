from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from bench.stage import Stage
from tests.e2e.deliveries import Platform


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Real parts, a process each: Apache Kafka, PostgreSQL, orchestrators, the five reference participants."""
    open_stages: list[Stage] = []
    _let_servers_in(tmp_path)

    def start(
        *,
        orchestrators: int = 1,
        participants: str = "reference",
        kinds: str = "full",
        apart: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> Stage:
        stage = Stage(
            tmp_path,
            participants=participants,
            orchestrators=orchestrators,
            kinds=kinds,
            apart=apart,
            settings=settings,
        )
        open_stages.append(stage)
        return stage.__enter__()

    yield start
    for stage in open_stages:
        stage.__exit__(None, None, None)


@pytest.fixture(scope="module")
def one_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The same real parts for all tests of a file, which leave traces in one ledger."""
    directory = tmp_path_factory.mktemp("platform")
    _let_servers_in(directory)
    platform = Platform(directory)
    try:
        yield platform.__enter__()
    finally:
        platform.__exit__(None, None, None)


def _let_servers_in(directory: Path) -> None:
    """Those that run as somebody else."""
    for folder in (directory, directory.parent, directory.parent.parent):
        folder.chmod(0o755)
