"""What a ledger promises its host, in PostgreSQL and in memory alike."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from ordersaga.bus.protocol import Outgoing, Record
from ordersaga.delivery.outbox import PostgresOutbox
from ordersaga.delivery.outbox_memory import MemoryOutbox, MemoryTable
from ordersaga.delivery.outbox_protocol import Outbox
from ordersaga.participants.ledger import PostgresLedger, open_pool
from ordersaga.participants.ledger_memory import MemoryLedger, MemoryTables
from ordersaga.participants.ledger_protocol import Answer, BadAnswer, Ledger, LedgerUnavailable
from ordersaga.participants.notification.service import SERVICE as NOTIFICATION
from ordersaga.participants.order.rows import OrderRow
from ordersaga.participants.order.service import SERVICE as ORDER
from ordersaga.participants.service import By, ServiceSpec
from ordersaga.participants.timer.service import SERVICE as TIMER
from ordersaga.participants.timer.service import TimerRow

ROW = OrderRow(key="k-1", order_id="o-1", status="PENDING")
RECORD = Outgoing("events", b"k-1", b"{}")


@dataclass
class Two:
    """Two hosts over one ledger."""

    one: Ledger
    other: Ledger
    outbox: Outbox


class Ledgers:
    """Makes ledgers of one kind."""

    def __init__(self, database_url: str | None) -> None:
        self._database_url = database_url
        self._open: list[Any] = []

    def of(self, spec: ServiceSpec, *, other_seconds: float = 60.0) -> Two:
        """`other_seconds`: how long the other may take for a transaction."""
        if self._database_url is None:
            return self._in_memory(spec, other_seconds)
        return self._in_postgres(spec, self._database_url, other_seconds)

    def frozen(self, spec: ServiceSpec, database_url: str) -> PostgresLedger:
        """One that ends no transaction by its own clock, only by the server's."""
        pool = open_pool(database_url, spec.schema, timeout_seconds=0.5)
        ledger = PostgresLedger(pool, spec, PostgresOutbox(pool, uuid4()), timeout_seconds=600.0)
        self._open.append(ledger)
        return ledger

    def close(self) -> None:
        for ledger in self._open:
            ledger.close()

    def _in_memory(self, spec: ServiceSpec, other_seconds: float) -> Two:
        tables = MemoryTables(MemoryTable())
        outbox = MemoryOutbox(tables.outbox, uuid4())
        outbox.register()
        one, other = (MemoryLedger(tables, spec, outbox, timeout_seconds=seconds) for seconds in (60.0, other_seconds))
        return Two(one, other, outbox)

    def _in_postgres(self, spec: ServiceSpec, database_url: str, other_seconds: float) -> Two:
        pool = open_pool(database_url, spec.schema, timeout_seconds=60.0)
        outbox = PostgresOutbox(pool, uuid4())
        one, other = (PostgresLedger(pool, spec, outbox, timeout_seconds=seconds) for seconds in (60.0, other_seconds))
        one.create_tables()
        outbox.register()
        self._open.append(one)
        return Two(one, other, outbox)


@pytest.fixture(params=["memory", "postgres"])
def ledgers(request: pytest.FixtureRequest) -> Iterator[Ledgers]:
    kind = Ledgers(None if request.param == "memory" else request.getfixturevalue("database_url"))
    yield kind
    kind.close()


def test_what_was_saved_is_found_by_key_and_by_name_with_its_answer(ledgers: Ledgers) -> None:
    two, asked = ledgers.of(ORDER), uuid4()
    with two.one.transaction() as transaction:
        transaction.load(["k-1"], [], [])
        rows = transaction.save([ROW], {asked: Answer(b"digest", RECORD)}, [RECORD])
    assert [row.record.value for row in rows] == [b"{}"]
    assert two.outbox.pending().rows == 1
    with two.other.transaction() as transaction:
        assert transaction.load(["k-1"], [], []).rows == {"k-1": ROW}
        known = transaction.load([], [("order_id", "o-1")], [asked, uuid4()])
        assert known.rows == {"k-1": ROW}
        assert known.answers == {asked: Answer(b"digest", RECORD)}


