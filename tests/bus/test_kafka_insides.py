"""What is mended in the client library from outside, and that the names which that needs are there."""

from collections import deque
from importlib import import_module
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytest

from ordersaga.bus.kafka_insides import INSIDES, see_what_has_arrived


@pytest.mark.parametrize("path", INSIDES)
def test_the_inner_names_of_the_library_that_we_use_are_there(kafka_cluster: object, path: str) -> None:
    kind, name = path.split(".", 1)
    import_kafka = import_module("kafka")
    client = getattr(import_kafka, kind)(bootstrap_servers=kafka_cluster.bootstrap_servers)  # type: ignore[attr-defined]
    try:
        assert attrgetter(name)(client) is not None
    finally:
        client.close()


def test_records_that_arrive_while_the_next_request_is_sent_are_not_waited_beside() -> None:
    class Arriving:
        """What `fetch_records` needs, with a response that comes in that very moment."""

        _reset_task = None
        _manager = SimpleNamespace(wait_for=None)

        def __init__(self) -> None:
            self._fetch_futures: deque[Any] = deque()
            self._completed_fetches: list[str] = []
            self._net = SimpleNamespace(run=lambda _, wakeup, __: self.waits.append(wakeup.is_done))
            self.waits: list[bool] = []

        def send_fetches(self) -> None:
            self._completed_fetches.append("a response")
            self._fetch_futures.append(import_module("kafka.future").Future())

        def fetched_records(self, *_: object, **__: object) -> tuple[list[str], bool]:
            found, self._completed_fetches = self._completed_fetches, []
            return found, False

    fetch_records = import_module("kafka.consumer.fetcher").Fetcher.fetch_records
    as_it_is, mended = Arriving(), Arriving()
    see_what_has_arrived(mended, import_module("kafka.future").Future().success(None))
    assert fetch_records(as_it_is, timeout_ms=1) == fetch_records(mended, timeout_ms=1) == (["a response"], False)
    assert (as_it_is.waits, mended.waits) == ([False], [True])
