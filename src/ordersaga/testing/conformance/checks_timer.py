"""Checks of the timer service: a timer fires when its time has come, once, never before, and not after a cancel."""

from datetime import UTC, datetime

from ordersaga.testing.conformance.ear import Heard
from ordersaga.testing.conformance.parts import timer
from ordersaga.testing.conformance.restarting import restart
from ordersaga.testing.conformance.subject import Case
from ordersaga.testing.conformance.talk import Lacks, NotTried, Talk
from ordersaga.wire import messages as m
from ordersaga.wire.errors import WireError
from ordersaga.wire.times import parse_time

RUNS_SECONDS = 2.0
"""So long that one which fires early is seen to, however late whoever looks for due timers looks."""
CANCELLED_SECONDS = (3.0, 15.0, 45.0)
"""Enough for a cancel to come before; where it was not, more."""
EARLY_SECONDS_MAX = 0.5
"""Its clock and ours may differ by so much."""
AGAIN_SECONDS = 4.0
"""Whoever looks for due timers and forgets which have fired has looked again by then."""


def fires_on_time(talk: Talk) -> str:
    case = talk.case()
    command = timer(case, RUNS_SECONDS)
    talk.done(case, command)
    found = _expired(talk, case, RUNS_SECONDS + talk.subject.answer_seconds)
    if found is None:
        raise Lacks(f"timer.expired did not come within {talk.subject.answer_seconds:g} s after its time")
    early_seconds = (command.timeout_at - _said_at(found)).total_seconds()
    if early_seconds > EARLY_SECONDS_MAX:
        raise Lacks(f"timer.expired was said {early_seconds:.1f} s before its time")
    return f"timer.expired was said {-early_seconds:.1f} s after its time"


def fires_once(talk: Talk) -> str:
    case = talk.case()
    talk.done(case, timer(case, RUNS_SECONDS))
    if _expired(talk, case, RUNS_SECONDS + talk.subject.answer_seconds) is None:
        raise NotTried("a timer did not fire")
    seconds = AGAIN_SECONDS + talk.subject.quiet_seconds
    if _expired(talk, case, seconds, before=1) is not None:
        raise Lacks(f"timer.expired came {len(_fired(talk, case))} times within {seconds:g} s")
    return f"nothing more came in the {seconds:g} s after it had fired"


def fires_not_after_a_cancel(talk: Talk) -> str:
    for seconds in CANCELLED_SECONDS:
        case = talk.case()
        command = timer(case, seconds)
        talk.done(case, command)
        talk.done(case, talk.undo(case, None))
        left_seconds = (command.timeout_at - datetime.now(UTC)).total_seconds()
        if left_seconds >= EARLY_SECONDS_MAX:
            if _expired(talk, case, left_seconds + 1.0 + talk.subject.quiet_seconds) is not None:
                raise Lacks("timer.expired came after timer.cancelled")
            return f"nothing came in the {talk.subject.quiet_seconds + 1.0:g} s after its time"
    raise NotTried("the cancel was confirmed too late to tell")


def fires_after_a_restart(talk: Talk) -> str:
    case = talk.case()
    talk.done(case, timer(case, RUNS_SECONDS))
    restart(talk)
    if _expired(talk, case, RUNS_SECONDS + talk.subject.recovery_seconds) is None:
        raise Lacks(f"a timer that ran before a restart did not fire within {talk.subject.recovery_seconds:g} s")
    return "a timer that ran before a restart fired after it"


def _expired(talk: Talk, case: Case, seconds: float, *, before: int = 0) -> Heard | None:
    """The first after those `before`."""
    talk.ear.wait(lambda: len(_fired(talk, case)) > before, seconds)
    return next(iter(_fired(talk, case)[before:]), None)


def _fired(talk: Talk, case: Case) -> list[Heard]:
    """By the saga's id, or by the order's: both are found by the orchestrator."""
    name = m.TYPE_OF[m.TimerExpired]
    return [one for one in talk.ear.heard(case.saga_id) + talk.ear.astray(case.order_id) if one.type == name]


def _said_at(found: Heard) -> datetime:
    try:
        return parse_time(str(found.said.get("timestamp")), "timestamp")
    except WireError:
        return datetime.fromtimestamp(found.record.timestamp_ms / 1000, UTC)
