"""What the bare services lack of full ones, each named by an examination of it."""

from collections.abc import Mapping

from ordersaga.wire.topics import Participant

COMMITTED = "answers once committed"
RESTARTING = {"recognises repeats after a restart", COMMITTED}
"""What takes a kill to try, of order, user and payment service."""

_EACH = {
    "carries causation_id",
    "keys by saga",
    "has message ids",
    "stamps in UTC",
    "has CloudEvents headers",
    "passes on the trace",
    "repeats its answer's id",
    "repeats its first time",
}
_DOES_ALL_AGAIN = {
    "refuses",
    "recognises repeats",
    "recognises repeats without ids",
    "takes back without the id",
    "stays undone",
    "tombstones",
    "ends alike in any order",
}
_MINDS_NO_RUNNER = {"refuses where a runner was faster", "keeps an acceptance"}
BARE_LACKS: Mapping[Participant, set[str]] = {
    Participant.ORDER: _EACH | _DOES_ALL_AGAIN | _MINDS_NO_RUNNER,
    Participant.USER: _EACH,
    Participant.PAYMENT: _EACH | _DOES_ALL_AGAIN,
    Participant.TIMER: _EACH | {"stays undone", "tombstones"},
}
"""Without a kill."""
KILLED_LACKS: Mapping[Participant, set[str]] = {
    Participant.ORDER: BARE_LACKS[Participant.ORDER] | RESTARTING,
    Participant.USER: BARE_LACKS[Participant.USER] | RESTARTING - {COMMITTED},
    Participant.PAYMENT: BARE_LACKS[Participant.PAYMENT] | RESTARTING,
    Participant.TIMER: BARE_LACKS[Participant.TIMER] | RESTARTING - {COMMITTED},
}
KILLED_MAY_LACK: Mapping[Participant, set[str]] = {
    Participant.USER: {COMMITTED},
    Participant.TIMER: {COMMITTED, "ends alike in any order"},
}
"""What these do twice has one effect: only an answer that is lost in the moment between is seen, and a timer that runs
where its last command in an order that is drawn was a start.
"""
