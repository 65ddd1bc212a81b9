"""What happened to sagas and what they decided, written down so that other code can be held against it.

    python -m ordersaga.testing.histories create_order tests/sagas/histories/create_order_1.jsonl.gz

A saga that was begun by one release is finished by the next. A history is a walk through the model: at each moment
one of all the things that could happen, drawn by a seed. Each line holds one input, what the saga decided, what it
sent and what of its record changed. `replayed` runs the same inputs through today's code.
"""

import gzip
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from ordersaga.model import complete_order, create_order
from ordersaga.model.explore import NOON, OPERATOR, SAGA_ID, Bounds, State, begin, decided, steps
from ordersaga.model.stage import CUSTOMER, Stage
from ordersaga.orchestrator.core import inputs
from ordersaga.orchestrator.core.decide import decide, start
from ordersaga.orchestrator.core.definition import Definition, Kind
from ordersaga.orchestrator.core.inputs import (
    CommandDeadline,
    Decision,
    Happened,
    Input,
    RetryAsked,
    SettleAsked,
    Verdict,
    WindowDeadline,
)
from ordersaga.wire import completing as c
from ordersaga.wire import messages as m
from ordersaga.wire.messages import TYPE_OF, Event, type_of

BOUNDS = Bounds(faults=3, hands=3)
LINES_MAX = 80
ORDINARY = 0.6
"""How often what comes next is neither a fault nor anybody's doing, where there is such a thing."""
_OF_CREATE_ORDER: tuple[Input, ...] = (
    CUSTOMER,
    CommandDeadline(),
    WindowDeadline(),
    RetryAsked(OPERATOR),
    *(SettleAsked(OPERATOR, undo) for undo in ("cancel_order", "revert_payment", "cancel_timer", "no_such_undo")),
    *(
        Happened(event=event, stamp=stamp)
        for stamp in (NOON - timedelta(days=1), NOON + timedelta(days=1))
        for event in (
            m.OrderCreated(order_id="o-1"),
            m.OrderCreationFailed(error="CLOSED"),
            m.PaymentInfoFailed(error="User not found"),
            m.PaymentAuthorized(payment_id="p-1", payment_intent_id="pi-1", status="AUTHORIZED"),
            m.PaymentFailed(error="DATABASE_ERROR"),
            m.PaymentFailed(error="STRIPE_PAYMENT_CANCELED", payment_id="p-2"),
            m.PaymentReleased(payment_id="p-1", status="REVERTED"),
            m.PaymentReleased(payment_id="p-1", status="SUCCEEDED"),
            m.OrderStatusUpdated(order_id="o-1", status="CREATED"),
            m.OrderStatusUpdated(order_id="o-9", status="CREATED"),
            m.OrderStatusUpdated(order_id="o-1", status="PLACED"),
            m.OrderCancelled(order_id="o-1"),
            m.OrderCancellationFailed(error="DATABASE_ERROR", order_id="o-1"),
            m.OrderCancelledByHand(order_id="o-1"),
            m.OrderAccepted(order_id="o-1", runner_id="r-2"),
            m.OrderAcceptanceCancelled(order_id="o-1"),
            m.OrderAccepted(order_id="o-9", runner_id="r-2"),
            m.TimerStarted(order_id="o-1"),
            m.TimerExpired(order_id="o-1"),
            m.TimerCancelled(order_id="o-1"),
        )
    ),
    Happened(event=m.OrderCreated(order_id="o-1"), causation_id=SAGA_ID),
)
_OF_COMPLETE_ORDER: tuple[Input, ...] = (
    CUSTOMER,
    complete_order.CALLED_OFF,
    CommandDeadline(),
    RetryAsked(OPERATOR),
    *(SettleAsked(OPERATOR, name) for name in ("undo_delivery", "capture_payment", "pay_runner", "no_such_undo")),
    *(
        Happened(event=event, stamp=stamp)
        for stamp in (NOON - timedelta(days=1), NOON + timedelta(days=1))
        for event in (
            c.OrderDelivered(order_id="o-1"),
            c.OrderDelivered(order_id="o-9"),
            c.OrderDeliveryFailed(error="ILLEGAL_STATE", order_id="o-1"),
            c.OrderDeliveryUndone(order_id="o-1"),
            c.OrderDeliveryUndoFailed(error="DATABASE_ERROR", order_id="o-1"),
            c.PaymentCaptured(payment_id="p-1"),
            c.PaymentCaptureFailed(error="NOTHING_HELD", payment_id="p-1"),
            c.RunnerPaid(payout_id="po-1"),
            c.RunnerPayoutFailed(error="PROVIDER_REFUSED"),
            c.OrderCompleted(order_id="o-1"),
            c.OrderCompletionFailed(error="ILLEGAL_STATE", order_id="o-1"),
            m.PaymentReleased(payment_id="p-1", status="REVERTED"),
            m.OrderCancelledByHand(order_id="o-1"),
        )
    ),
    Happened(event=c.PaymentCaptured(payment_id="p-1"), causation_id=SAGA_ID),
)


