"""What every store promises of a transaction: all or nothing, one at a time for each saga, on one clock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.store.protocol import (
    BadRow,
    Batch,
    DamagedRow,
    DeadlineKind,
    Due,
    Lookup,
    StaleWrite,
    Store,
    StoreUnavailable,
    UnknownVersion,
)
from ordersaga.orchestrator.store.search import Search
from tests.local.watching import until

from .places import Place
from .sagas import (
    FUTURE,
    KNOWS_ANOTHER,
    NOW,
    PAST,
    AnyInstance,
    Person,
    begin,
    begun,
    change,
    changed,
    dead_letter,
    message,
    new_id,
    orphan,
    saga,
    waiting_until,
    with_data,
)


def move(store: Store, saga_id: UUID, how: Callable[[AnyInstance], AnyInstance] = changed) -> AnyInstance:
    with store.transaction() as transaction:
        before = transaction.load(Lookup(saga_ids=[saga_id])).instances[saga_id]
        transaction.save(Batch(changes=[change(before, after := how(before))]))
    return after


def got(store: Store, saga_id: UUID) -> AnyInstance:
    found = store.get(saga_id)
    assert found is not None
    return found


def test_a_saga_that_was_begun_is_found_as_it_was(store: Store) -> None:
    one = saga(order_id="o-1", note='résumé \\ " {} , NULL ☃ \U0001f600')
    begin(store, one)
    assert store.get(one.saga_id) == one
    assert store.get(uuid4()) is None


def test_what_was_saved_is_what_is_loaded(store: Store) -> None:
    one = saga()
    begin(store, one)
    moved = move(store, one.saga_id, lambda before: with_data(before, order_id="o-1"))
    with store.transaction() as transaction:
        assert transaction.load(Lookup(saga_ids=[one.saga_id])).instances == {one.saga_id: moved}


def test_the_clock_is_the_stores_and_comes_even_when_nothing_is_found(store: Store) -> None:
    for wanted in (Lookup(), Lookup(saga_ids=[uuid4()]), Lookup(order_ids=["o-none"])):
        with store.transaction() as transaction:
            loaded = transaction.load(wanted)
        assert abs(loaded.now - NOW) < timedelta(hours=1)
        assert loaded.now.tzinfo is UTC
        assert (loaded.instances, set(loaded.unknown_versions)) == ({}, set())


def test_nothing_of_a_transaction_that_failed_remains(place: Place, store: Store) -> None:
    one, other = saga(), saga()
    begin(store, one)

    def fail() -> None:
        with store.transaction() as transaction:
            before = transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
            changes = [change(before, waiting_until(before, PAST), message(one)), change(None, other, message(other))]
            transaction.save(Batch(changes=changes, dead_letters=[dead_letter()], orphans=[orphan()]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.get(one.saga_id) == one
    assert store.get(other.saga_id) is None
    assert len(store.history(one.saga_id)) == 1
    assert list(store.history(other.saga_id)) == []
    counts = store.counts()
    assert (counts.by_status, counts.outbox_rows, counts.deadlines_due) == ({Status.STARTED: 1}, 0, 0)
    assert (counts.dead_letters, counts.orphans) == (0, 0)
    assert place.outbox.pending().rows == 0


def test_what_was_changed_meanwhile_is_not_overwritten_and_nothing_beside_it_is_written(store: Store) -> None:
    one, other = saga(), saga()
    begin(store, one, other)
    newest = move(store, one.saga_id)
    changes = [change(one, changed(one, step="STALE"), message(one)), change(other, changed(other))]
    with pytest.raises(StaleWrite) as caught, store.transaction() as transaction:
        transaction.save(Batch(changes=changes))
    assert caught.value.retriable
    assert (store.get(one.saga_id), store.get(other.saga_id)) == (newest, other)
    assert store.counts().outbox_rows == 0


def test_a_saga_that_is_not_there_cannot_be_changed(store: Store) -> None:
    one = saga()
    with pytest.raises(StaleWrite), store.transaction() as transaction:
        transaction.save(Batch(changes=[change(one, changed(one))]))


def test_an_id_can_be_begun_once(store: Store) -> None:
    one = saga()
    begin(store, one)
    with pytest.raises(BadRow):
        begin(store, one)
    assert store.get(one.saga_id) == one


def test_a_change_without_a_new_revision_is_a_bug_of_ours(store: Store) -> None:
    one = saga()
    begin(store, one)
    with pytest.raises(AssertionError), store.transaction() as transaction:
        transaction.save(Batch(changes=[change(one, one)]))


def test_an_error_that_is_kept_inside_its_transaction_is_no_success(store: Store) -> None:
    one = saga()
    with pytest.raises(AssertionError), store.transaction() as transaction, pytest.raises(BadRow):
        transaction.save(begun(one, saga(note="\0")))
    assert store.get(one.saga_id) is None


# --- one at a time --------------------------------------------------------------------------------


def test_the_second_transaction_waits_and_sees_what_the_first_did(place: Place, store: Store) -> None:
    one = saga()
    begin(store, one)
    with ThreadPoolExecutor(1) as threads:
        with store.transaction() as first:
            before = first.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
            second = threads.submit(move, place.store(), one.saga_id)
            until(place.someone_waits, "the second waits for the first")
            first.save(Batch(changes=[change(before, changed(before))]))
            assert not second.done()
        assert second.result(20).revision == 3


def test_who_waited_gets_personal_data_as_they_are_after_the_wait(place: Place, store: Store) -> None:
    one = saga()
    begin(store, one)

    def card_of(store: Store) -> tuple[int, str | None]:
        with store.transaction() as transaction:
            found = transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
            return found.revision, found.data.personal.card

    with ThreadPoolExecutor(1) as threads:
        with store.transaction() as first:
            before = first.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
            second = threads.submit(card_of, place.store())
            until(place.someone_waits, "the second waits for the first")
            person = Person(customer_id="c4n4ry-1", card="visa")
            first.save(Batch(changes=[change(before, with_data(before, personal=person))]))
        assert second.result(20) == (2, "visa")


def test_what_another_holds_can_be_left_out(place: Place, store: Store) -> None:
    one, other = saga(order_id="o-1"), saga(order_id="o-2")
    begin(store, one, other)
    both = Lookup(saga_ids=[one.saga_id, other.saga_id])
    with store.transaction() as holding:
        holding.load(Lookup(saga_ids=[one.saga_id]))
        for wanted in (both, Lookup(order_ids=["o-1", "o-2"])):
            with place.store().transaction() as transaction:
                assert set(transaction.load(wanted, skip_locked=True).instances) == {other.saga_id}
    with store.transaction() as transaction:
        assert set(transaction.load(both, skip_locked=True).instances) == {one.saga_id, other.saga_id}


def test_batches_that_name_the_same_sagas_in_any_order_do_not_wait_for_each_other_for_ever(place: Place) -> None:
    sagas = [saga() for _ in range(6)]
    ids = [one.saga_id for one in sagas]
    begin(place.store(), *sagas)

    def work(order: list[UUID]) -> None:
        store = place.store()
        for _ in range(15):
            with store.transaction() as transaction:
                loaded = transaction.load(Lookup(saga_ids=order))
                changes = [change(before := loaded.instances[saga_id], changed(before)) for saga_id in order]
                transaction.save(Batch(changes=changes))

    with ThreadPoolExecutor(3) as threads:
        orders = [ids, ids[::-1], ids[3:] + ids[:3]]
        for done in [threads.submit(work, order) for order in orders]:
            done.result(60)
    assert {got(place.store(), saga_id).revision for saga_id in ids} == {1 + 3 * 15}


def test_sagas_are_locked_in_the_order_of_their_ids_however_they_lie_and_are_named(store: Store) -> None:
    sagas = [saga(order_id=f"o-{n}") for n in range(5)]
    begin(store, *reversed(sagas))
    ids = [one.saga_id for one in sagas]
    for wanted in (Lookup(saga_ids=ids[::-1]), Lookup(order_ids=[f"o-{n}" for n in (3, 0, 4, 1, 2)])):
        for skip_locked in (False, True):
            with store.transaction() as transaction:
                assert list(transaction.load(wanted, skip_locked=skip_locked).instances) == ids


def test_a_transaction_lets_go_of_its_sagas_whether_it_succeeds_or_fails(store: Store) -> None:
    one = saga()
    begin(store, one)

    def fail() -> None:
        with store.transaction() as transaction:
            transaction.load(Lookup(saga_ids=[one.saga_id]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.transaction() as transaction:
        assert transaction.load(Lookup(saga_ids=[one.saga_id]), skip_locked=True).instances


# --- finding --------------------------------------------------------------------------------------


def test_sagas_are_found_by_order_and_by_payment(store: Store) -> None:
    one, two, three = saga(), saga(payment_id="p-2"), saga(order_id="o-3")
    begin(store, one, two, three, saga(order_id="o-4", payment_id="p-4"), saga())
    move(store, one.saga_id, lambda before: with_data(before, order_id="o-1"))
    with store.transaction() as transaction:
        wanted = Lookup(saga_ids=[three.saga_id], order_ids=["o-1", "o-none"], payment_ids=["p-2"])
        assert set(transaction.load(wanted).instances) == {one.saga_id, two.saga_id, three.saga_id}


def test_a_saga_of_a_version_that_is_not_known_is_left_alone(place: Place, store: Store) -> None:
    one = saga(order_id="o-1")
    begin(store, one)
    elsewhere = place.store(KNOWS_ANOTHER)
    with elsewhere.transaction() as transaction:
        loaded = transaction.load(Lookup(saga_ids=[one.saga_id]))
    assert (loaded.instances, set(loaded.unknown_versions)) == ({}, {one.saga_id})
    with pytest.raises(UnknownVersion, match=str(one.saga_id)):
        elsewhere.get(one.saga_id)
    assert elsewhere.get(new_id()) is None
    for search in (Search(), Search(order_id="o-1"), Search(statuses=frozenset({Status.STARTED}))):
        page = elsewhere.page(search)
        assert (list(page.instances), list(page.unknown_versions)) == ([], [one.saga_id])
    assert not elsewhere.page(Search(order_id="o-2")).unknown_versions
    assert store.get(one.saga_id) == one and not store.page().unknown_versions


def test_a_saga_whose_row_is_damaged_is_named_and_hides_no_other(place: Place, store: Store) -> None:
    one, damaged, other = saga(), saga(order_id="o-1"), saga()
    begin(store, one, damaged, other)
    place.damage(damaged.saga_id)
    page = store.page()
    assert [found.saga_id for found in page.instances] == [other.saga_id, one.saga_id]
    assert (list(page.damaged), list(page.unknown_versions), page.next_after) == ([damaged.saga_id], [], None)
    first = store.page(limit=2)
    assert [found.saga_id for found in first.instances] == [other.saga_id]
    assert (list(first.damaged), first.next_after) == ([damaged.saga_id], damaged.saga_id)
    assert [found.saga_id for found in store.page(after=first.next_after).instances] == [one.saga_id]
    for search in (Search(order_id="o-1"), Search(order_id="o-1", statuses=frozenset({Status.STARTED}))):
        assert list(store.page(search).damaged) == [damaged.saga_id]
    assert not store.page(Search(statuses=frozenset({Status.FAILED}))).damaged
    assert store.count().count == 3 and store.standing().failed == 0
    with pytest.raises(DamagedRow, match=f"{damaged.saga_id} is damaged"):
        store.get(damaged.saga_id)
    with pytest.raises(DamagedRow), store.transaction() as transaction:
        transaction.load(Lookup(saga_ids=[one.saga_id, damaged.saga_id]))
    with store.transaction() as transaction:
        assert set(transaction.load(Lookup(saga_ids=[one.saga_id])).instances) == {one.saga_id}


# --- deadlines ------------------------------------------------------------------------------------


def test_deadlines_are_set_moved_and_cleared_with_the_state(store: Store) -> None:
    one = saga()
    begin(store, one)
    assert list(store.due(10)) == []
    move(store, one.saga_id, lambda before: waiting_until(before, PAST))
    assert list(store.due(10)) == [Due(one.saga_id, DeadlineKind.COMMAND, PAST)]
    move(store, one.saga_id)
    assert list(store.due(10)) == [Due(one.saga_id, DeadlineKind.COMMAND, PAST)]
    move(store, one.saga_id, lambda before: waiting_until(before, None))
    assert list(store.due(10)) == []
    move(store, one.saga_id, lambda before: changed(waiting_until(before, PAST), window_ends_at=PAST))
    assert {due.kind for due in store.due(10)} == {DeadlineKind.COMMAND, DeadlineKind.WINDOW}
    move(store, one.saga_id, lambda before: waiting_until(before, None))
    assert [due.kind for due in store.due(10)] == [DeadlineKind.WINDOW]
    move(store, one.saga_id, lambda before: changed(before, expired=True))
    assert list(store.due(10)) == []


def test_windows_are_found_once_they_have_passed_for_as_long_as_one_says(store: Store) -> None:
    one = changed(waiting_until(saga(), PAST), window_ends_at=PAST)
    begin(store, one)
    ago = (datetime.now(UTC) - PAST).total_seconds()
    kinds = [{due.kind for due in store.due(10, windows_past_seconds=ago + more)} for more in (-3600.0, 3600.0)]
    assert kinds == [{DeadlineKind.COMMAND, DeadlineKind.WINDOW}, {DeadlineKind.COMMAND}]
    assert {due.kind for due in store.due(1, windows_past_seconds=ago + 3600.0)} == {DeadlineKind.COMMAND}


def test_deadlines_of_a_version_that_is_not_known_are_found_by_who_knows_it_only(place: Place, store: Store) -> None:
    """However many there are: they fill nobody's batch."""
    begin(store, *(waiting_until(saga(), PAST) for _ in range(3)))
    other = replace(waiting_until(saga(), PAST + timedelta(seconds=1)), version=2)
    begin(store, other)
    elsewhere = place.store(KNOWS_ANOTHER)
    assert [due.saga_id for due in elsewhere.due(2)] == [other.saga_id]
    assert len(store.due(10)) == 3
    assert store.counts().deadlines_due == elsewhere.counts().deadlines_due == 4, "how many are late is said by all"


