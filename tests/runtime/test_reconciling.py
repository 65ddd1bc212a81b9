"""Differences between payments and sagas, each planted in the ledger of a platform that runs, and each found."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest
from msgspec import to_builtins

from ordersaga.as_set import sagas_of
from ordersaga.bus.memory import MemoryBus
from ordersaga.connecting import Database
from ordersaga.ledger_query import QUERY
from ordersaga.orchestrator.core.definition import Money
from ordersaga.orchestrator.core.reconcile import Difference, Kind
from ordersaga.orchestrator.runtime.reconciling import Reconciler, Reconciliation
from ordersaga.orchestrator.store.ledger import LedgerUnreadable, from_database, from_file
from tests.waiting import until
from tests.whole import AMOUNT_CENTS, orchestrator, order, participants, settings_for, status_of

Rows = dict[str, dict[str, Any]]
"""Of the ledger, by the saga's name here."""
Plant = Callable[[Rows], list[dict[str, Any]]]


def _changed(name: str, **more: Any) -> Plant:
    return lambda rows: [{**row, **more} if one == name else row for one, row in rows.items()]


def _and(name: str, **more: Any) -> Plant:
    return lambda rows: [*rows.values(), {**rows[name], **more}]


PLANTED: dict[Kind, tuple[Plant, str]] = {
    Kind.NO_SAGA: (_and("stands", payment_id="other", order_id="other", payment_intent_id="other"), ""),
    Kind.NO_PAYMENT: (lambda rows: [row for one, row in rows.items() if one != "stands"], "stands"),
    Kind.PAYMENT_GONE: (_changed("stands", status="REVERTED"), "stands"),
    Kind.STILL_HELD: (_changed("taken back", status="AUTHORIZED"), "taken back"),
    Kind.STILL_CAPTURED: (_changed("taken back", status="CAPTURED"), "taken back"),
    Kind.HELD_TWICE: (_and("stands", payment_id="second", payment_intent_id="second"), "stands"),
    Kind.OTHER_AMOUNT: (_changed("stands", amount_cents=AMOUNT_CENTS + 1), "stands"),
    Kind.OTHER_ORDER: (_changed("stands", order_id="other"), "stands"),
    Kind.OTHER_INTENT: (_changed("stands", payment_intent_id="other"), "stands"),
    Kind.LISTED_TWICE: (_and("stands"), ""),
    Kind.UNKNOWN_STATUS: (_and("stands", payment_intent_id=None, status="ODD"), ""),
}


@pytest.fixture
def bus() -> Iterator[MemoryBus]:
    bus = MemoryBus()
    yield bus
    bus.close(1)


def test_each_planted_difference_is_found_and_none_where_none_is(
    database_url: str, bus: MemoryBus, tmp_path: Path
) -> None:
    settings = settings_for(database_url)
    with participants(settings, bus), orchestrator(settings, bus) as api:
        sagas = {name: api.place(order()) for name in ("stands", "stands too", "taken back")}
        declined = api.place(order("declined-c4n4ry"))
        until(lambda: all(status_of(api, one) == "COMPLETED" for one in sagas.values()), "they are confirmed")
        api.cancel(sagas["taken back"], "a test")
        until(lambda: status_of(api, sagas["taken back"]) == "CANCELLED", "one is taken back")
        until(lambda: status_of(api, declined) == "COMPENSATED", "one is declined")
        of_payment = {api.saga(saga_id)["payment_id"]: name for name, saga_id in sagas.items()}
    since = datetime.now(UTC) - timedelta(days=1)
    payments = list(from_database(database_url, QUERY, since=since))
    rows = {of_payment[one.payment_id]: to_builtins(one) for one in payments if one.payment_id in of_payment}
    assert len(rows) == 3
    database = Database(settings, "test", connections_max=1)

    def found(ledger: list[dict[str, Any]]) -> list[tuple[Kind, str]]:
        path = tmp_path / "ledger.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in ledger))
        comparison = Reconciliation(
            store=database.store(sagas_of(settings)),
            archive=database.archive(),
            payments=lambda since: from_file(path),
            money={"create_order": Money.HOLDS},
        )
        names = {saga_id: name for name, saga_id in sagas.items()}
        return [(one.kind, names.get(str(one.saga_id), "")) for one in comparison.differences(quiet=timedelta())]

    assert found(list(rows.values())) == []
    assert {kind: found(plant(rows)) for kind, (plant, _) in PLANTED.items()} == {
        kind: [(kind, name)] for kind, (_, name) in PLANTED.items()
    }
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE ordersaga.sagas SET state = '{}' WHERE id = %s", [sagas["stands too"]])
    assert found(list(rows.values())) == [(Kind.SAGA_DAMAGED, "stands too")], "nobody is told to release its money"
    # Those that are missing need an order that was delivered, and one that failed: tests/core/test_reconcile.py.
    elsewhere = {Kind.NOT_CAPTURED, Kind.RESOLVED_HELD, Kind.SAGA_DAMAGED, Kind.UNSURE}
    assert set(PLANTED) == set(Kind) - elsewhere and len(PLANTED) >= 10
    database.pool.close()


def test_a_ledger_that_cannot_be_read_is_not_read_again_at_once_and_holds_up_no_stop() -> None:
    """It is read whole: one that fails is a burden. And a stop has something to hand over."""
    asked, going, hangs = count(), Event(), Event()

    class Broken:
        def differences(self) -> Iterator[Difference]:
            if next(asked) == 0:
                raise LedgerUnreadable("a wrong password")
            going.set()
            hangs.wait(100)
            return iter(())

    reconciler = Reconciler(Broken(), every_seconds=1.0)  # type: ignore[arg-type]
    reconciler.start()
    until(lambda: not reconciler.health().healthy, "it has failed")
    assert reconciler.stop(9) and next(asked) == 1, "it rested"
    again = Reconciler(Broken(), every_seconds=1.0)  # type: ignore[arg-type]
    again.start()
    assert going.wait(20)
    began = time.monotonic()
    assert again.stop(90) and time.monotonic() - began < 30, "it is cut off"
    hangs.set()