@dataclass(frozen=True, kw_only=True)
class Told:
    """A saga whose histories are written down."""

    stage_of: Callable[[Kind], Stage]
    in_passing: tuple[Input, ...]
    """What may be heard or asked at any time. It is written down where it changes nothing."""
    seeds: int
    """Walks of each kind of participants: as many as show it all."""


SAGAS = {
    "create_order": Told(stage_of=create_order.stage_of, in_passing=_OF_CREATE_ORDER, seeds=3_000),
    "complete_order": Told(stage_of=complete_order.stage_of, in_passing=_OF_COMPLETE_ORDER, seeds=400),
}
_MEASURED = frozenset({"first_sent_at"})
"""What no decision depends on, and releases that wrote histories did not know."""
_EVENTS = {name: kind for kind, name in TYPE_OF.items() if issubclass(kind, Event)}


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input and what came of it. The first line of a history has no input: an order was placed."""

    kinds: Kind
    """Whether the participants are full or bare."""
    at: datetime
    seen: dict[str, Any] = {}
    hold: float | None = None
    """See `model.explore.Step`."""
    verdict: str
    why: str = ""
    rows: list[str] = []
    sent: list[dict[str, Any]] = []
    changed: dict[str, Any] = {}


def replayed(stage_of: Callable[[Kind], Stage], lines: list[Line]) -> Iterator[Line]:
    """What today's code makes of the inputs of one history."""
    kind = lines[0].kinds
    stage = stage_of(kind)
    decision = start(stage.definition, SAGA_ID, stage.data, lines[0].at)
    yield _line(kind, lines[0].at, None, {}, decision)
    for line in lines[1:]:
        before = decision.instance
        seen = _read(line.seen)
        decision = decided(stage.definition, before, seen, line.at, line.hold)
        yield _line(kind, line.at, seen, _plain(before), decision, hold=line.hold)


def recorded(told: Told, kind: Kind, seed: int) -> list[Line]:
    """One walk through the model, mostly along the ordinary ways, with questions on the way that change nothing."""
    random, stage = Random(f"{kind} {seed}"), told.stage_of(kind)  # noqa: S311
    definition, state = stage.definition, begin(stage, BOUNDS)
    lines = [_line(kind, NOON, None, {}, start(definition, SAGA_ID, stage.data, NOON))]
    while len(lines) < LINES_MAX and (possible := list(steps(stage, state))):
        lines += _asked_in_passing(definition, kind, state, random.choice(told.in_passing))
        ordinary = [step for step in possible if (step.after.faults, step.after.hands) == (state.faults, state.hands)]
        step = random.choice(ordinary if ordinary and random.random() < ORDINARY else possible)
        if step.seen is not None:
            decision = decided(definition, state.record, step.seen, step.after.now, step.hold)
            lines.append(_line(kind, step.after.now, step.seen, _plain(state.record), decision, hold=step.hold))
        state = step.after
    return lines


