"""What participants under examination log is of no interest here: their faults are planted."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True, scope="package")
def silence() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(processors=[_dropped], cache_logger_on_first_use=False)
    yield
    structlog.configure(**before)


def _dropped(*_: object) -> structlog.typing.EventDict:
    raise structlog.DropEvent
