"""Records that were set aside are erased with the customer they are about, however that shows: in the key, in a
header, in what cannot be read, or by the card of an order of theirs.
"""

from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ordersaga.bus.protocol import Record
from ordersaga.orchestrator.store import erasure_set_aside
from ordersaga.orchestrator.store.archive_files import Directory
from ordersaga.orchestrator.store.connections import open_pool
from ordersaga.orchestrator.store.erasure import Erased, PostgresErasure
from ordersaga.orchestrator.store.protocol import StoreUnavailable
from ordersaga.wire import messages as m
from ordersaga.wire.codec import encode
from tests.api.conftest import Stage
from tests.api.test_erase import (
    CANARY,
    OTHER,
    SCHEMA,
    archive_all,
    erase,
    file_all,
    place,
    published,
    rows_with,
    told,
)

ODD = b'{"type":"user.payment_info_retrieved","payload":{"x":1}}'
_offsets = count(10_000)


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


def erased(url: str, customer_id: str = CANARY, directory: Path | None = None) -> Erased:
    pool = open_pool(url, SCHEMA, size_max=2)
    try:
        erasure = PostgresErasure(pool, schema=SCHEMA, directory=Directory(directory) if directory else None)
        return erasure.erase(customer_id, by="night", why="a test")
    finally:
        pool.close()


def come(
    stage: Stage, value: bytes | None, key: bytes | None = None, headers: tuple[tuple[str, bytes], ...] = ()
) -> None:
    """What nobody can use."""
    stage.handler.records([Record("user_events", 0, next(_offsets), key, value, headers, 0)])


def seen_to(url: str, table: str = "dead_letters") -> None:
    with psycopg.connect(url) as connection:
        as_seen = "UPDATE {} SET settled_at = clock_timestamp()"
        connection.execute(sql.SQL(as_seen).format(sql.Identifier(SCHEMA, table)))


def letters(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(SCHEMA, "dead_letters")))
        return int(found.fetchall()[0][0])


def declined(stage: Stage, card: m.PaymentInfo, url: str) -> None:
    """An order whose card was set aside, since it could not be written, and came again; then it was declined."""
    saga_id = place(stage, CANARY)
    event = m.PaymentInfoRetrieved(payment_info=card)
    value = encode(event, correlation_id=saga_id, timestamp=datetime.now(UTC), source="user-service")
    told(stage, saga_id, m.OrderCreated(order_id=f"o-{saga_id}"))
    stage.handler.park(Record("user_events", 0, next(_offsets), None, value, (), 0), RuntimeError("cannot be stored"))
    told(stage, saga_id, event, m.PaymentFailed(error="STRIPE_CARD_ERROR"), m.OrderCancelled(order_id=f"o-{saga_id}"))
    assert stage.client.get(f"/sagas/{saga_id}").json()["status"] == "COMPENSATED"
    published(url)


THEIRS: list[tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]] = [
    (ODD, CANARY.encode(), ()),
    (ODD, None, (("user", CANARY.encode()),)),
    (ODD, None, (("user", b"the user %s" % CANARY.encode()),)),
    (b'{"type":"order.created","customer_id":"' + CANARY.encode(), None, ()),
    (b"order of " + CANARY.encode() + b"\x00\xff", None, ()),
    (b'{"type":"order.created","payload":"{\\"customer\\":\\"%s\\"}"' % CANARY.encode(), None, ()),
    (b'{"type":"order.created","payload":"for\\n%s' % CANARY.encode(), None, ()),
    (b"customer_id=%s;amount=1" % CANARY.encode(), None, ()),
]


@pytest.mark.parametrize("theirs", THEIRS)
def test_what_names_the_customer_is_said_and_then_erased(
    postgres_stage: Stage, url: str, theirs: tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]
) -> None:
    come(postgres_stage, *theirs)
    published(url)
    found = erased(url)
    assert (found.waiting, found.is_all, rows_with(url, CANARY)) == (1, False, {"dead_letters": 1})
    seen_to(url)
    found = erased(url)
    assert (found.records, found.is_all, letters(url)) == (1, True, 0)


def test_what_cannot_be_read_is_said_at_the_command_line(postgres_stage: Stage, url: str) -> None:
    come(postgres_stage, b'{"type":"order.created","customer_id":"' + CANARY.encode())
    published(url)
    found = erase(url)
    assert found.returncode == 1 and "left: 0 sagas under way, 1 records" in found.stderr
    seen_to(url)
    found = erase(url)
    assert (found.returncode, found.stdout) == (0, "erased in 0 sagas, 0 archived ones and 1 records\n")


