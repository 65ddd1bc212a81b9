"""Checks of taking back: an undo is done and stays done, whenever it comes."""

import random
from contextlib import suppress
from uuid import uuid4

from ordersaga.testing.conformance.checks_repeats import given_back, taken_by_a_runner
from ordersaga.testing.conformance.ear import Heard
from ordersaga.testing.conformance.parts import opening
from ordersaga.testing.conformance.subject import Case
from ordersaga.testing.conformance.talk import Lacks, NotTried, Talk, shown
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant

SAGAS_MIXED = 6
SAGAS_AT_ONCE = 30


def takes_back(talk: Talk) -> str:
    case = talk.case()
    effect_id = talk.effect_id(talk.done(case))
    return _undone(talk, case, talk.undo(case, effect_id))


def takes_back_without_the_id(talk: Talk) -> str:
    case = talk.case()
    talk.done(case)
    return _undone(talk, case, talk.undo(case, None), silence="an undo that does not name its effect")


def confirms_an_undo_again(talk: Talk) -> str:
    """Under its own id and under another: an undo that has learnt its effect's id is a new command."""
    case = talk.case()
    undo = talk.undo(case, talk.effect_id(talk.done(case)))
    talk.done(case, undo)
    for asked_id in (None, uuid4()):
        found = talk.ask(case, undo, message_id=asked_id, silence="an undo of what was undone")
        if not talk.is_good(undo, found):
            raise Lacks(f"an undo of what was undone was answered {shown(found)}")
    return f"confirmed three times; {talk.standing(case, 0, 'undone three times')}"


def stays_undone(talk: Talk) -> str:
    """Late repeats of what was done before, under the same id; of an order also what had only been on its way. What was
    answered before may be answered again: of the same effect, which is undone.
    """
    case = talk.case()
    command = talk.do(case)
    first = talk.done(case, command)
    effect_id = talk.effect_id(first)
    late = [command, opening(effect_id)] if talk.subject.participant is Participant.ORDER else [command]
    talk.done(case, talk.undo(case, effect_id))
    for one in late:
        found = talk.ask(case, one)
        if isinstance(one, m.UpdateOrderStatus) and talk.is_good(one, found):
            raise Lacks(f"a cancelled order came back to life: {shown(found)}")
        if one is command and talk.is_good(one, found):
            _same_effect(talk, first, found)
    kept = talk.standing(case, 0, "late commands brought it back")
    if talk.subject.participant is Participant.ORDER:
        _stays_cancelled_once_opened(talk)
    return f"{len(late)} late commands; {kept}"


def _same_effect(talk: Talk, first: Heard, again: Heard) -> None:
    effects = [" ".join(one) for answer in (first, again) for one in talk.effect_ids([answer])]
    if effects[0] != effects[1]:
        raise Lacks(f"undone was {effects[0]}, and a late command was answered {shown(again)} with {effects[1]}")


def _stays_cancelled_once_opened(talk: Talk) -> None:
    """What it answered before the cancel it may answer again, as old as it was."""
    case = talk.case()
    order_id = talk.effect_id(talk.done(case))
    update = opening(order_id)
    first = talk.done(case, update)
    talk.done(case, talk.undo(case, order_id))
    again = talk.ask(case, update)
    if talk.is_good(update, again) and again.said.get("timestamp") != first.said.get("timestamp"):
        raise Lacks(f"of a cancelled order it says anew: {shown(again)}")
    talk.standing(case, 0, "an update that came again brought it back")


def remembers_an_early_undo(talk: Talk) -> str:
    case = talk.case()
    undo, command = talk.undo(case, None), talk.do(case)
    found = talk.ask(case, undo, silence="an undo that comes before its command")
    if not talk.is_good(undo, found):
        raise Lacks(f"an undo that comes before its command is answered {shown(found)}")
    for _ in range(2):
        late = talk.ask(case, command, silence="the command that comes after its undo")
        if talk.is_good(command, late):
            raise Lacks(f"the command that comes after its undo is carried out: {shown(late)}")
    return f"confirmed, and the late command refused twice; {talk.standing(case, 0, 'it was carried out after all')}"


