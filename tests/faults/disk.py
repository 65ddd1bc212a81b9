"""A small disk under the database's data, to be filled and emptied again. Mounting one takes permission (root)."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ordersaga.local.postgres import PostgresServer

ROOM_MIB = 96
"""What is left for the database: some segments of its log."""
MOUNT, UMOUNT = "/usr/bin/mount", "/usr/bin/umount"


class SmallDisk:
    def __init__(self, server: PostgresServer, data: Path) -> None:
        self._server = server
        self._filler = data / "filler"

    def fill(self) -> None:
        try:
            with self._filler.open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(2**16))
        except OSError:
            return

    def empty(self) -> None:
        """And start the server, as a supervisor would, where it has given up."""
        self._filler.unlink()
        if not self._server.process.is_running:
            self._server.process.start()
        self._server.wait_ready()


@contextmanager
def small_disk(server: PostgresServer) -> Iterator[SmallDisk]:
    """The server goes on with its data on a disk of its own, until this ends."""
    data = server.data
    used_mib = sum(file.stat().st_size for file in data.rglob("*") if file.is_file()) // 2**20
    aside = data.with_name("aside")
    server.process.stop()
    data.rename(aside)
    data.mkdir(mode=0o700)
    _run(MOUNT, "-t", "tmpfs", "-o", f"size={used_mib + ROOM_MIB}m,mode=700", "tmpfs", str(data))
    try:
        _run("/usr/bin/cp", "-a", f"{aside}/.", f"{data}/")
        shutil.copystat(aside, data)
        _run("/usr/bin/chown", f"--reference={aside}", str(data))
        server.process.start()
        server.wait_ready()
        yield SmallDisk(server, data)
        server.process.kill()
    finally:
        _run(UMOUNT, "--lazy", str(data))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=120)
