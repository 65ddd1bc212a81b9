"""What the API answers, field for field. The first nine fields of `SagaView` are what existing front ends read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, structs

from ordersaga.orchestrator.core.definition import Definition
from ordersaga.orchestrator.core.instance import Became, Instance, Status, StepRecord
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.store.protocol import Settled, SettledAs, StoredDeadLetter, StoredHistory, StoredOrphan
from ordersaga.tokens import Role

AnyInstance = Instance[Any]
_OF_STAFF = ("actor", "why")


class OrderTaken(Struct, frozen=True, kw_only=True):
    """The order is in the database; what becomes of it is told by its saga."""

    success: Literal[True]
    message: str
    saga_id: str
    status: Status


class CancelTaken(Struct, frozen=True, kw_only=True):
    """The cancel was granted, or had been before."""

    message: str


class VerbTaken(Struct, frozen=True, kw_only=True):
    """What an operator asked for was done."""

    message: str
    status: Status


class EffectView(Struct, frozen=True, kw_only=True):
    """One thing that a step made at a participant."""

    ids: dict[str, str]
    undone: bool
    settled: Annotated[bool, Meta(description="Given up, or taken back by other means")]


class StepView(Struct, frozen=True, kw_only=True):
    """A step that was begun, or that something was heard of."""

    name: str
    became: Annotated[Became | None, Meta(description="null: under way. IN_DOUBT: silent, so it may have happened")]
    attempts: int
    undo_attempts: int
    effects: list[EffectView]
    refusal: Annotated[
        str | None, Meta(description="Its participant's code, or how its sentence begins; for operators")
    ]


class WaitsFor(Struct, frozen=True, kw_only=True):
    """What happens next, and by when at the latest."""

    what: Annotated[
        Literal["answer", "next_attempt", "participant", "late_answer", "acceptance"],
        Meta(
            description="An answer to a command, the time to ask again, a participant that answers nobody now, an"
            " answer of a step in doubt, or a runner"
        ),
    ]
    until: datetime
    step: str | None = None
    direction: Literal["do", "undo"] | None = None
    attempt: int | None = None


class SagaView(Struct, frozen=True, kw_only=True):
    """One order's saga."""

    id: str
    customer_id: Annotated[str | None, Meta(description="null once the personal data was erased")]
    order_id: str | None
    status: Status
    current_step: str | None
    error: Annotated[str | None, Meta(description="Why it was not completed, for the customer")]
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    reason: Annotated[Reason | None, Meta(description="The same for machines: the first cause, never overwritten")]
    explanation: str | None
    amount_cents: int | None
    payment_id: str | None
    accepted: bool
    runner_id: str | None
    acceptance_window_ends_at: datetime | None
    waits_for: WaitsFor | None
    steps: list[StepView]
    attention: Annotated[
        list[str], Meta(description="Why a person should look, though the status is fine; for operators")
    ]
    stuck_step: Annotated[str | None, Meta(description="In FAILED: whose undo could not be confirmed")]
    resolved: bool
    revision: int
    saga: str
    version: int


class HistoryView(Struct, frozen=True, kw_only=True):
    """One transition: what caused it, what it led to, what was sent, who asked."""

    revision: int
    at: datetime
    cause: str
    body: dict[str, Any]


class SagaDetail(SagaView, frozen=True, kw_only=True):
    history: list[HistoryView]


class SettledView(Struct, frozen=True, kw_only=True):
    """What became of a dead letter, or of an orphan, and by whom."""

    at: datetime
    how: SettledAs
    by: str
    why: str


class DeadLetterView(Struct, frozen=True, kw_only=True):
    """A record that could not be used, and where it came from."""

    id: int
    at: datetime
    reason: Annotated[str, Meta(description="A short code")]
    detail: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: Annotated[str | None, Meta(description="What is no UTF-8 is escaped as \\xNN, here and below")]
    headers: list[list[str]]
    value: Annotated[str | None, Meta(description="The first 10,000 characters")]
    settled: SettledView | None


class OrphanView(Struct, frozen=True, kw_only=True):
    """An answer for a saga that nobody knows."""

    id: int
    at: datetime
    saga_id: str
    type: str
    topic: str
    partition: int
    offset: int
    value: str
    settled: SettledView | None


class PartView(Struct, frozen=True, kw_only=True):
    name: str
    healthy: bool
    detail: Annotated[str, Meta(description="Why not, or what is odd; empty for who may not read")]


class LiveView(Struct, frozen=True, kw_only=True):
    status: Literal["live"] = "live"


class HealthView(Struct, frozen=True, kw_only=True):
    """`status` is ready where every part is healthy."""

    status: Literal["ready", "not ready"]
    version: str
    parts: list[PartView]


