"""Orders that were delivered: marked, maybe taken back, and completed.

Only what a runner has can be DELIVERED, and by one saga, which may take the mark back until the order is COMPLETED.
A mark that is taken back before it comes is remembered, and refused when it comes. An order that is not there is not
made by asking.
"""

from msgspec.structs import replace

from ordersaga.participants.order.rows import OrderRow
from ordersaga.participants.service import Asked, Reply, not_understood
from ordersaga.wire import completing as m

WITH_A_RUNNER = ("ACCEPTED", "PLACED", "ON_THE_WAY")


def answer(row: OrderRow | None, asked: Asked) -> Reply:
    match asked.command:
        case m.MarkDelivered() as command:
            return deliver(row, asked, command)
        case m.UndoDelivery() as command:
            return undo_delivery(row, asked, command)
        case m.MarkCompleted() as command:
            return complete(row, asked, command)
    raise not_understood(asked.command)


def deliver(row: OrderRow | None, asked: Asked, command: m.MarkDelivered) -> Reply:
    if row is None:
        return Reply(event=m.OrderDeliveryFailed(error="NOT_FOUND", order_id=command.order_id))
    if row.status == "DELIVERED" and row.delivered_for == asked.key:
        return Reply(event=m.OrderDelivered(order_id=command.order_id))
    if asked.key in row.called_off:
        problem = "the delivery was called off before"
    elif row.status not in WITH_A_RUNNER:
        problem = f"an order that is {row.status} cannot become DELIVERED"
    else:
        marked = replace(row, status="DELIVERED", delivered_for=asked.key, delivered_from=row.status)
        return Reply(row=marked, event=m.OrderDelivered(order_id=command.order_id))
    refused = m.OrderDeliveryFailed(
        error="ILLEGAL_STATE", message=problem, order_id=command.order_id, status=row.status
    )
    return Reply(event=refused)


def undo_delivery(row: OrderRow | None, asked: Asked, command: m.UndoDelivery) -> Reply:
    if row is None:
        # Nothing was marked, and orders are not made by marking them: there is nothing to remember.
        return Reply(event=m.OrderDeliveryUndone(order_id=command.order_id))
    undone = m.OrderDeliveryUndone(order_id=command.order_id)
    if row.delivered_for == asked.key:
        if row.status != "DELIVERED":
            problem = f"an order that is {row.status} cannot go back to its runner"
            failed = m.OrderDeliveryUndoFailed(error="ILLEGAL_STATE", message=problem, order_id=command.order_id)
            return Reply(event=failed, remembered=False)
        row = replace(row, status=row.delivered_from or "ACCEPTED", delivered_for=None, delivered_from=None)
    if asked.key in row.called_off:
        return Reply(event=undone)
    return Reply(row=replace(row, called_off=(*row.called_off, asked.key)), event=undone)


def complete(row: OrderRow | None, asked: Asked, command: m.MarkCompleted) -> Reply:
    if row is None:
        return Reply(event=m.OrderCompletionFailed(error="NOT_FOUND", order_id=command.order_id), remembered=False)
    if row.delivered_for != asked.key or row.status not in ("DELIVERED", "COMPLETED"):
        problem = f"an order that is {row.status} cannot become COMPLETED"
        failed = m.OrderCompletionFailed(error="ILLEGAL_STATE", message=problem, order_id=command.order_id)
        return Reply(event=failed, remembered=False)
    return Reply(row=replace(row, status="COMPLETED"), event=m.OrderCompleted(order_id=command.order_id))
