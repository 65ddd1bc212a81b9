"""The order service: orders from PENDING to CANCELLED or into a runner's hands.

An order is PENDING until it is paid, then CREATED and offered to the runners. It can be cancelled until a runner has
accepted it. A cancel that arrives before its order is remembered: the order is then refused when it comes, and nothing
was ever made.
"""

from typing import Any, get_args

from msgspec.structs import replace

from ordersaga.participants.service import Asked, Reply, Row, ServiceSpec, not_understood
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant

CANCELLABLE = ("PENDING", "CREATED")
STATES = get_args(m.OrderStatus)
NEVER_MADE = "CANCELLED_BEFORE_CREATED"
"""Not a state of an order but the memory of a cancel that came first."""


class OrderRow(Row, frozen=True, kw_only=True):
    order_id: str | None
    customer_id: str | None = None
    status: str
    details: dict[str, Any] | None = None
    runner_id: str | None = None
    reason: str | None = None


def answer(row: OrderRow | None, asked: Asked) -> Reply:
    match asked.command:
        case m.CreateOrder() as command:
            return create(row, asked, command)
        case m.UpdateOrderStatus() as command:
            return update(row, command)
        case m.CancelOrder() as command:
            return cancel(row, asked, command)
    raise not_understood(asked.command)


def create(row: OrderRow | None, asked: Asked, command: m.CreateOrder) -> Reply:
    if row is None:
        row = OrderRow(
            key=asked.key,
            order_id=f"order-{asked.new_id}",
            customer_id=command.customer_id,
            status="PENDING",
            details=command.order_details,
        )
        return Reply(row=row, event=_created(row))
    if row.order_id is None:
        return Reply(
            event=m.OrderCreationFailed(error="CANCELLED", message="the order was cancelled before it was created")
        )
    return Reply(event=_created(row))


def update(row: OrderRow | None, command: m.UpdateOrderStatus) -> Reply:
    if row is None or row.order_id != command.order_id:
        return Reply(event=m.OrderStatusUpdateFailed(error="NOT_FOUND", order_id=command.order_id))
    if command.status not in STATES:
        return Reply(event=m.OrderStatusUpdateFailed(error="UNKNOWN_STATUS", order_id=command.order_id))
    if row.status == command.status:
        return Reply(event=_updated(row))
    if (row.status, command.status) != ("PENDING", "CREATED"):
        problem = f"an order that is {row.status} cannot become {command.status}"
        return Reply(event=m.OrderStatusUpdateFailed(error="ILLEGAL_STATE", message=problem, order_id=row.order_id))
    row = replace(row, status=command.status)
    return Reply(row=row, event=_updated(row))


def cancel(row: OrderRow | None, asked: Asked, command: m.CancelOrder) -> Reply:
    if row is None:
        row = OrderRow(key=asked.key, order_id=None, status=NEVER_MADE, reason=command.reason)
        return Reply(row=row, event=m.OrderCancelled(order_id=command.order_id, reason=command.reason))
    if command.order_id not in (None, row.order_id):
        return Reply(event=m.OrderCancellationFailed(error="NOT_FOUND", order_id=command.order_id), remembered=False)
    if row.status in CANCELLABLE:
        row = replace(row, status="CANCELLED", reason=command.reason)
        return Reply(row=row, event=m.OrderCancelled(order_id=row.order_id, reason=command.reason))
    if row.status in ("CANCELLED", NEVER_MADE):
        return Reply(event=m.OrderCancelled(order_id=row.order_id, reason=row.reason))
    refused = m.OrderCancellationFailed(error="ORDER_ACCEPTED", order_id=row.order_id, status=row.status)
    return Reply(event=refused, remembered=False)


# --- what people do at the order service ----------------------------------------------------------


class Refused(Exception):
    """What is asked cannot be done in the state that the order is in; the message says which."""


def accept(row: OrderRow, runner_id: str) -> Reply:
    """A runner takes the order."""
    if row.status == "ACCEPTED" and row.runner_id == runner_id:
        return Reply(event=None)
    if row.status != "CREATED":
        raise Refused(f"the order is {row.status}; only one that is CREATED can be accepted")
    assert row.order_id
    taken = replace(row, status="ACCEPTED", runner_id=runner_id)
    return Reply(row=taken, event=m.OrderAccepted(order_id=row.order_id, runner_id=runner_id))


def give_back(row: OrderRow) -> Reply:
    """The runner cannot deliver after all."""
    if row.status != "ACCEPTED":
        raise Refused(f"the order is {row.status}; only one that is ACCEPTED can be given back")
    assert row.order_id
    return Reply(
        row=replace(row, status="CREATED", runner_id=None), event=m.OrderAcceptanceCancelled(order_id=row.order_id)
    )


def cancel_by_hand(row: OrderRow, reason: str) -> Reply:
    """Somebody cancels at the order service, past the saga."""
    if row.status == "CANCELLED":
        return Reply(event=None)
    if row.status not in CANCELLABLE:
        raise Refused(f"the order is {row.status}; only one that is PENDING or CREATED can be cancelled")
    return Reply(
        row=replace(row, status="CANCELLED", reason=reason),
        event=m.OrderCancelled(order_id=row.order_id, reason=reason),
    )


def _created(row: OrderRow) -> m.OrderCreated:
    assert row.order_id
    return m.OrderCreated(order_id=row.order_id, customer_id=row.customer_id, status="PENDING", saga_id=row.key)


def _updated(row: OrderRow) -> m.OrderStatusUpdated:
    assert row.order_id
    return m.OrderStatusUpdated(order_id=row.order_id, status=row.status, saga_id=row.key)


SERVICE = ServiceSpec(
    participant=Participant.ORDER,
    row=OrderRow,
    answer=answer,
    commands=(m.CreateOrder, m.UpdateOrderStatus, m.CancelOrder),
)