def test_a_deadline_that_is_later_now_stands_where_it_stood_until_it_is_put_right(store: Store) -> None:
    one = waiting_until(saga(), PAST)
    begin(store, one)
    move(store, one.saga_id, lambda before: waiting_until(before, FUTURE))
    assert list(store.due(10)) == [Due(one.saga_id, DeadlineKind.COMMAND, PAST)], "early, never late"
    with store.transaction() as transaction:
        transaction.load(Lookup(saga_ids=[one.saga_id]))
        transaction.save(Batch(rearmed=[Due(one.saga_id, DeadlineKind.COMMAND, FUTURE)]))
    assert list(store.due(10)) == []


def test_a_deadline_that_cannot_be_acted_upon_is_put_off_as_far_as_it_stands_where_it_was_seen(store: Store) -> None:
    one, other = waiting_until(saga(), PAST), waiting_until(saga(), PAST)
    earlier = PAST - timedelta(seconds=1)
    begin(store, one, other)
    seen, spared = (Due(each.saga_id, DeadlineKind.COMMAND, PAST) for each in (one, other))
    store.put_off(seen, 60.0)
    assert list(store.due(10)) == [spared]
    move(store, other.saga_id, lambda before: waiting_until(before, earlier))
    store.put_off(spared, 60.0)
    assert [due.due_at for due in store.due(10)] == [earlier], "somebody has moved it meanwhile"
    move(store, other.saga_id, lambda before: waiting_until(before, None))
    store.put_off(spared, -60.0)
    assert list(store.due(10)) == [], "nothing waits for it any more"
    store.put_off(seen, -60.0)
    assert list(store.due(10)) == [], "it was put off by another process"
    earlier = PAST - timedelta(seconds=1)
    move(store, one.saga_id, lambda before: waiting_until(before, earlier))
    assert list(store.due(10)) == [Due(one.saga_id, DeadlineKind.COMMAND, earlier)]


