"""What one look came to."""

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOTICED = "noticed"
    """Odd, and no reason to say that the deployment does not work."""
    NOT_TRIED = "not tried"
    """It needs something that failed, or was not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    what: str
    result: Result
    said: str
    look: str = ""
    """What to look at; empty where there is nothing to do."""


def passed(what: str, said: str) -> Check:
    return Check(what=what, result=Result.PASSED, said=said)


def failed(what: str, said: str, look: str) -> Check:
    return Check(what=what, result=Result.FAILED, said=said, look=look)


def noticed(what: str, said: str, look: str) -> Check:
    return Check(what=what, result=Result.NOTICED, said=said, look=look)


def not_tried(what: str, why: str) -> Check:
    return Check(what=what, result=Result.NOT_TRIED, said=why)
