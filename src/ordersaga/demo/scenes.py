"""The orders of the demo: who orders, what has to come of it, and why that is worth seeing."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Scene:
    title: str
    customer_id: str
    status: str
    """In which the saga has to end."""
    reason: str | None = None
    crash: bool = False
    """Whether the orchestrator is killed in the middle of it."""


SCENES = (
    Scene(title="an order that goes all the way through", customer_id="alice", status="COMPLETED"),
    Scene(
        title="a card that is declined: the order is taken back",
        customer_id="declined-dora",
        status="COMPENSATED",
        reason="PAYMENT_DECLINED",
    ),
    Scene(
        title="a customer without a payment method",
        customer_id="no-card-nick",
        status="COMPENSATED",
        reason="PAYMENT_METHOD_MISSING",
    ),
    Scene(
        title="a customer whom nobody knows",
        customer_id="unknown-uma",
        status="COMPENSATED",
        reason="CUSTOMER_UNKNOWN",
    ),
    Scene(
        title="an order in the middle of which the orchestrator is killed (SIGKILL) and started again",
        customer_id="bob",
        status="COMPLETED",
        crash=True,
    ),
)


def order_of(customer_id: str) -> dict[str, Any]:
    """The body of `POST /orders`."""
    items = [
        {"name": "burrito", "price": 4.35, "quantity": 2},
        {"name": "lemonade", "price": 1.90, "quantity": 1},
    ]
    details = {"foodItems": items, "deliveryLocation": "Dorm 7, room 12", "deliveryFee": 1.50}
    return {"customer_id": customer_id, "order_details": details}
