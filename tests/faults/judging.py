"""What came of a run: drain it, then read the participants' ledgers and the topics, and see whether each promise was
kept.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
from pydantic import SecretStr

from ordersaga.as_set import sagas_of
from ordersaga.connecting import Database, reconciliation_of
from ordersaga.settings import Settings
from tests.faults import topics
from tests.faults.deployment import Deployment
from tests.faults.ledgers import POISON, Ledgers
from tests.faults.traffic import Traffic
from tests.waiting import until

DRAIN_SECONDS = 240.0
SECONDS_OF_REST = 3.0


@dataclass
class Verdict:
    violations: list[str] = field(default_factory=list)
    ended: dict[str, int] = field(default_factory=dict)
    sagas: int = 0
    attention: int = 0
    doubled: dict[str, int] = field(default_factory=dict)
    """Records that are on a topic more often than they were sent."""
    drain_seconds: float = 0.0

    def report(self) -> dict[str, Any]:
        return {
            "sagas": self.sagas,
            "ended_by_outcome": self.ended,
            "attention": self.attention,
            "records_doubled": self.doubled,
            "drain_seconds": round(self.drain_seconds, 1),
            "violations": self.violations,
        }


def judge(
    deployment: Deployment,
    traffic: Traffic,
    checks: Mapping[str, str],
    *,
    poisoned: int = 0,
    progress: Callable[[str], None],
) -> Verdict:
    """To be called when every process runs and no fault is left."""
    verdict, ledgers = Verdict(), Ledgers(deployment.database_url, checks)
    begun = time.monotonic()
    found = _drained(ledgers, progress)
    verdict.drain_seconds = time.monotonic() - begun - SECONDS_OF_REST
    verdict.violations += [f"{name}: {', '.join(whose)}" for name, whose in found.items()]
    with psycopg.connect(deployment.database_url) as connection:
        rows = connection.execute("select id::text, status, attention from ordersaga.sagas").fetchall()
    statuses = {saga_id: status for saga_id, status, _ in rows}
    verdict.sagas, verdict.ended = len(rows), dict(Counter(statuses.values()))
    verdict.attention = sum(attention for _, _, attention in rows)
    verdict.violations += [
        f"I10: {customer_id} was promised {saga_id}, which is not there"
        for customer_id, saga_id in traffic.placed.items()
        if saga_id not in statuses
    ]
    verdict.violations += unexpected(traffic, statuses)
    dead = ledgers.count(_dead_letters())
    if dead != poisoned:
        verdict.violations.append(f"{poisoned} unreadable records were sent, {dead} are set aside")
    verdict.violations += [f"reconciled: {one}" for one in differences(deployment.database_url)]
    progress("  reading the topics")
    said = topics.compare(topics.read_all(deployment.kafka.bootstrap_servers), deployment.database_url)
    verdict.doubled = said.doubled
    verdict.violations += [f"I8: a command of no saga of ours: {one}" for one in said.unknown[:5]]
    verdict.violations += [f"I8: never published: {one}" for one in said.missing[:5]]
    return verdict


def _drained(ledgers: Ledgers, progress: Callable[[str], None]) -> dict[str, list[str]]:
    """When the ledgers have agreed for a while, or do not in the time they have."""
    found: dict[str, list[str]] = {}
    good_since: float | None = None

    def at_rest() -> bool:
        nonlocal found, good_since
        found = ledgers.violations()
        good_since = None if found else good_since or time.monotonic()
        progress(f"  draining: {', '.join(f'{name}: {len(whose)}' for name, whose in found.items()) or 'at rest'}")
        return good_since is not None and time.monotonic() - good_since >= SECONDS_OF_REST

    with suppress(AssertionError):
        until(at_rest, "the ledgers agree", within_seconds=DRAIN_SECONDS, every_seconds=1.0)
    return found


def unexpected(traffic: Traffic, statuses: Mapping[str, str]) -> list[str]:
    """Customers whose order ended as theirs cannot."""
    refused = ("declined", "no-card", "unknown")
    return [
        f"{customer_id} ended {statuses[saga_id]}"
        for customer_id, saga_id in traffic.placed.items()
        if customer_id.startswith(refused) and statuses.get(saga_id) == "COMPLETED"
    ]


def differences(database_url: str) -> list[str]:
    """What `ordersaga reconcile` finds between the ledger and the sagas, those of a moment ago too."""
    settings = Settings(database_url=SecretStr(database_url))
    database = Database(settings, "judge", connections_max=1)
    try:
        found = reconciliation_of(settings, database, database.store(sagas_of(settings)))
        return [f"{one.kind}: {one.said}" for one in found.differences(quiet=timedelta())][:10]
    finally:
        database.pool.close()


def _dead_letters() -> str:
    schemas = ("ordersaga", *(f"participant_{name}" for name in ("order", "user", "payment", "timer", "notification")))
    poison = f"convert_from(value, 'SQL_ASCII') like '{POISON.decode()}%'"
    return "select " + " + ".join(f"(select count(*) from {schema}.dead_letters where {poison})" for schema in schemas)
