"""A standby takes over that lacks the last transactions of the server before, and gives their numbers out once more."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from ordersaga.bus.protocol import Outgoing
from ordersaga.delivery.outbox import PostgresOutbox, write, written
from ordersaga.delivery.outbox_protocol import OutboxUnavailable
from ordersaga.delivery.relay import Relay
from ordersaga.local.postgres import PostgresServer
from ordersaga.orchestrator.store.migrate import migrate
from ordersaga.orchestrator.store.protocol import Batch, Lookup, Store
from tests.delivery.stage import ScriptedProducer, Stage

from .places import SCHEMA, PostgresPlace
from .sagas import PAST, AnyInstance, begun, change, changed, saga, waiting_until


class Servers:
    """One, and what it was like at a moment: a standby that got nothing after it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server = PostgresServer.start(directory, {"autovacuum": "off"})
        self.url = self._server.create_database()
        migrate(self.url, SCHEMA)

    def a_standby_hears_nothing_from_here_on(self) -> None:
        self._server.stop()
        self._standby = self._server.data.parent / "standby"
        subprocess.run(["cp", "-a", str(self._server.data), str(self._standby)], check=True)
        self._start()

    def fail_over(self) -> None:
        self._server.stop()
        shutil.rmtree(self._server.data)
        self._standby.rename(self._server.data)
        self._start()

    def _start(self) -> None:
        self._server = PostgresServer.start(self._directory, {"autovacuum": "off"}, self._server.port)

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    found = Servers(tmp_path / "postgres")
    yield found
    found.stop()


def move(store: Store, one: AnyInstance, step: str) -> AnyInstance:
    with store.transaction() as transaction:
        before = transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
        transaction.save(Batch(changes=[change(before, after := changed(before, step=step))]))
    return after


def number_of(place: PostgresPlace) -> int:
    return int(place.ask("SELECT xmin::text::bigint FROM sagas")[0][0])


def give_out_numbers_before(place: PostgresPlace, number: int) -> None:
    def following() -> int:
        return int(place.ask("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")[0][0])

    while following() < number:
        place.ask("SELECT pg_current_xact_id()")
    assert following() == number, "the standby is not behind"


def test_what_a_lost_transaction_wrote_is_not_taken_for_what_another_of_its_number_did(servers: Servers) -> None:
    place, other = PostgresPlace(servers.url), PostgresPlace(servers.url)
    mine, theirs, one = place.store(), other.store(), waiting_until(saga(), PAST)
    with mine.transaction() as transaction:
        transaction.save(begun(one))
    servers.a_standby_hears_nothing_from_here_on()
    lost = move(mine, one, "LOST")
    number = number_of(place)
    servers.fail_over()
    give_out_numbers_before(place, number)
    now = move(theirs, one, "NOW")
    assert number_of(place) == number and now.revision == lost.revision
    with mine.transaction() as transaction:
        assert transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id] == now
    place.close()
    other.close()


def test_messages_with_the_ids_of_lost_ones_are_published_too(servers: Servers) -> None:
    place, stage = PostgresPlace(servers.url), Stage()
    outbox, producer = PostgresOutbox(place.pool, uuid4()), ScriptedProducer(stage)
    relay = Relay(producer, outbox, was_written=lambda records, *_: [record in producer.log for record in records])
    relay.start()
    assert relay.wait_until_leased(10.0)
    servers.a_standby_hears_nothing_from_here_on()

    def publish(name: str) -> list[int]:
        records = [Outgoing("t", b"%d" % (n % 7), f"{name}{n}".encode()) for n in range(100)]
        with psycopg.connect(place.url, options=f"-c search_path={SCHEMA}") as connection:
            write(cursor := connection.cursor(), records, outbox.owner, outbox.server)
            rows = written(cursor, records)
        relay.offer(rows)
        stage.until(lambda: set(records) <= set(producer.log), "all are published")
        stage.until(lambda: not outbox.pending().rows, "the outbox is empty")
        return [row.row_id for row in rows]

    stage.until(lambda: is_answering(outbox), "the server is back")
    lost = publish("lost")
    servers.fail_over()
    assert set(publish("new")) & set(lost)
    assert len(producer.log) == 200
    for lane in range(7):
        values = [record.value for record in producer.log if record.key == b"%d" % lane]
        assert values == [f"{name}{n}".encode() for name in ("lost", "new") for n in range(lane, 100, 7)]
    assert relay.stop(10.0)
    place.close()


def is_answering(outbox: PostgresOutbox) -> bool:
    try:
        outbox.pending()
    except OutboxUnavailable:
        return False
    return True
