"""What becomes of a batch when the database goes away, freezes, or does not say whether it committed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from psycopg_pool import ConnectionPool

from ordersaga.delivery.outbox import PostgresOutbox
from ordersaga.delivery.outbox_protocol import OutboxUnavailable
from ordersaga.local.postgres import PostgresServer
from ordersaga.orchestrator.store.migrate import migrate
from ordersaga.orchestrator.store.postgres import REFUSED_FOR_SECONDS, PostgresStore, open_pool
from ordersaga.orchestrator.store.protocol import Batch, CommitUnknown, Lookup, SchemaMismatch, Store, StoreUnavailable
from tests.local.watching import until

from .places import SCHEMA, PostgresPlace
from .proxy import lossy_proxy
from .sagas import CODEC, begun, change, changed, saga

DEADLINE_SECONDS = 1.0


def open_store(url: str, *, size_max: int = 3, timeout_seconds: float = 10.0, **options: Any) -> PostgresStore:
    pool: ConnectionPool[Any] = open_pool(url, SCHEMA, size_max=size_max, **options)
    return PostgresStore(pool, CODEC, PostgresOutbox(pool, uuid4()), timeout_seconds=timeout_seconds)


def answers(store: Store) -> bool:
    try:
        store.check(2.0)
    except StoreUnavailable:
        return False
    return True


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """To be harmed: whoever does leaves it running."""
    with PostgresServer.start(settings={"fsync": "off"}) as server:
        yield server


@pytest.fixture
def harmed(server: PostgresServer) -> Iterator[PostgresStore]:
    url = server.create_database()
    migrate(url, SCHEMA)
    store = open_store(url, timeout_seconds=DEADLINE_SECONDS)
    yield store
    store.close()


@pytest.mark.parametrize("lose", ["cut", "hang"])
def test_a_commit_whose_answer_is_lost_is_unknown_and_loading_again_tells(postgres: PostgresPlace, lose: str) -> None:
    with lossy_proxy(postgres.url) as (proxy, url):
        store = open_store(url, timeout_seconds=DEADLINE_SECONDS)
        one = saga()
        proxy.lose = lose
        with pytest.raises(CommitUnknown) as caught, store.transaction() as transaction:
            transaction.save(begun(one))
        assert caught.value.retriable
        assert proxy.lost.wait(10)
        proxy.lose = ""
        until(lambda: answers(store), "a new connection is there")
        assert store.get(one.saga_id) == one
        store.close()


def test_a_frozen_server_is_given_up_in_time_wherever_it_freezes(server: PostgresServer, harmed: PostgresStore) -> None:
    one = saga()
    with harmed.transaction() as transaction:
        transaction.save(begun(one))

    def while_loading() -> None:
        with harmed.transaction() as transaction:
            server.freeze()
            transaction.load(Lookup(saga_ids=[one.saga_id]))

    def while_saving() -> None:
        with harmed.transaction() as transaction:
            transaction.load(Lookup(saga_ids=[one.saga_id]))
            server.freeze()
            transaction.save(Batch(changes=[change(one, changed(one))]))

    def while_rolling_back() -> None:
        with harmed.transaction() as transaction:
            transaction.load(Lookup(saga_ids=[one.saga_id]))
            server.freeze()
            raise StoreUnavailable("by its own decision")

    def while_reading() -> None:
        server.freeze()
        harmed.get(one.saga_id)

    for ask in (while_loading, while_saving, while_rolling_back, while_reading):
        until(lambda: answers(harmed), f"the store is well before {ask.__name__}")
        began = monotonic()
        try:
            with pytest.raises(StoreUnavailable):
                ask()
            assert monotonic() - began < DEADLINE_SECONDS + 4.0, ask.__name__
        finally:
            server.thaw()
    until(lambda: answers(harmed), "the store is well again")
    assert harmed.get(one.saga_id) == one


def test_a_frozen_server_is_not_well_and_saying_so_takes_no_longer_than_was_granted(
    server: PostgresServer, harmed: PostgresStore
) -> None:
    harmed.check(5.0)
    server.freeze()
    try:
        began = monotonic()
        with pytest.raises(StoreUnavailable):
            harmed.check(0.3)
        assert monotonic() - began < 3.0
    finally:
        server.thaw()


def test_a_server_that_was_killed_and_comes_back_is_used_again_within_seconds(
    server: PostgresServer, harmed: PostgresStore
) -> None:
    one = saga()
    with harmed.transaction() as transaction:
        transaction.save(begun(one))
    server.kill()
    try:
        for _ in range(5):  # long enough for pauses that double to be too long
            with pytest.raises(StoreUnavailable):
                harmed.get(one.saga_id)
    finally:
        server.restart()
    until(lambda: answers(harmed), "the store is well again", 3.5)
    assert harmed.get(one.saga_id) == one


END_ALL = (
    "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def test_a_connection_that_is_ended_in_the_middle_is_a_reason_to_try_again(postgres: PostgresPlace) -> None:
    store, one = postgres.store(), saga()

    def begin_while_it_ends() -> None:
        with store.transaction() as transaction:
            transaction.load(Lookup())
            postgres.ask(END_ALL)
            transaction.save(begun(one))

    with pytest.raises(StoreUnavailable) as caught:
        begin_while_it_ends()
    assert type(caught.value) is StoreUnavailable
    with store.transaction() as transaction:
        assert transaction.load(Lookup(saga_ids=[one.saga_id])).instances == {}
        transaction.save(begun(one))
    assert store.get(one.saga_id) == one


def test_connections_that_ended_while_idle_are_noticed_before_they_are_used(postgres: PostgresPlace) -> None:
    store = postgres.store()
    store.check(5.0)
    ((ended,),) = postgres.ask(END_ALL)
    assert ended >= 1
    store.check(5.0)


def test_who_finds_no_free_connection_is_told_to_come_again(postgres: PostgresPlace) -> None:
    store = open_store(postgres.url, size_max=1)
    with store.transaction(), pytest.raises(StoreUnavailable, match="no connection"):
        store.get(uuid4())
    store.check(5.0)
    store.close()


def test_a_process_of_ours_that_freezes_does_not_keep_its_sagas_locked(postgres: PostgresPlace) -> None:
    one = saga()
    with postgres.store().transaction() as transaction:
        transaction.save(begun(one))
    pool: ConnectionPool[Any] = open_pool(postgres.url, SCHEMA, size_max=1, timeout_seconds=0.5)
    frozen = PostgresStore(pool, CODEC, postgres.outbox, timeout_seconds=60.0)
    others = open_store(postgres.url, timeout_seconds=3.0)

    def freeze_with_the_lock() -> None:
        with frozen.transaction() as transaction:
            before = transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
            with ThreadPoolExecutor(1) as threads:
                threads.submit(move_elsewhere).result(20)
            transaction.save(Batch(changes=[change(before, changed(before))]))

    def move_elsewhere() -> None:
        with others.transaction() as transaction:
            before = transaction.load(Lookup(saga_ids=[one.saga_id])).instances[one.saga_id]
            transaction.save(Batch(changes=[change(before, changed(before, step="ELSEWHERE"))]))

    with pytest.raises(StoreUnavailable):
        freeze_with_the_lock()
    if postgres.ask("SELECT current_setting('server_version_num')::int < 170000") == [(True,)]:
        move_elsewhere()  # there it had to wait until the connection of the frozen one ended
    found = others.get(one.saga_id)
    assert found is not None
    assert (found.revision, found.step) == (2, "ELSEWHERE")
    frozen.close()
    others.close()


def test_a_database_that_only_reads_is_a_reason_to_try_again(postgres: PostgresPlace) -> None:
    postgres.ask(f"ALTER DATABASE {postgres.url.rpartition('/')[2]} SET default_transaction_read_only = on")
    store = open_store(postgres.url)
    with pytest.raises(StoreUnavailable, match="25006"), store.transaction() as transaction:
        transaction.save(begun(saga()))
    store.close()


@pytest.mark.parametrize("who", ["store", "outbox"])
def test_a_server_that_only_reads_is_left_for_one_that_may_stand_behind_its_name_by_now(
    postgres: PostgresPlace, who: str
) -> None:
    one, database = saga(), postgres.url.rpartition("/")[2]
    postgres.ask(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    pool: ConnectionPool[Any] = open_pool(postgres.url, SCHEMA, size_max=1)
    outbox = PostgresOutbox(pool, uuid4())
    store = PostgresStore(pool, CODEC, outbox)

    def write() -> None:
        if who == "outbox":
            outbox.register()
            return
        with store.transaction() as transaction:
            transaction.load(Lookup(saga_ids=[one.saga_id]))
            transaction.save(begun(one))

    store.check(5.0, to_write=False)
    postgres.ask(f"SET TRANSACTION READ WRITE; ALTER DATABASE {database} RESET default_transaction_read_only")
    with pytest.raises((StoreUnavailable, OutboxUnavailable), match="read-only"):
        write()
    write()
    store.close()


def test_a_database_that_only_reads_is_well_for_who_only_reads(postgres: PostgresPlace) -> None:
    postgres.ask(f"ALTER DATABASE {postgres.url.rpartition('/')[2]} SET default_transaction_read_only = on")
    store = open_store(postgres.url)
    with pytest.raises(StoreUnavailable, match="only be read"):
        store.check(2.0)
    store.check(2.0, to_write=False)
    store.close()


REFUSED = """
    CREATE FUNCTION {schema}.refused() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'could not extend file' USING ERRCODE = '{sqlstate}';
    END $$;
    CREATE TRIGGER refused BEFORE INSERT ON {schema}.sagas FOR EACH ROW EXECUTE FUNCTION {schema}.refused()
