"""Searching for sagas, the same in both stores: every condition, both directions, page after page."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import product
from uuid import UUID

import pytest
from msgspec.structs import replace

from ordersaga.orchestrator.core.instance import Status, StepRecord, Stuck
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.store import read
from ordersaga.orchestrator.store.memory import MemoryStore
from ordersaga.orchestrator.store.protocol import SagaCount, Store
from ordersaga.orchestrator.store.search import Search

from .places import Place
from .sagas import NOW, AnyInstance, begin, new_id, saga

LONG_AGO = NOW - timedelta(days=100)
STATUSES = [Status.FAILED, Status.STARTED, Status.COMPLETED, Status.COMPENSATED]


def ids(instances: Sequence[AnyInstance]) -> list[UUID]:
    return [one.saga_id for one in instances]


def all_pages(store: Store, search: Search, limit: int) -> list[UUID]:
    """As a client turns them. A page may be empty and have a next one."""
    found: list[UUID] = []
    after: UUID | None = None
    for _ in range(1000):
        page = store.page(search, limit=limit, after=after)
        assert len(page.instances) <= limit
        found += ids(page.instances)
        after = page.next_after
        if after is None:
            return found
    raise AssertionError("the pages do not end")


@pytest.fixture
def many(store: Store) -> list[AnyInstance]:
    """Of everything something, oldest first."""
    sagas = []
    for number, (status, customer) in enumerate(product(STATUSES * 3, ["c4n4ry-1", "c-2"])):
        one = replace(
            saga(
                status=status,
                customer_id=customer,
                order_id=f"o-{number}" if number % 3 else None,
                payment_id=f"p-{number}" if number % 4 else None,
            ),
            step="ONE" if number % 2 else "TWO",
            reason=Reason.PAYMENT_DECLINED if status is Status.COMPENSATED else None,
            attention=("a hold stands",) if number % 5 == 0 else (),
        )
        if status is Status.FAILED:
            one = replace(
                one,
                reason=Reason.COMPENSATION_FAILED if number % 2 else Reason.CUSTOMER_REQUEST,
                stuck=Stuck(step="ONE", from_status=Status.CANCELLING, problem="Nobody Answers 100%"),
                steps={"ONE": StepRecord(name="ONE", refusal="STRIPE_CARD_ERROR")},
            )
        sagas.append(one)
    begin(store, *sagas)
    return sagas


def is_wanted(one: AnyInstance, search: Search) -> bool:
    return (
        (not search.statuses or one.status in search.statuses)
        and search.step in (None, one.step)
        and search.reason in (None, one.reason)
        and search.customer_id in (None, one.data.personal.customer_id)
        and search.order_id in (None, one.data.order_id)
        and (not search.attention or bool(one.attention))
    )


def searches() -> Iterator[Search]:
    for statuses, reason, customer, attention, step, oldest in product(
        [frozenset[Status](), frozenset({Status.FAILED}), frozenset({Status.FAILED, Status.COMPENSATED})],
        [None, Reason.PAYMENT_DECLINED, Reason.CUSTOMER_REQUEST],
        [None, "c-2", "nobody"],
        [False, True],
        [None, "TWO"],
        [False, True],
    ):
        yield Search(
            statuses=statuses,
            reason=reason,
            customer_id=customer,
            attention=attention,
            step=step,
            oldest_first=oldest,
        )


def test_every_condition_alone_and_with_others(
    store: Store, many: list[AnyInstance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a page looks at so few that it ends before it has found enough."""
    for looked_max in (2_000, 3):
        monkeypatch.setattr(read, "LOOKED_MAX", looked_max)
        for search in searches():
            wanted = ids([one for one in many if is_wanted(one, search)])
            if not search.oldest_first:
                wanted.reverse()
            assert all_pages(store, search, limit=2) == wanted, search
            assert store.count(search) == SagaCount(count=len(wanted), is_least=False)


