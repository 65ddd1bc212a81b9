"""Checks of what nobody asked an order service for over a topic: what its runners do, and what they may do.

Runners are played at the desk. Without one nothing of this is tried. What a desk would not have done counts as refused
only where it then gives out an order that is open: one that nobody reaches refuses nothing.
"""

from collections.abc import Sequence
from contextlib import suppress

from ordersaga.testing.conformance.checks_repeats import given_back, taken_by_a_runner
from ordersaga.testing.conformance.ear import Heard
from ordersaga.testing.conformance.parts import opening
from ordersaga.testing.conformance.subject import Case, MeansFailed, NotOffered
from ordersaga.testing.conformance.talk import Lacks, NotTried, Talk, shown
from ordersaga.wire import messages as m
from ordersaga.wire.codec import Envelope, decode_event
from ordersaga.wire.errors import WireError

News = type[m.OrderAccepted] | type[m.OrderAcceptanceCancelled]


def says_what_its_runners_do(talk: Talk) -> str:
    case = talk.case()
    order_id = talk.effect_id(talk.done(case))
    taken_by_a_runner(talk, case, order_id)
    accepted = _said(talk, case, order_id, m.OrderAccepted, "a runner took the order")
    _not_older(talk.answers(case, opening(order_id))[0], accepted)
    assert talk.subject.desk
    try:
        talk.subject.desk.give_back(order_id)
    except NotOffered as error:
        return f"{shown(accepted)} was said; giving back was not tried, since there is no such thing here ({error})"
    except MeansFailed as error:
        raise NotTried(f"{shown(accepted)} was said, but the order cannot be given back: {error}") from error
    reopened = _said(talk, case, order_id, m.OrderAcceptanceCancelled, "the runner gave the order back")
    _not_older(accepted, reopened)
    return f"{shown(accepted)} was said, and {shown(reopened)} when it was given back"


def accepts_only_what_is_open(talk: Talk) -> str:
    """What was refused when it was not open is accepted once it is: so there is a desk, and it looks."""
    early, late = talk.case(), talk.case()
    early_id, late_id = (talk.effect_id(talk.done(case)) for case in (early, late))
    refused = _refused(talk, early_id, "is not open yet")
    talk.done(late, opening(late_id))
    talk.done(late, talk.undo(late, late_id))
    _refused(talk, late_id, "was cancelled")
    told = [(early, early_id), (late, late_id)]
    talk.ear.wait(lambda: any(_news(talk, *one, m.OrderAccepted) for one in told), talk.subject.quiet_seconds)
    for case, order_id in told:
        if heard := _news(talk, case, order_id, m.OrderAccepted):
            raise Lacks(f"of an order that no runner could have it says {shown(heard[0])}")
    kept = talk.standing(late, 0, "a runner wanted it after it was cancelled")
    taken_by_a_runner(talk, early, early_id)
    with suppress(NotTried):  # it cannot be cancelled at the end then, which is said there
        given_back(talk, early_id)
    return f"refused before it was open ({refused:.120}) and after it was cancelled, accepted while it was; {kept}"


def _refused(talk: Talk, order_id: str, state: str) -> str:
    """In which words."""
    desk = talk.subject.desk
    if desk is None:
        raise NotTried("no runner can accept an order: there is no desk")
    try:
        desk.accept(order_id)
    except MeansFailed as error:
        return str(error)
    raise Lacks(f"a runner could accept an order that {state}")


def _said(talk: Talk, case: Case, order_id: str, news: News, what: str) -> Heard:
    """The first. Raises `Lacks`."""
    seconds = talk.subject.answer_seconds
    if talk.ear.wait(lambda: bool(_news(talk, case, order_id, news)), seconds):
        return _news(talk, case, order_id, news)[0]
    name = m.TYPE_OF[news]
    unread = [one for one in _all_of(talk, case, order_id) if one.type == name and one.trouble()]
    if unread:
        raise Lacks(f"{what}: {name} cannot be read: {unread[0].trouble()}")
    raise Lacks(f"{what}, and nobody was told: no {name} of {order_id} within {seconds:g} s")


def _news(talk: Talk, case: Case, order_id: str, news: News) -> list[Heard]:
    """As the orchestrator finds it: under the saga's id or any other, in whichever form, of just this order."""
    return [one for one in _all_of(talk, case, order_id) if _names(one, order_id, news)]


def _names(heard: Heard, order_id: str, news: News) -> bool:
    envelope = _read(heard)
    return envelope is not None and isinstance(envelope.body, news) and envelope.body.order_id == order_id


def _all_of(talk: Talk, case: Case, order_id: str) -> Sequence[Heard]:
    return [*talk.ear.heard(case.saga_id), *talk.ear.astray(order_id)]


def _not_older(before: Heard, news: Heard) -> None:
    """Rule 1: of what is said of one order the newest stamp counts."""
    stamps = [envelope.timestamp if (envelope := _read(one)) else None for one in (before, news)]
    if stamps[0] and stamps[1] and stamps[1] < stamps[0]:
        told = f"its timestamp is {news.said.get('timestamp')}, that of {before.type} {before.said.get('timestamp')}"
        raise Lacks(f"{news.type} was said after {before.type}, and reads as older: {told}")


def _read(heard: Heard) -> Envelope | None:
    try:
        found = decode_event(heard.record.value)
    except WireError:
        return None
    return found if isinstance(found, Envelope) else None
