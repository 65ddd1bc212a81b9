"""The order service: orders from PENDING to CANCELLED or into a runner's hands.

An order is PENDING until it is paid, then CREATED and offered to the runners. It can be cancelled until a runner has
accepted it; a runner who cannot deliver gives it back, and one who has delivered is another saga's business (see
`order.completing`). A cancel that arrives before its order is remembered: the order
is then refused when it comes, and nothing was ever made.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, get_args

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from ordersaga.participants.order import completing
from ordersaga.participants.order.rows import OrderRow
from ordersaga.participants.service import Asked, Refused, Reply, ServiceSpec, Verb, not_understood
from ordersaga.wire import completing as c
from ordersaga.wire import messages as m
from ordersaga.wire.errors import WireError
from ordersaga.wire.money import total_cents
from ordersaga.wire.topics import Participant

CANCELLABLE = ("PENDING", "CREATED")
STATES = get_args(m.OrderStatus)
NEVER_MADE = "CANCELLED_BEFORE_CREATED"
"""Not a state of an order but the memory of a cancel that came first."""
CANCELLED = ("CANCELLED", NEVER_MADE)


class Accept(Verb, frozen=True, kw_only=True):
    """A runner takes the order."""

    runner_id: str


class GiveBack(Verb, frozen=True, kw_only=True):
    """The runner cannot deliver after all."""


class Cancel(Verb, frozen=True, kw_only=True):
    """Somebody cancels at the order service, past the saga."""


def answer(row: OrderRow | None, asked: Asked) -> Reply:
    match asked.command:
        case m.CreateOrder() as command:
            return create(row, asked, command)
        case m.UpdateOrderStatus() as command:
            return update(row, command)
        case m.CancelOrder() as command:
            return cancel(row, asked, command)
        case c.MarkDelivered() | c.UndoDelivery() | c.MarkCompleted():
            return completing.answer(row, asked)
        case Accept(runner_id=runner_id) if row:
            return accept(row, runner_id)
        case GiveBack() if row:
            return give_back(row)
        case Cancel() if row and asked.by:
            return cancel_by_hand(row, asked.by.reason)
    raise not_understood(asked.command)


# --- what the saga asks ---------------------------------------------------------------------------


def create(row: OrderRow | None, asked: Asked, command: m.CreateOrder) -> Reply:
    if row is not None:
        return Reply(event=_cancelled_before(row) if row.status in CANCELLED else _created(row))
    try:
        amount_cents = _amount_cents(command.order_details)
    except WireError as error:
        return Reply(event=m.OrderCreationFailed(error="INVALID_ORDER", message=str(error)))
    row = OrderRow(
        key=asked.key,
        order_id=f"order-{asked.new_id}",
        customer_id=command.customer_id,
        status="PENDING",
        amount_cents=amount_cents,
        details=Raw(msgspec.json.encode(command.order_details)),
    )
    return Reply(row=row, event=_created(row))


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
    if row.status == NEVER_MADE:
        return Reply(event=m.OrderCancelled(order_id=command.order_id, reason=row.reason))
    if command.order_id not in (None, row.order_id):
        return Reply(event=m.OrderCancellationFailed(error="NOT_FOUND", order_id=command.order_id), remembered=False)
    if row.status == "CANCELLED":
        return Reply(event=m.OrderCancelled(order_id=row.order_id, reason=row.reason))
    if row.status in CANCELLABLE:
        row = replace(row, status="CANCELLED", reason=command.reason)
        return Reply(row=row, event=m.OrderCancelled(order_id=row.order_id, reason=command.reason))
    refused = m.OrderCancellationFailed(error="ORDER_ACCEPTED", order_id=row.order_id, status=row.status)
    return Reply(event=refused, remembered=False)


# --- what people do at the order service ----------------------------------------------------------


def accept(row: OrderRow, runner_id: str) -> Reply:
    if row.status == "ACCEPTED" and row.runner_id == runner_id:
        return Reply(event=None)
    if row.status != "CREATED":
        raise Refused(f"the order is {row.status}; only one that is CREATED can be accepted")
    assert row.order_id
    taken = replace(row, status="ACCEPTED", runner_id=runner_id)
    return Reply(row=taken, event=m.OrderAccepted(order_id=row.order_id, runner_id=runner_id))


def give_back(row: OrderRow) -> Reply:
    if row.status != "ACCEPTED":
        raise Refused(f"the order is {row.status}; only one that is ACCEPTED can be given back")
    assert row.order_id
    return Reply(
        row=replace(row, status="CREATED", runner_id=None), event=m.OrderAcceptanceCancelled(order_id=row.order_id)
    )


def cancel_by_hand(row: OrderRow, reason: str) -> Reply:
    if row.status in CANCELLED:
        return Reply(event=None)
    if row.status not in CANCELLABLE:
        raise Refused(f"the order is {row.status}; only one that is PENDING or CREATED can be cancelled")
    return Reply(
        row=replace(row, status="CANCELLED", reason=reason),
        event=m.OrderCancelled(order_id=row.order_id, reason=reason),
    )


# --- small print ----------------------------------------------------------------------------------


def _created(row: OrderRow) -> m.OrderCreated:
    """The same whatever became of the order since."""
    assert row.order_id
    return m.OrderCreated(order_id=row.order_id, customer_id=row.customer_id, status="PENDING", saga_id=row.key)


def _cancelled_before(row: OrderRow) -> m.OrderCreationFailed:
    return m.OrderCreationFailed(error="CANCELLED", message="the order was cancelled before", order_id=row.order_id)


def _updated(row: OrderRow) -> m.OrderStatusUpdated:
    assert row.order_id
    return m.OrderStatusUpdated(order_id=row.order_id, status=row.status, saga_id=row.key)


def _amount_cents(details: Mapping[str, Any]) -> int:
    """What the order costs. Raises `WireError`."""
    items = details.get("foodItems")
    if not isinstance(items, list) or not items:
        raise WireError("order_details.foodItems", "at least one item is needed")
    fee = details.get("deliveryFee")
    return total_cents(_items(items), None if fee is None else _dollars(fee, "order_details.deliveryFee"))


def _items(items: list[Any]) -> Iterator[tuple[Decimal, int]]:
    for index, item in enumerate(items):
        where = f"order_details.foodItems[{index}]"
        if not isinstance(item, dict):
            raise WireError(where, "an object with price and quantity is needed")
        yield _dollars(item.get("price"), f"{where}.price"), item.get("quantity")  # type: ignore[misc]


def _dollars(value: Any, field: str) -> Decimal:
    if type(value) not in (int, float):
        raise WireError(field, "a number of dollars is needed")
    # A float's own text is the shortest that means it, so 4.35 stays 4.35.
    return Decimal(str(value))


def _key(correlation_id: str, command: m.Message) -> str:
    return getattr(command, "saga_id", None) or correlation_id


SERVICE = ServiceSpec(
    participant=Participant.ORDER,
    row=OrderRow,
    answer=answer,
    key=_key,
    names=("order_id",),
    commands=(m.CreateOrder, m.UpdateOrderStatus, m.CancelOrder, c.MarkDelivered, c.UndoDelivery, c.MarkCompleted),
)
