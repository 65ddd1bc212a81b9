"""Who publishes which row: its own process, whoever takes over, nobody twice without need."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from threading import Event

import pytest

from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import BusUnavailable, Outgoing
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.outbox_protocol import OutboxUnavailable
from ordersaga.delivery.upkeep import Upkeep

from .house import LEASE_SECONDS, Gate, House, Process, answers
from .stage import ONE, TWO, UNKNOWN, MovableClock, SeededRandom

# --- the database is away, or its answer got lost ------------------------------------------------------------


def test_acknowledged_rows_are_not_published_again_when_their_delete_fails(house: House) -> None:
    """More of them than the relay remembers for other reasons."""
    one = house.process(ONE, held_max=3).start()
    one.outbox.away = {"acknowledged"}
    given = [b"%02d" % number for number in range(20)]
    for count, value in enumerate(given, start=1):
        one.send(value)
        one.until(lambda count=count: len(one.producer.log) >= count, "the row is published")  # type: ignore[misc]
    one.until(lambda: not one.relay.health().healthy, "the trouble shows")
    house.clock.advance(6.0)
    one.outbox.away = ()
    house.until_empty()
    one.pass_scans()
    assert one.producer.values == given


def upkeep_alone(house: House, one: Process, found: list[OutboxRow]) -> Upkeep:
    """With a lease and without a relay: what it hands out is in `found`."""

    def page(rows: Sequence[OutboxRow]) -> int:
        found.extend(rows)
        return len(rows)

    kept = Upkeep(
        one.outbox,
        leased=lambda owner, until: None,
        lost=lambda ids_anew: None,
        found=lambda rows, more: found.extend(rows),
        page=page,
        gone=lambda row_ids: None,
        clock=house.clock,
        randomness=SeededRandom(1),
    )
    kept._registered, kept._beat_at = True, float("inf")
    return kept


def test_rows_that_are_acknowledged_and_not_deleted_are_not_found_either(house: House, one: Process) -> None:
    found: list[OutboxRow] = []
    kept = upkeep_alone(house, one, found)
    rows = one.commit(b"a", b"b")
    one.outbox.away = {"beat", "register"}
    kept.acknowledged(rows[:1])
    kept.scan((), older_than_seconds=0.0, limit=10)
    kept.scan((), older_than_seconds=3600.0, limit=10)
    kept._look_around()
    assert [row.record.value for row in found] == [b"b"], (
        "and the look for all rows was not forgotten for the later, narrower one"
    )


def test_a_scan_that_fails_is_not_forgotten_for_a_narrower_one_that_was_asked_for_meanwhile(
    house: House, one: Process
) -> None:
    found: list[OutboxRow] = []
    kept = upkeep_alone(house, one, found)
    one.commit(b"a")
    kept.scan((), older_than_seconds=0.0, limit=10)
    one.outbox.away = {"left_behind"}
    one.outbox.before = lambda: kept.scan((), older_than_seconds=3600.0, limit=10)
    with pytest.raises(OutboxUnavailable):
        kept._look_around()
    one.outbox.away, one.outbox.before = (), lambda: None
    kept._look_around()
    assert [row.record.value for row in found] == [b"a"]


def test_an_acknowledged_row_is_not_published_again_even_by_the_next_owner_of_this_process(
    house: House, one: Process
) -> None:
    one.outbox.away = {"acknowledged"}
    one.send(b"a")
    one.until_published(b"a")
    house.clock.advance(LEASE_SECONDS + 1)
    with house.table.lock:
        house.table.lease_until.clear()
    one.until(lambda: one.outbox.owner != ONE, "the process has another owner id")
    one.outbox.away = ()
    house.until_empty()
    one.pass_scans()
    assert one.producer.values == [b"a"]


def test_rows_whose_commit_was_not_answered_are_found(house: House, one: Process) -> None:
    one.commit(b"a", b"b", key=b"k")
    one.pass_scans()
    assert one.producer.values == [], "a young row may be about to be offered"
    house.clock.advance(6.0)
    one.until_published(b"a", b"b")
    assert one.producer.values == [b"a", b"b"]
    assert one.relay.figures().found_total >= 2


def test_a_row_that_was_found_and_published_is_not_published_again_when_it_is_offered_late(
    house: House, one: Process
) -> None:
    rows = one.commit(b"a")
    house.clock.advance(6.0)
    house.until_empty()
    one.relay.offer(rows)
    one.send(b"b")
    one.until_published(b"a", b"b")


def test_rows_from_before_the_start_are_published(house: House) -> None:
    one = house.process(ONE)
    one.commit(b"a")
    one.relay.offer(one.commit(b"b"))
    one.start()
    one.until_published(b"a", b"b")


# --- other processes -----------------------------------------------------------------------------------------


def test_rows_of_a_living_process_are_left_to_it(house: House, one: Process) -> None:
    two = house.process(TWO).start()
    one.commit(b"a")
    two.pass_scans(3)
    assert two.producer.values == []


def test_rows_of_a_dead_process_are_taken_over(house: House, one: Process) -> None:
    dead = house.process(TWO)
    dead.outbox.register()
    dead.commit(b"a", b"b", key=b"k")
    one.pass_scans()
    assert one.producer.values == []

    house.clock.advance(LEASE_SECONDS + 1)
    one.until(lambda: one.producer.values == [b"a", b"b"], "the rows are taken over, in order")


def test_a_row_waits_until_the_row_before_it_was_published_by_its_own_process(house: House, one: Process) -> None:
    two = house.process(TWO).start()
    gate = Gate(one.producer)
    one.send(b"1", key=b"k")
    assert gate.entered.wait(10.0)
    two.send(b"2", key=b"k")
    two.send(b"x")
    two.until_published(b"x")
    assert two.relay.figures().waiting_lanes == 1

    gate.opened.set()
    two.until_published(b"x", b"2")
    assert one.producer.values == [b"1"]


def test_a_row_waits_for_the_row_before_it_also_when_that_must_be_taken_over_first(house: House, one: Process) -> None:
    dead = house.process(TWO)
    dead.outbox.register()
    dead.commit(b"1", key=b"k")
    one.send(b"2", key=b"k")
    one.until(lambda: one.relay.figures().waiting_lanes == 1, "the row waits")
    house.clock.advance(LEASE_SECONDS + 1)
    one.until(lambda: one.producer.values == [b"1", b"2"], "both are published, in order")


# --- the lease -----------------------------------------------------------------------------------------------


def lose_lease_during_a_publication(house: House, one: Process) -> tuple[list[OutboxRow], Gate]:
    """One hangs in a publication of `a`, holds `b`, and misses its lease; two takes over."""
    gate = Gate(one.producer)
    one.send(b"a")
    assert gate.entered.wait(10.0)
    rows = one.send(b"b")
    one.outbox.away = {"beat"}
    house.clock.advance(LEASE_SECONDS + 1)
    return rows, gate


def test_a_process_that_lost_its_lease_publishes_nothing_more_from_memory(house: House, one: Process) -> None:
    rows, gate = lose_lease_during_a_publication(house, one)
    two = house.process(TWO).start()
    two.until_published(b"a", b"b")
    one.outbox.away = ()
    one.until(lambda: one.outbox.owner != ONE, "the loss is noticed")
    gate.opened.set()
    one.relay.offer(rows)
    one.pass_scans()
    assert one.producer.values == [b"a"], "what was being sent could not be held back"


def test_a_process_that_lost_its_lease_goes_on_under_another_id(house: House, one: Process) -> None:
    _, gate = lose_lease_during_a_publication(house, one)
    house.process(TWO).start().until_published(b"a", b"b")
    one.outbox.away = ()
    one.until(lambda: one.outbox.owner != ONE and one.relay.figures().leased, "there is a new lease")
    gate.opened.set()
    one.send(b"c")
    one.until_published(b"a", b"c")
    assert one.relay.health().healthy


def test_a_lease_that_could_not_be_renewed_stops_publishing_before_it_ends(house: House, one: Process) -> None:
    """Nobody has taken over, so after the renewal memory goes on where it was."""
    one.outbox.away = {"beat", "take_over", "left_behind"}
    house.clock.advance(LEASE_SECONDS * 0.9)
    one.until(lambda: not one.relay.figures().leased, "the lease is over, on this process's clock")
    one.send(b"a")
    beats = one.outbox.beats
    one.until(lambda: one.outbox.beats >= beats + 3, "renewing is tried again and again")
    assert one.producer.calls == []
    assert not one.relay.health().healthy

    one.outbox.away = ()
    one.until_published(b"a")
    assert one.outbox.owner == ONE


def test_an_offer_from_before_the_lease_was_lost_is_left_to_others(house: House, one: Process) -> None:
    rows = one.commit(b"a")
    with house.table.lock:
        house.table.lease_until.clear()
        house.table.owner_of[rows[0].row_id] = TWO
        house.table.lease_until[TWO] = house.table.clock.monotonic() + 60.0
    house.clock.advance(LEASE_SECONDS / 3)
    one.until(lambda: one.outbox.owner != ONE and one.relay.figures().leased, "there is a new lease")
    one.relay.offer(rows)
    one.pass_scans()
    assert one.producer.values == []


def test_statements_that_are_slow_one_after_the_other_do_not_cost_the_lease(standing: House) -> None:
    one = standing.process(ONE).start()
    leased: list[bool] = []

    def slow() -> None:
        standing.clock.advance(3.0)
        leased.append(one.relay.figures().leased)

    one.outbox.before = slow
    for number in range(5):
        looked = one.outbox.looks
        one.send(b"%d" % number)
        one.until(lambda looked=looked: one.outbox.looks > looked, "it was slow")  # type: ignore[misc]
    one.outbox.before = lambda: None
    assert len(leased) > 10 and all(leased)


# --- the clock of the database -------------------------------------------------------------------------------


def test_a_clock_that_is_put_forward_ends_no_lease_of_a_living_process(house: House, one: Process) -> None:
    """It renews within a third of its lease, and has until then what it needs to know that it is alive."""
    two = house.process(TWO).start()
    gate = Gate(one.producer)
    one.send(b"a")
    assert gate.entered.wait(10.0)
    house.table_clock.advance(LEASE_SECONDS + 5)
    two.pass_scans()
    assert ONE in house.table.lease_until
    house.clock.advance(LEASE_SECONDS / 3)
    one.until(lambda: house.table.lease_until[ONE] > house.table.clock.monotonic(), "it has renewed its lease")
    gate.opened.set()
    house.until_empty()
    assert (one.producer.values, two.producer.values) == ([b"a"], [])


def test_a_process_that_died_about_when_the_clock_was_put_forward_is_taken_over_all_the_same(house: House) -> None:
    dead = house.process(TWO)
    dead.outbox.register()
    dead.commit(b"a")
    one = house.process(ONE).start()
    house.table_clock.advance(LEASE_SECONDS + 5)
    one.pass_scans()
    assert one.producer.values == []
    house.clock.advance(LEASE_SECONDS)
    one.until_published(b"a")


def test_a_clock_that_is_put_back_ends_no_lease_of_a_living_process_and_keeps_none_of_a_dead_one(
    house: House, one: Process
) -> None:
    dead = house.process(TWO)
    dead.outbox.register()
    dead.commit(b"a")
    one.pass_scans()
    house.table_clock.advance(-3600.0)
    one.pass_scans()
    assert house.table.lease_until.keys() == {ONE, TWO}
    for _ in range(4):
        beats = one.outbox.beats
        house.clock.advance(LEASE_SECONDS / 3)
        one.until(lambda beats=beats: one.outbox.beats > beats, "it renews its lease")  # type: ignore[misc]
    one.until_published(b"a")
    assert one.outbox.owner == ONE


def test_a_row_is_found_though_the_clock_was_put_back_behind_it(house: House, one: Process) -> None:
    one.commit(b"a")
    house.table_clock.advance(-3600.0)
    one.until_published(b"a")


# --- the server of the database ------------------------------------------------------------------------------


def fail_over(house: House, *, last_id: int = 0) -> None:
    """A standby takes over that has no row, and gives ids out once more."""
    with house.table.lock:
        for row_id in list(house.table.rows):
            house.table.delete(row_id)
        start_again(house)
        house.table._last_id = last_id


def start_again(house: House) -> None:
    house.table.server += timedelta(seconds=1)


def test_rows_with_the_ids_of_rows_that_were_lost_are_published_too_and_in_order(house: House, one: Process) -> None:
    one.send(b"1", b"2", b"3")
    one.until_published(b"1", b"2", b"3")
    house.until_empty()
    fail_over(house)
    one.send(b"4", b"5", b"6", key=b"k")
    one.send(b"7", b"8", key=b"k")
    one.until_published(*[b"%d" % number for number in range(1, 9)])
    house.until_empty()
    assert one.producer.values[3:] == [b"4", b"5", b"6", b"7", b"8"]


def test_a_row_is_not_deleted_for_one_of_its_id_that_was_acknowledged_before(house: House, one: Process) -> None:
    one.outbox.away = {"acknowledged"}
    one.send(b"a")
    one.until_published(b"a")
    fail_over(house)
    one.commit(b"b")
    house.clock.advance(6.0)
    one.outbox.away = ()
    one.until_published(b"a", b"b")


def test_a_lease_that_was_lost_before_the_server_was_another_begins_anew_with_other_ids(
    house: House, one: Process
) -> None:
    one.outbox.away = {"acknowledged"}
    one.send(b"a")
    one.until_published(b"a")
    one.outbox.away = {"acknowledged", "register"}
    with house.table.lock:
        house.table.lease_until.clear()
    house.clock.advance(LEASE_SECONDS / 3)
    one.until(lambda: not one.relay.figures().leased, "the loss is noticed")
    fail_over(house)
    (row,) = one.commit(b"b")
    assert row.row_id == 1, "as that of the other, which is to be deleted"
    one.outbox.away = ()
    house.clock.advance(6.0)
    one.until_published(b"a", b"b")
    house.until_empty()


@pytest.mark.parametrize("noticed", [False, True], ids=["before it is noticed", "after it was noticed"])
def test_a_row_is_not_deleted_for_one_of_its_id_that_is_acknowledged_now(
    house: House, one: Process, noticed: bool
) -> None:
    gate = Gate(one.producer)
    one.send(b"a")
    assert gate.entered.wait(10.0)
    fail_over(house)
    one.commit(b"b")
    if noticed:
        house.clock.advance(LEASE_SECONDS / 3)
        one.until(lambda: one.outbox.owner != ONE, "it is noticed")
    gate.opened.set()
    house.clock.advance(6.0)
    one.until_published(b"a", b"b")
    house.until_empty()


def test_a_row_that_was_acknowledged_before_the_server_was_started_again_is_looked_up(house: House) -> None:
    log: list[Outgoing] = []
    one = house.process(ONE, was_written=lambda records, *_: [record in log for record in records])
    one.producer.log = log
    one.start().outbox.away = {"acknowledged"}
    one.producer.answer = answers(x=UNKNOWN)
    one.send(b"a", b"b", key=b"k")
    one.send(b"x")
    one.until_published(b"a", b"b")
    start_again(house)
    one.outbox.away = ()
    one.producer.answer = answers()
    house.clock.advance(6.0)
    house.until_empty()
    assert one.producer.values == [b"a", b"b", b"x"]


def test_nobody_else_takes_the_rows_of_a_process_that_goes_on_after_the_server_was_started_again(house: House) -> None:
    one, two = house.process(ONE, left_behind_after_seconds=3600.0).start(), house.process(TWO).start()
    one.producer.answer = answers(x=UNKNOWN)
    one.send(b"x")
    one.until(lambda: one.relay.figures().blocked_lanes == 1, "it was tried")
    start_again(house)
    house.clock.advance(LEASE_SECONDS / 3)
    house.stage.until(lambda: one.outbox.owner != ONE and two.outbox.owner != TWO, "both have noticed")
    two.pass_scans()
    one.producer.answer = answers()
    house.until_empty()
    assert (one.producer.values, two.producer.values) == ([b"x"], [])


# --- the log of the bus --------------------------------------------------------------------------------------


def left_by_a_dead_process(house: House) -> list[OutboxRow]:
    """Three rows of one lane and one of another."""
    dead = house.process(TWO)
    rows = [*dead.commit(b"1", b"2", b"3", key=b"k"), *dead.commit(b"x")]
    house.clock.advance(LEASE_SECONDS + 1)
    return rows


def test_rows_of_a_dead_process_that_are_in_the_log_are_not_published_again(house: House) -> None:
    rows = left_by_a_dead_process(house)
    asked: list[int] = []

    def written_since(
        records: Sequence[Outgoing], since_ms: int, timeout_seconds: float, before_ms: int | None
    ) -> list[bool]:
        asked.append(since_ms)
        return [record.value in (b"1", b"x") for record in records]

    created_ms = min(house.table.created_ms.values())
    one = house.process(ONE, was_written=written_since).start()
    house.until_empty()
    assert one.producer.values == [b"2", b"3"]
    assert len(rows) == 4
    assert created_ms - 660_000 < asked[0] < created_ms - 540_000


class Skewed(MovableClock):
    """What it says of the time of day is wrong by so many minutes."""

    def __init__(self, minutes: float) -> None:
        super().__init__()
        self._wrong_by = timedelta(minutes=minutes)

    def now(self) -> datetime:
        return super().now() + self._wrong_by


@pytest.mark.parametrize("minutes", [-5, 5])
def test_a_record_is_found_in_the_log_though_the_clock_of_who_wrote_it_is_minutes_off(
    house: House, minutes: int
) -> None:
    dead = house.process(TWO)
    bus = MemoryBus(topics=["t"], clock=Skewed(minutes))
    bus.producer(client_id="dead").publish([row.record for row in dead.commit(b"a")], 1.0)
    dead.commit(b"b")
    house.clock.advance(LEASE_SECONDS + 1)
    one = house.process(ONE, was_written=bus.written_since).start()
    house.until_empty()
    assert one.producer.values == [b"b"]


def test_rows_of_a_dead_process_wait_until_the_log_can_be_read(house: House) -> None:
    left_by_a_dead_process(house)
    readable = Event()

    def written_since(
        records: Sequence[Outgoing], since_ms: int, timeout_seconds: float, before_ms: int | None
    ) -> list[bool]:
        if not readable.is_set():
            raise BusUnavailable("no answer")
        return [False] * len(records)

    one = house.process(ONE, was_written=written_since).start()
    one.send(b"own")
    one.until_published(b"own")
    house.clock.advance(6.0)
    one.pass_scans()
    assert one.producer.values == [b"own"]
    assert "no answer" in one.relay.health().detail
    readable.set()
    house.clock.advance(6.0)
    house.until_empty()
    assert [value for value in one.producer.values if value in b"123"] == [b"1", b"2", b"3"]


def test_rows_whose_taking_over_was_not_answered_are_looked_up_too(house: House) -> None:
    left_by_a_dead_process(house)
    one = house.process(ONE, was_written=lambda records, *_: [True] * len(records))
    real, lost = one.outbox.take_over, Event()

    def take_over(limit: int, *, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        taken = real(limit, without=without)
        if taken and not lost.is_set():
            lost.set()
            raise OutboxUnavailable("the answer to COMMIT was lost")
        return taken

    one.outbox.take_over = take_over  # type: ignore[method-assign]
    one.start()
    house.until_empty()
    assert lost.is_set()
    assert one.producer.values == []


def test_an_old_row_that_cannot_be_looked_up_holds_up_no_younger_one(house: House) -> None:
    """It was refused for days, and its topic has more in it than can be read in time."""
    now_ms = int(house.clock.now().timestamp() * 1000)
    dead = house.process(TWO)
    (old,), (young,) = dead.commit(b"old"), dead.commit(b"young")
    house.table.created_ms |= {old.row_id: now_ms - 3 * 24 * 3_600_000, young.row_id: now_ms - 5_000}
    house.clock.advance(LEASE_SECONDS + 1)

    def written_since(
        records: Sequence[Outgoing], since_ms: int, timeout_seconds: float, before_ms: int | None
    ) -> list[bool]:
        if since_ms < now_ms - 3_600_000:
            raise BusUnavailable("reading took too long")
        return [False] * len(records)

    one = house.process(ONE, was_written=written_since).start()
    one.until_published(b"young")
    one.until(lambda: "reading took too long" in one.relay.health().detail, "it is said")
    assert one.relay.health().healthy, "nothing that is young waits"
    assert one.producer.values == [b"young"]


def test_no_more_rows_wait_to_be_looked_up_than_are_fetched_at_a_time(house: House) -> None:
    house.process(TWO).commit(*[b"%d" % number for number in range(20)])

    def written_since(*_: object) -> list[bool]:
        raise BusUnavailable("no answer")

    one = house.process(ONE, was_written=written_since, held_max=10, batch_max=2).start()
    one.pass_scans(3)
    assert list(house.table.owner_of.values()).count(ONE) == 5
    one.send(b"own")
    one.until_published(b"own")


def test_rows_of_a_topic_that_cannot_be_read_keep_no_others_from_being_looked_up(house: House) -> None:
    dead = house.process(TWO)
    dead.commit(*[b"%d" % number for number in range(20)], topic="unreadable")
    dead.commit(b"x")

    def written_since(records: Sequence[Outgoing], *_: object) -> list[bool]:
        if records[0].topic == "unreadable":
            raise BusUnavailable("no answer")
        return [False] * len(records)

    one = house.process(ONE, was_written=written_since, held_max=10, batch_max=2).start()
    one.until_published(b"x")
    assert list(house.table.owner_of.values()).count(ONE) <= 10