def test_a_deadline_that_was_put_off_fails_until_it_is_where_it_belongs(store: Store) -> None:
    one, other = waiting_until(saga(), PAST), waiting_until(saga(), PAST)
    begin(store, one, other)
    assert store.standing().deadlines_failing == 0
    for each in (one, other):
        store.put_off(Due(each.saga_id, DeadlineKind.COMMAND, PAST), 60.0)
    assert (store.standing().deadlines_due, store.standing().deadlines_failing) == (0, 2)
    with store.transaction() as transaction:
        transaction.load(Lookup(saga_ids=[one.saga_id]))
        transaction.save(Batch(rearmed=[Due(one.saga_id, DeadlineKind.COMMAND, FUTURE)]))
    assert store.standing().deadlines_failing == 1
    move(store, other.saga_id, lambda before: waiting_until(before, None))
    assert store.standing().deadlines_failing == 0


def test_a_deadline_that_was_put_off_is_looked_at_again_once_its_saga_goes_on(store: Store) -> None:
    """What it waits for is another by now, and may be due long before the time to which the first one was put off."""
    one, other = waiting_until(saga(), PAST), waiting_until(saga(), PAST)
    begin(store, one, other)
    for each in (one, other):
        store.put_off(Due(each.saga_id, DeadlineKind.COMMAND, PAST), 600.0)
    assert list(store.due(10)) == []
    move(store, one.saga_id, lambda before: waiting_until(before, NOW + timedelta(seconds=30)))
    (found,) = store.due(10)
    assert (found.saga_id, found.kind) == (one.saga_id, DeadlineKind.COMMAND), "early, never late"
    assert store.standing().deadlines_failing == 1, "that of the other"
    move(store, other.saga_id, lambda before: waiting_until(before, None))
    assert list(store.due(10)) == [found] and store.standing().deadlines_failing == 0


