"""What a transaction asks for, and what it gets: instances by their ids, or by an order or a payment that they know."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ordersaga.orchestrator.core.instance import Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Which instances a batch concerns. Each kind of id may be empty."""

    saga_ids: Collection[UUID] = ()
    order_ids: Collection[str] = ()
    payment_ids: Collection[str] = ()

    def __bool__(self) -> bool:
        """Whether it asks for anything."""
        return bool(self.saga_ids or self.order_ids or self.payment_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    now: datetime
    """The database's clock, aware UTC: every due time is compared with it, and with no other."""
    instances: Mapping[UUID, Instance[Any]]
    """Those found, each locked until the end of the transaction. Look for an order or payment id in `instance.data`."""
    unknown_versions: Collection[UUID] = ()
    """Found, but of a saga or version that this process does not know: left alone."""
    unknown_references: Collection[str] = ()
    """Their orders and payments (see `store.references`)."""
    missing: Collection[UUID] = ()
    """Sagas that were asked for by their ids and are nowhere."""

    def joined(self, more: "Loaded") -> "Loaded":
        """With what was loaded in the same transaction for what was missing here."""
        return Loaded(
            now=more.now,
            instances={**more.instances, **self.instances},
            unknown_versions={*self.unknown_versions, *more.unknown_versions},
            unknown_references={*self.unknown_references, *more.unknown_references},
            missing=more.missing,
        )
