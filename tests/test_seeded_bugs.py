"""What `make bugs` plants and asks is there: a gate of minutes is a late place to hear that it is not."""

from pathlib import Path

import pytest

from seeded_bugs.__main__ import CHECKERS, ROOT, Checker, stale
from seeded_bugs.bugs import BUGS


def test_each_bug_fits_the_code() -> None:
    assert stale(BUGS) == []


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda checker: checker.name)
def test_what_a_checker_runs_is_there(checker: Checker) -> None:
    named = [Path(argument) for argument in checker.command if argument.startswith("tests/")]
    assert [path for path in named if not (ROOT / path).exists()] == []
