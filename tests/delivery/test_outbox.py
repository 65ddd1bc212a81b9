"""What every outbox promises: run over PostgreSQL and over memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from ordersaga.bus.protocol import Outgoing
from ordersaga.delivery.deadline import Deadline
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.outbox import TABLES_SQL, PostgresOutbox, write, written
from ordersaga.delivery.outbox_memory import MemoryOutbox, MemoryTable
from ordersaga.delivery.outbox_protocol import LeaseLost, Outbox

from .stage import ONE, THREE, TWO


@dataclass(frozen=True)
class Kind:
    """One implementation: how to write rows and commit, and an owner's view. A lease of 0 seconds has run out when it
    begins.
    """

    commit: Callable[[Sequence[Outgoing], UUID], list[OutboxRow]]
    view: Callable[[UUID, float], Outbox]

    def living(self, owner: UUID) -> Outbox:
        outbox = self.view(owner, 600.0)
        outbox.register()
        return outbox

    def dead(self, owner: UUID) -> Outbox:
        outbox = self.view(owner, 0.0)
        outbox.register()
        return outbox


@pytest.fixture(params=["memory", "postgres"])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    if request.param == "memory":
        table = MemoryTable()
        yield Kind(table.write, lambda owner, lease_seconds: MemoryOutbox(table, owner, lease_seconds=lease_seconds))
        return
    url = request.getfixturevalue("database_url")
    with psycopg.connect(url) as connection:
        connection.execute(TABLES_SQL)
    with ConnectionPool(url, min_size=1, max_size=3, open=True) as pool:

        def commit(records: Sequence[Outgoing], owner: UUID) -> list[OutboxRow]:
            with pool.connection() as connection, connection.cursor() as cursor:
                write(cursor, records, owner)
                return written(cursor, records)

        def view(owner: UUID, lease_seconds: float) -> Outbox:
            return PostgresOutbox(pool, owner, lease_seconds=lease_seconds, deadline=Deadline(10.0))

        yield Kind(commit, view)


def records(*keys: bytes) -> list[Outgoing]:
    return [Outgoing("t", key, b"%d" % number) for number, key in enumerate(keys)]


def ids(rows: Sequence[OutboxRow]) -> list[int]:
    return [row.row_id for row in rows]


def all_of(outbox: Outbox) -> Sequence[OutboxRow]:
    return outbox.left_behind((), older_than_seconds=0.0, limit=1000)


def test_rows_come_back_in_the_order_of_the_records(kind: Kind) -> None:
    wanted = records(b"a", b"b", b"a", b"c")
    rows = kind.commit(wanted, ONE)
    assert [row.record for row in rows] == wanted
    assert ids(rows) == sorted(ids(rows))
    assert {row.owner for row in rows} == {ONE}


def test_a_row_follows_the_last_row_of_its_lane(kind: Kind) -> None:
    first, other, second = kind.commit(records(b"a", b"b", b"a"), ONE)
    assert (first.after, other.after, second.after) == (None, None, first.row_id)
    third, elsewhere = kind.commit([Outgoing("t", b"a", b"3"), Outgoing("another topic", b"a", b"4")], TWO)
    assert (third.after, elsewhere.after) == (second.row_id, None)


def test_a_row_follows_nothing_that_has_left_the_outbox(kind: Kind) -> None:
    outbox = kind.living(ONE)
    first, second = kind.commit(records(b"a", b"a"), ONE)
    outbox.acknowledged([second.row_id])
    assert kind.commit(records(b"a"), ONE)[0].after == first.row_id
    outbox.acknowledged(ids(all_of(outbox)))
    assert kind.commit(records(b"a"), ONE)[0].after is None


def test_nothing_to_write_is_nothing_written(kind: Kind) -> None:
    assert kind.commit([], ONE) == []


def test_any_bytes_survive(kind: Kind) -> None:
    record = Outgoing("t", b"\x00\xff", b"\x00\\x\xfe", (("h", b"\x00\xff"), ("h", b""), ("\u00fc", b"2")))
    kind.commit([record], ONE)
    (found,) = all_of(kind.living(ONE))
    assert found.record == record


def test_acknowledged_rows_are_gone(kind: Kind) -> None:
    outbox = kind.living(ONE)
    first, second, third = ids(kind.commit(records(b"a", b"b", b"c"), ONE))
    outbox.acknowledged([first, third])
    outbox.acknowledged([])
    outbox.acknowledged([first])
    assert outbox.still_there([first, second, third, 999]) == {second}
    assert outbox.still_there([]) == set()


def test_rows_of_a_living_owner_are_not_taken(kind: Kind) -> None:
    kind.living(ONE)
    kind.commit(records(b"a"), ONE)
    assert list(kind.living(TWO).take_over(10)) == []


def test_rows_of_a_dead_owner_are_taken_oldest_first_and_once(kind: Kind) -> None:
    kind.dead(ONE)
    rows = kind.commit(records(b"a", b"b", b"a", b"a"), ONE)
    two, three = kind.living(TWO), kind.living(THREE)

    taken = two.take_over(3)
    assert ids(taken) == ids(rows)[:3]
    assert {row.owner for row in taken} == {TWO}
    assert [row.after for row in taken] == [None, None, rows[0].row_id]
    rest = three.take_over(10)
    assert ids(rest) == ids(rows)[3:]
    assert rest[0].after == rows[2].row_id
    assert list(two.take_over(10)) == []


def test_rows_of_an_owner_that_never_registered_are_taken(kind: Kind) -> None:
    rows = kind.commit(records(b"a"), ONE)
    assert ids(kind.living(TWO).take_over(10)) == ids(rows)


def test_rows_written_after_their_owner_was_buried_are_taken(kind: Kind) -> None:
    kind.dead(ONE)
    two = kind.living(TWO)
    assert list(two.take_over(10)) == []
    rows = kind.commit(records(b"a"), ONE)
    assert ids(two.take_over(10)) == ids(rows)


def test_rows_of_several_dead_owners_are_taken_together(kind: Kind) -> None:
    rows = [row for owner in (THREE, ONE, THREE) for row in kind.commit(records(b"a"), owner)]
    assert ids(kind.living(TWO).take_over(10)) == ids(rows)


def test_a_lease_that_ran_out_unnoticed_is_renewed(kind: Kind) -> None:
    one = kind.dead(ONE)
    one.beat()


def test_a_lease_that_another_found_run_out_is_lost(kind: Kind) -> None:
    one = kind.dead(ONE)
    kind.living(TWO).take_over(10)
    with pytest.raises(LeaseLost):
        one.beat()


def test_who_lost_the_lease_goes_on_under_another_id(kind: Kind) -> None:
    one = kind.dead(ONE)
    kind.living(TWO).take_over(10)
    one.register(anew=True)
    assert one.owner not in (ONE, TWO)
    one.beat()


def test_after_a_release_others_take_over_at_once(kind: Kind) -> None:
    one = kind.living(ONE)
    rows = kind.commit(records(b"a"), ONE)
    one.release()
    assert ids(kind.living(TWO).take_over(10)) == ids(rows)


def test_rows_left_behind_are_mine_and_not_known_and_not_young(kind: Kind) -> None:
    one = kind.living(ONE)
    kind.living(TWO)
    first, second, third = ids(kind.commit(records(b"a", b"a", b"a"), ONE))
    kind.commit(records(b"b"), TWO)

    assert ids(one.left_behind([second], older_than_seconds=0.0, limit=10)) == [first, third]
    assert ids(one.left_behind([], older_than_seconds=0.0, limit=2)) == [first, second]
    assert ids(one.left_behind([], older_than_seconds=60.0, limit=10)) == []
    assert ids(one.left_behind([], older_than_seconds=0.0, limit=1, after=first)) == [second]
    assert [row.after for row in all_of(one)] == [None, first, second]


def test_rows_of_some_topics_can_be_left_where_they_are(kind: Kind) -> None:
    (mine, _), (orphan, _) = [kind.commit([Outgoing(topic, b"a", b"1") for topic in "tu"], one) for one in (ONE, TWO)]
    one = kind.living(ONE)
    assert ids(one.left_behind((), older_than_seconds=0.0, limit=10, without={"u", "v"})) == [mine.row_id]
    assert ids(one.take_over(10, without={"u", "v"})) == [orphan.row_id]
    assert list(one.take_over(10, without={"u"})) == []
    assert len(one.take_over(10)) == 1


def test_what_waits_is_counted_with_its_age(kind: Kind) -> None:
    one = kind.living(ONE)
    assert (one.pending().rows, one.pending().oldest_age_seconds) == (0, 0.0)
    kind.commit(records(b"a", b"b"), ONE)
    kind.commit(records(b"b"), TWO)
    earlier = one.pending()
    assert earlier.rows == 3
    assert 0.0 < earlier.oldest_age_seconds < one.pending().oldest_age_seconds < 60.0
