"""The orders of the demo: who orders, what has to come of it, and why that is worth seeing."""

from dataclasses import dataclass
from typing import Any

WINDOW_SECONDS, LONGER_WINDOW_SECONDS = 6, 60
"""How long an order of the demo may be accepted; and one that was under way when the orchestrator was killed, or comes
after that: nobody accepts while it starts.
"""


@dataclass(frozen=True, kw_only=True)
class Scene:
    title: str
    customer_id: str
    status: str
    """In which the saga has to end."""
    reason: str | None = None
    crash: bool = False
    """Whether the orchestrator is killed in the middle of it."""
    accepted: bool = False
    """Whether a runner accepts it as soon as it is open."""
    cancelled: bool = False
    """Whether the customer cancels once it is confirmed, and accepted if it is."""


SCENES = (
    Scene(
        title="an order that goes all the way through, and a runner accepts it",
        customer_id="alice",
        status="COMPLETED",
        accepted=True,
    ),
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
        title="an order that the customer cancels",
        customer_id="carol",
        status="CANCELLED",
        reason="CUSTOMER_REQUEST",
        cancelled=True,
    ),
    Scene(
        title="a cancel that is refused, because a runner was faster",
        customer_id="dave",
        status="COMPLETED",
        accepted=True,
        cancelled=True,
    ),
    Scene(
        title=f"an order that nobody accepts in time ({WINDOW_SECONDS} s here, 30 minutes in earnest)",
        customer_id="erin",
        status="CANCELLED",
        reason="ACCEPTANCE_TIMEOUT",
    ),
    Scene(
        title="an order in the middle of which the orchestrator is killed (SIGKILL) and started again",
        customer_id="bob",
        status="COMPLETED",
        accepted=True,
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
