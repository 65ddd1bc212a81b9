"""The engine: what becomes of a saga when something happens.

    input ──> observe ──> record ──> advance ──> record, messages
                                        │
                                      needs

`observe` writes down what an input shows. `needs` reads from the record what is still to be taken back. `advance` is
a table that says what comes next. All are pure: the same record and input give the same decision, whichever worker
makes it, however often. The engine knows no saga and no participant; a `Definition` tells it all.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from ordersaga.orchestrator.core.advance import ROWS_OF, TABLE, Row
from ordersaga.orchestrator.core.definition import Definition
from ordersaga.orchestrator.core.inputs import Decision, Input, Send
from ordersaga.orchestrator.core.instance import UNDER_WAY, Instance, SagaData, Status
from ordersaga.orchestrator.core.needs import needs
from ordersaga.orchestrator.core.observe import observe
from ordersaga.orchestrator.core.recording import Unmoved
from ordersaga.orchestrator.core.sending import Context
from ordersaga.wire.ids import announcement_id, text_of
from ordersaga.wire.messages import SagaStatusChanged, type_of
from ordersaga.wire.topics import Participant

AnyInstance = Instance[Any]


def start(
    definition: Definition,
    saga_id: UUID,
    data: SagaData,
    now: datetime,
    trace: tuple[str | None, str | None] = (None, None),
    *,
    shut: Collection[Participant] = (),
) -> Decision:
    """A new saga and its first command."""
    instance: AnyInstance = Instance(
        saga_id=saga_id,
        saga=definition.name,
        version=definition.version,
        status=Status.STARTED,
        revision=0,
        created_at=now,
        data=data,
        traceparent=trace[0],
        tracestate=trace[1],
    )
    return _advanced(definition, instance, instance, now, shut, announce=True)


def decide(
    definition: Definition, instance: AnyInstance, seen: Input, now: datetime, *, shut: Collection[Participant] = ()
) -> Decision:
    """What becomes of `instance` when `seen` comes in at `now` (the database's clock). Never raises for what an input
    holds. `shut`: participants that answer nobody, of which no step is begun.
    """
    shown = observe(definition, instance, seen, now, shut=shut)
    if isinstance(shown, Unmoved):
        return Decision(instance=instance, verdict=shown.verdict, why=shown.why)
    return _advanced(definition, instance, shown.record, now, shut)


def _advanced(
    definition: Definition,
    before: AnyInstance,
    record: AnyInstance,
    now: datetime,
    shut: Collection[Participant],
    *,
    announce: bool = False,
) -> Decision:
    """Pass rows until one rests or none applies, then say what changed."""
    messages: list[Send] = []
    passed: list[str] = []
    revision = before.revision + 1
    record = replace(record, revision=revision, updated_at=now)
    announced = None if announce else before.status
    resting = False
    while not resting:
        context = Context(definition, record, now, shut)
        if record.status is not announced:
            messages.append(_status_changed(record, announced))
            announced = record.status
        row = _first_that_applies(context)
        if row is None:
            break
        outcome = row.then(context)
        passed.append(row.name)
        messages += outcome.messages
        record, resting = outcome.record, outcome.rest
        assert len(passed) <= 2 * len(TABLE), f"the table does not come to rest: {passed}"
    record = _with_end(before, _seen_to(definition, before, record), now)
    return Decision(instance=_since_the_first(before, record), messages=tuple(messages), rows=tuple(passed))


def _first_that_applies(context: Context) -> Row | None:
    for row in ROWS_OF[context.record.status]:
        if row.when(context):
            return row
    return None


def _status_changed(record: AnyInstance, previous: Status | None) -> Send:
    body = SagaStatusChanged(
        saga_id=text_of(record.saga_id),
        saga=record.saga,
        status=record.status,
        previous_status=previous,
        revision=record.revision,
        order_id=getattr(record.data, "order_id", None),
        reason=record.reason,
        explanation=record.explanation,
    )
    return Send(to=None, body=body, message_id=announcement_id(record.saga_id, type_of(body), record.revision))


def _seen_to(definition: Definition, before: AnyInstance, record: AnyInstance) -> AnyInstance:
    """What is new to be taken back, or cannot be, lifts the mark that a person has seen to it."""
    if record.resolved is None or record.resolved is not before.resolved:
        return record
    if record.status is Status.FAILED and before.status is not Status.FAILED:
        return replace(record, resolved=None)
    known = {(need.step, need.effect_id) for need in needs(definition, before)}
    new = {(need.step, need.effect_id) for need in needs(definition, record)} - known
    return replace(record, resolved=None) if new and record.status is not Status.STARTED else record


def _since_the_first(before: AnyInstance, record: AnyInstance) -> AnyInstance:
    """What is sent once more bears when it was sent first."""
    was, out = before.outstanding, record.outstanding
    if was is None or out is None or was.sent_at >= out.sent_at:
        return record
    if (was.step, was.direction) != (out.step, out.direction):
        return record
    return replace(record, outstanding=replace(out, first_sent_at=was.first_sent_at or was.sent_at))


def _with_end(before: AnyInstance, record: AnyInstance, now: datetime) -> AnyInstance:
    if record.status in UNDER_WAY:
        return replace(record, completed_at=None) if record.completed_at else record
    return (
        replace(record, completed_at=now)
        if before.status is not record.status or record.completed_at is None
        else record
    )
