"""How many sagas are in flight: sums that are those of a full count, whoever moves, folds or dies."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.store import in_flight
from ordersaga.orchestrator.store.connections import Connections
from ordersaga.orchestrator.store.protocol import Batch, Lookup
from ordersaga.orchestrator.store.statistics import PostgresStatistics

from .places import PostgresPlace
from .sagas import begin, change, changed, new_id, saga

FULL = (
    "SELECT status, step, count(*) FROM sagas WHERE status IN ('STARTED', 'COMPENSATING', 'CANCELLING') GROUP BY 1, 2"
)


def counted(place: PostgresPlace) -> dict[tuple[str, str | None], int]:
    found = PostgresStatistics(place.pool).in_flight()
    assert [one.oldest_seconds for one in found] == sorted((one.oldest_seconds for one in found), reverse=True)
    counts = {(one.status, one.step): one.count for one in found}
    assert counts == place.store().standing().active
    return counts


def full_count(place: PostgresPlace) -> dict[tuple[str, str | None], int]:
    return {(status, step): count for status, step, count in place.ask(FULL)}


def work(place: PostgresPlace, seed: int) -> None:
    """Sagas of its own, moved about at random; some transactions come to nothing."""
    drawn, store = random.Random(seed), place.store()
    mine = [saga() for _ in range(20)]
    begin(store, *mine)
    for _ in range(15):
        picked = drawn.sample(mine, 8)
        try:
            with store.transaction() as transaction:
                loaded = transaction.load(Lookup(saga_ids=[one.saga_id for one in picked])).instances
                changes = [
                    change(
                        one, changed(one, status=drawn.choice(list(Status)), step=drawn.choice(["ONE", "TWO", None]))
                    )
                    for one in loaded.values()
                ]
                transaction.save(Batch(changes=changes))
                _ = 1 // drawn.choice((0, 1, 1, 1, 1))
        except ZeroDivisionError:
            continue
        if drawn.random() < 0.3:
            PostgresStatistics(place.pool).fold()


def test_sums_are_those_of_a_full_count_whatever_happens_at_once(postgres: PostgresPlace) -> None:
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work, postgres, seed) for seed in range(3)]:
            done.result(60)
    expected = full_count(postgres)
    assert expected and counted(postgres) == expected
    PostgresStatistics(postgres.pool).fold()
    assert counted(postgres) == expected
    assert postgres.ask("SELECT count(*) FROM in_flight_added") == [(0,)]
    assert in_flight.correct(Connections(postgres.pool, 10.0, None)) == 0


def test_what_another_version_moved_is_made_good_by_whoever_starts(postgres: PostgresPlace) -> None:
    begin(postgres.store(), *(saga() for _ in range(5)))
    postgres.ask("UPDATE sagas SET status = 'CANCELLING' WHERE id IN (SELECT id FROM sagas ORDER BY id LIMIT 2)")
    assert counted(postgres) == {("STARTED", "ONE"): 5}
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: postgres.store().upkeep(), range(4)))
    assert counted(postgres) == {("STARTED", "ONE"): 3, ("CANCELLING", "ONE"): 2}


def test_the_oldest_of_a_step_is_told_from_the_oldest_of_its_status(
    postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "LOOKED_MAX", 2)
    begin(postgres.store(), *(saga() for _ in range(3)))
    with postgres.store().transaction() as transaction:
        newest = max(one.saga_id for one in postgres.store().page().instances)
        (one,) = transaction.load(Lookup(saga_ids=[newest, new_id()])).instances.values()
        transaction.save(Batch(changes=[change(one, changed(one, step="TWO"))]))
    postgres.ask("UPDATE sagas SET created_at = now() - interval '100 s' WHERE step = 'ONE'")
    postgres.ask(
        "UPDATE sagas SET created_at = now() - interval '1000 s' WHERE id = (SELECT id FROM sagas ORDER BY id LIMIT 1)"
    )
    ages = {one.step: round(one.oldest_seconds, -1) for one in PostgresStatistics(postgres.pool).in_flight()}
    assert ages == {"ONE": 1000.0, "TWO": 100.0}, "it is younger than those that were looked at"
