"""Files of the archive at a terminal, while no service runs."""

from pathlib import Path

from ordersaga.wire import messages as m
from tests.cli.test_cli import ordersaga
from tests.runtime.stage import opened, settle


def test_sagas_go_into_files_are_shown_from_there_verified_and_restored(database_url: str, tmp_path: Path) -> None:
    with opened(database_url) as stage:
        saga_id = stage.begin()
        settle(stage, saga_id, [m.OrderCreationFailed(error="NO")])
        stage.grow_old()
    reached = {"DATABASE_URL": database_url, "ORDERSAGA_ARCHIVE_DIRECTORY": str(tmp_path)}
    told = ordersaga("archive", "run", "--older-than-days", "0", **reached)
    assert told.stdout.startswith("1 sagas archived")
    assert "into files" not in told.stdout, "thirty days later"
    told = ordersaga("archive", "export", "--archived-days", "0", **reached)
    assert (told.returncode, told.stdout) == (0, "1 sagas put into 1 files\n")
    (path,) = tmp_path.glob("*.jsonl.gz")
    assert ordersaga("archive", "files", **reached).stdout.startswith(f"{path.name}       1 sagas")
    assert f"in {path.name}" in ordersaga("archive", "list", **reached).stdout
    shown = ordersaga("sagas", "show", str(saga_id), **reached).stdout
    assert "COMPENSATED" in shown and "order.creation_failed" in shown
    assert ordersaga("archive", "verify", **reached).stdout == "1 sagas read, 0 problems\n"

    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    told = ordersaga("archive", "verify", **reached)
    assert told.returncode == 1
    assert f"{path.name} is not the one that was written" in told.stdout and str(saga_id) in told.stdout
    told = ordersaga("archive", "restore", str(saga_id), **reached)
    assert told.returncode == 1 and path.name in told.stderr
    path.write_bytes(content)
    assert ordersaga("archive", "restore", str(saga_id), **reached).stdout == "1 sagas restored\n"


def test_files_need_the_setting_and_the_error_says_so(database_url: str) -> None:
    with opened(database_url):
        pass
    for command in ("export", "files"):
        told = ordersaga("archive", command, DATABASE_URL=database_url)
        assert told.returncode == 2 and "ORDERSAGA_ARCHIVE_DIRECTORY" in told.stderr
