"""Leads one saga along its track: see `Track`, and `retracing` for why.

What was said to it is handed over in the order in which it was said. An answer to what the saga has not asked for yet
waits until it has. Where it was held, since a service answered nobody, and has asked for that step since, it is held no
more. Where it took something back, it is cancelled, for the reason that it gave then. What it asked for and cannot be
led to, since what led there is not in the log, counts as silent if to ask once more could do it twice.
"""

from ordersaga.orchestrator.core.inputs import AskedBefore, CancelAsked, Decision, Operator, RetryAsked, Verdict
from ordersaga.orchestrator.core.instance import Requested
from ordersaga.orchestrator.runtime.intake import Letter
from ordersaga.orchestrator.runtime.track import FORWARD, Own, Track, takes_back
from ordersaga.orchestrator.runtime.turn import Turn


def follow(turn: Turn, track: Track) -> None:
    """The saga must have been loaded."""
    turn.track = track
    _let_go_of(turn, track)
    waiting: list[Letter | Own] = []
    for one in track.in_order():
        waiting.append(one)
        _hand_on(turn, track, waiting)
    _doubt_what_is_not_reached(turn, track)
    _hand_on(turn, track, waiting)


def _let_go_of(turn: Turn, track: Track) -> None:
    """One that was held before a step, and has asked for it since."""
    instance = turn.now_of(track.saga_id)
    if instance is None or instance.held_since is None:
        return
    step = turn.sagas.of(instance).step_after(instance.step)
    if step is not None and track.asked_for(step):
        by = Operator(actor=track.by, role="operator", why=track.why)
        told = {"actor": by.actor, "role": by.role, "why": by.why, "asked": step.name}
        turn.take(track.saga_id, RetryAsked(by), "read_again.asked", told)


def _hand_on(turn: Turn, track: Track, waiting: list[Letter | Own]) -> None:
    """As long as there is one that can be used: the earliest first."""
    while (used := next((one for one in waiting if _is_used(turn, track, one)), None)) is not None:
        waiting.remove(used)


def _is_used(turn: Turn, track: Track, one: Letter | Own) -> bool:
    decision = turn.hand(track.saga_id, one) if isinstance(one, Letter) else _taken_back(turn, track, one)
    return decision is None or decision.verdict is not Verdict.STRAY


def _taken_back(turn: Turn, track: Track, own: Own) -> Decision | None:
    instance = turn.now_of(track.saga_id)
    goes_on = instance is not None and instance.status in FORWARD
    if instance is None or not goes_on or not takes_back(turn.sagas.of(instance), instance, own.message_id):
        return None
    by = Requested(actor=track.by, role="operator", reason=own.reason, why=track.why)
    told = {"actor": by.actor, "role": by.role, "why": by.why, "message_id": own.message_id}
    return turn.take(track.saga_id, CancelAsked(by), "read_again.taken_back", told)


def _doubt_what_is_not_reached(turn: Turn, track: Track) -> None:
    instance = turn.now_of(track.saga_id)
    assert instance
    definition = turn.sagas.of(instance)
    for step in track.not_reached(definition, instance):
        if not step.optional and not definition.may_be_repeated(step):
            told = {"actor": track.by, "role": "operator", "why": track.why, "asked": step.name}
            turn.take(track.saga_id, AskedBefore(step.name), "read_again.asked_before", told)
