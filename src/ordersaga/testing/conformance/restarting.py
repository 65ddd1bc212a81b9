"""Whether a participant is there: it answers in each partition of its topic. Asked before anything is judged, and again
whenever it was killed and started.

Brokers keep the partitions of a killed member until its session has run out: 10 s for those of this project, 45 s where
nobody said otherwise. Until then it reads nothing, and its silence means nothing. So something new is asked in each
partition, again and again, until it was answered there; by one that answers nobody, until it is kept.

Promised: what was asked before is read by then, a second time where the first was not committed, and the ledger can be
read. Not promised: that all of it is settled. An answer that waits for the lease of a dead process comes later.
"""

from collections.abc import Sequence
from itertools import count
from time import monotonic

from ordersaga.bus.partitioner import partition_of
from ordersaga.testing.conformance.subject import Case, MeansFailed
from ordersaga.testing.conformance.talk import NotTried, Talk

_ASK_AGAIN_FIRST_SECONDS, _ASK_AGAIN_MOST_SECONDS = 1.0, 10.0


def restart(talk: Talk) -> Sequence[Case]:
    """Kill it and start it; returns when it is back, with what was asked to find out. Raises `NotTried`."""
    kill_and_start(talk)
    return wait_until_there(talk, talk.subject.restart_seconds)


def kill_and_start(talk: Talk) -> None:
    if talk.subject.restart is None:
        raise NotTried("nothing can kill and start it")
    try:
        talk.subject.restart()
    except MeansFailed as error:
        raise NotTried(f"it could not be restarted: {error}") from error


def wait_until_there(talk: Talk, seconds: float) -> Sequence[Case]:
    """What was asked to find out. Raises `NotTried` where it is not there within so many seconds."""
    end = monotonic() + seconds
    asked: list[tuple[int, Case]] = []
    silent = set(range(talk.partitions))
    pause = _ASK_AGAIN_FIRST_SECONDS
    while silent:
        if monotonic() >= end:
            where = ", ".join(str(one) for one in sorted(silent))
            raise NotTried(f"within {seconds:g} s nothing came of what was asked in partition {where}")
        asked += [(one, _ask_in(talk, one)) for one in sorted(silent)]
        silent -= _heard_of(talk, asked, silent, min(pause, end - monotonic()))
        pause = min(2 * pause, _ASK_AGAIN_MOST_SECONDS)
    cases = [case for _, case in asked]
    _wait_for_the_ledger(talk, cases[-1], end - monotonic())
    return cases


def _ask_in(talk: Talk, partition: int) -> Case:
    case = talk.case()
    keys = (f"{case.saga_id}-{number}".encode() for number in count())
    talk.tell(case, talk.do(case), key=next(key for key in keys if partition_of(key, talk.partitions) == partition))
    return case


def _heard_of(talk: Talk, asked: Sequence[tuple[int, Case]], silent: set[int], seconds: float) -> set[int]:
    """Those of the `silent` partitions in which it did something by now; as soon as these are all."""

    def answered() -> set[int]:
        return {one for one, case in asked if one in silent and talk.ear.heard(case.saga_id)}

    def kept() -> set[int]:
        return {one for one, case in asked if one in silent and _is_kept(talk, case)}

    if talk.part.done is None:
        talk.until(lambda: kept() == silent, seconds)
        return kept()
    talk.ear.wait(lambda: answered() == silent, seconds)
    return answered() | {one for one, case in asked if talk.astray(case, talk.do(case))}


def _is_kept(talk: Talk, case: Case) -> bool:
    try:
        return bool(talk.effects(case))
    except NotTried:
        return False


def _wait_for_the_ledger(talk: Talk, case: Case, seconds: float) -> None:
    """Raises `NotTried` where it cannot be read even then."""

    def can_be_read() -> bool:
        try:
            talk.effects(case)
        except NotTried:
            return False
        return True

    if not talk.until(can_be_read, seconds):
        talk.effects(case)
