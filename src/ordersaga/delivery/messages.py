"""What leaves a transaction: records that wait in the outbox until they are acknowledged."""

from uuid import UUID

from msgspec import Struct

from ordersaga.bus.protocol import Outgoing


class OutboxRow(Struct, frozen=True, kw_only=True):
    """A record in the outbox. Records with one `key` on one `topic` are a *lane*: they are published in the order of
    `row_id`.

    `after` is the id of an earlier row of the lane that was still in the outbox when this one was written, or None:
    this row may be published only once that one has been handed to the same producer or is gone from the outbox.

    `owner` is the process under whose id the row was written: only that one publishes it, as long as it lives.
    """

    row_id: int
    record: Outgoing
    after: int | None = None
    owner: UUID | None = None
    created_ms: int | None = None
    """Unix time on the database's clock, for a row that was found; None for one that was just written."""
