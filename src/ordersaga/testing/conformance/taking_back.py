"""What an examination made is taken back at its end: one undo for each effect that was named in an answer.

Of a service that recognises no repeats a saga may have more than one. An effect is taken back once an undo that names
it was confirmed after the last that was said of it. Where several go by one id, as the holds of one payment do, a
confirmation is of the last that was made: no command can name the others, and they are told as left.

Promised: what was named in an answer, and is not known to be taken back, is told with its ids. Not promised: that
nothing else stands. What was done and never said has no id to undo it by, and is in the service's own ledger only.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID, uuid4

from ordersaga.bus.protocol import BusError
from ordersaga.orchestrator.sagas.create_order_answers import FINAL_STATE
from ordersaga.testing.conformance.ear import Heard
from ordersaga.testing.conformance.subject import Case, Made
from ordersaga.testing.conformance.talk import Talk, shown
from ordersaga.wire import messages as m

_ROUNDS = 2
"""What is only heard of while the rest is taken back is taken back then."""
_REVIVES = m.TYPE_OF[m.OrderStatusUpdated]


@dataclass(frozen=True)
class TakenBack:
    undone: Sequence[Made] = ()
    """At the end or before it, whoever asked."""
    left: Sequence[Made] = ()


def take_back(talk: Talk, cases: Iterable[Case]) -> TakenBack:
    """Waits until every undo is answered, as long as an answer may take."""
    if talk.part.undo is None:
        return TakenBack()
    all_made = [_MadeForOne(talk, case) for case in list(cases)]
    with suppress(BusError):  # what was found is told all the same
        for _ in range(_ROUNDS):
            _undo(talk, all_made)
    told = [(one, ids, stands) for one in all_made for ids, stands in one.standing().items()]
    return TakenBack(
        undone=[Made(one.case.saga_id, ids) for one, ids, stands in told if not stands],
        left=[Made(one.case.saga_id, ids, one.why(ids)) for one, ids, stands in told if stands],
    )


def _undo(talk: Talk, all_made: Sequence["_MadeForOne"]) -> None:
    """Raises `BusError`."""
    asked = [one for one in all_made if one.ask()]

    def all_answered() -> bool:
        asked[:] = [one for one in asked if not one.is_answered]
        return not asked

    seconds = talk.subject.recovery_seconds if talk.subject.restart else talk.subject.answer_seconds
    talk.ear.wait(all_answered, seconds)


@dataclass(frozen=True)
class _Asked:
    message_id: UUID
    heard_before: int
    """How much of the saga."""


class _MadeForOne:
    """All that was made for one saga, by what was said of it."""

    def __init__(self, talk: Talk, case: Case) -> None:
        self.case = case
        self._talk = talk
        self._undone, *self._refused = talk.part.words_for(talk.undo(case, None))
        self._done = talk.part.words_for(talk.do(case))[0]
        self._asked: dict[str | None, _Asked] = {}
        """By what the undo names."""

    def standing(self) -> Mapping[tuple[str, ...], bool]:
        """The ids of each effect that was named, oldest first, and whether it stands by the last word on it."""
        made: dict[tuple[str, ...], bool] = {}
        for heard in self._heard():
            if heard.type == self._done:
                made[self._ids(heard)] = True
            elif heard.type == _REVIVES:
                made.update({ids: True for ids in made if self._name(ids) == heard.payload.get("order_id")})
            for name in dict.fromkeys(self._name(ids) for ids in made):
                if self._confirms(heard, name):
                    mine = [ids for ids in made if self._name(ids) == name]
                    made.update(dict.fromkeys(mine if self._talk.part.undo_by_order else mine[-1:], False))
        return made

    def ask(self) -> bool:
        """For an undo of each that stands and was not asked for yet; whether there was one. Raises `BusError`."""
        names = dict.fromkeys(self._name(ids) for ids, stands in self.standing().items() if stands)
        new = [name for name in names if name not in self._asked]
        for name in new:
            asked = _Asked(uuid4(), len(self._heard()))
            self._talk.tell(self.case, self._talk.undo(self.case, name), message_id=asked.message_id)
            self._asked[name] = asked
        return bool(new)

    @property
    def is_answered(self) -> bool:
        """Whether each undo that was asked for is confirmed, or refused by the id of its command."""
        return all(
            any(self._confirms(one, name) or self._is_caused_by(one, name) for one in self._since(name))
            for name in self._asked
        )

    def why(self, ids: tuple[str, ...]) -> str:
        """It still stands."""
        name = self._name(ids)
        if name not in self._asked:
            return "no undo of it could be sent"
        since = self._since(name)
        if any(self._confirms(one, name) for one in since):
            return "its undo was confirmed, and names a later one too, which it may have been of"
        undo = m.type_of(self._talk.undo(self.case, name))
        answers = [one for one in since if one.type in (self._undone, *self._refused)]
        # A refusal need not say of what; what names another is of that one.
        nobodys = [one for one in answers if self._names(one) is None]
        mine = [one for one in answers if self._is_of(one, name)] or nobodys
        return f"{undo} was answered {_in_words(mine[-1])}" if mine else f"{undo} was not answered"

    # --- small print ----------------------------------------------------------------------------------------------

    def _confirms(self, heard: Heard, name: str | None) -> bool:
        return heard.type == self._undone and _is_undone(heard) and self._is_of(heard, name)

    def _is_of(self, heard: Heard, name: str | None) -> bool:
        """By the id that it names; where it names none, by the command that it answers, or as all there can be."""
        if (said := self._names(heard)) is not None:
            return str(said) == name
        if self._is_caused_by(heard, name):
            return True
        return len({self._name(self._ids(one)) for one in self._heard() if one.type == self._done}) == 1

    def _names(self, heard: Heard) -> object:
        return heard.payload.get(self._talk.part.effect_ids[0])

    def _is_caused_by(self, heard: Heard, name: str | None) -> bool:
        asked = self._asked.get(name)
        return asked is not None and str(heard.said.get("causation_id")) == str(asked.message_id)

    def _name(self, ids: tuple[str, ...]) -> str | None:
        """What its undo names it by."""
        return self.case.order_id if self._talk.part.undo_by_order else ids[0] or None

    def _ids(self, heard: Heard) -> tuple[str, ...]:
        return tuple(str(heard.payload.get(name) or "") for name in self._talk.part.effect_ids)

    def _heard(self) -> Sequence[Heard]:
        return self._talk.ear.heard(self.case.saga_id)

    def _since(self, name: str | None) -> Sequence[Heard]:
        return self._heard()[self._asked[name].heard_before :]


def _is_undone(heard: Heard) -> bool:
    """What was given out to a runner is no payment that was given back, and an order that is over is not cancelled."""
    if heard.type == m.TYPE_OF[m.PaymentReleased]:
        return heard.payload.get("status") == "REVERTED"
    reason = str(heard.payload.get("reason") or "")
    return not reason.startswith(FINAL_STATE) or reason.removeprefix(FINAL_STATE).startswith("CANCELLED")


def _in_words(heard: Heard) -> str:
    reason = str(heard.payload.get("reason") or "")
    return f"{heard.type}: {reason[:80]}" if reason.startswith(FINAL_STATE) else shown(heard)