def test_what_is_due_comes_oldest_first_in_bounded_numbers_and_is_not_taken_by_looking(store: Store) -> None:
    sagas = [waiting_until(saga(), PAST + timedelta(seconds=second)) for second in (3, 1, 2, 4)]
    begin(store, *sagas)
    third, first, second, _ = (one.saga_id for one in sagas)
    for _ in range(2):
        assert [due.saga_id for due in store.due(3)] == [first, second, third]
    assert all(due.due_at.tzinfo is UTC for due in store.due(3))


# --- personal data --------------------------------------------------------------------------------


def test_personal_data_are_kept_apart_from_the_state(place: Place, store: Store) -> None:
    one = saga(customer_id="somebody")
    begin(store, one)
    state, personal = place.stored(one.saga_id)
    assert personal is not None and b"somebody" in personal
    assert b"somebody" not in state
    move(store, one.saga_id)
    assert got(store, one.saga_id).data.personal == one.data.personal


def test_personal_data_can_be_erased_and_stay_erased(place: Place, store: Store) -> None:
    one = saga(customer_id="somebody")
    begin(store, one)
    move(store, one.saga_id, lambda before: with_data(before, personal=None))
    assert place.stored(one.saga_id)[1] is None
    move(store, one.saga_id)
    assert place.stored(one.saga_id)[1] is None
    assert got(store, one.saga_id).data.personal is None


