from collections.abc import Iterator

import pytest

from tests.runtime.stage import Stage, opened


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    with opened(database_url) as found:
        yield found
