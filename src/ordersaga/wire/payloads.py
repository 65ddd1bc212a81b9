"""What payloads have in common: their kinds, and what a field may hold.

Strict means: wrong types are refused, never converted. Fields that we act on are required; fields that only inform are
optional; fields that we do not know are ignored.

Money is integer cents. Times are ISO 8601 texts on the wire and aware UTC datetimes inside.
"""

from typing import Annotated

from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1, max_length=255)]
"""An id of a stranger's making: 1 to 255 characters."""
Text = Annotated[str, Meta(max_length=10_000)]
"""A text of a stranger's making: at most 10,000 characters."""
Cents = Annotated[int, Meta(ge=0, le=10**12)]


class Message(Struct, frozen=True, kw_only=True):
    """A payload. The name under which it travels is in the tables of `wire.messages`."""


class Command(Message, frozen=True, kw_only=True):
    """Asks one participant to do or undo something."""


class Event(Message, frozen=True, kw_only=True):
    """Says what a participant did, or refused to do."""


class Announcement(Message, frozen=True, kw_only=True):
    """Said to whoever listens; nobody answers."""


class Notification(Announcement, frozen=True, kw_only=True):
    """For one person, whom `customer_id` names: what became of the order, why, and what happens to the money. `reason`
    is a code, `explanation` a sentence.
    """

    saga_id: Id
    customer_id: Id
    status: Text
    title: Text
    explanation: Text
    money: Text
    order_id: str | None = None
    runner_id: str | None = None
    reason: str | None = None
    amount_cents: int | None = None
