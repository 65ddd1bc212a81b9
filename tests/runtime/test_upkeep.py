"""Partitions are made ahead, again and again, and a database that is away only delays it."""

from ordersaga.delivery.background import Chore
from tests.runtime.stage import Stage
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
