"""All interleavings of one saga with its participants: every state that can be reached within the bounds, once.

The saga is the real one: `start` and `decide` as they run. Around it are the participants (`model.world`) and the
channel: commands to one participant keep their order, events overtake each other freely. Commands and answers get lost
(a bounded number of times), are handled or delivered twice, come after the saga has given up; people accept, give back,
cancel and void at every moment.

Two states that differ in nothing but the distances between times are one: instants are replaced by their rank.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ordersaga.model.rules import broken_rules
from ordersaga.model.world import HANDS, World, carry_out
from ordersaga.orchestrator.core.decide import decide, start
from ordersaga.orchestrator.core.definition import Definition
from ordersaga.orchestrator.core.inputs import (
    CancelAsked,
    CommandDeadline,
    Decision,
    Happened,
    Input,
    Verdict,
    WindowDeadline,
)
from ordersaga.orchestrator.core.instance import Instance, Requested, SagaData
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SAGA_ID = UUID("019b7e6c-0000-7000-8000-000000000001")
CUSTOMER = CancelAsked(Requested(actor="customer", role="customer", reason=Reason.CUSTOMER_REQUEST))
_UNSEEN = frozenset({"revision", "created_at", "updated_at", "completed_at", "sent_at", "explanation", "shown_at"})


class Asked(Struct, frozen=True):
    """A command on its way."""

    to: str
    command: m.Command
    message_id: UUID


class Told(Struct, frozen=True):
    """An event on its way."""

    event: m.Event
    causation_id: UUID | None
    stamp: datetime


class State(Struct, frozen=True, kw_only=True):
    record: Instance[Any]
    world: World
    now: datetime
    commands: tuple[Asked, ...] = ()
    events: tuple[Told, ...] = ()
    faults: int
    hands: int
    """What is left of each bound."""

    @property
    def quiet(self) -> bool:
        """Nothing is on its way, and nothing is due."""
        return not self.commands and not self.events and self.record.command_due_at is None


@dataclass(frozen=True, kw_only=True)
class Bounds:
    faults: int = 2
    """Refusals, losses, repeats and answers that are too late, on one path."""
    hands: int = 2
    """What people do, and the window that runs out, on one path."""
    states_max: int = 5_000_000


@dataclass
class Found:
    states: int = 0
    transitions: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    example: dict[str, list[str]] = field(default_factory=dict)
    """A shortest path to each end."""
    violations: list[tuple[str, list[str]]] = field(default_factory=list)
    complete: bool = True


def explore(definition: Definition, data: SagaData, bounds: Bounds, *, full: bool, progress: Any = None) -> Found:
    """Every state, breadth first, so that the first path to a violation is a shortest one."""
    first = _begin(definition, data, bounds, full)
    found = Found()
    came_from: dict[bytes, tuple[bytes | None, str]] = {_key(first): (None, "an order is placed")}
    waiting = deque([(first, _key(first))])
    while waiting:
        state, key = waiting.popleft()
        found.states += 1
        if progress is not None and found.states % 5_000 == 0:
            progress(found.states, len(waiting))
        if state.quiet:
            name = state.record.status.value + (" with attention" if state.record.attention else "")
            found.ends[name] = found.ends.get(name, 0) + 1
            found.example.setdefault(name, _path(came_from, came_from[key][0], came_from[key][1]))
        for what, after, broken in _steps(definition, state):
            found.transitions += 1
            after_key = _key(after)
            if after_key in came_from and not broken:
                continue
            came_from.setdefault(after_key, (key, what))
            rules = [*broken, *broken_rules(after.record, after.world, quiet=after.quiet)]
            if rules:
                found.violations += [(rule, _path(came_from, key, what)) for rule in rules]
                if len(found.violations) >= 20:
                    return found
                continue
            waiting.append((after, after_key))
        if len(came_from) > bounds.states_max:
            found.complete = False
            return found
    return found


def _begin(definition: Definition, data: SagaData, bounds: Bounds, full: bool) -> State:
    decision = start(definition, SAGA_ID, data, NOON)
    state = State(record=decision.instance, world=World(full=full), now=NOON, faults=bounds.faults, hands=bounds.hands)
    return _sent(state, decision)


Step = tuple[str, State, list[str]]


def _steps(definition: Definition, state: State) -> Iterator[Step]:
    """All that can happen next: what it is called, the state after it, and what it broke on the way."""
    yield from _commands(state)
    for index, told in enumerate(state.events):
        yield from _deliveries(definition, state, index, told)
    yield from _deadlines(definition, state)
    if state.hands:
        yield from _by_hand(definition, replace(state, hands=state.hands - 1))


def _commands(state: State) -> Iterator[Step]:
    heads: set[str] = set()
    for index, asked in enumerate(state.commands):
        if asked.to in heads:
            continue
        heads.add(asked.to)
        name = m.type_of(asked.command)
        rest = replace(state, commands=(*state.commands[:index], *state.commands[index + 1 :]))
        yield f"{name} is carried out", _carried_out(rest, asked, refuse=False), []
        if state.faults:
            less = replace(rest, faults=rest.faults - 1)
            yield f"{name} is refused", _carried_out(less, asked, refuse=True), []
            yield f"{name} gets lost", less, []
            yield f"{name} is carried out twice", _carried_out(_carried_out(less, asked), asked), []
            silent = _carried_out(less, asked)
            yield f"{name} is carried out and the answer gets lost", replace(silent, events=less.events), []


def _carried_out(state: State, asked: Asked, *, refuse: bool = False) -> State:
    now = state.now + timedelta(seconds=1)
    known = {key: (event, stamp) for key, event, stamp in state.world.answers}
    if state.world.full and (again := known.get(str(asked.message_id))) is not None:
        event, stamp = again
        return replace(state, now=now, events=(*state.events, Told(event, asked.message_id, stamp)))
    world, said = carry_out(state.world, asked.command, refuse=refuse)
    remembered = not any(isinstance(one, m.OrderCancellationFailed) for one in said) and not (
        isinstance(asked.command, m.RevertPayment) and any(isinstance(one, m.PaymentFailed) for one in said)
    )
    if world.full and remembered:
        world = replace(world, answers=(*world.answers, *((str(asked.message_id), one, now) for one in said)))
    causation_id = asked.message_id if world.full else None
    told = tuple(Told(event, causation_id, now) for event in said)
    return replace(state, world=world, now=now, events=(*state.events, *told))


def _deliveries(definition: Definition, state: State, index: int, told: Told) -> Iterator[Step]:
    name = m.type_of(told.event)
    seen = Happened(event=told.event, causation_id=told.causation_id, stamp=told.stamp)
    rest = replace(state, events=(*state.events[:index], *state.events[index + 1 :]))
    yield _decided(definition, rest, seen, f"{name} arrives")
    if state.faults:
        yield _decided(definition, replace(state, faults=state.faults - 1), seen, f"{name} arrives, and will again")


def _deadlines(definition: Definition, state: State) -> Iterator[Step]:
    due_at, out = state.record.command_due_at, state.record.outstanding
    if due_at is not None:
        under_way = bool(state.commands or state.events) and not (out and out.backing_off)
        if not under_way or state.faults:
            later = replace(state, now=max(state.now, due_at), faults=state.faults - under_way)
            yield _decided(definition, later, CommandDeadline(), "it waited long enough")
    if state.hands and (window := state.record.window_due_at) is not None:
        later = replace(state, now=max(state.now, window), hands=state.hands - 1)
        yield _decided(definition, later, WindowDeadline(), "nobody accepted in time")


def _by_hand(definition: Definition, state: State) -> Iterator[Step]:
    what, after, broken = _decided(definition, state, CUSTOMER, "the customer cancels")
    if after.record is not state.record:
        yield what, after, broken
    for name, hand in HANDS.items():
        if (done := hand(state.world)) is not None:
            now = state.now + timedelta(seconds=1)
            world, said = done
            told = tuple(Told(event, None, now) for event in said)
            yield name, replace(state, world=world, now=now, events=(*state.events, *told)), []


def _decided(definition: Definition, state: State, seen: Input, what: str) -> Step:
    decision = decide(definition, state.record, seen, state.now)
    broken = []
    if decision.verdict is Verdict.APPLIED and decision.instance.revision != state.record.revision + 1:
        broken.append("I7: the revision grows by one for each input that changes anything")
    after = _sent(replace(state, record=decision.instance), decision)
    if state.world.full:
        new = after.commands[len(state.commands) :]
        given_back = any(isinstance(asked.command, m.RevertPayment) for asked in new)
        if given_back and after.world.order("o-1") in ("CREATED", "ACCEPTED"):
            broken.append("I6: the money goes back after the order is cancelled")
    return what, after, broken


def _sent(state: State, decision: Decision) -> State:
    told = {Participant.NOTIFICATION, None}
    out = tuple(
        Asked(send.to.value, send.body, send.message_id)
        for send in decision.messages
        if send.to not in told and send.to is not None and isinstance(send.body, m.Command)
    )
    return replace(state, commands=(*state.commands, *out))


def _path(came_from: Mapping[bytes, tuple[bytes | None, str]], key: bytes | None, last: str) -> list[str]:
    path = [last]
    while key is not None:
        key, what = came_from[key]
        path.append(what)
    return path[::-1]


def _key(state: State) -> bytes:
    """The state with every instant replaced by its rank, and events in no order."""
    times: set[datetime] = {state.now}
    plain = msgspec.to_builtins(state, builtin_types=(datetime, UUID))
    _collect(plain, times)
    rank = {moment: index for index, moment in enumerate(sorted(times))}
    ranked = _ranked(plain, rank)
    ranked["events"] = sorted(ranked["events"], key=repr)
    ranked["now"] = 0 if not times - {state.now} else ranked["now"]
    return repr(ranked).encode()


def _collect(part: Any, times: set[datetime]) -> None:
    if isinstance(part, datetime):
        times.add(part)
    elif isinstance(part, dict):
        _collect([value for name, value in part.items() if name not in _UNSEEN], times)
    elif isinstance(part, list | tuple):
        for value in part:
            _collect(value, times)


def _ranked(part: Any, rank: Mapping[datetime, int]) -> Any:
    if isinstance(part, datetime):
        return rank[part]
    if isinstance(part, dict):
        return {name: _ranked(value, rank) for name, value in part.items() if name not in _UNSEEN}
    if isinstance(part, list | tuple):
        return [_ranked(value, rank) for value in part]
    return part
