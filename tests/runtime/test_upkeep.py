"""Partitions are made ahead, again and again, and a database that is away only delays it."""

from ordersaga.delivery.background import Chore
from ordersaga.wire import messages as m
from tests.runtime.stage import Stage, new_saga_id, record
from tests.waiting import until

COUNT = "select count(*) from pg_inherits where inhparent = 'saga_history'::regclass"
NEWEST = """
select max(inhrelid::regclass::text) from pg_inherits
where inhparent = 'saga_history'::regclass and inhrelid::regclass::text ~ '[0-9]$'
"""


def test_partitions_that_are_missing_are_made(stage: Stage) -> None:
    before = stage.one(COUNT)
    newest = stage.one(NEWEST)
    stage.execute(f"drop table {newest}")
    upkeep = Chore("upkeep", stage.store.upkeep, every_seconds=3600)
    upkeep.start()
    until(lambda: bool(stage.one(COUNT) == before), "the partition is there again")
    assert upkeep.health().healthy
    assert upkeep.stop(5)


def test_what_somebody_has_seen_to_is_forgotten_after_90_days_and_nothing_else(stage: Stage) -> None:
    stage.handler.records([record(m.OrderCreated(order_id="o-9"), new_saga_id()) for _ in range(3)])
    old, recent, seen_by_nobody = stage.store.orphans()
    with stage.store.transaction() as transaction:
        for one in (old, recent):
            assert transaction.discard_orphan(one.id, "somebody", "let go at the bank")
    stage.execute("update orphans set created_at = now() - interval '1 year'")
    for one, days in ((old, 91), (recent, 89)):
        stage.execute(f"update orphans set settled_at = now() - interval '{days} days' where id = %s", one.id)
    stage.store.upkeep()
    assert [one.id for one in stage.store.orphans(settled=True)] == [recent.id, seen_by_nobody.id]
