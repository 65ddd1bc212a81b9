"""Archived sagas in files: read, brought back, forgotten and erased from there, whoever dies in the middle."""

import gzip
import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.store import filing as filing_module
from ordersaga.orchestrator.store.archive import PostgresArchive
from ordersaga.orchestrator.store.archive_files import MANIFEST, ArchiveUnreadable, Directory
from ordersaga.orchestrator.store.archive_files_check import check_files
from ordersaga.orchestrator.store.erasure import PostgresErasure
from ordersaga.orchestrator.store.filing import PostgresFiling
from ordersaga.orchestrator.store.postgres import PostgresStore
from ordersaga.orchestrator.store.protocol import Batch, Lookup, StoreUnavailable
from ordersaga.orchestrator.store.search import Search
from tests.waiting import until

from .places import PostgresPlace
from .sagas import CODEC, AnyInstance, begin, change, changed, saga
from .test_archive import old

AT_ONCE = timedelta(0)


class Files:
    """A place whose archive has files."""

    def __init__(self, place: PostgresPlace, path: Path) -> None:
        self.place, self.path = place, path
        self.directory = Directory(path)
        self.store = PostgresStore(place.pool, CODEC, place.outbox, directory=self.directory)
        self.archive = PostgresArchive(place.pool, directory=self.directory)
        self.filing = PostgresFiling(place.pool, self.directory)

    def filed(self, *sagas: AnyInstance) -> list[AnyInstance]:
        """Begun, archived, and put into one file."""
        begin(self.store, *sagas)
        assert self.archive.move(older_than=AT_ONCE, limit=1_000).count == len(sagas)
        assert self.filing.file(older_than=AT_ONCE).sagas == len(sagas)
        return list(sagas)

    def names(self) -> set[str]:
        return {one.name for one in self.path.iterdir() if not one.name.endswith(MANIFEST)}

    def only(self) -> Path:
        (name,) = self.names()
        return self.path / name

    def problems(self) -> list[tuple[str, str]]:
        checked = list(check_files(self.place.pool, self.directory, CODEC))
        return [(str(whose), what) for one in checked for whose, what in one.unreadable]

    def lines(self) -> list[dict[str, Any]]:
        text = "".join(gzip.decompress((self.path / name).read_bytes()).decode() for name in sorted(self.names()))
        return [json.loads(line) for line in text.splitlines()]

    def one(self, statement: str) -> Any:
        return self.place.ask(statement)[0][0]


@pytest.fixture
def files(postgres: PostgresPlace, tmp_path: Path) -> Files:
    return Files(postgres, tmp_path)


def kept(*, order_id: str = "o-1", payment_id: str | None = None, customer_id: str = "c4n4ry-1") -> AnyInstance:
    data = saga(customer_id=customer_id, order_id=order_id, payment_id=payment_id).data
    return replace(old(), data=data)


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


class Died(Exception):
    """What a process that is killed would not even raise."""


def die(*_: object, **__: object) -> Any:
    raise Died


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
    write, came_back = Directory.write, list[bool]()

    def come_back(*arguments: Any, **more: Any) -> Any:
        if not came_back:
            came_back.append(files.archive.restore(one.saga_id))
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


def rewritten(path: Path, change_text: Callable[[str], str]) -> None:
    path.write_bytes(gzip.compress(change_text(gzip.decompress(path.read_bytes()).decode()).encode(), mtime=0))


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


# --- for good --------------------------------------------------------------------------------------------------------


def test_a_file_is_forgotten_once_all_in_it_is_old_enough(files: Files) -> None:
    (one,) = files.filed(kept())
    (other,) = files.filed(kept(order_id="o-2"))
    files.place.ask("UPDATE archive_files SET newest_at = newest_at - interval '10 days' WHERE id = 1")
    assert files.archive.forget(older_than=timedelta(days=9), limit=100) == 0
    assert files.filing.forget(older_than=timedelta(days=9)) == 1
    assert files.filing.forget(older_than=timedelta(days=9)) == 0
    assert files.store.get(one.saga_id) is None
    assert files.store.get(other.saga_id) == other
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