# --- history --------------------------------------------------------------------------------------


def test_history_is_told_in_the_order_of_revisions(store: Store) -> None:
    one = saga()
    begin(store, one)
    for step in ("TWO", "THREE"):
        with store.transaction() as transaction:
            before = transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
            entry = change(before, changed(before, step=step), step=step, ids=["a", {"b": None}])
            transaction.save(Batch(changes=[entry]))
    entries = store.history(one.saga_id)
    assert [(entry.revision, entry.cause) for entry in entries] == [(1, "started"), (2, "moved"), (3, "moved")]
    assert entries[1].body == {"step": "TWO", "ids": ["a", {"b": None}]}
    assert all(entry.at.tzinfo is UTC for entry in entries)
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)


def test_several_decisions_on_one_saga_are_one_change_with_an_entry_each(store: Store) -> None:
    one = saga()
    two = changed(one, step="TWO")
    three = changed(two, step="THREE")
    entries = [*change(None, one).history, *change(one, two).history, *change(two, three).history]
    with store.transaction() as transaction:
        whole = change(None, three)
        transaction.save(Batch(changes=[type(whole)(before=None, after=three, history=entries, messages=())]))
    assert [entry.revision for entry in store.history(one.saga_id)] == [1, 2, 3]
    assert store.get(one.saga_id) == three


