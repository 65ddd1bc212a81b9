"""What a process wrote last is not read again, unless anybody touched it or the server is another."""

from datetime import timedelta
from threading import Thread
from typing import Any
from uuid import UUID

import pytest

from ordersaga.orchestrator.store.postgres import PostgresStore
from ordersaga.orchestrator.store.protocol import Batch, Lookup
from ordersaga.orchestrator.store.recent import Recent
from tests.local.watching import until

from .places import PostgresPlace
from .sagas import PAST, AnyInstance, begun, change, changed, new_id, saga, waiting_until


def load(store: PostgresStore, saga_id: UUID, **wanted: Any) -> AnyInstance:
    with store.transaction() as transaction:
        return transaction.load(Lookup(**{"saga_ids": [saga_id]} | wanted)).instances[saga_id]


def test_what_this_process_wrote_last_is_not_read_again(postgres: PostgresPlace) -> None:
    store, one = postgres.store(), waiting_until(saga(), PAST)
    with store.transaction() as transaction:
        transaction.save(begun(one))
    assert load(store, one.saga_id) is one
    with store.transaction() as transaction:
        before = transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
        transaction.save(Batch(changes=[change(before, after := changed(before, step="TWO"))]))
    assert load(store, one.saga_id) is after
    assert load(postgres.store(), one.saga_id) == after, "as another process reads it"


def test_a_transaction_that_writes_nothing_leaves_what_is_remembered(postgres: PostgresPlace) -> None:
    store, one = postgres.store(), waiting_until(saga(), PAST)
    with store.transaction() as transaction:
        transaction.save(begun(one))
    with store.transaction() as transaction:
        transaction.load(Lookup(saga_ids=[new_id()]))
    with store.transaction():
        pass
    assert load(store, one.saga_id) is one


def test_what_waits_for_no_answer_is_not_remembered(postgres: PostgresPlace) -> None:
    store, one = postgres.store(), saga()
    with store.transaction() as transaction:
        transaction.save(begun(one))
    assert (found := load(store, one.saga_id)) == one and found is not one


def test_a_row_that_anybody_touched_is_read_though_its_revision_is_the_same(postgres: PostgresPlace) -> None:
    store, one = postgres.store(), waiting_until(saga(note="as written"), PAST)
    with store.transaction() as transaction:
        transaction.save(begun(one))
    touched = "UPDATE sagas SET state = jsonb_set(state, '{data,note}', '\"by hand\"')"
    postgres.ask(touched)
    found = load(store, one.saga_id)
    assert (found.revision, found.data.note) == (one.revision, "by hand")
    assert found.data.personal == one.data.personal


@pytest.mark.parametrize("more", [{}, {"order_ids": ["o-1"]}, {"saga_ids": (), "order_ids": ["o-1"]}])
def test_who_waited_for_a_row_gets_what_was_written_meanwhile(postgres: PostgresPlace, more: Any) -> None:
    mine, other, one = postgres.store(), postgres.store(), waiting_until(saga(order_id="o-1"), PAST)
    with mine.transaction() as transaction:
        transaction.save(begun(one))
    found: list[AnyInstance] = []
    waiting = Thread(target=lambda: found.append(load(mine, one.saga_id, **more)))
    with other.transaction() as transaction:
        before = transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
        waiting.start()
        until(postgres.someone_waits, "one waits")
        transaction.save(Batch(changes=[change(before, newest := changed(before, step="TWO"))]))
    waiting.join(20)
    assert found == [newest]


def test_news_that_name_no_saga_do_not_make_those_be_read_that_are_known(postgres: PostgresPlace) -> None:
    store, one, other = postgres.store(), waiting_until(saga(), PAST), saga(order_id="o-2")
    with store.transaction() as transaction:
        transaction.save(begun(one, other))
    for ids in ([one.saga_id], [other.saga_id, one.saga_id]):
        with store.transaction() as transaction:
            loaded = transaction.load(Lookup(saga_ids=ids, order_ids=["o-2"], payment_ids=["nobody's"]))
        assert loaded.instances == {one.saga_id: one, other.saga_id: other}
        assert loaded.instances[one.saga_id] is one


def test_what_was_not_committed_is_not_remembered(postgres: PostgresPlace) -> None:
    store, one = postgres.store(), waiting_until(saga(), PAST)
    with store.transaction() as transaction:
        transaction.save(begun(one))

    def fail() -> None:
        with store.transaction() as transaction:
            before = transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
            transaction.save(Batch(changes=[change(before, changed(before, step="TWO"))]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert load(store, one.saga_id) == one


def test_no_more_are_remembered_than_there_is_room_for() -> None:
    recent, sagas = Recent(most=3), [waiting_until(saga(), PAST) for _ in range(5)]
    recent.keep(1, PAST, sagas)
    recent.keep(2, PAST, sagas[2:3])
    recent.keep(3, PAST, [changed(sagas[4], outstanding=None)])
    server, found = recent.of(one.saga_id for one in sagas)
    assert server == PAST
    assert [(one.by, one.instance) for one in found] == [(0, None), (0, None), (2, sagas[2]), (1, sagas[3]), (0, None)]


def test_what_was_written_on_another_server_is_forgotten() -> None:
    recent, (older, newer) = Recent(), [waiting_until(saga(), PAST) for _ in range(2)]
    recent.keep(7, PAST, [older])
    recent.keep(3, PAST + timedelta(hours=1), [newer])
    server, found = recent.of([older.saga_id, newer.saga_id])
    assert server == PAST + timedelta(hours=1) and [one.by for one in found] == [0, 3]
