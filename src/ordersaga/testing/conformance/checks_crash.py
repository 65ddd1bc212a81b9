"""The check that costs most where it fails: whatever moment a participant is killed at, each command has one effect and
an answer.

Commands keep coming while it is killed, so that the kill meets one in every stage: read, carried out, answered. What
was carried out and never said is money that nobody knows of; what is carried out twice is money held twice. Nothing is
counted, and it is not killed again, before it is back.
"""

from collections.abc import Sequence
from threading import Thread

from ordersaga.testing.conformance.restarting import kill_and_start, wait_until_there
from ordersaga.testing.conformance.subject import Case
from ordersaga.testing.conformance.talk import Lacks, NotTried, Talk
from ordersaga.wire import messages as m

ROUNDS = 3
SAGAS_FIRST = 40
"""Of each round: all at once, before the kill."""
SAGAS_MAX = 600
"""Of each round, at most."""
_AT_ONCE = 20
_SHOWN = 3


def answers_once_committed(talk: Talk) -> str:
    if talk.subject.restart is None:
        raise NotTried("nothing can kill and start it")
    asked: list[Case] = []
    for number in range(ROUNDS):
        asked += _killed_while_asked(talk, heard_first=number * SAGAS_FIRST // ROUNDS)
        asked += wait_until_there(talk, talk.subject.restart_seconds)
    unanswered = _unanswered(talk, asked)
    if unanswered:
        raise Lacks(f"killed, it never answered {len(unanswered)} of {len(asked)} commands: {_named(unanswered)}")
    talk.ear.wait(lambda: bool(_doubled(talk, asked)), talk.subject.quiet_seconds)
    doubled = _doubled(talk, asked)
    if doubled:
        raise Lacks(f"killed, it did {len(doubled)} of {len(asked)} commands twice: {_named(doubled)}")
    kept = [talk.standing(case, 1, "killed in between") for case in asked] if talk.part.effect_ids else ["no effects"]
    return f"killed {ROUNDS} times over {len(asked)} commands, each has one answer and one effect; {kept[-1]} of each"


def _killed_while_asked(talk: Talk, heard_first: int) -> Sequence[Case]:
    """`heard_first`: how many answers are waited for before the kill."""
    cases = [talk.case() for _ in range(SAGAS_FIRST)]
    for case in cases:
        talk.tell(case, talk.do(case))
    talk.ear.wait(lambda: SAGAS_FIRST - len(_open(talk, cases)) >= heard_first, talk.subject.answer_seconds)
    trouble: list[Exception] = []
    killing = Thread(target=_kill, args=(talk, trouble), name="conformance-restart", daemon=True)
    killing.start()
    while killing.is_alive() and len(cases) < SAGAS_MAX:
        more = [talk.case() for _ in range(_AT_ONCE)]
        for case in more:
            talk.tell(case, talk.do(case))
        cases += more
        killing.join(0.02)
    killing.join()
    if trouble:
        raise trouble[0]
    return cases


def _kill(talk: Talk, trouble: list[Exception]) -> None:
    try:
        kill_and_start(talk)
    except NotTried as error:
        trouble.append(error)


def _unanswered(talk: Talk, cases: Sequence[Case]) -> Sequence[Case]:
    """Those that still are when it has had all the time that it may need."""
    talk.ear.wait(lambda: not _open(talk, cases), talk.subject.recovery_seconds)
    return _open(talk, cases)


def _open(talk: Talk, cases: Sequence[Case]) -> list[Case]:
    good = m.TYPE_OF[talk.part.done] if talk.part.done else ""
    return [case for case in cases if not any(one.type == good for one in talk.ear.heard(case.saga_id))]


def _doubled(talk: Talk, cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if len(talk.effect_ids(talk.answers(case, talk.do(case)))) > 1]


def _named(cases: Sequence[Case]) -> str:
    return ", ".join(case.saga_id for case in cases[:_SHOWN]) + (", ..." if len(cases) > _SHOWN else "")