# --- what is sent --------------------------------------------------------------------------------


def test_messages_are_in_the_outbox_in_their_order_each_after_the_one_before_it(place: Place, store: Store) -> None:
    one, other = saga(), saga()
    with store.transaction() as transaction:
        changes = [change(None, one, message(one, b"1"), message(one, b"2")), change(None, other, message(other, b"3"))]
        rows = transaction.save(Batch(changes=changes, messages=[message(one, b"4")]))
    said = [message(one, b"1"), message(one, b"2"), message(other, b"3"), message(one, b"4")]
    assert [row.record for row in rows] == said
    first, second, alone, last = rows
    assert (first.after, second.after, alone.after, last.after) == (None, first.row_id, None, second.row_id)
    assert {row.owner for row in rows} == {place.outbox.owner}
    assert place.outbox.still_there([row.row_id for row in rows]) == {row.row_id for row in rows}


def test_messages_are_written_under_the_owner_of_the_moment(place: Place, store: Store) -> None:
    place.outbox.register(anew=True)
    one = saga()
    with store.transaction() as transaction:
        rows = transaction.save(Batch(changes=[change(None, one, message(one))]))
    assert rows[0].owner == place.outbox.owner


def test_saving_nothing_is_allowed(store: Store) -> None:
    with store.transaction() as transaction:
        assert list(transaction.save(Batch())) == []


# --- counts -------------------------------------------------------------------------------------


def test_counts_tell_what_there_is(store: Store) -> None:
    one, failed = waiting_until(saga(), PAST), saga(status=Status.FAILED)
    with store.transaction() as transaction:
        changes = [change(None, one, message(one)), change(None, failed)]
        transaction.save(Batch(changes=changes, dead_letters=[dead_letter()], orphans=[orphan()]))
    counts = store.counts()
    assert counts.by_status == {Status.STARTED: 1, Status.FAILED: 1}
    assert (counts.outbox_rows, counts.deadlines_due, counts.dead_letters, counts.orphans) == (1, 1, 1, 1)


# --- the whole ------------------------------------------------------------------------------------


def test_a_store_that_is_well_says_so_and_its_upkeep_harms_nothing(store: Store) -> None:
    one = saga()
    begin(store, one)
    store.check(5.0)
    store.upkeep()
    store.upkeep()
    assert store.get(one.saga_id) == one


def test_a_store_that_was_closed_is_not_available(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable):
        store.get(uuid4())
    with pytest.raises(StoreUnavailable), store.transaction() as transaction:
        transaction.load(Lookup())
    with pytest.raises(StoreUnavailable):
        store.check(1.0)