"""


@pytest.mark.parametrize("sqlstate", ["53100", "58030", "42501"])
def test_a_database_that_takes_nothing_in_is_not_well_until_it_does(postgres: PostgresPlace, sqlstate: str) -> None:
    """Its disk is full, or we have lost our right: whoever only asks it is answered all the same."""
    store = postgres.store()
    postgres.ask(REFUSED.format(schema=SCHEMA, sqlstate=sqlstate).encode())
    store.check(2.0)
    with pytest.raises(StoreUnavailable, match=sqlstate), store.transaction() as transaction:
        transaction.save(begun(saga()))
    with store.transaction() as transaction:
        transaction.load(Lookup())
    with pytest.raises(StoreUnavailable, match=f"{sqlstate} could not extend file"):
        store.check(2.0)
    store.check(2.0, to_write=False)
    postgres.ask(f"DROP TRIGGER refused ON {SCHEMA}.sagas")
    with store.transaction() as transaction:
        transaction.save(begun(saga()))
    store.check(2.0)


def test_a_database_that_took_nothing_in_is_tried_again_though_nobody_was_let_in_meanwhile(
    postgres: PostgresPlace,
) -> None:
    now = [0.0]
    store = PostgresStore(postgres.pool, CODEC, postgres.outbox, monotonic=lambda: now[0])
    postgres.ask(REFUSED.format(schema=SCHEMA, sqlstate="53100").encode())
    with pytest.raises(StoreUnavailable), store.transaction() as transaction:
        transaction.save(begun(saga()))
    now[0] = REFUSED_FOR_SECONDS - 0.1
    with pytest.raises(StoreUnavailable):
        store.check(2.0)
    now[0] = REFUSED_FOR_SECONDS
    store.check(2.0)


@pytest.mark.parametrize("sqlstate", ["40001", "57014", "53200"])
def test_what_passes_in_a_moment_is_no_word_on_the_database(postgres: PostgresPlace, sqlstate: str) -> None:
    store = postgres.store()
    postgres.ask(REFUSED.format(schema=SCHEMA, sqlstate=sqlstate).encode())
    with pytest.raises(StoreUnavailable, match=sqlstate), store.transaction() as transaction:
        transaction.save(begun(saga()))
    store.check(2.0)


def test_a_database_without_tables_says_what_to_do(database_url: str) -> None:
    store = open_store(database_url)
    with pytest.raises(SchemaMismatch, match="ordersaga migrate"):
        store.check(5.0)
    with pytest.raises(StoreUnavailable):
        store.get(uuid4())
    store.close()
