"""Sagas that have long ended go into the archive, and come back when somebody has news of them. Over both stores."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import UUID

import psycopg
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from ordersaga.orchestrator.core.instance import Acceptance, Resolved, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.runtime.archiving import ArchiveSettings, archive_all
from ordersaga.orchestrator.store.postgres import PostgresTransaction
from ordersaga.orchestrator.store.protocol import Batch, Lookup, SagaCount, StaleWrite, Store, Transaction
from ordersaga.orchestrator.store.search import Search
from tests.waiting import until

from .places import SCHEMA, Place, PostgresPlace
from .sagas import NOW, PAST, AnyInstance, begin, change, changed, early, new_id, saga, waiting_until

LONG_AGO = NOW - timedelta(days=100)
AGE = timedelta(days=90)
SEEN = Resolved(actor="ada", role="operator", why="paid back by hand", at=LONG_AGO)


def old(status: Status = Status.CANCELLED, *, order_id: str | None = None, **fields: Any) -> AnyInstance:
    one = saga(status=status, order_id=order_id)
    return replace(one, saga_id=new_id(LONG_AGO), created_at=LONG_AGO, updated_at=LONG_AGO, **fields)


def listed(store: Store) -> set[UUID]:
    return {one.saga_id for one in store.page().instances}


@pytest.mark.parametrize(
    ("one", "goes"),
    [
        (old(Status.CANCELLED), True),
        (old(Status.COMPENSATED), True),
        (old(Status.COMPLETED, accepted=Acceptance(runner_id="r-1")), True),
        (old(Status.COMPLETED, committed=True), True),
        (old(Status.STARTED, committed=True), False),
        (old(Status.COMPLETED), False),
        (old(Status.FAILED), False),
        (old(Status.FAILED, resolved=SEEN), True),
        (old(Status.CANCELLED, attention=("look",)), False),
        (old(Status.CANCELLED, attention=("look",), resolved=SEEN), True),
        (waiting_until(old(Status.CANCELLED), PAST), False),
        (old(Status.STARTED), False),
        (saga(status=Status.CANCELLED), False),
        (replace(old(), updated_at=NOW), False),
    ],
    ids=[
        "cancelled", "compensated", "closed", "past-the-point", "under-way-past-the-point", "open", "failed",
        "failed-resolved", "attention", "attention-resolved", "due", "under-way", "young", "changed-lately",
    ],
)  # fmt: skip
def test_what_has_ended_long_ago_goes_and_nothing_else(
    place: Place, store: Store, one: AnyInstance, goes: bool
) -> None:
    begin(store, one)
    assert place.archive().move(older_than=AGE, limit=10).count == goes
    assert (one.saga_id in listed(store)) is not goes
    assert [archived.saga_id for archived in place.archive().page()] == ([one.saga_id] if goes else [])


def test_what_is_in_the_archive_is_read_as_if_it_were_not(place: Place, store: Store) -> None:
    one = old(order_id="o-1")
    begin(store, one)
    history = list(store.history(one.saga_id))
    place.archive().move(older_than=AGE, limit=10)
    assert store.get(one.saga_id) == one
    assert history
    assert list(store.history(one.saga_id)) == history


@pytest.mark.parametrize("named", ["saga", "order", "payment"])
def test_late_news_of_an_archived_saga_bring_it_back(place: Place, store: Store, named: str) -> None:
    one = replace(old(), data=replace(saga().data, order_id="o-1", payment_id="p-1"))
    begin(store, one)
    history = list(store.history(one.saga_id))
    place.archive().move(older_than=AGE, limit=10)
    wanted = {
        "saga": Lookup(saga_ids=[one.saga_id, new_id()]),
        "order": Lookup(order_ids=["o-1", "o-2"]),
        "payment": Lookup(payment_ids=["p-1"]),
    }[named]
    with store.transaction() as transaction:
        assert transaction.load(wanted).instances == {one.saga_id: one}
        transaction.save(Batch(changes=[change(one, after := changed(one))]))
    assert store.get(one.saga_id) == after
    assert list(store.history(one.saga_id))[:-1] == history
    assert place.archive().page() == []
    assert listed(store) == {one.saga_id}


@pytest.mark.parametrize("named", ["order", "payment"])
def test_news_reach_the_archived_one_of_two_sagas_of_an_order_too(place: Place, store: Store, named: str) -> None:
    archived = replace(old(), data=replace(saga().data, order_id="o-1", payment_id="p-1"))
    other = saga(order_id="o-1", payment_id="p-1")
    begin(store, archived, other)
    assert place.archive().move(older_than=AGE, limit=10).count == 1
    wanted = Lookup(order_ids=["o-1"]) if named == "order" else Lookup(payment_ids=["p-1"])
    with store.transaction() as transaction:
        assert transaction.load(wanted).instances == {archived.saga_id: archived, other.saga_id: other}


def test_news_that_wait_for_one_saga_of_an_order_find_the_other_that_came_back_meanwhile(
    place: Place, store: Store
) -> None:
    archived, other = old(order_id="o-1"), saga(order_id="o-1")
    begin(store, archived, other)
    assert place.archive().move(older_than=AGE, limit=10).count == 1
    moved = changed(other, step="TWO")

    def move(transaction: Transaction) -> None:
        transaction.save(Batch(changes=[change(other, moved)]))

    found = loaded_while(place, store, Lookup(order_ids=["o-1"]), move)
    assert found == {archived.saga_id: archived, other.saga_id: moved}, "as they are now, not as before the wait"


def test_news_that_wait_for_one_saga_of_an_order_find_the_other_that_was_archived_meanwhile(
    place: Place, store: Store
) -> None:
    other, one = old(Status.STARTED, order_id="o-1"), old(order_id="o-1")
    begin(store, other, one)
    found = loaded_while(
        place, store, Lookup(saga_ids=[other.saga_id]), lambda _: place.archive().move(older_than=AGE, limit=10)
    )
    assert found == {one.saga_id: one, other.saga_id: other}


def test_the_sagas_of_an_order_are_found_in_both_places(place: Place, store: Store) -> None:
    archived, other = old(order_id="o-1"), saga(order_id="o-1")
    begin(store, archived, other, saga(order_id="o-2"), old(order_id="o-2"), saga())
    assert place.archive().move(older_than=AGE, limit=10).count == 2
    assert list(store.of_order("o-1")) == [other.saga_id, archived.saga_id]
    assert list(store.of_order("o-3")) == []


def test_news_are_not_kept_for_later_where_their_saga_is_in_the_archive_by_now(place: Place, store: Store) -> None:
    """It has learnt the id and ended between the look for it and this moment: nobody would ask for what is kept."""
    begin(store, replace(old(), data=replace(saga().data, order_id="o-1", payment_id="p-1")))
    assert place.archive().move(older_than=AGE, limit=10).count == 1
    for reference in ("order_id o-1", "payment_id p-1"):
        with pytest.raises(StaleWrite), store.transaction() as transaction:
            transaction.save(Batch(early=[early(reference)]))
    with store.transaction() as transaction:
        transaction.save(Batch(early=[early("order_id p-1")]))


def loaded_while(
    place: Place, store: Store, held: Lookup, meanwhile: Callable[[Transaction], object]
) -> Mapping[UUID, AnyInstance]:
    """What news of the order find that waited while another transaction held some of its sagas."""

    def load() -> Mapping[UUID, AnyInstance]:
        with place.store().transaction() as transaction:
            return transaction.load(Lookup(order_ids=["o-1"])).instances

    with ThreadPoolExecutor(1) as threads:
        with store.transaction() as transaction:
            transaction.load(held)
            loading = threads.submit(load)
            until(place.someone_waits, "the second waits")
            meanwhile(transaction)
        return loading.result(20)


def test_a_saga_that_came_back_goes_again_with_all_its_history(place: Place, store: Store) -> None:
    one = old()
    begin(store, one)
    for _ in range(2):
        assert place.archive().move(older_than=AGE, limit=10).count == 1
        assert place.archive().restore(one.saga_id)
    assert not place.archive().restore(one.saga_id)
    assert store.get(one.saga_id) == one
    assert [entry.revision for entry in store.history(one.saga_id)] == [1]


def test_it_goes_in_batches_that_follow_each_other_past_what_stays(place: Place, store: Store) -> None:
    sagas = [old(Status.FAILED if number % 3 == 1 else Status.CANCELLED) for number in range(10)]
    begin(store, *sagas)
    moved, after = [], None
    while True:
        batch = place.archive().move(older_than=AGE, limit=3, after=after)
        moved.append(batch.count)
        if (after := batch.last) is None:
            break
    assert moved == [3, 3, 1]
    assert listed(store) == {one.saga_id for one in sagas if one.status is Status.FAILED}
    first = place.archive().page(limit=5)
    then = place.archive().page(limit=5, before=first[-1].saga_id)
    assert [one.saga_id for one in [*first, *then]] == [
        one.saga_id for one in reversed(sagas) if one.status is not Status.FAILED
    ]


def test_what_another_transaction_holds_is_passed_over(place: Place, store: Store) -> None:
    held, free = old(), old()
    begin(store, held, free)
    with place.store().transaction() as transaction:
        transaction.load(Lookup(saga_ids=[held.saga_id]))
        assert place.archive().move(older_than=AGE, limit=10).count == 1
    assert listed(store) == {held.saga_id}


def test_two_who_have_news_of_one_archived_saga_go_one_after_the_other(place: Place, store: Store) -> None:
    sagas = [old(order_id=f"o-{number}") for number in range(20)]
    begin(store, *sagas)

    def work(order: int) -> None:
        names = [one.saga_id for one in sagas][::order]
        for _ in range(5):
            place.archive().move(older_than=timedelta(0), limit=100)
            with place.store().transaction() as transaction:
                loaded = transaction.load(Lookup(saga_ids=names)).instances
                assert len(loaded) == len(names), "one was in neither place"
                # Only the revision tells that it was changed, so that it may go again.
                transaction.save(Batch(changes=[change(one, changed(one)) for one in loaded.values()]))

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, (1, -1)))
    assert {one.saga_id: store.get(one.saga_id).revision for one in sagas} == {one.saga_id: 11 for one in sagas}  # type: ignore[union-attr]
    assert all(len(store.history(one.saga_id)) == 11 for one in sagas)


def test_nothing_goes_into_the_archive_while_a_transaction_looks_into_it(postgres: PostgresPlace) -> None:
    """Else a saga that came back and went again within that moment would be in neither place."""
    store = postgres.store()
    begin(store, one := old())
    with ThreadPoolExecutor(1) as threads:
        with store.transaction() as transaction:
            transaction.load(Lookup(saga_ids=[new_id()]))
            moving = threads.submit(postgres.archive().move, older_than=AGE, limit=10)
            until(postgres.someone_waits, "the mover waits")
        assert moving.result().count == 1
    assert store.get(one.saga_id) == one


def test_what_has_been_in_the_archive_for_long_is_forgotten(place: Place, store: Store) -> None:
    begin(store, *(one := [old(), old(), old()]))
    archive = place.archive()
    archive.move(older_than=AGE, limit=10)
    assert archive.forget(older_than=timedelta(days=1), limit=10) == 0
    assert archive.forget(older_than=timedelta(0), limit=2) == 2
    assert [kept.saga_id for kept in archive.page()] == [one[-1].saga_id]
    assert store.get(one[0].saga_id) is None
    assert [len(store.history(saga.saga_id)) for saga in one] == [0, 0, 1], "with all that it left behind"


def test_the_history_of_a_week_is_dropped_once_its_sagas_are_archived(postgres: PostgresPlace) -> None:
    store, archive = postgres.store(), postgres.archive()
    postgres.ask(
        "CREATE TABLE saga_history_20250106 PARTITION OF saga_history FOR VALUES"
        " FROM ('01943924-0000-0000-0000-000000000000') TO ('01945d30-c400-0000-0000-000000000000')"
    )
    goes, stays, later = (
        replace(old(status), saga_id=UUID(f"01943f00-0000-7000-8000-00000000000{number}"))
        for number, status in enumerate((Status.CANCELLED, Status.FAILED, Status.CANCELLED))
    )
    begin(store, goes, stays, later)
    histories = {one.saga_id: list(store.history(one.saga_id)) for one in (goes, stays, later)}
    assert postgres.ask("SELECT count(*) FROM saga_history_20250106") == [(3,)]
    archive.move(older_than=AGE, limit=10)
    assert list(archive.drop_history(older_than=AGE)) == ["saga_history_20250106"]
    assert archive.drop_history(older_than=AGE) == []
    assert {key: list(store.history(key)) for key in histories} == histories
    assert postgres.ask("SELECT saga_id FROM saga_history") == [(stays.saga_id,)]
    assert archive.restore(later.saga_id)
    assert {key: list(store.history(key)) for key in histories} == histories
    assert archive.move(older_than=AGE, limit=10).count == 1
    assert postgres.ask("SELECT saga_id FROM saga_history") == [(stays.saga_id,)], "no week holds it that could go"
    assert {key: list(store.history(key)) for key in histories} == histories
    assert archive.forget(older_than=timedelta(0), limit=10) == 2
    assert {key: len(store.history(key)) for key in histories} == {goes.saga_id: 0, stays.saga_id: 1, later.saga_id: 0}


def test_a_week_of_which_too_many_are_left_stays(postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ordersaga.orchestrator.store.archive.STAY_MAX", 1)
    postgres.ask(
        "CREATE TABLE saga_history_20250106 PARTITION OF saga_history FOR VALUES"
        " FROM ('01943924-0000-0000-0000-000000000000') TO ('01945d30-c400-0000-0000-000000000000')"
    )
    begin(
        postgres.store(),
        *(
            replace(old(Status.FAILED), saga_id=UUID(f"01943f00-0000-7000-8000-00000000000{number}"))
            for number in range(2)
        ),
    )
    assert postgres.archive().drop_history(older_than=AGE) == []
    assert postgres.ask("SELECT count(*) FROM saga_history_20250106") == [(2,)]


def test_a_week_that_somebody_reads_is_left_for_another_time_and_keeps_no_writer_waiting(
    postgres: PostgresPlace,
) -> None:
    postgres.ask(
        "CREATE TABLE saga_history_20250106 PARTITION OF saga_history FOR VALUES"
        " FROM ('01943924-0000-0000-0000-000000000000') TO ('01945d30-c400-0000-0000-000000000000')"
    )
    settings, archive = ArchiveSettings(older_than=AGE, forget_after=None), postgres.archive()
    with psycopg.connect(postgres.url, options=f"-c search_path={SCHEMA}") as reader, capture_logs() as told:
        reader.execute("LOCK TABLE saga_history IN ACCESS SHARE MODE")
        began = monotonic()
        assert [done.dropped for done in archive_all(archive, settings, lambda: True)][-1] == ()
        assert monotonic() - began < 1.5
    assert [one["event"] for one in told] == ["archive.week_in_use"]
    assert list(archive.drop_history(older_than=AGE)) == ["saga_history_20250106"]


def test_the_archive_is_searched_if_asked_and_by_every_condition(place: Place, store: Store) -> None:
    begun = [
        replace(
            old(status), data=saga(customer_id=f"c-{n % 2}", order_id=f"o-{n}").data, step="ONE" if n < 2 else "TWO"
        )
        for n, status in enumerate([Status.CANCELLED, Status.COMPENSATED, Status.CANCELLED])
    ]
    begun[1] = replace(begun[1], explanation="The card was Declined.", reason=Reason.PAYMENT_DECLINED)
    begin(store, *begun, live := saga(customer_id="c4n4ry-1"))
    place.archive().move(older_than=AGE, limit=10)
    first, second, third = (one.saga_id for one in begun)

    def found(**conditions: Any) -> list[UUID]:
        search = Search(archived=True, **conditions)
        page = store.page(search)
        assert page.next_after is None
        assert store.count(search) == SagaCount(count=len(page.instances), is_least=False)
        return [one.saga_id for one in page.instances]

    assert found() == [third, second, first]
    assert found(oldest_first=True) == [first, second, third]
    assert found(statuses=frozenset({Status.CANCELLED})) == [third, first]
    assert found(customer_id="c-0") == [third, first]
    assert found(order_id="o-1") == found(text="declined") == found(reason=Reason.PAYMENT_DECLINED) == [second]
    assert found(step="ONE") == [second, first]
    assert found(since=NOW) == []
    assert [one.saga_id for one in store.page().instances] == [live.saga_id]


def test_a_search_of_the_archive_goes_on_page_after_page(
    place: Place, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ordersaga.orchestrator.store.read.ARCHIVED_LOOKED_MAX", 3)
    sagas = [old(Status.COMPENSATED if n % 4 else Status.CANCELLED) for n in range(11)]
    begin(store, *sagas)
    place.archive().move(older_than=AGE, limit=100)
    for wanted in (Status.COMPENSATED, Status.CANCELLED):
        search, ids, after = Search(archived=True, statuses=frozenset({wanted})), list[UUID](), None
        while True:
            page = store.page(search, limit=2, after=after)
            ids += [one.saga_id for one in page.instances]
            if (after := page.next_after) is None:
                break
        assert ids == [one.saga_id for one in reversed(sagas) if one.status is wanted]


def test_what_is_there_is_not_locked_again_for_what_comes_back(
    postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, one, archived = postgres.store(), waiting_until(saga(), PAST), old()
    begin(store, one, archived)
    assert postgres.archive().move(older_than=AGE, limit=10).count == 1
    locked: list[set[UUID]] = []
    execute = PostgresTransaction._execute

    def noted(transaction: PostgresTransaction, name: str, values: Any) -> Any:
        if name.startswith("lock"):
            locked.append(set(values["ids"].values))
        return execute(transaction, name, values)

    monkeypatch.setattr(PostgresTransaction, "_execute", noted)
    with store.transaction() as transaction:
        loaded = transaction.load(Lookup(saga_ids=[one.saga_id, archived.saga_id], order_ids=["nobody's"]))
    assert loaded.instances == {one.saga_id: one, archived.saga_id: archived}
    assert not loaded.missing
    assert locked == [{one.saga_id, archived.saga_id}, {archived.saga_id}]
