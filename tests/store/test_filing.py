"""Archived sagas in files: read and brought back from there, whoever dies in the middle."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ordersaga.orchestrator.store.archive_files import MANIFEST, ArchiveUnreadable, Directory
from ordersaga.orchestrator.store.archive_files_check import check_files
from ordersaga.orchestrator.store.filing import PostgresFiling
from ordersaga.orchestrator.store.protocol import Batch, Lookup, StoreUnavailable
from ordersaga.orchestrator.store.search import Search

from .files import AT_ONCE, Died, Files, die, kept, rewritten
from .sagas import CODEC, begin, change, changed


def test_what_is_in_a_file_is_read_as_if_it_were_not(files: Files) -> None:
    sagas = [kept(order_id=f"o-{number}") for number in range(120)]
    begin(files.store, *sagas)
    histories = {one.saga_id: list(files.store.history(one.saga_id)) for one in sagas}
    files.archive.move(older_than=AT_ONCE, limit=1_000)
    assert files.filing.file(older_than=AT_ONCE).sagas == 120
    files.place.ask("TRUNCATE saga_history")

    assert files.one("SELECT count(*) FROM archive WHERE state IS NOT NULL") == 0
    assert {one.saga_id: files.store.get(one.saga_id) for one in sagas} == {one.saga_id: one for one in sagas}
    assert {one.saga_id: list(files.store.history(one.saga_id)) for one in sagas} == histories
    assert {one.file for one in files.archive.page()} == files.names()
    assert files.store.page(Search(archived=True)).instances == sagas[:19:-1]
    assert files.problems() == []


def test_any_tool_reads_a_file_and_its_manifest(files: Files) -> None:
    sagas = files.filed(*(kept(order_id=f"o-{number}") for number in range(70)))
    lines = files.lines()
    assert [line["id"] for line in lines] == [str(one.saga_id) for one in sagas]
    assert lines[0]["state"]["order_id"] == "o-0" and lines[0]["personal"]["customer_id"] == "c4n4ry-1"
    manifest = json.loads((files.path / (files.only().name + MANIFEST)).read_text())
    assert manifest["sagas"] == 70 and manifest["size_bytes"] == files.only().stat().st_size
    assert len(manifest["blocks"]) == 3
    assert files.only().stat().st_mode & 0o077 == 0, "what customers said is for nobody else"


@pytest.mark.parametrize("named", ["saga", "order", "payment"])
def test_late_news_bring_a_saga_back_from_its_file(files: Files, named: str) -> None:
    one, other = kept(order_id="o-1", payment_id="p-1"), kept(order_id="o-2")
    files.filed(one, other)
    wanted = {
        "saga": Lookup(saga_ids=[one.saga_id]),
        "order": Lookup(order_ids=["o-1"]),
        "payment": Lookup(payment_ids=["p-1"]),
    }[named]
    with files.store.transaction() as transaction:
        assert transaction.load(wanted).instances == {one.saga_id: one}
        transaction.save(Batch(changes=[change(one, after := changed(one))]))
    assert files.store.get(one.saga_id) == after
    assert [entry.revision for entry in files.store.history(one.saga_id)] == [1, 2]
    assert [kept_one.saga_id for kept_one in files.archive.page()] == [other.saga_id]
    assert files.problems() == []


def test_what_came_back_goes_again_into_another_file(files: Files) -> None:
    (one,) = files.filed(kept())
    for _ in range(2):
        assert files.archive.restore(one.saga_id)
        assert files.archive.move(older_than=AT_ONCE, limit=10).count == 1
        assert files.filing.file(older_than=AT_ONCE).sagas == 1
    assert files.store.get(one.saga_id) == one
    assert len(files.names()) == 3
    assert files.problems() == []


def test_what_was_archived_lately_goes_into_no_file_yet(files: Files) -> None:
    begin(files.store, kept())
    files.archive.move(older_than=AT_ONCE, limit=10)
    assert files.filing.file(older_than=timedelta(days=1)).sagas == 0
    assert files.names() == set()


def test_files_follow_each_other_until_nothing_is_left(files: Files) -> None:
    begin(files.store, *(kept(order_id=f"o-{number}") for number in range(25)))
    files.archive.move(older_than=AT_ONCE, limit=100)
    assert [files.filing.file(older_than=AT_ONCE, sagas_max=10).sagas for _ in range(4)] == [10, 10, 5, 0]
    assert [one.sagas for one in files.filing.files()] == [10, 10, 5]
    assert files.problems() == []


PLACES_TO_DIE: list[tuple[object, str]] = [
    (PostgresFiling, "_content"),
    (Directory, "_to_disk"),
    (Directory, "_settle"),
    (PostgresFiling, "_leave"),
]


@pytest.mark.parametrize(("owner", "name"), PLACES_TO_DIE, ids=["reading", "writing", "renamed", "committing"])
def test_whoever_dies_while_a_file_is_written_leaves_the_sagas_where_they_were(
    files: Files, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    begin(files.store, one := kept())
    files.archive.move(older_than=AT_ONCE, limit=10)
    with monkeypatch.context() as killed:
        killed.setattr(owner, name, die)
        # A process that is killed cleans nothing up.
        killed.setattr(PostgresFiling, "_give_up", lambda *_: None)
        killed.setattr(PostgresFiling, "sweep", lambda *_: 0)
        with pytest.raises(Died):
            files.filing.file(older_than=AT_ONCE)
    assert files.store.get(one.saga_id) == one
    assert files.filing.file(older_than=AT_ONCE).is_busy, "it may live: nobody can tell yet"
    files.place.ask("UPDATE archive_leftovers SET due_at = now() - interval '1 second'")
    assert files.filing.file(older_than=AT_ONCE).sagas == 1
    assert len(list(files.path.iterdir())) == 2, "what it left behind is gone"
    assert files.store.get(one.saga_id) == one
    assert files.problems() == []


def test_one_that_was_given_up_for_dead_and_lives_leaves_nothing(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(files.store, one := kept())
    files.archive.move(older_than=AT_ONCE, limit=10)
    other, written = PostgresFiling(files.place.pool, Directory(files.path)), list[int]()
    frozen = Directory.write

    def freeze(*arguments: Any, **more: Any) -> Any:
        if not written:
            written.append(1)
            files.place.ask("UPDATE archive_leftovers SET due_at = now() - interval '1 second'")
            assert other.file(older_than=AT_ONCE).sagas == 1
        return frozen(*arguments, **more)

    monkeypatch.setattr(Directory, "write", freeze)
    assert files.filing.file(older_than=AT_ONCE).sagas == 0
    assert len(list(files.path.iterdir())) == 2
    assert files.store.get(one.saga_id) == one


def test_two_who_put_sagas_into_files_at_once_put_each_into_one(files: Files) -> None:
    sagas = [kept(order_id=f"o-{number}") for number in range(60)]
    begin(files.store, *sagas)
    files.archive.move(older_than=AT_ONCE, limit=100)

    def work(_: int) -> int:
        mine = PostgresFiling(files.place.pool, files.directory)
        count = 0
        while files.one("SELECT count(*) FROM archive WHERE file IS NULL"):
            count += mine.file(older_than=AT_ONCE, sagas_max=10).sagas
        return count

    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(work, range(2))) == 60
    assert sorted(line["id"] for line in files.lines()) == sorted(str(one.saga_id) for one in sagas)
    assert files.problems() == []


def test_a_saga_that_comes_back_while_its_file_is_written_is_in_the_hot_tables_alone(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(files.store, one := kept(), other := kept(order_id="o-2"))
    files.archive.move(older_than=AT_ONCE, limit=10)
    write, came_back = Directory.write, list[UUID]()

    def come_back(*arguments: Any, **more: Any) -> Any:
        if not came_back:
            came_back.extend(files.archive.restore(one.saga_id))
        return write(*arguments, **more)

    monkeypatch.setattr(Directory, "write", come_back)
    assert files.filing.file(older_than=AT_ONCE).sagas == 1
    assert [line["id"] for line in files.lines()] == [str(other.saga_id)]
    assert {row.saga_id for row in files.store.page().instances} == {one.saga_id}


def test_news_that_come_while_files_are_written_find_every_saga(files: Files) -> None:
    sagas = [kept(order_id=f"o-{number}") for number in range(20)]
    begin(files.store, *sagas)

    def news(_: int) -> None:
        for round_ in range(6):
            with files.store.transaction() as transaction:
                ids = [one.saga_id for one in sagas][round_ % 3 :: 3]
                loaded = transaction.load(Lookup(saga_ids=ids)).instances
                assert len(loaded) == len(ids), "one was nowhere"
                transaction.save(Batch(changes=[change(one, changed(one)) for one in loaded.values()]))

    def away(_: int) -> None:
        for _round in range(12):
            files.archive.move(older_than=AT_ONCE, limit=100)
            files.filing.file(older_than=AT_ONCE)

    with ThreadPoolExecutor(2) as threads:
        for done in (threads.submit(news, 0), threads.submit(away, 0)):
            done.result(60)
    assert {files.store.get(one.saga_id).revision for one in sagas} == {3}  # type: ignore[union-attr]
    assert all([entry.revision for entry in files.store.history(one.saga_id)] == [1, 2, 3] for one in sagas)
    assert files.problems() == []


# --- what is wrong with a file ---------------------------------------------------------------------------------------


def test_a_file_that_is_missing_is_named_and_nothing_of_its_sagas_is_lost(files: Files) -> None:
    (one,) = files.filed(kept())
    path = files.only()
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(ArchiveUnreadable, match=path.name):
        files.store.get(one.saga_id)
    with pytest.raises(ArchiveUnreadable, match=path.name), files.store.transaction() as transaction:
        transaction.load(Lookup(saga_ids=[one.saga_id]))
    assert any(path.name in whose for whose, _ in files.problems())
    path.write_bytes(content)
    with files.store.transaction() as transaction:
        assert transaction.load(Lookup(saga_ids=[one.saga_id])).instances == {one.saga_id: one}


def test_without_the_setting_it_is_said_which_one(files: Files) -> None:
    (one,) = files.filed(kept())
    with pytest.raises(ArchiveUnreadable, match="ORDERSAGA_ARCHIVE_DIRECTORY"):
        files.place.store().get(one.saga_id)
    (checked,) = check_files(files.place.pool, None, CODEC)
    assert "ORDERSAGA_ARCHIVE_DIRECTORY" in checked.unreadable[0][1]


def test_a_line_that_was_changed_is_found_and_is_not_used(files: Files) -> None:
    one, other = files.filed(kept(), kept(order_id="o-2"))
    rewritten(files.only(), lambda text: text.replace("CANCELLED", "COMPLETED", 1))
    whose = {name for name, _ in files.problems()}
    assert str(one.saga_id) in whose and files.only().name in whose
    with pytest.raises(ArchiveUnreadable):
        files.archive.restore(one.saga_id)
    assert {row.saga_id for row in files.archive.page()} == {one.saga_id, other.saga_id}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b"rubbish" * 100),
        lambda path: path.write_bytes(b""),
    ],
    ids=["cut off", "rubbish", "empty"],
)
def test_a_file_that_is_damaged_is_found(files: Files, spoil: Callable[[Path], object]) -> None:
    (one,) = files.filed(kept())
    spoil(files.only())
    assert {files.only().name, str(one.saga_id)} <= {name for name, _ in files.problems()}
    with pytest.raises(ArchiveUnreadable):
        files.store.get(one.saga_id)


def test_a_manifest_that_is_missing_or_another_is_found(files: Files) -> None:
    files.filed(kept())
    manifest = files.path / (files.only().name + MANIFEST)
    text = manifest.read_text()
    manifest.write_text(text.replace('"sagas": 1', '"sagas": 2'))
    assert files.problems() == [(files.only().name, "has another manifest than was written")]
    manifest.write_text("{")
    assert "is no manifest" in files.problems()[0][1]
    manifest.unlink()
    assert "cannot be read" in files.problems()[0][1]
    manifest.write_text(text)
    assert files.problems() == []


def test_a_file_that_nobody_knows_is_named(files: Files) -> None:
    files.filed(kept())
    (files.path / "sagas-from-elsewhere.jsonl.gz").write_bytes(b"")
    assert [name for name, _ in files.problems()] == ["sagas-from-elsewhere.jsonl.gz"]


def test_a_directory_that_cannot_be_written_to_is_said_and_nothing_moves(files: Files) -> None:
    begin(files.store, one := kept())
    files.archive.move(older_than=AT_ONCE, limit=10)
    away = PostgresFiling(files.place.pool, Directory(files.path / "not there"))
    with pytest.raises(StoreUnavailable, match="cannot be"):
        away.file(older_than=AT_ONCE)
    assert files.place.store().get(one.saga_id) == one