def ends_alike_in_any_order(talk: Talk) -> str:
    """Commands and undos of several sagas, each three times, without a key, so that they overtake each other. Of one
    the command is answered before its undos come: chance may let every other begin with an undo.
    """
    cases = [talk.case() for _ in range(SAGAS_MIXED)]
    talk.ask(cases[0], talk.do(cases[0]), key=b"")
    told = [(case, command) for case in cases for command in (talk.do(case), talk.undo(case, None)) for _ in range(3)]
    del told[0]  # it is told already
    random.shuffle(told)
    for case, command in told:
        talk.tell(case, command, key=b"")
    kept = [_one_effect_at_most(talk, case) for case in cases]
    return f"{len(told) + 1} commands of {len(cases)} sagas in any order: one effect each at most; {kept[-1]}"


def refuses_where_a_runner_was_faster(talk: Talk) -> str:
    case = talk.case()
    order_id = talk.effect_id(talk.done(case))
    taken_by_a_runner(talk, case, order_id)
    found = talk.ask(case, talk.undo(case, order_id), silence="a cancel of an accepted order")
    if found.type != "order.cancellation_failed" or found.payload.get("error") != "ORDER_ACCEPTED":
        raise Lacks(f"a cancel of an accepted order was answered {shown(found)}")
    kept = talk.standing(case, 1, "a cancel of it was refused")
    with suppress(NotTried):  # it cannot be cancelled at the end then, which is said there
        given_back(talk, order_id)
    return f"ORDER_ACCEPTED, status {found.payload.get('status')}; {kept}"


def keeps_sagas_apart(talk: Talk) -> str:
    cases = [talk.case() for _ in range(SAGAS_AT_ONCE)]
    for case in cases:
        talk.tell(case, talk.do(case))
    heard = [talk.answer(case, talk.do(case), silence=f"one of {len(cases)} at once") for case in cases]
    bad = [one for one, case in zip(heard, cases, strict=True) if not talk.is_good(talk.do(case), one)]
    if bad:
        raise Lacks(f"of {len(cases)} sagas at once one was answered {shown(bad[0])}")
    if not talk.part.effect_ids:
        return f"{len(cases)} sagas at once, each answered"
    if len(talk.effect_ids(heard)) < len(cases):
        raise Lacks(f"{len(cases)} sagas at once share effects: {len(talk.effect_ids(heard))} in all")
    first, *others = cases
    talk.ask(first, talk.undo(first, talk.effect_id(heard[0])))
    kept = [talk.standing(case, 1, "another saga was undone") for case in others]
    return f"{len(cases)} sagas at once, each with its own effect; {kept[-1]} of each but the one that was undone"


def holds_the_exact_amount(talk: Talk) -> str:
    case = talk.case()
    talk.done(case)
    found, wanted = talk.effects(case), talk.subject.samples.amount_cents
    if found is None:
        raise NotTried("there is no ledger to read the amount from")
    amounts = [one.amount_cents for one in found if one.stands]
    if None in amounts or not amounts:
        raise NotTried("its ledger says no amount")
    if amounts != [wanted]:
        raise Lacks(f"asked for {wanted} cents, it holds {', '.join(str(one) for one in amounts)}")
    return f"asked for {wanted} cents, it holds {amounts[0]}"


def _one_effect_at_most(talk: Talk, case: Case) -> str:
    """Once all six commands of a saga are answered."""
    command, undo = talk.do(case), talk.undo(case, None)
    talk.answer(case, undo, 2, silence="three undos among three commands")
    talk.answer(case, command, 2)
    done = [one for one in talk.answers(case, command) if talk.is_good(command, one)]
    effects = talk.effect_ids(done)
    if len(effects) > 1:
        raise Lacks(f"more than one effect: {'; '.join(sorted(' '.join(one) for one in effects))}")
    return talk.standing(case, 0, "an undo was confirmed")


def _undone(talk: Talk, case: Case, undo: m.Command, *, silence: str = "") -> str:
    found = talk.ask(case, undo, silence=silence)
    if not talk.is_good(undo, found):
        raise Lacks(f"{m.type_of(undo)} was answered {shown(found)}")
    if isinstance(undo, m.RevertPayment) and found.payload.get("status") != "REVERTED":
        raise Lacks(f"payment.released says {found.payload.get('status')!r} and not REVERTED")
    return f"{found.type}; {talk.standing(case, 0, f'{found.type} was said')}"
