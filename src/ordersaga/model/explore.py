"""All interleavings of one saga with its participants: every state that can be reached within the bounds, once.

The saga is the real one: `start` and `decide` as they run. Around it are its participants (`model.stage`) and the
channel: commands to one participant keep their order, events overtake each other freely. Commands and answers get lost
(a bounded number of times), are handled or delivered twice, come after the saga has given up; people accept, give back,
cancel and void at every moment, the timer service says that the time is over, operators ask again, settle and resolve.
The next step may have to wait for a participant that answers nobody, for a while or for ever.

Two states that differ in nothing but the distances between times are one: instants are replaced by their rank.
"""

import dataclasses
import hashlib
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ordersaga.model.rules import broken_by, broken_early, broken_rules
from ordersaga.model.stage import Said, Stage
from ordersaga.orchestrator.core.decide import decide, start
from ordersaga.orchestrator.core.definition import Definition
from ordersaga.orchestrator.core.inputs import (
    CommandDeadline,
    Decision,
    Happened,
    Input,
    Operator,
    ResolveAsked,
    RetryAsked,
    SettleAsked,
    WindowDeadline,
)
from ordersaga.orchestrator.core.instance import Instance, Status
from ordersaga.orchestrator.core.needs import needs
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SAGA_ID = UUID("019b7e6c-0000-7000-8000-000000000001")
OPERATOR = Operator(actor="night-shift", role="operator", why="looked into it")
NOBODY = frozenset(Participant)
HOLD_SECONDS = 120.0
VIOLATIONS_MAX = 20
NO_END = "I10: from every state the saga can come to rest"
_UNSEEN = frozenset({"revision", "created_at", "updated_at", "completed_at", "sent_at", "first_sent_at", "explanation"})


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
    world: Any
    """What the participants hold: see `Stage`."""
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
    """What people, operators and clocks do on one path."""
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


def explore(stage: Stage, bounds: Bounds, *, progress: Any = None) -> Found:
    """Every state, breadth first, so that the first path to a violation is a shortest one."""
    first = begin(stage, bounds)
    found, paths = Found(), _Paths(_key(first), stage.begins)
    waiting = deque([(first, 0)])
    while waiting:
        state, at = waiting.popleft()
        found.states += 1
        if progress is not None and found.states % 5_000 == 0:
            progress(found.states, len(waiting))
        if state.quiet:
            name = state.record.status.value + (" with attention" if state.record.attention else "")
            found.ends[name] = found.ends.get(name, 0) + 1
            found.example.setdefault(name, paths.to(at))
            paths.resting.append(at)
        for what, after, broken, *_ in steps(stage, state):
            found.transitions += 1
            new, is_new = paths.reach(_key(after), at, what)
            if not is_new and not broken:
                continue
            rules = [*broken, *broken_rules(stage, after.record, after.world, quiet=after.quiet)]
            rules += broken_early(stage.definition, after.record, after.now)
            if rules:
                found.violations += [(rule, [*paths.to(at), what]) for rule in rules]
                if len(found.violations) >= VIOLATIONS_MAX:
                    return found
                continue
            waiting.append((after, new))
        if len(paths) > bounds.states_max:
            found.complete = False
            return found
    if not found.violations:
        found.violations += [(NO_END, paths.to(state)) for state in paths.without_end()[:VIOLATIONS_MAX]]
    return found


class _Paths:
    """How each state was first reached, and from where it can be reached at all."""

    def __init__(self, first: bytes, begins: str) -> None:
        self.resting: list[int] = []
        self._numbers = {first: 0}
        self._came_from = [(0, begins)]
        self._before: list[list[int]] = [[]]

    def __len__(self) -> int:
        return len(self._came_from)

    def reach(self, key: bytes, at: int, what: str) -> tuple[int, bool]:
        """The number of the state that `what` leads to from state `at`, and whether it is seen for the first time."""
        number = self._numbers.setdefault(key, len(self))
        if number == len(self):
            self._came_from.append((at, sys.intern(what)))
            self._before.append([at])
            return number, True
        self._before[number].append(at)
        return number, False

    def to(self, number: int) -> list[str]:
        """What happened on a shortest path to a state."""
        path = []
        while number:
            number, what = self._came_from[number]
            path.append(what)
        return [self._came_from[0][1], *reversed(path)]

    def without_end(self) -> list[int]:
        """The states from which none that rests can be reached."""
        ends, waiting = set(self.resting), deque(self.resting)
        while waiting:
            for before in self._before[waiting.popleft()]:
                if before not in ends:
                    ends.add(before)
                    waiting.append(before)
        return [number for number in range(len(self)) if number not in ends]


