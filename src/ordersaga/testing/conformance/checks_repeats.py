"""Checks of repeats: whoever asks again gets the same answer, and nothing happens twice."""

from collections.abc import Sequence
from uuid import uuid4

from ordersaga.testing.conformance.ear import Heard
from ordersaga.testing.conformance.parts import opening
from ordersaga.testing.conformance.restarting import restart
from ordersaga.testing.conformance.subject import Case, MeansFailed
from ordersaga.testing.conformance.talk import Lacks, NotTried, Talk, shown
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant

COPIES = 3
"""How often a command is sent in one go."""


def recognises_repeats(talk: Talk) -> str:
    """Three at once, and one more when those are answered."""
    case = talk.case()
    command = talk.do(case)
    talk.tell(case, *[command] * COPIES)
    _answers(talk, case, command, COPIES)
    talk.tell(case, command)
    return _one_effect(talk, case, _answers(talk, case, command, COPIES + 1))


def recognises_repeats_without_ids(talk: Talk) -> str:
    case = talk.case()
    first = talk.done(case, named=False)
    again = talk.ask(case, talk.do(case), named=False, silence="a repeat without message_id")
    return _one_effect(talk, case, [first, again])


def recognises_repeats_after_restart(talk: Talk) -> str:
    case = talk.case()
    command = talk.do(case)
    talk.done(case)
    restart(talk)
    talk.tell(case, command)
    if not talk.ear.wait(lambda: len(talk.answers(case, command)) > 1, talk.subject.recovery_seconds):
        raise Lacks(f"a repeat after a restart was not answered within {talk.subject.recovery_seconds:g} s")
    # What was said before the kill may be said once more: the answer to the repeat may be the one after that.
    talk.ear.wait(lambda: len(talk.answers(case, command)) > 2, talk.subject.quiet_seconds)
    heard = talk.answers(case, command)
    if len({(one.said.get("message_id"), one.said.get("timestamp")) for one in heard}) > 1:
        raise Lacks("after a restart the same command has an answer with another id or time")
    return _one_effect(talk, case, heard)


def repeats_its_answer_id(talk: Talk) -> str:
    first, again = _twice(talk)
    if first.message_id is None:
        raise Lacks("its answers have no message_id")
    if first.message_id != again.message_id:
        raise Lacks(f"first {first.message_id}, then {again.message_id}")
    return f"both are {first.message_id}"


def repeats_its_first_time(talk: Talk) -> str:
    first, again = (one.said.get("timestamp") for one in _twice(talk))
    if first != again:
        raise Lacks(f"first {first}, then {again}")
    return f"both say {first}"


def tries_a_refused_undo_again(talk: Talk) -> str:
    """Under one and the same `message_id`."""
    case = talk.case()
    effect_id = talk.effect_id(talk.done(case))
    undo, asked_id = talk.undo(case, effect_id), uuid4()
    if talk.subject.participant is Participant.ORDER:
        taken_by_a_runner(talk, case, effect_id)
        refused = talk.ask(case, undo, message_id=asked_id)
    else:
        # An undo of something else: the only refusal that can be had from outside.
        refused = talk.ask(case, _undo_of_something_else(undo), message_id=asked_id)
    if talk.is_good(undo, refused):
        raise NotTried(f"no undo of it was refused: {shown(refused)}")
    if talk.subject.participant is Participant.ORDER:
        given_back(talk, effect_id)
    found = talk.ask(case, undo, message_id=asked_id, silence="an undo that is asked for again after a refusal")
    if not talk.is_good(undo, found):
        raise Lacks(f"refused once ({shown(refused)}), it is refused for ever: {shown(found)}")
    return f"refused ({shown(refused)}), asked again and done; {talk.standing(case, 0, 'undone at last')}"


# --- what other checks use too ------------------------------------------------------------------------------------


def taken_by_a_runner(talk: Talk, case: Case, order_id: str) -> None:
    desk = talk.subject.desk
    if desk is None:
        raise NotTried("no runner can accept an order: there is no desk")
    talk.done(case, opening(order_id))
    try:
        desk.accept(order_id)
    except MeansFailed as error:
        raise NotTried(f"the order cannot be accepted: {error}") from error


def given_back(talk: Talk, order_id: str) -> None:
    assert talk.subject.desk
    try:
        talk.subject.desk.give_back(order_id)
    except MeansFailed as error:
        raise NotTried(f"the order cannot be given back: {error}") from error


def _undo_of_something_else(undo: m.Command) -> m.Command:
    if isinstance(undo, m.RevertPayment):
        return m.RevertPayment(reason=undo.reason, payment_id=f"pay-{uuid4().hex}", order_id=undo.order_id)
    assert isinstance(undo, m.CancelTimer)
    return m.CancelTimer(order_id=f"order-{uuid4().hex}", reason=undo.reason)


def _twice(talk: Talk) -> tuple[Heard, Heard]:
    case = talk.case()
    first = talk.done(case)
    return first, talk.ask(case, talk.do(case))


def _answers(talk: Talk, case: Case, command: m.Message, count: int) -> list[Heard]:
    """So many, of which the last may have taken their time."""
    talk.answer(case, command)
    talk.answer(case, command, count - 1, silence=f"{count} times asked, it did not answer each time")
    return talk.answers(case, command)[:count]


def _one_effect(talk: Talk, case: Case, heard: Sequence[Heard]) -> str:
    bad = [one for one in heard if one.type != heard[0].type]
    if bad:
        raise Lacks(f"first {shown(heard[0])}, for the same command then {shown(bad[0])}")
    effects = talk.effect_ids(heard)
    if len(effects) > 1:
        raise Lacks(f"more than one effect: {'; '.join(sorted(' '.join(one) for one in effects))}")
    count = 1 if talk.part.effect_ids else 0
    kept = talk.standing(case, count, "asked again, it did it again") if count else "there is no effect to double"
    return f"{len(heard)} answers, one effect; {kept}"