def _asked_in_passing(definition: Definition, kind: Kind, state: State, seen: Input) -> list[Line]:
    decision = decide(definition, state.record, seen, state.now)
    if decision.verdict is Verdict.APPLIED:
        return []
    return [_line(kind, state.now, seen, _plain(state.record), decision)]


def chosen(told: Told) -> Iterator[list[Line]]:
    """Of many walks the fewest that show it all: what came in which status, and the rows that the saga passed then.
    Each ends with the last new thing that it shows.
    """
    walks = [recorded(told, kind, seed) for seed in range(told.seeds) for kind in Kind]
    shown = [_shows(lines) for lines in walks]
    known: set[_Sight] = set()
    while walks:
        best = max(range(len(walks)), key=lambda index: len(set(shown[index]) - known))
        new = [number for number, sight in enumerate(shown[best]) if sight not in known]
        if not new:
            return
        known |= set(shown[best])
        yield walks[best][: new[-1] + 1]


_Sight = tuple[Any, ...]


def _shows(lines: list[Line]) -> list[_Sight]:
    shown: list[_Sight] = []
    status = None
    for line in lines:
        what = line.seen.get("event", line.seen.get("input"))
        shown.append((status, what, line.verdict, line.why, *line.rows))
        status = line.changed.get("status", status)
    return shown


def _line(
    kind: Kind,
    at: datetime,
    seen: Input | None,
    before: Mapping[str, Any],
    decision: Decision,
    *,
    hold: float | None = None,
) -> Line:
    sent = [
        {"to": send.to, "type": type_of(send.body), "id": str(send.message_id), "body": _plain(send.body)}
        for send in decision.messages
    ]
    return Line(
        kinds=kind,
        at=at,
        seen=_written(seen) if seen is not None else {},
        hold=hold,
        verdict=decision.verdict.value,
        why=decision.why,
        rows=list(decision.rows),
        sent=sent,
        changed=_changes(before, _plain(decision.instance)),
    )


def _plain(value: Any) -> Any:
    """As it will be read again."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What is new or has another value in `after`, None where it is gone."""
    changed: dict[str, Any] = {name: None for name in before if name not in after and name not in _MEASURED}
    for name, value in after.items():
        was = before.get(name)
        if value != was and name not in _MEASURED:
            changed[name] = _changes(was, value) if isinstance(was, dict) and isinstance(value, dict) else value
    return changed


def _written(seen: Input) -> dict[str, Any]:
    written: dict[str, Any] = {"input": type(seen).__name__, **_plain(seen)}
    if written.get("revision", 0) is None:  # releases that wrote histories did not know it
        del written["revision"]
    if isinstance(seen, Happened):
        written |= {"event": type_of(seen.event), "payload": _plain(seen.event)}
    return written


def _read(written: Mapping[str, Any]) -> Input:
    fields = {name: value for name, value in written.items() if name not in ("input", "payload")}
    kind = getattr(inputs, written["input"])
    if kind is Happened:
        event = msgspec.convert(written["payload"], _EVENTS[written["event"]])
        causation_id = msgspec.convert(written["causation_id"], UUID | None)
        return Happened(
            event=event, causation_id=causation_id, stamp=msgspec.convert(written["stamp"], datetime | None)
        )
    found: Input = msgspec.convert(fields, kind)
    return found


def read(path: Path) -> list[list[Line]]:
    """The histories of a file: JSON lines, an empty one between two histories, compressed with gzip."""
    histories = gzip.decompress(path.read_bytes()).split(b"\n\n")
    return [msgspec.json.Decoder(Line).decode_lines(history) for history in histories]


def write(path: Path, histories: Iterable[list[Line]]) -> None:
    lines = b"\n".join(msgspec.json.Encoder().encode_lines(history) for history in histories)
    path.write_bytes(gzip.compress(lines, mtime=0))


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in SAGAS:
        sys.exit(f"which saga ({', '.join(SAGAS)}; SAGAS has them), and into which file?")
    write(Path(sys.argv[2]), chosen(SAGAS[sys.argv[1]]))