@pytest.mark.parametrize(
    "value", [b"order of canary-47110", b"order of my-canary-4711", b"canary-4711_b", b"\xc3\xa4canary-4711"]
)
def test_what_names_another_customer_stays(postgres_stage: Stage, url: str, value: bytes) -> None:
    come(postgres_stage, value, value, (("user", value), ("other", OTHER.encode())))
    published(url)
    assert erased(url).is_all
    seen_to(url)
    assert erased(url).is_all and letters(url) == 1


@pytest.mark.parametrize("kept", ["live", "archived", "in a file"])
def test_the_card_of_an_order_of_theirs_is_erased_where_nothing_else_names_them(
    postgres_stage: Stage, url: str, tmp_path: Path, kept: str
) -> None:
    declined(postgres_stage, m.PaymentInfo(stripe_customer_id="cus_SECRET", payment_method_id="pm_SECRET"), url)
    # Names neither the saga nor the customer.
    come(postgres_stage, b"default_payment_method: pm_SECRET", None, ())
    come(postgres_stage, b"default_payment_method: pm_SECRETS", None, ())
    published(url)
    if kept != "live":
        assert archive_all(url) == 1
    if kept == "in a file":
        assert file_all(url, tmp_path) == 1
    assert (erased(url, directory=tmp_path).waiting, rows_with(url, "cus_SECRET")) == (2, {"dead_letters": 1})
    assert erased(url, OTHER).is_all, "it is not theirs"
    seen_to(url)
    assert erased(url, OTHER).is_all and letters(url) == 3
    assert erased(url, directory=tmp_path).is_all, "though nothing tells any more whose it was"
    assert letters(url) == 1 and rows_with(url, "cus_SECRET") == {}


def test_an_answer_for_nobody_with_a_card_of_theirs_goes_when_it_is_seen_to(postgres_stage: Stage, url: str) -> None:
    declined(postgres_stage, m.PaymentInfo(stripe_customer_id="cus_SECRET", payment_method_id="pm_SECRET"), url)
    add = (
        'INSERT INTO {} (topic, partition, "offset", saga_id, type, value)'
        " VALUES ('user_events', 0, 1, gen_random_uuid(), 'user.payment_info_retrieved', %s)"
    )
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL(add).format(sql.Identifier(SCHEMA, "orphans")), (b'{"x": "pm_SECRET"}',))
    seen_to(url)
    assert (erased(url).waiting, rows_with(url, "pm_SECRET")) == (1, {"orphans": 1})
    seen_to(url, "orphans")
    assert erased(url).is_all and rows_with(url, "pm_SECRET") == {}


def test_an_event_that_came_too_early_and_names_them_is_said(postgres_stage: Stage, url: str) -> None:
    add = (
        'INSERT INTO {} (topic, partition, "offset", reference, value, kept_until)'
        " VALUES ('order_events', 0, 1, 'order_id o-1', %s, clock_timestamp() + interval '1 hour')"
    )
    with psycopg.connect(url) as connection:
        for value in (b"{customer: canary-4711}", b"{customer: canary-47110}"):
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(SCHEMA, "early_events")))
            connection.execute(sql.SQL(add).format(sql.Identifier(SCHEMA, "early_events")), (value,))
            connection.commit()
            assert erased(url).waiting == (0 if b"47110" in value else 1)


def test_an_erasure_that_is_cut_off_leaves_no_record_to_nobody(
    postgres_stage: Stage, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once its files are written, nothing tells any more which cards were theirs."""
    declined(postgres_stage, m.PaymentInfo(stripe_customer_id="cus_SECRET", payment_method_id="pm_SECRET"), url)
    assert (archive_all(url), file_all(url, tmp_path)) == (1, 1)

    def cut_off(*_: Any) -> None:
        raise StoreUnavailable("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(PostgresErasure, "_live", cut_off)
        with pytest.raises(StoreUnavailable):
            erased(url, directory=tmp_path)
    assert (erased(url, directory=tmp_path).waiting, letters(url)) == (1, 1)
    seen_to(url)
    assert erased(url, directory=tmp_path).is_all and letters(url) == 0


def test_many_of_theirs_are_found_among_many(postgres_stage: Stage, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few records and a few ids are looked at at once."""
    monkeypatch.setattr(erasure_set_aside, "LOOKED_MAX", 3)
    monkeypatch.setattr(erasure_set_aside, "NEEDLES_MAX", 2)
    sagas = [place(postgres_stage, CANARY) for _ in range(4)]
    for saga_id in sagas:
        told(postgres_stage, saga_id, m.OrderCreationFailed(error="NO"))
    for saga_id in (*sagas, "others", *sagas, "others"):
        come(postgres_stage, b"of " + saga_id.encode())
    published(url)
    seen_to(url)
    found = erased(url)
    assert (found.records, found.is_all, letters(url)) == (8, True, 2)