def test_what_was_not_committed_never_was(ledgers: Ledgers) -> None:
    two = ledgers.of(ORDER)
    with suppress(ZeroDivisionError), two.one.transaction() as transaction:
        transaction.save([ROW], {uuid4(): Answer(b"digest", RECORD)}, [RECORD])
        transaction.dead_letter(_record(), "odd")
        _ = 1 / 0
    with two.one.transaction() as transaction:
        assert transaction.load(["k-1"], [], []).rows == {}
    assert two.outbox.pending().rows == 0


def test_two_hosts_that_make_the_same_row_are_told(ledgers: Ledgers) -> None:
    two = ledgers.of(ORDER)
    with pytest.raises(LedgerUnavailable):
        _make_the_same_row(two)
    with two.one.transaction() as transaction:
        assert transaction.load(["k-1"], [], []).rows == {"k-1": ROW}


def test_a_name_belongs_to_one_row(ledgers: Ledgers) -> None:
    two = ledgers.of(ORDER)
    with two.one.transaction() as transaction:
        transaction.save([ROW], {}, [])
    with pytest.raises(LedgerUnavailable), two.other.transaction() as transaction:
        transaction.save([OrderRow(key="k-2", order_id="o-1", status="PENDING")], {}, [])


def test_who_finds_a_row_held_by_another_waits_and_sees_what_that_one_did(ledgers: Ledgers) -> None:
    two = ledgers.of(ORDER)
    with two.one.transaction() as transaction:
        transaction.save([ROW], {}, [])
    with ThreadPoolExecutor(1) as pool:
        with two.one.transaction() as first:
            first.load(["k-1"], [], [])
            waiting = pool.submit(_status, two.other)
            first.save([OrderRow(key="k-1", order_id="o-1", status="CREATED")], {}, [])
        assert waiting.result(10) == "CREATED"


def test_who_waits_for_a_row_that_is_never_let_go_is_told_to_ask_again(ledgers: Ledgers) -> None:
    two = ledgers.of(ORDER, other_seconds=0.5)
    with two.one.transaction() as transaction:
        transaction.save([ROW], {}, [])
    with ThreadPoolExecutor(1) as threads, two.one.transaction() as first:
        first.load(["k-1"], [], [])
        with pytest.raises(LedgerUnavailable):
            threads.submit(_status, two.other).result(30)


def test_a_row_that_a_frozen_process_holds_is_free_after_a_while(database_url: str) -> None:
    """Its own clock stands still, so it is the server that ends it."""

    def freeze_with_the_row(frozen: PostgresLedger, other: Ledger) -> None:
        with ThreadPoolExecutor(1) as threads, frozen.transaction() as transaction:
            transaction.load(["k-1"], [], [])
            waiting = threads.submit(_status, other)
            if transaction.connection.info.server_version >= 17_00_00:
                assert waiting.result(50) == "PENDING"
            raise LedgerUnavailable("as it would be told, should it wake up")

    with closing(Ledgers(database_url)) as ledgers:
        two = ledgers.of(ORDER)
        with two.one.transaction() as transaction:
            transaction.save([ROW], {}, [])
        with pytest.raises(LedgerUnavailable):
            freeze_with_the_row(ledgers.frozen(ORDER, database_url), two.other)
        assert _status(two.other) == "PENDING"


def test_what_a_text_cannot_hold_is_refused_for_good(ledgers: Ledgers) -> None:
    two = ledgers.of(ORDER)
    with pytest.raises(BadAnswer), two.one.transaction() as transaction:
        transaction.save([OrderRow(key="k-1", order_id="o-1", status="PENDING", reason="\0")], {}, [])


