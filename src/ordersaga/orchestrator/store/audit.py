"""The trail of what operators did, asked for and were refused. Nothing here is ever changed or taken away."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from psycopg_pool import ConnectionPool

from ordersaga.delivery.pool import Lender
from ordersaga.orchestrator.store.connections import AnyConnection, Connections, statements

_SQL = statements("audit.sql")
PAGE_MAX = 1_000
_AFTER_ALL = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wanted, and what came of it."""

    actor: str
    role: str
    verb: str
    reason: str
    outcome: str
    saga_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    id: int
    at: datetime
    wish: Wish


class Audit(Protocol):
    """Each raises `StoreError`."""

    def note(self, wish: Wish) -> None: ...

    def page(self, *, saga_id: UUID | None = None, limit: int = 100, before: int | None = None) -> Sequence[Noted]:
        """Newest first, older than the one whose id is `before`."""


class PostgresAudit:
    """See `Audit`."""

    def __init__(
        self,
        pool: ConnectionPool[AnyConnection],
        *,
        timeout_seconds: float = 10.0,
        schema: str | None = None,
        readers: Lender | None = None,
    ) -> None:
        """`pool`, `schema` and `readers` as for `PostgresStore`; the pool is the store's to close."""
        self._connections = Connections(pool, timeout_seconds, schema)
        self._look = Connections(readers or pool, timeout_seconds, schema).ask

    def note(self, wish: Wish) -> None:
        values = {name: getattr(wish, name) for name in ("actor", "role", "verb", "saga_id", "reason", "outcome")}
        with self._connections.transaction() as connection:
            self._connections.enter(connection)
            connection.execute(_SQL["note"], values)

    def page(self, *, saga_id: UUID | None = None, limit: int = 100, before: int | None = None) -> Sequence[Noted]:
        wanted = {"saga_id": saga_id, "before": before or _AFTER_ALL, "limit": max(1, min(limit, PAGE_MAX))}
        return [
            Noted(
                id=number,
                at=at.astimezone(UTC),
                wish=Wish(actor=actor, role=role, verb=verb, saga_id=whose, reason=reason, outcome=outcome),
            )
            for number, at, actor, role, verb, whose, reason, outcome in self._look(_SQL["page"], wanted)
        ]


class MemoryAudit:
    """See `Audit`; of a process without a database."""

    def __init__(self) -> None:
        self._noted: list[Noted] = []

    def note(self, wish: Wish) -> None:
        self._noted.append(Noted(id=len(self._noted) + 1, at=datetime.now(UTC), wish=wish))

    def page(self, *, saga_id: UUID | None = None, limit: int = 100, before: int | None = None) -> Sequence[Noted]:
        found = [
            one
            for one in reversed(self._noted)
            if saga_id in (None, one.wish.saga_id) and (before is None or one.id < before)
        ]
        return found[: max(1, min(limit, PAGE_MAX))]