def begin(stage: Stage, bounds: Bounds) -> State:
    """The saga was begun a moment ago."""
    decision = start(stage.definition, SAGA_ID, stage.data, NOON)
    state = State(record=decision.instance, world=stage.world, now=NOON, faults=bounds.faults, hands=bounds.hands)
    return _sent(state, decision)


class Step(NamedTuple):
    """One thing that can happen."""

    what: str
    after: State
    broken: list[str]
    """The rules that were broken on the way."""
    seen: Input | None = None
    """What the saga saw of it, if it saw anything."""
    hold: float | None = None
    """How long the next step may wait (seconds), where its participant answers nobody."""


def steps(stage: Stage, state: State) -> Iterator[Step]:
    """All that can happen next."""
    yield from _commands(stage, state)
    for index, told in enumerate(state.events):
        yield from _deliveries(stage, state, index, told)
    yield from _deadlines(stage, state)
    if state.hands:
        yield from _by_hand(stage, replace(state, hands=state.hands - 1))


def _commands(stage: Stage, state: State) -> Iterator[Step]:
    heads: set[str] = set()
    for index, asked in enumerate(state.commands):
        if asked.to in heads:
            continue
        heads.add(asked.to)
        name = m.type_of(asked.command)
        rest = replace(state, commands=(*state.commands[:index], *state.commands[index + 1 :]))
        yield Step(f"{name} is carried out", _carried_out(stage, rest, asked, refuse=False), [])
        if state.faults:
            less = replace(rest, faults=rest.faults - 1)
            yield Step(f"{name} is refused", _carried_out(stage, less, asked, refuse=True), [])
            yield Step(f"{name} gets lost", less, [])
            yield Step(f"{name} is carried out twice", _carried_out(stage, _carried_out(stage, less, asked), asked), [])
            silent = _carried_out(stage, less, asked)
            unheard = replace(silent, events=less.events)
            yield Step(f"{name} is carried out and the answer gets lost", unheard, [])
            refused = _carried_out(stage, replace(less, world=replace(less.world, answers=())), asked, refuse=True)
            contradiction = tuple(told for told in refused.events if told not in silent.events)
            if contradiction:
                both = replace(silent, events=(*silent.events, *contradiction))
                yield Step(f"{name} is carried out, and refused as well", both, [])


def _carried_out(stage: Stage, state: State, asked: Asked, *, refuse: bool = False) -> State:
    now = state.now + timedelta(seconds=1)
    known = {key: (event, stamp) for key, event, stamp in state.world.answers}
    full = stage.is_full(asked.to)
    if full and (again := known.get(str(asked.message_id))) is not None:
        event, stamp = again
        return replace(state, now=now, events=(*state.events, Told(event, asked.message_id, stamp)))
    world, said = stage.carry_out(state.world, asked.command, refuse)
    remembered = not stage.forgets(asked.command, said)
    if full and remembered:
        world = replace(world, answers=(*world.answers, *((str(asked.message_id), one, now) for one in said)))
    causation_id = asked.message_id if full else None
    told = tuple(Told(event, causation_id, now) for event in said)
    return replace(state, world=world, now=now, events=(*state.events, *told))


def _deliveries(stage: Stage, state: State, index: int, told: Told) -> Iterator[Step]:
    name = m.type_of(told.event)
    seen = Happened(event=told.event, causation_id=told.causation_id, stamp=told.stamp)
    rest = replace(state, events=(*state.events[:index], *state.events[index + 1 :]))
    yield _decided(stage, rest, seen, f"{name} arrives")
    if state.faults:
        yield _decided(stage, replace(state, faults=state.faults - 1), seen, f"{name} arrives, and will again")
        yield from _held(stage, replace(rest, faults=rest.faults - 1), seen, f"{name} arrives")


def _held(stage: Stage, state: State, seen: Input, what: str) -> Iterator[Step]:
    """The next step's participant answers nobody: the step is left out, waits, or has waited for too long."""
    asked = _decided(stage, state, seen, what)
    held = _decided(stage, state, seen, f"{what}, and the next to ask answers nobody", hold=HOLD_SECONDS)
    if held.after.commands != asked.after.commands:
        yield held
    if held.after.record.held_since is not None:
        yield _decided(stage, state, seen, f"{what}, and the next to ask never answers", hold=0.0)


def decided(
    definition: Definition, record: Instance[Any], seen: Input, now: datetime, hold: float | None = None
) -> Decision:
    """`hold`: see `Step`."""
    if hold is None:
        return decide(definition, record, seen, now)
    return decide(_holding(definition, hold), record, seen, now, shut=NOBODY)


