"""What is kept between runs is complete or absent; what is thrown away goes even when its owner was killed."""

from pathlib import Path
from threading import Event, Thread

import pytest

from ordersaga.local.cache import built_once, cache_directory
from ordersaga.local.temporary import make_directory, remove_directory

from .watching import program, until

BUILDER_THAT_IS_KILLED = """
import json, pathlib, signal, sys
from ordersaga.local.cache import built_once

def build(directory):
    (directory / "half").write_text("of it")
    print(json.dumps("building"), flush=True)
    signal.pause()

built_once("entry", build, within=pathlib.Path(sys.argv[1]))
"""
OWNER_THAT_IS_KILLED = """
import json, signal
from ordersaga.local.temporary import make_directory
print(json.dumps(str(make_directory("test"))), flush=True)
signal.pause()
"""


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    built: list[Path] = []
    first = built_once("entry", built.append, within=tmp_path)
    assert built_once("entry", built.append, within=tmp_path) == first == tmp_path / "entry"
    assert len(built) == 1


def test_a_build_that_fails_leaves_nothing_and_is_tried_again(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").touch()
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        built_once("entry", fail, within=tmp_path)
    entry = built_once("entry", lambda directory: (directory / "whole").touch(), within=tmp_path)
    assert entries(entry) == ["whole"]
    assert entries(tmp_path) == [".entry.lock", "entry"]


def test_a_build_that_was_killed_is_done_again_from_the_start(tmp_path: Path) -> None:
    with program(BUILDER_THAT_IS_KILLED, str(tmp_path)) as (builder, _):
        builder.kill()
        builder.wait(10)
    entry = built_once("entry", lambda directory: (directory / "whole").touch(), within=tmp_path)
    assert entries(entry) == ["whole"]
    assert entries(tmp_path) == [".entry.lock", "entry"]


def test_whoever_comes_second_waits_for_the_first(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    building, may_end, said = Event(), Event(), []

    def build(directory: Path) -> None:
        building.set()
        assert may_end.wait(20)
        (directory / "whole").touch()

    def second_is_waiting() -> bool:
        said.append(capfd.readouterr().err)
        return "waiting for another process" in "".join(said)

    first = Thread(target=built_once, args=("entry", build), kwargs={"within": tmp_path})
    second = Thread(target=built_once, args=("entry", unexpected), kwargs={"within": tmp_path})
    first.start()
    assert building.wait(20)
    second.start()
    until(second_is_waiting, "the second says that it waits")
    may_end.set()
    first.join(20)
    second.join(20)
    assert entries(tmp_path / "entry") == ["whole"]


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "ordersaga"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_directory() == tmp_path / "home" / ".cache" / "ordersaga"


def test_a_directory_of_a_killed_owner_goes_when_the_next_is_made() -> None:
    with program(OWNER_THAT_IS_KILLED) as (owner, named):
        abandoned = Path(named)
        remove_directory(make_directory("test"))
        assert abandoned.is_dir(), "its owner lives"
        owner.kill()
        owner.wait(10)
    mine = make_directory("test")
    assert not abandoned.exists()
    remove_directory(make_directory("test"))
    assert mine.is_dir()
    remove_directory(mine)
    assert not mine.exists()


def entries(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def unexpected(directory: Path) -> None:
    raise AssertionError(f"{directory} was built twice")
