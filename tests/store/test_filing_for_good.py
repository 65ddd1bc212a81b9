"""What is in files of the archive, forgotten and erased for good."""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.store import filing as filing_module
from ordersaga.orchestrator.store.archive_files import ArchiveUnreadable, Directory
from ordersaga.orchestrator.store.erasure import PostgresErasure
from ordersaga.orchestrator.store.filing import PostgresFiling
from tests.waiting import until

from .files import AT_ONCE, Died, Files, die, kept, rewritten
from .sagas import begin, saga


def test_a_file_is_forgotten_once_all_in_it_is_old_enough(files: Files) -> None:
    (one,) = files.filed(kept())
    (other,) = files.filed(kept(order_id="o-2"))
    files.place.ask("UPDATE archive_files SET newest_at = newest_at - interval '10 days' WHERE id = 1")
    assert files.archive.forget(older_than=timedelta(days=9), limit=100) == 0
    assert files.filing.forget(older_than=timedelta(days=9)) == 1
    assert files.filing.forget(older_than=timedelta(days=9)) == 0
    assert files.store.get(one.saga_id) is None
    assert files.store.get(other.saga_id) == other
    assert (len(files.store.history(one.saga_id)), len(files.store.history(other.saga_id))) == (0, 1)
    assert len(list(files.path.iterdir())) == 2, "one file and its manifest"
    assert files.problems() == []


def erase(files: Files, customer_id: str) -> int:
    erasure = PostgresErasure(files.place.pool, directory=files.directory)
    return erasure.erase(customer_id, by="night-shift", why="asked to").archived


def test_a_customer_is_erased_from_files_and_the_others_in_them_are_as_they_were(files: Files) -> None:
    theirs, others = kept(customer_id="canary"), [kept(order_id=f"o-{n}", customer_id="c-2") for n in range(60)]
    files.filed(theirs, *others)
    before = files.names()
    assert "canary" in json.dumps(files.lines())

    assert erase(files, "canary") == 1

    assert "canary" not in json.dumps(files.lines())
    assert len(files.names()) == 1 and not before & files.names(), "made anew, under another name"
    assert len(list(files.path.iterdir())) == 2, "the old one is gone, and its manifest"
    found = files.store.get(theirs.saga_id)
    assert found is not None and found.data.personal is None and found.status is Status.CANCELLED
    assert all(files.store.get(one.saga_id) == one for one in others)
    assert files.problems() == []
    assert erase(files, "canary") == 0


def test_a_line_whose_saga_has_come_back_is_erased_too(files: Files) -> None:
    one, other = files.filed(kept(customer_id="canary"), kept(order_id="o-2"))
    files.archive.restore(one.saga_id)
    erase(files, "canary")
    assert [line["id"] for line in files.lines()] == [str(other.saga_id)]
    assert files.store.get(one.saga_id).data.personal is None  # type: ignore[union-attr]
    assert files.problems() == []


def test_a_damaged_file_is_not_written_anew_as_if_it_were_well(files: Files) -> None:
    files.filed(kept(customer_id="canary"), kept(order_id="o-2"))
    content = files.only().read_bytes()
    rewritten(files.only(), lambda text: text.replace("CANCELLED", "COMPLETED", 1))
    with pytest.raises(ArchiveUnreadable, match="put it back first"):
        erase(files, "canary")
    assert files.store.page().instances == []
    assert files.one("SELECT count(*) FROM archive WHERE customer_id = 'canary'") == 1, "so it is found again"
    files.only().write_bytes(content)
    assert erase(files, "canary") == 1


@pytest.mark.parametrize("name", ["_replace", "_counting"])
def test_an_erasure_that_dies_in_the_middle_is_done_by_the_next(
    files: Files, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files.filed(kept(customer_id="canary"), other := kept(order_id="o-2"))
    with monkeypatch.context() as killed:
        killed.setattr(PostgresFiling, name, die)
        killed.setattr(PostgresFiling, "_give_up", lambda *_: None)
        with pytest.raises(Died):
            erase(files, "canary")
    files.place.ask("UPDATE archive_leftovers SET due_at = now() - interval '1 second'")
    assert erase(files, "canary") == 1
    assert len(list(files.path.iterdir())) == 2
    assert files.store.get(other.saga_id) == other
    assert files.problems() == []


def test_what_is_written_to_a_file_at_this_moment_is_said(files: Files) -> None:
    begin(files.store, kept())
    files.archive.move(older_than=AT_ONCE, limit=10)
    assert files.filing._begun("sagas-under-way.jsonl.gz")
    erased = PostgresErasure(files.place.pool, directory=files.directory).erase("c4n4ry-1", by="ada", why="asked")
    assert erased.files_written and not erased.is_all


def test_erasure_without_the_setting_changes_nothing(files: Files) -> None:
    (one,) = files.filed(kept(customer_id="canary"))
    begin(files.store, live := saga(customer_id="canary", status=Status.CANCELLED))
    with pytest.raises(ArchiveUnreadable, match="ORDERSAGA_ARCHIVE_DIRECTORY"):
        PostgresErasure(files.place.pool).erase("canary", by="ada", why="asked")
    assert files.store.get(live.saga_id) == live
    assert files.store.get(one.saga_id) == one


def test_two_customers_erased_from_one_file_at_once_are_both_gone(files: Files) -> None:
    files.filed(*(kept(order_id=f"o-{n}", customer_id=f"canary-{n % 2}") for n in range(20)))

    def work(number: int) -> None:
        for _ in range(5):
            try:
                erase(files, f"canary-{number}")
            except filing_module.Overtaken:
                continue
            return

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, range(2)))
    assert "canary" not in json.dumps(files.lines())
    assert len(files.lines()) == 20
    assert files.problems() == []


def test_a_file_that_another_takes_away_while_it_is_read_is_read_anew(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.filed(*(kept(order_id=f"o-{n}", customer_id=f"canary-{n % 2}") for n in range(20)))
    parts = Directory.parts

    def another_is_faster(*arguments: Any) -> Any:
        monkeypatch.setattr(Directory, "parts", parts)
        assert erase(files, "canary-1") == 10
        return parts(*arguments)

    monkeypatch.setattr(Directory, "parts", another_is_faster)
    assert erase(files, "canary-0") == 10
    assert "canary" not in json.dumps(files.lines())
    assert files.problems() == []


def test_what_goes_into_a_file_while_its_customer_is_erased_is_not_missed(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file counts from the moment on at which the erasure waits for its rows."""
    begin(files.store, one := kept(customer_id="canary"))
    files.archive.move(older_than=AT_ONCE, limit=10)
    leave, erasing = PostgresFiling._leave, list[Future[int]]()

    def leave_and_wait(*arguments: Any) -> None:
        leave(*arguments)
        erasing.append(threads.submit(erase, files, "canary"))
        until(files.place.someone_waits, "the erasure waits for the row")

    with ThreadPoolExecutor(1) as threads:
        with monkeypatch.context() as slow:
            slow.setattr(PostgresFiling, "_leave", leave_and_wait)
            files.filing.file(older_than=AT_ONCE)
        with pytest.raises(filing_module.Overtaken):
            erasing[0].result(20)
    assert erase(files, "canary") == 1
    assert "canary" not in json.dumps(files.lines())
    assert files.store.get(one.saga_id).data.personal is None  # type: ignore[union-attr]
