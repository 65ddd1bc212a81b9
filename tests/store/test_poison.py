"""What parses in Python and breaks in a database is refused as the row's own fault, and the rest can be written."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ordersaga.bus.protocol import Outgoing
from ordersaga.orchestrator.store.protocol import BadRow, Batch, Change, HistoryEntry, Lookup, Store

from .places import PostgresPlace
from .sagas import Person, begun, change, changed, dead_letter, message, orphan, saga, with_data

HALF_A_PAIR = "\ud800"


def bad(**data: Any) -> Change:
    return change(None, saga(**data))


def bad_entry(cause: str = "moved", **body: Any) -> Change:
    one = saga()
    return Change(before=None, after=one, history=[HistoryEntry(revision=1, cause=cause, body=body)], messages=())


POISON: dict[str, Callable[[], Change]] = {
    "a NUL in the data": lambda: bad(note="a\0b"),
    "a NUL in an id that is searched for": lambda: bad(order_id="o\0"),
    "a NUL in personal data": lambda: bad(customer_id="c\0"),
    "a NUL in the name of a step": lambda: change(None, changed(saga(), step="O\0NE")),
    "half a surrogate pair in the data": lambda: bad(note=HALF_A_PAIR),
    "half a surrogate pair in an id": lambda: bad(payment_id=HALF_A_PAIR),
    "half a surrogate pair in personal data": lambda: bad(customer_id=HALF_A_PAIR),
    "a NUL in a history entry": lambda: bad_entry(why="\0"),
    "a NUL in the key of a history entry": lambda: bad_entry(**{"\0": "why"}),
    "a NUL in a cause": lambda: bad_entry("\0"),
    "half a surrogate pair in a history entry": lambda: bad_entry(why=HALF_A_PAIR),
    "an integer of forty bits as a revision": lambda: change(None, replace(saga(), revision=2**40)),
    "a NUL in the name of a topic": lambda: change(None, saga(), Outgoing("t\0", b"", b"")),
    "half a surrogate pair in the name of a topic": lambda: change(None, saga(), Outgoing(HALF_A_PAIR, b"", b"")),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_a_row_that_cannot_be_stored_is_refused_and_the_rest_of_its_batch_can_be(
    store: Store, poison: Callable[[], Change]
) -> None:
    bad, good = poison(), change(None, one := saga(), message(saga()))
    with pytest.raises(BadRow) as caught, store.transaction() as transaction:
        transaction.save(Batch(changes=[good, bad]))
    assert not caught.value.retriable
    assert store.get(one.saga_id) is None
    with store.transaction() as transaction:
        transaction.save(Batch(changes=[good]))
    assert store.get(one.saga_id) == one
    assert store.get(bad.after.saga_id) is None
    assert store.counts().outbox_rows == 1


@pytest.mark.parametrize("poison", ["\0", HALF_A_PAIR], ids=["NUL", "surrogate"])
def test_a_saga_outlives_a_change_that_cannot_be_stored(store: Store, poison: str) -> None:
    one = saga()
    with store.transaction() as transaction:
        transaction.save(begun(one))
    for after in (with_data(one, note=poison), with_data(one, personal=Person(customer_id=poison))):
        with pytest.raises(BadRow), store.transaction() as transaction:
            transaction.save(Batch(changes=[change(one, after)]))
    assert store.get(one.saga_id) == one


def test_a_dead_letter_is_never_refused_whatever_it_quotes(store: Store) -> None:
    awful = dead_letter(
        key=b"\0\xff",
        value=bytes(range(256)),
        headers=[("\0", b"\0"), (HALF_A_PAIR, b""), ("", b"\xff")],
        timestamp_ms=2**63 - 1,
        detail=f"\0{HALF_A_PAIR}",
    )
    none = dead_letter(offset=2**63 - 1, key=None, value=None, timestamp_ms=-1)
    with store.transaction() as transaction:
        transaction.save(Batch(dead_letters=[awful, none], orphans=[orphan(2**63 - 1)]))
    assert store.counts().dead_letters == 2


def test_an_id_that_no_index_can_hold_is_the_rows_fault(postgres: PostgresPlace) -> None:
    store = postgres.store()
    noise = "".join(chr(0x4E00 + (n * 7919) % 20000) for n in range(4000))
    with pytest.raises(BadRow), store.transaction() as transaction:
        transaction.save(begun(saga(order_id=noise)))


@pytest.mark.parametrize("wanted", [Lookup(order_ids=["\0"]), Lookup(payment_ids=[HALF_A_PAIR])], ids=["NUL", "half"])
def test_an_id_that_cannot_be_asked_for_is_the_askers_fault(postgres: PostgresPlace, wanted: Lookup) -> None:
    with pytest.raises(BadRow), postgres.store().transaction() as transaction:
        transaction.load(wanted)