def test_by_kind(store: Store, many: list[AnyInstance]) -> None:
    failed = frozenset({Status.FAILED})
    found = all_pages(store, Search(statuses=failed, saga="trial"), 10)
    assert found == all_pages(store, Search(statuses=failed), 10) != []
    assert all_pages(store, Search(statuses=failed, saga="another"), 10) == []
    assert store.count(Search(saga="another")).count == 0 < store.count(Search(saga="trial")).count


def test_by_order(store: Store, many: list[AnyInstance]) -> None:
    assert all_pages(store, Search(order_id="o-4"), 10) == [many[4].saga_id]
    assert all_pages(store, Search(order_id="o-4", customer_id="c-2"), 10) == []


def test_by_payment(place: Place, store: Store, many: list[AnyInstance]) -> None:
    assert all_pages(store, Search(payment_id="p-5"), 10) == [many[5].saga_id]
    assert all_pages(store, Search(payment_id="p-5", order_id="o-4"), 10) == []
    assert all_pages(store, Search(payment_id="p-5", archived=True), 10) == []
    ended = [saga(status=Status.CANCELLED, payment_id=name) for name in ("p-old", "p-older")]
    long_ago = [replace(one, saga_id=new_id(LONG_AGO), created_at=LONG_AGO, updated_at=LONG_AGO) for one in ended]
    begin(store, *long_ago)
    assert place.archive().move(older_than=timedelta(days=90), limit=10).count == 2
    assert all_pages(store, Search(payment_id="p-old"), 10) == []
    assert all_pages(store, Search(payment_id="p-old", archived=True), 10) == [long_ago[0].saga_id]
    assert all_pages(store, Search(payment_id="p-5", archived=True), 10) == []


@pytest.mark.parametrize("text", ["nobody answers 100%", "CARD_ERROR", "a hold"])
def test_by_a_word_of_its_trouble(store: Store, many: list[AnyInstance], text: str) -> None:
    wanted = [one for one in many if (bool(one.attention) if text == "a hold" else one.status is Status.FAILED)]
    assert all_pages(store, Search(text=text, oldest_first=True), 5) == ids(wanted)
    assert all_pages(store, Search(text="100_"), 5) == []


def test_by_the_time_that_it_began(store: Store) -> None:
    days = [replace(saga(), saga_id=new_id(NOW + timedelta(days=day))) for day in (-3, -2, -1)]
    begin(store, *days)
    until = NOW - timedelta(days=1, hours=12)
    assert all_pages(store, Search(since=NOW - timedelta(days=2)), 1) == ids([days[2], days[1]])
    assert all_pages(store, Search(until=until), 1) == ids([days[1], days[0]])
    assert all_pages(store, Search(since=NOW - timedelta(days=2), until=until, statuses=frozenset(Status)), 1) == [
        days[1].saga_id
    ]


def test_pages_follow_each_other_from_the_newest_to_the_oldest(store: Store) -> None:
    sagas = [saga() for _ in range(7)]
    begin(store, *sagas)
    newest_first = [one.saga_id for one in reversed(sagas)]
    seen: list[UUID] = []
    after: UUID | None = None
    for expected in (3, 3, 1):
        page = store.page(limit=3, after=after)
        assert len(page.instances) == expected
        seen += ids(page.instances)
        after = page.next_after
    assert (seen, after) == (newest_first, None)


def test_a_page_that_ends_with_the_last_saga_has_none_after_it(store: Store) -> None:
    begin(store, *(saga() for _ in range(4)))
    assert store.page(limit=4).next_after is None
    assert store.page(limit=3).next_after is not None


def test_a_page_has_at_most_a_hundred(store: Store) -> None:
    begin(store, *(saga() for _ in range(101)))
    assert len(store.page(limit=10_000).instances) == 100
    assert len(store.page(limit=0).instances) == 1


def test_a_count_stops_where_there_are_too_many(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "COUNTED_MAX", 5)
    begin(store, *(saga() for _ in range(7)))
    all_are_looked_at = isinstance(store, MemoryStore)
    assert store.count() == SagaCount(count=7 if all_are_looked_at else 5, is_least=not all_are_looked_at)