@lru_cache
def _holding(definition: Definition, seconds: float) -> Definition:
    return dataclasses.replace(definition, hold_seconds_max=seconds)


def _deadlines(stage: Stage, state: State) -> Iterator[Step]:
    due_at, out = state.record.command_due_at, state.record.outstanding
    if due_at is not None:
        under_way = bool(state.commands or state.events) and not (out and out.backing_off)
        if not under_way or state.faults:
            later = replace(state, now=max(state.now, due_at), faults=state.faults - under_way)
            yield _decided(stage, later, CommandDeadline(), "it waited long enough")
        if state.faults and not under_way:
            less = replace(state, now=max(state.now, due_at), faults=state.faults - 1)
            yield from _held(stage, less, CommandDeadline(), "it waited long enough")
    if state.hands and (window := state.record.window_due_at) is not None:
        later = replace(state, now=max(state.now, window), hands=state.hands - 1)
        yield _decided(stage, later, WindowDeadline(), "nobody accepted in time")


def _by_hand(stage: Stage, state: State) -> Iterator[Step]:
    yield from _asked_for(stage, state, stage.cancel, stage.cancels)
    for name, hand in stage.hands.items():
        yield from _said(state, state.now + timedelta(seconds=1), name, hand(state.world))
    if stage.time_over and (ends_at := state.record.window_ends_at) is not None:
        later = max(state.now, ends_at)
        yield from _said(state, later, "the timer service says that the time is over", stage.time_over(state.world))
    yield from _asked_for(stage, state, RetryAsked(OPERATOR), "an operator asks again")
    if state.record.attention or state.record.status is Status.FAILED:
        yield from _asked_for(stage, state, ResolveAsked(OPERATOR), "an operator resolves")
    yield from _settled(stage, state)


def _settled(stage: Stage, state: State) -> Iterator[Step]:
    for undo, settled in stage.settled.items():
        known = needs(stage.definition, state.record)
        ids = {need.effect_id for need in known if need.undo.name == undo and (need.extra or not _stands(state.record))}
        if ids and (world := settled(state.world, ids)) is not None:
            what = f"an operator takes back by hand what {undo} would, and says so"
            yield from _asked_for(stage, replace(state, world=world), SettleAsked(OPERATOR, undo), what)
    for command, done in stage.done_by_hand.items():
        out = state.record.outstanding
        if out is not None and stage.definition.step(out.step).do.command.__name__ == command:
            what = f"an operator does by hand what {command} would, and says so"
            yield from _asked_for(stage, replace(state, world=done(state.world)), SettleAsked(OPERATOR, command), what)


def _stands(record: Instance[Any]) -> bool:
    return record.status in (Status.STARTED, Status.COMPLETED)


def _said(state: State, now: datetime, what: str, done: Said | None) -> Iterator[Step]:
    if done is not None:
        world, said = done
        told = tuple(Told(event, None, now) for event in said)
        yield Step(what, replace(state, world=world, now=now, events=(*state.events, *told)), [])


def _asked_for(stage: Stage, state: State, wish: Input, what: str) -> Iterator[Step]:
    """A request; one that is refused changes nothing and is no step."""
    step = _decided(stage, state, wish, what)
    if step.after.record is not state.record or step.broken:
        yield step


def _decided(stage: Stage, state: State, seen: Input, what: str, *, hold: float | None = None) -> Step:
    decision = decided(stage.definition, state.record, seen, state.now, hold)
    broken = broken_by(stage.definition, state.record, seen, decision, state.now)
    after = _sent(replace(state, record=decision.instance), decision)
    if said := after.commands[len(state.commands) :]:
        broken += stage.broken_by_commands(after.world, [asked.command for asked in said])
    return Step(what, after, broken, seen, hold)


def _sent(state: State, decision: Decision) -> State:
    told = {Participant.NOTIFICATION, None}
    out = tuple(
        Asked(send.to.value, send.body, send.message_id)
        for send in decision.messages
        if send.to not in told and send.to is not None and isinstance(send.body, m.Command)
    )
    return replace(state, commands=(*state.commands, *out))


def _key(state: State) -> bytes:
    """The state with every instant replaced by its rank, and events in no order; as a digest, since there are many."""
    times: set[datetime] = {state.now}
    plain = msgspec.to_builtins(state, builtin_types=(datetime, UUID))
    _collect(plain, times)
    rank = {moment: index for index, moment in enumerate(sorted(times))}
    ranked = _ranked(plain, rank)
    ranked["events"] = sorted(ranked["events"], key=repr)
    ranked["now"] = 0 if not times - {state.now} else ranked["now"]
    return hashlib.blake2b(repr(ranked).encode(), digest_size=16).digest()


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
