"""What a log line says about the saga that it concerns: the same three names everywhere, for one search."""

from typing import Any
from uuid import UUID

from ordersaga.orchestrator.core.instance import Direction, Instance
from ordersaga.wire.ids import message_id


def concerning(saga_id: UUID, instance: Instance[Any] | None = None, *, message: UUID | None = None) -> dict[str, Any]:
    """`saga_id`, `step` and `message_id`: of the command that it waits for, or of the `message` that the line is about.
    None where there is none.
    """
    out, stuck = (instance.outstanding, instance.stuck) if instance else (None, None)
    step, about = (instance.step if instance else None), message
    if stuck is not None:
        step = stuck.step
        about = about or message_id(saga_id, stuck.step, Direction.UNDO, stuck.effect_id)
    elif out is not None:
        step, about = out.step, about or out.message_id
    return {"saga_id": str(saga_id), "step": step, "message_id": str(about) if about else None}
