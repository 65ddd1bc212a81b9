"""An archive with files, for those that try it."""

import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ordersaga.orchestrator.store.archive import PostgresArchive
from ordersaga.orchestrator.store.archive_files import MANIFEST, Directory
from ordersaga.orchestrator.store.archive_files_check import check_files
from ordersaga.orchestrator.store.filing import PostgresFiling
from ordersaga.orchestrator.store.postgres import PostgresStore

from .places import PostgresPlace
from .sagas import CODEC, AnyInstance, begin, saga
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


def kept(*, order_id: str = "o-1", payment_id: str | None = None, customer_id: str = "c4n4ry-1") -> AnyInstance:
    data = saga(customer_id=customer_id, order_id=order_id, payment_id=payment_id).data
    return replace(old(), data=data)


class Died(Exception):
    """What a process that is killed would not even raise."""


def die(*_: object, **__: object) -> Any:
    raise Died


def rewritten(path: Path, change_text: Callable[[str], str]) -> None:
    path.write_bytes(gzip.compress(change_text(gzip.decompress(path.read_bytes()).decode()).encode(), mtime=0))
