"""How a saga is told at a terminal: a line, its steps, its timeline. What strangers wrote is in it: see `printable`."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ordersaga.orchestrator.api.views import SagaView
    from ordersaga.orchestrator.store.protocol import StoredHistory


def line_of(saga: "SagaView") -> str:
    marks = [saga.reason.value if saga.reason else "", "accepted" if saga.accepted else ""]
    marks += ["attention" if saga.attention else "", "resolved" if saga.resolved else ""]
    said = "  ".join(filter(None, marks))
    where = f"{saga.saga:14}  {saga.status:12}  {saga.current_step or '-':20}"
    return f"{saga.id}  {saga.created_at:%Y-%m-%d %H:%M:%S}  {where}{said}".rstrip()


def state_of(saga: "SagaView") -> Iterator[str]:
    yield line_of(saga)
    if saga.explanation:
        yield f"  {saga.explanation}"
    if saga.order_id:
        yield f"  order {saga.order_id}" + (f", payment {saga.payment_id}" if saga.payment_id else "")
    for step in saga.steps:
        tried = f"asked {step.attempts} times" + (f", undone {step.undo_attempts} times" if step.undo_attempts else "")
        became = step.became.value if step.became else "under way"
        yield f"  {step.name:20} {became:10} {tried}" + (f", refused: {step.refusal}" if step.refusal else "")
    if saga.waits_for:
        step_name = f" of {saga.waits_for.step}" if saga.waits_for.step else ""
        what = saga.waits_for.what.replace("_", " ")
        yield f"  waits for {what}{step_name} until {saga.waits_for.until:%H:%M:%S} UTC"
    if saga.stuck_step:
        yield f"  stuck: the undo of {saga.stuck_step} could not be confirmed"
    for why in saga.attention:
        yield f"  attention: {why}"


def timeline_of(history: "Sequence[StoredHistory]", began: datetime) -> Iterator[str]:
    for entry in history:
        sent = ", ".join(str(one["type"]) for one in entry.body.get("sent", ()))
        who = f" by {_who(entry.body)}" if "actor" in entry.body else ""
        seconds = (entry.at - began).total_seconds()
        line = f"{entry.revision:>4}  {seconds:>10.3f} s  {entry.cause}{who}  {entry.body.get('status', '')}"
        yield line + (f"  sent {sent}" if sent else "")


def _who(body: Mapping[str, Any]) -> str:
    return ": ".join(filter(None, (str(body["actor"]), str(body.get("why", "")))))