def saga_view(instance: AnyInstance, definition: Definition | None) -> SagaView:
    """`definition` gives the order of the steps; None where this process does not know the instance's version."""
    data: Any = instance.data
    order = [step.name for step in definition.steps] if definition else []
    begun = sorted(
        instance.steps.values(), key=lambda step: order.index(step.name) if step.name in order else len(order)
    )
    return SagaView(
        id=str(instance.saga_id),
        customer_id=getattr(data.personal, "customer_id", None),
        order_id=getattr(data, "order_id", None),
        status=instance.status,
        current_step=instance.step,
        error=instance.explanation,
        created_at=instance.created_at,
        updated_at=instance.updated_at or instance.created_at,
        completed_at=instance.completed_at,
        reason=instance.reason,
        explanation=instance.explanation,
        amount_cents=getattr(data, "amount_cents", None),
        payment_id=getattr(data, "payment_id", None),
        accepted=instance.accepted is not None,
        runner_id=instance.accepted.runner_id if instance.accepted else None,
        acceptance_window_ends_at=instance.window_ends_at,
        waits_for=_waits_for(instance),
        steps=[_step(step) for step in begun],
        attention=list(instance.attention),
        stuck_step=instance.stuck.step if instance.stuck else None,
        resolved=instance.resolved is not None,
        revision=instance.revision,
        saga=instance.saga,
        version=instance.version,
    )


def saga_detail(view: SagaView, history: Sequence[StoredHistory]) -> SagaDetail:
    entries = [HistoryView(revision=one.revision, at=one.at, cause=one.cause, body=dict(one.body)) for one in history]
    return SagaDetail(**structs.asdict(view), history=entries)


def for_customers(saga: SagaDetail) -> SagaDetail:
    """Without what services say, which is told to operators: customers are told in our own words (contract B8). And
    without who of the staff stepped in, and why.
    """
    steps = [structs.replace(step, refusal=None) for step in saga.steps]
    history = [structs.replace(one, body=_unsaid(one.body)) for one in saga.history]
    return structs.replace(saga, steps=steps, attention=[], history=history)


def _unsaid(body: dict[str, Any]) -> dict[str, Any]:
    """What became of it, without a service's error; and of a person who stepped in no more than the role."""
    ids = {name: value for name, value in body.get("event", {}).items() if name != "error"}
    told = {name: value for name, value in body.items() if name != "event"} | ({"event": ids} if ids else {})
    if told.get("role") == Role.CUSTOMER:
        return told
    return {name: value for name, value in told.items() if name not in _OF_STAFF}


def _step(step: StepRecord) -> StepView:
    return StepView(
        name=step.name,
        became=step.became,
        attempts=step.attempts,
        undo_attempts=step.undo_attempts,
        effects=[EffectView(ids=effect.ids, undone=effect.undone, settled=effect.settled) for effect in step.effects],
        refusal=step.refusal,
    )


def _waits_for(instance: AnyInstance) -> WaitsFor | None:
    out = instance.outstanding
    if out is not None:
        return WaitsFor(
            what="next_attempt" if out.backing_off else "answer",
            until=out.due_at,
            step=out.step,
            direction=out.direction.value,
            attempt=out.attempt,
        )
    if instance.held_since is not None and instance.resume_at is not None:
        return WaitsFor(what="participant", until=instance.resume_at)
    if instance.resume_at is not None:
        return WaitsFor(what="late_answer", until=instance.resume_at)
    if instance.window_due_at is not None:
        return WaitsFor(what="acceptance", until=instance.window_due_at)
    return None


_VALUE_CHARS_MAX = 10_000


def dead_letter_view(stored: StoredDeadLetter) -> DeadLetterView:
    letter = stored.letter
    return DeadLetterView(
        id=stored.id,
        at=stored.at,
        reason=letter.reason,
        detail=letter.detail,
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        timestamp_ms=letter.timestamp_ms,
        key=_text_of(letter.key),
        headers=[[name, _text_of(value) or ""] for name, value in letter.headers],
        value=_text_of(letter.value),
        settled=_settled_view(stored.settled),
    )


def orphan_view(stored: StoredOrphan) -> OrphanView:
    orphan = stored.orphan
    return OrphanView(
        id=stored.id,
        at=stored.at,
        saga_id=str(orphan.saga_id),
        type=orphan.type,
        topic=orphan.topic,
        partition=orphan.partition,
        offset=orphan.offset,
        value=_text_of(orphan.value) or "",
        settled=_settled_view(stored.settled),
    )


def _settled_view(settled: Settled | None) -> SettledView | None:
    return SettledView(at=settled.at, how=settled.how, by=settled.by, why=settled.why) if settled else None


def _text_of(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "backslashreplace")[:_VALUE_CHARS_MAX]
