"""Orders while a process starts and stops: whoever has ordered is answered, and brokers do not matter to it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn
from uuid import UUID

import psycopg
import pytest

from ordersaga import bootstrap
from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import BusUnavailable, TopicSpec
from ordersaga.demo.client import Api
from ordersaga.smoke.asking import Service
from ordersaga.web.server import seconds_to_answer
from tests.waiting import until
from tests.whole import order, running, settings_for, status_of

ORDERS = bootstrap.Run(only={"api"})
WAITING = """
    select count(*) from pg_locks join pg_database d on d.oid = database
    where not granted and relation = 'ordersaga.sagas'::regclass and datname = current_database()
"""


class NoBrokers(MemoryBus):
    def check(self, timeout_seconds: float) -> NoReturn:
        raise BusUnavailable("no broker answers")

    def create_topics(self, topics: Sequence[TopicSpec]) -> NoReturn:
        raise BusUnavailable("no broker answers")


def test_an_order_that_waits_for_its_transaction_while_its_process_stops_is_answered(database_url: str) -> None:
    """It was cut off after a second, though nine were granted: its client did not know whether it is placed."""
    settings = settings_for(database_url)
    app, api = bootstrap.orchestrator(settings, MemoryBus(), ORDERS), Api(f"http://127.0.0.1:{settings.http_port}")
    app.start()
    until(api.ready, "it is ready")
    with psycopg.connect(database_url) as other, ThreadPoolExecutor(2) as people:
        other.execute("lock table ordersaga.sagas in share mode")
        placed = people.submit(api.place, order())
        until(lambda: other.execute(WAITING).fetchone() == (1,), "the order is held up")
        stopped = people.submit(app.stop, 9)
        with pytest.raises(TimeoutError):
            placed.result(3)
        other.rollback()
        assert UUID(placed.result(5)).version == 7
        assert stopped.result(9)


@pytest.mark.parametrize(("granted", "answering"), [(30.0, 27.0), (9.0, 6.0), (4.0, 2.0), (1.0, 0.5)])
def test_answering_gets_all_of_the_time_but_what_the_other_parts_need(granted: float, answering: float) -> None:
    assert seconds_to_answer(granted) == answering


def test_orders_are_taken_while_the_topics_cannot_be_created(database_url: str) -> None:
    """Brokers are away from the start: a load balancer has to let orders in all the same."""
    settings = settings_for(database_url)
    api = Api(f"http://127.0.0.1:{settings.http_port}")
    with running(bootstrap.orchestrator(settings, NoBrokers(), ORDERS)):
        until(lambda: api.ready("/readyz/api"), "orders are taken")
        assert status_of(api, api.place(order())) == "STARTED"
        answer = Service(api.url).ask("GET", "/readyz")
        assert answer.status == 503
        unwell = {one["name"]: one["detail"] for one in answer.body["parts"] if not one["healthy"]}
        assert unwell["optional preparation"] == "topics: no broker answers" and "kafka" in unwell
