"""What every store promises of records that cannot be used, or not yet: kept once, found, settled once."""

from contextlib import suppress
from datetime import UTC
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordersaga.orchestrator.store.protocol import (
    Batch,
    SettledAs,
    StaleWrite,
    Store,
    Unclaimed,
)

from .places import Place
from .sagas import (
    begin,
    change,
    dead_letter,
    early,
    orphan,
    saga,
    with_data,
)


def put_aside(store: Store, *letters: Any, orphans: Any = ()) -> None:
    with store.transaction() as transaction:
        transaction.save(Batch(dead_letters=letters, orphans=orphans))


def test_a_record_that_cannot_be_used_is_kept_once_however_often_it_is_delivered(store: Store) -> None:
    for _ in range(2):
        with store.transaction() as transaction:
            letters = [dead_letter(9), dead_letter(8), dead_letter(9)]
            transaction.save(Batch(dead_letters=letters, orphans=[orphan(8, UUID(int=1)), orphan(7, UUID(int=2))]))
    assert (store.counts().dead_letters, store.counts().orphans) == (2, 2)


def test_the_same_offset_of_a_topic_that_was_made_anew_is_another_record(store: Store) -> None:
    with store.transaction() as transaction:
        letters = [dead_letter(7, timestamp_ms=1), dead_letter(7, timestamp_ms=2)]
        transaction.save(Batch(dead_letters=letters, orphans=[orphan(7), orphan(7)]))
    assert (store.counts().dead_letters, store.counts().orphans) == (2, 2)


def test_what_came_too_early_is_kept_once_and_handed_out_once_to_who_learns_its_id(store: Store) -> None:
    events = [early("order_id o-1", 9), early("order_id o-1", 8), early("payment_id p-1", 7)]
    for _ in range(2):
        with store.transaction() as transaction:
            transaction.save(Batch(early=events))
    for expected in ([8, 9], []):
        with store.transaction() as transaction:
            claimed = transaction.claim(["order_id o-1", "order_id o-2"])
            assert [one.offset for one in claimed] == expected
    with store.transaction() as transaction:
        assert list(transaction.claim(["payment_id p-1"])) == [events[2]]


def test_who_learns_an_id_without_claiming_what_is_kept_for_it_is_told_to(store: Store) -> None:
    one = saga()
    with store.transaction() as transaction:
        transaction.save(Batch(changes=[change(None, one)], early=[early("order_id o-1")]))
    batch = Batch(changes=[change(one, after := with_data(one, order_id="o-1"))], learnt=["order_id o-1"])
    with pytest.raises(Unclaimed) as caught, store.transaction() as transaction:
        transaction.save(batch)
    assert caught.value.retriable and store.get(one.saga_id) == one
    with store.transaction() as transaction:
        assert transaction.claim(batch.learnt)
        transaction.save(batch)
    assert store.get(one.saga_id) == after


