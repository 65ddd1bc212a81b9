"""The archive at a terminal, while no service runs."""

import zlib

import psycopg

from ordersaga.orchestrator.core.instance import Status
from ordersaga.wire import messages as m
from tests.cli.test_cli import ordersaga
from tests.runtime.stage import opened, settle


def test_sagas_are_archived_listed_shown_and_restored(database_url: str) -> None:
    with opened(database_url) as stage:
        ended, going = stage.begin(), stage.begin()
        settle(stage, ended, [m.OrderCreationFailed(error="NO")])
        assert stage.get(ended).status is Status.COMPENSATED
        stage.grow_old()
    reached = {"DATABASE_URL": database_url}
    assert ordersaga("archive", "run", **reached).stdout == "0 sagas archived\n"
    assert ordersaga("archive", "run", "--older-than-days", "0", **reached).stdout.startswith("1 sagas archived")
    listed = ordersaga("archive", "list", **reached).stdout
    assert listed.startswith(f"{ended}  COMPENSATED") and str(going) not in listed
    assert "COMPENSATED" in ordersaga("sagas", "show", str(ended), **reached).stdout
    assert ordersaga("archive", "restore", str(ended), **reached).stdout == "1 sagas restored\n"
    again = ordersaga("archive", "restore", str(ended), **reached)
    assert again.returncode == 1 and f"{ended} is not in the archive" in again.stderr
    assert ordersaga("archive", "list", **reached).stdout == "none\n"


def test_a_saga_is_restored_with_the_others_of_its_order(database_url: str) -> None:
    with opened(database_url) as stage:
        ids = [stage.begin() for _ in range(3)]
        for saga_id in ids:
            settle(stage, saga_id, [m.OrderCreationFailed(error="NO")])
        stage.execute("update sagas set order_id = 'o-1' where id <> %s", ids[2])
        stage.grow_old()
    reached = {"DATABASE_URL": database_url}
    ordersaga("archive", "run", "--older-than-days", "0", **reached)
    told = ordersaga("archive", "restore", str(ids[0]), str(ids[1]), **reached)
    assert (told.returncode, told.stdout) == (0, "2 sagas restored\n")
    assert ordersaga("archive", "list", **reached).stdout.startswith(str(ids[2]))
    noted = ordersaga("audit", **reached).stdout
    assert [noted.count(f"archive restore {one}") for one in ids] == [1, 1, 0]


def test_an_archive_that_is_turned_off_says_how_to_run_it_all_the_same(database_url: str) -> None:
    told = ordersaga("archive", "run", DATABASE_URL=database_url, ORDERSAGA_ARCHIVE_AFTER_DAYS="0")
    assert told.returncode == 0 and "--older-than-days" in told.stdout


def spoilt(database_url: str, statement: str) -> str:
    with psycopg.connect(database_url) as connection:
        connection.execute(statement.encode())
    found = ordersaga("archive", "verify", DATABASE_URL=database_url)
    assert found.returncode == 1
    assert found.stdout.endswith("1 sagas read, 1 problems\n")
    return found.stdout


def test_every_archived_saga_is_read_back_and_one_that_is_spoilt_is_named(database_url: str) -> None:
    with opened(database_url) as stage:
        saga_id = stage.begin()
        settle(stage, saga_id, [m.OrderCreationFailed(error="NO")])
        stage.grow_old()
    reached = {"DATABASE_URL": database_url}
    ordersaga("archive", "run", "--older-than-days", "0", **reached)
    well = ordersaga("archive", "verify", **reached)
    assert (well.returncode, well.stdout) == (0, "1 sagas read, 0 problems\n")
    assert "holds another saga" in spoilt(database_url, "UPDATE ordersaga.archive SET status = 'CANCELLED'")
    empty = zlib.compress(b"[]").hex()
    statement = f"UPDATE ordersaga.archive SET status = 'COMPENSATED', history = '\\x{empty}'"
    assert "has a history of 0 entries" in spoilt(database_url, statement)
    said = spoilt(database_url, "UPDATE ordersaga.archive SET state = 'rubbish'")
    assert f"{saga_id} cannot be read" in said
