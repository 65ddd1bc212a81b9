"""What news name that name no saga: an order or a payment, as one text."""

from typing import Any

REFERENCES = ("order_id", "payment_id")


def reference_to(name: str, known: str) -> str:
    """`order_id o-1` or `payment_id p-1`."""
    return f"{name} {known}"


def references_of(order_id: str | None, payment_id: str | None) -> set[str]:
    """To what a saga knows, or news name."""
    known = (("order_id", order_id), ("payment_id", payment_id))
    return {reference_to(name, value) for name, value in known if value}


def references_in(told: Any) -> set[str]:
    """The same, of a message or of a saga's data: whatever has fields of these names."""
    return references_of(getattr(told, "order_id", None), getattr(told, "payment_id", None))
