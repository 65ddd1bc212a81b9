from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from bench.stage import Stage


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Real parts, a process each: Apache Kafka, PostgreSQL, orchestrators, the five reference participants."""
    open_stages: list[Stage] = []
    # Servers that run as somebody else have to get in.
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)

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
