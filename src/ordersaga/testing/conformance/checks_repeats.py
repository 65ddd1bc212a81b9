"""Checks of repeats: whoever asks again gets the same answer, and nothing happens twice."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from uuid import UUID, uuid4

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
    seen = []
    for command in _steps(talk, case):
        talk.tell(case, *[command] * COPIES)
        _answers(talk, case, command, COPIES)
        talk.tell(case, command)
        seen.append(_one_effect(talk, case, _answers(talk, case, command, COPIES + 1)))
    return "; ".join(seen)


def recognises_repeats_without_ids(talk: Talk) -> str:
    case = talk.case()
    seen = []
    for command in _steps(talk, case):
        first = talk.done(case, command, named=False)
        again = talk.ask(case, command, named=False, silence="a repeat without message_id")
        seen.append(_one_effect(talk, case, [first, again]))
    return "; ".join(seen)


def recognises_repeats_after_restart(talk: Talk) -> str:
    case = talk.case()
    commands = []
    for command in _steps(talk, case):
        talk.done(case, command)
        commands.append(command)
    restart(talk)
    return "; ".join(_recognised_after_restart(talk, case, command) for command in commands)


def _recognised_after_restart(talk: Talk, case: Case, command: m.Message) -> str:
    talk.tell(case, command)
    if not talk.ear.wait(lambda: len(talk.answers(case, command)) > 1, talk.subject.recovery_seconds):
        raise Lacks(f"a repeat after a restart was not answered within {talk.subject.recovery_seconds:g} s")
    # What was said before the kill may be said once more: the answer to the repeat may be the one after that.
    talk.ear.wait(lambda: len(talk.answers(case, command)) > 2, talk.subject.quiet_seconds)
    heard = talk.answers(case, command)
    if len({str(one.said.get("timestamp")) for one in heard}) > 1:
        raise Lacks("after a restart the same command has an answer with another time")
    return _one_effect(talk, case, heard)


def repeats_its_answer_id(talk: Talk) -> str:
    seen = []
    for first, again in _twice(talk):
        if first.message_id is None:
            raise Lacks("its answers have no message_id")
        if first.message_id != again.message_id:
            raise Lacks(f"{first.type}: first {first.message_id}, then {again.message_id}")
        seen.append(f"both are {first.message_id}")
    return "; ".join(seen)


def repeats_its_first_time(talk: Talk) -> str:
    seen = []
    for first, again in _twice(talk):
        _same_time(first, again)
        seen.append(f"both say {first.said.get('timestamp')}")
    return "; ".join(seen)


def keeps_an_acceptance(talk: Talk) -> str:
    """An update is repeated where its answer was lost; a runner may have been quicker than the repeat."""
    case = talk.case()
    order_id = talk.effect_id(talk.done(case))
    taken_by_a_runner(talk, case, order_id)
    try:
        return _acceptance_kept(talk, case, order_id)
    finally:
        with suppress(NotTried):  # it cannot be cancelled at the end then, which is said there
            given_back(talk, order_id)


def _acceptance_kept(talk: Talk, case: Case, order_id: str) -> str:
    update = opening(order_id)
    first = talk.answers(case, update)[0]
    again = talk.ask(case, update, silence="an update that comes again after a runner accepted")
    if again.type != first.type:
        raise Lacks(f"an update that comes again after a runner accepted is answered {shown(again)}")
    _same_time(first, again)
    cancel = talk.undo(case, order_id)
    found = talk.ask(case, cancel, silence="a cancel of an accepted order")
    if talk.is_good(cancel, found):
        raise Lacks(f"after an update that came again a runner's order can be cancelled: {shown(found)}")
    kept = talk.standing(case, 1, "a cancel of it was refused")
    return f"answered as before, and a cancel is refused ({shown(found)}); {kept}"


def tries_a_refused_undo_again(talk: Talk) -> str:
    """Under one and the same `message_id`. Who refuses no undo that could be asked for from outside has nothing to
    remember; a timer service is not asked, since a cancel of what it does not know came early, and is remembered.
    """
    runners = talk.subject.participant is Participant.ORDER and talk.subject.desk
    tried = _refused_while_a_runner_has_it(talk) if runners else None
    case, undo, asked_id, refused = tried or _refused_for_naming_another(talk)
    found = talk.ask(case, undo, message_id=asked_id, silence="an undo that is asked for again after a refusal")
    if not talk.is_good(undo, found):
        raise Lacks(f"refused once ({shown(refused)}), it is refused for ever: {shown(found)}")
    kept = talk.standing(case, 0, "undone at last")
    if talk.is_good(undo, refused):
        return f"it refused none, not even one of something else: {shown(refused)}; {kept}"
    return f"refused ({shown(refused)}), asked again and done; {kept}"


_RefusedUndo = tuple[Case, m.Command, UUID, Heard]
"""Of which saga, what is to be asked again, under which id, and the first answer."""


def _refused_while_a_runner_has_it(talk: Talk) -> _RefusedUndo | None:
    """None where it is not refused, or runners cannot give an order back there, which the platform does not ask for."""
    case, asked_id = talk.case(), uuid4()
    order_id = talk.effect_id(talk.done(case))
    undo = talk.undo(case, order_id)
    with suppress(NotTried):
        taken_by_a_runner(talk, case, order_id)
        refused = talk.ask(case, undo, message_id=asked_id)
        given_back(talk, order_id)
        if not talk.is_good(undo, refused):
            return case, undo, asked_id, refused
    return None


def _refused_for_naming_another(talk: Talk) -> _RefusedUndo:
    """An undo of something else of this saga; a service that goes by the saga confirms it, and may."""
    case, asked_id = talk.case(), uuid4()
    undo = talk.undo(case, talk.effect_id(talk.done(case)))
    another = talk.undo(case, f"another-{uuid4().hex}")
    return case, undo, asked_id, talk.ask(case, another, message_id=asked_id)


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


def _steps(talk: Talk, case: Case) -> Iterator[m.Message]:
    """All that is done for one saga, each once the one before is answered: any of it may come again."""
    command = talk.do(case)
    yield command
    if talk.subject.participant is Participant.ORDER:
        yield opening(talk.effect_id(talk.answers(case, command)[0]))


def _twice(talk: Talk) -> Iterator[tuple[Heard, Heard]]:
    case = talk.case()
    for command in _steps(talk, case):
        yield talk.done(case, command), talk.ask(case, command)


def _same_time(first: Heard, again: Heard) -> None:
    stamps = [one.said.get("timestamp") for one in (first, again)]
    if stamps[0] != stamps[1]:
        raise Lacks(f"{first.type}: first {stamps[0]}, then {stamps[1]}")


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