def test_what_was_claimed_is_still_kept_where_the_transaction_fails(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.save(Batch(early=[early("order_id o-1")]))
    with suppress(ZeroDivisionError), store.transaction() as transaction:
        assert transaction.claim(["order_id o-1"])
        raise ZeroDivisionError
    with store.transaction() as transaction:
        assert transaction.claim(["order_id o-1"])


@pytest.mark.parametrize("reference", ["order_id o-1", "payment_id p-1"])
def test_an_event_is_not_kept_for_an_id_that_a_saga_knows(store: Store, reference: str) -> None:
    begin(store, saga(order_id="o-1", payment_id="p-1"))
    with pytest.raises(StaleWrite), store.transaction() as transaction:
        transaction.save(Batch(early=[early(reference)]))
    with store.transaction() as transaction:
        assert not transaction.claim([reference])


def test_dead_letters_are_found_newest_first_by_reason_and_page_by_page(place: Place) -> None:
    store = place.store()
    for offset in range(5):
        put_aside(store, dead_letter(offset, reason="unreadable" if offset % 2 else "decide_failed", key=b"\xff"))
    found = store.dead_letters()
    assert [one.letter.offset for one in found] == [4, 3, 2, 1, 0]
    assert [one.letter.offset for one in store.dead_letters(reason="unreadable")] == [3, 1]
    first = store.dead_letters(limit=2)
    assert [one.letter.offset for one in store.dead_letters(limit=2, before=first[-1].id)] == [2, 1]
    one = store.dead_letter(found[0].id)
    assert one == found[0] and one.letter.key == b"\xff" and one.settled is None and one.at.tzinfo is UTC
    assert store.dead_letter(2**62) is None


def test_open_dead_letters_of_one_reason_are_found_as_they_came_page_by_page(place: Place) -> None:
    store = place.store()
    for offset in range(6):
        put_aside(store, dead_letter(offset, reason="unreadable" if offset == 3 else "unknown_version"))
    first = store.parked("unknown_version", limit=2)
    assert [one.letter.offset for one in first] == [0, 1]
    with store.transaction() as transaction:
        assert transaction.settle_dead_letter(first[-1].id + 1, SettledAs.REPLAYED, "somebody", "meanwhile")
    assert [one.letter.offset for one in store.parked("unknown_version", after=first[-1].id)] == [4, 5]
    assert store.parked("unreadable") == store.dead_letters(reason="unreadable")


def test_a_dead_letter_is_settled_once_and_says_by_whom(place: Place) -> None:
    store = place.store()
    put_aside(store, dead_letter(1), dead_letter(2))
    newest, oldest = store.dead_letters()
    with store.transaction() as transaction:
        assert transaction.settle_dead_letter(newest.id, SettledAs.DISCARDED, "night-shift", "a test record")
    with store.transaction() as transaction:
        assert not transaction.settle_dead_letter(newest.id, SettledAs.REPLAYED, "somebody else", "late")
        assert not transaction.settle_dead_letter(2**62, SettledAs.REPLAYED, "somebody else", "nowhere")
    found = store.dead_letter(newest.id)
    assert found and found.settled
    assert (found.settled.how, found.settled.by, found.settled.why) == (
        SettledAs.DISCARDED,
        "night-shift",
        "a test record",
    )
    assert [one.id for one in store.dead_letters()] == [oldest.id]
    assert [one.id for one in store.dead_letters(settled=True)] == [newest.id, oldest.id]
    assert store.counts().dead_letters == 1


def test_a_dead_letter_stays_open_when_the_transaction_that_settles_it_fails(place: Place) -> None:
    store = place.store()
    put_aside(store, dead_letter(1))
    (letter,) = store.dead_letters()
    with suppress(RuntimeError), store.transaction() as transaction:
        transaction.settle_dead_letter(letter.id, SettledAs.REPLAYED, "night-shift", "why")
        raise RuntimeError("whatever it is")
    found = store.dead_letter(letter.id)
    assert found and found.settled is None


def test_orphans_are_found_newest_first_and_page_by_page(place: Place) -> None:
    store = place.store()
    for offset in range(5):
        put_aside(store, orphans=[orphan(offset)])
    found = store.orphans()
    assert [one.orphan.offset for one in found] == [4, 3, 2, 1, 0]
    first = store.orphans(limit=2)
    assert [one.orphan.offset for one in store.orphans(limit=2, before=first[-1].id)] == [2, 1]
    assert store.orphan(found[0].id) == found[0] and found[0].settled is None and found[0].at.tzinfo is UTC
    assert store.orphan(2**62) is None


def test_an_orphan_is_discarded_once_and_says_by_whom(place: Place) -> None:
    store = place.store()
    put_aside(store, orphans=[orphan(1)])
    put_aside(store, orphans=[orphan(2)])
    newest, oldest = store.orphans()
    with suppress(RuntimeError), store.transaction() as transaction:
        transaction.discard_orphan(newest.id, "nobody", "nothing")
        raise RuntimeError("whatever it is")
    assert store.orphans() == [newest, oldest]
    with store.transaction() as transaction:
        assert transaction.discard_orphan(newest.id, "night-shift", "let go at the bank")
    with store.transaction() as transaction:
        assert not transaction.discard_orphan(newest.id, "somebody else", "late")
        assert not transaction.discard_orphan(2**62, "somebody else", "nowhere")
    found = store.orphan(newest.id)
    assert found and found.settled
    said = found.settled
    assert (said.how, said.by, said.why) == (SettledAs.DISCARDED, "night-shift", "let go at the bank")
    assert store.orphans() == [oldest] and store.orphans(settled=True) == [found, oldest]
    assert store.counts().orphans == store.standing().orphans == 1
    put_aside(store, orphans=[newest.orphan])
    assert store.orphans() == [oldest], "delivered once more, it stays what it is"


def test_orphans_are_found_by_their_saga(place: Place) -> None:
    store = place.store()
    mine, other = orphan(1), orphan(2)
    put_aside(store, orphans=[mine, other])
    assert {one.orphan.offset for one in store.orphans()} == {1, 2}
    assert [one.orphan for one in store.orphans(saga_id=mine.saga_id)] == [mine]
    assert store.orphans(saga_id=uuid4()) == []
