"""Whether orders can be taken is said by what became of them, too: a load balancer goes by it."""

from uuid import uuid4

import pytest

from ordersaga.bus.memory import MemoryBus
from ordersaga.delivery.outbox import PostgresOutbox
from ordersaga.orchestrator.runtime.beginnings import Beginnings
from ordersaga.orchestrator.runtime.service import Service
from ordersaga.orchestrator.runtime.turn import New
from ordersaga.orchestrator.sagas.create_order import Customer, OrderData
from ordersaga.orchestrator.store.codec import Codec
from ordersaga.orchestrator.store.postgres import PostgresStore, open_pool
from ordersaga.orchestrator.store.protocol import StoreUnavailable
from tests.runtime.stage import Stage, new_saga_id

FULL = """
    create function full_disk() returns trigger language plpgsql as $$ begin
        raise exception 'could not extend file: No space left on device' using errcode = '53100';
    end $$;
    create trigger full_disk before insert on sagas for each row execute function full_disk()
"""


def new() -> New:
    data = OrderData(personal=Customer(customer_id="c4n4ry-1", order_details={}), amount_cents=870)
    return New(saga="create_order", saga_id=new_saga_id(), data=data)


def unwell(service: Service) -> dict[str, str]:
    """Of what is needed to answer."""
    return {part.name: part.detail for part in service.health().answering if not part.healthy}


def test_a_process_whose_orders_find_no_room_on_the_disk_is_not_ready_until_there_is_some(stage: Stage) -> None:
    beginnings = Beginnings(stage.handler)
    service = Service(stage.store, MemoryBus(), [beginnings])
    service.start()
    stage.execute(FULL)
    assert unwell(service) == {}, "nobody has ordered yet"
    with pytest.raises(StoreUnavailable):
        beginnings.begin(new()).result(20)
    assert unwell(service).keys() == {"database"} and "No space left" in unwell(service)["database"]
    stage.execute("drop trigger full_disk on sagas")
    beginnings.begin(new()).result(20)
    assert unwell(service) == {}
    assert service.stop(10)


@pytest.mark.parametrize(("changes", "ready"), [(True, False), (False, True)])
def test_a_process_at_a_database_that_only_reads_is_ready_if_it_is_only_to_read(
    stage: Stage, database_url: str, changes: bool, ready: bool
) -> None:
    database = database_url.rpartition("/")[2]
    stage.execute(f"alter database {database} set default_transaction_read_only = on")
    pool = open_pool(database_url, "ordersaga", size_max=1)
    store = PostgresStore(pool, Codec({}), PostgresOutbox(pool, uuid4()))
    assert (unwell(Service(store, MemoryBus(), [], changes=changes)) == {}) is ready
    store.close()