def test_timers_are_due_when_their_time_has_come_and_go_to_one_host(ledgers: Ledgers) -> None:
    two = ledgers.of(TIMER)
    now = datetime.now(UTC)
    timers = [
        TimerRow(key="k-late", timer_id="t-1", order_id="o-1", timeout_at=now - timedelta(hours=2), status="STARTED"),
        TimerRow(key="k-later", timer_id="t-2", order_id="o-2", timeout_at=now - timedelta(hours=1), status="STARTED"),
        TimerRow(
            key="k-stopped", timer_id="t-3", order_id="o-3", timeout_at=now - timedelta(hours=1), status="CANCELLED"
        ),
        TimerRow(key="k-soon", timer_id="t-4", order_id="o-4", timeout_at=now + timedelta(hours=1), status="STARTED"),
        TimerRow(key="k-never", timer_id="t-5", order_id="o-5", status="CANCELLED_BEFORE_STARTED"),
    ]
    with two.one.transaction() as transaction:
        transaction.save(timers, {}, [])
    with two.one.transaction() as first, two.other.transaction() as second:
        assert [row.key for row in first.due(1)] == ["k-late"]
        assert [row.key for row in second.due(5)] == ["k-later"]


def test_an_inbox_is_newest_first(ledgers: Ledgers) -> None:
    two, spec = ledgers.of(NOTIFICATION), NOTIFICATION
    for number in range(3):
        row = spec.row(  # type: ignore[call-arg]
            key=f"k-{number}",
            saga_id="s-1",
            type="order_confirmed",
            customer_id="c-2" if number == 0 else "c4n4ry-1",
            status="COMPLETED",
            title="",
            explanation="",
            money="",
            received_at=datetime(2026, 1, 2, 12, number, tzinfo=UTC),
        )
        with two.one.transaction() as transaction:
            transaction.save([row], {}, [])
    with two.one.transaction() as transaction:
        assert [row.key for row in transaction.inbox("c4n4ry-1", 5)] == ["k-2", "k-1"]
        assert [row.key for row in transaction.inbox("c4n4ry-1", 1)] == ["k-2"]


def test_answers_are_forgotten_by_their_age_and_part_by_part(ledgers: Ledgers) -> None:
    two, asked = ledgers.of(ORDER), [uuid4() for _ in range(3)]
    with two.one.transaction() as transaction:
        transaction.save([], {one: Answer(b"digest", RECORD) for one in asked}, [])
    assert _forgotten(two.one, timedelta(hours=1), 2) == 0
    assert [_forgotten(two.other, timedelta(0), 2) for _ in range(3)] == [2, 1, 0]
    with two.one.transaction() as transaction:
        assert transaction.load([], [], asked).answers == {}


def test_acts_and_dead_letters_are_taken_however_often_they_come(ledgers: Ledgers) -> None:
    two = ledgers.of(ORDER)
    for _ in range(2):
        with two.one.transaction() as transaction:
            transaction.dead_letter(_record(), "odd\0reason")
            transaction.acted("k-1", "Cancel", By(actor="op-7", role="support", reason="asked"))


def _make_the_same_row(two: Two) -> None:
    with two.one.transaction() as first:
        first.load(["k-1"], [], [])
        with two.other.transaction() as second:
            second.load(["k-1"], [], [])
            second.save([ROW], {}, [])
        first.save([OrderRow(key="k-1", order_id="o-2", status="PENDING")], {}, [])


def _forgotten(ledger: Ledger, kept: timedelta, part_max: int) -> int:
    with ledger.transaction() as transaction:
        return transaction.forget(kept, part_max)


def _status(ledger: Ledger) -> str:
    with ledger.transaction() as transaction:
        status: str = transaction.load(["k-1"], [], []).rows["k-1"].status
    return status


def _record() -> Record:
    return Record("commands", 0, 7, b"k", b"{", (), 0)
